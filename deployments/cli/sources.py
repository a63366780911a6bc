"""Discovery sources and how their last runs went."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import typer

from blocks.models.source import Source, SourceReport
from blocks.store.protocol import Store, Where
from deployments.cli.options import Watch
from deployments.cli.output import Answer, Column, listing
from deployments.cli.session import Cli
from deployments.cli.words import BAD, age, coloured, milliseconds, seconds_since
from deployments.cli.world import Parts

COLUMNS = (
    Column("NAMESPACE", lambda row: row["namespace"]),
    Column("SOURCE", lambda row: row["source"]),
    Column("ENABLED", lambda row: "yes" if row["enabled"] else "no"),
    Column("EVERY", lambda row: age(row["interval_s"]), right=True),
    Column("LAST", lambda row: age(row["age_s"]), right=True),
    Column(
        "TOOK",
        lambda row: milliseconds(row["duration_s"] * 1_000 if row["duration_s"] is not None else None),
        right=True,
    ),
    Column("CLUSTERS", lambda row: row["clusters"], right=True),
    Column("NODES", lambda row: row["nodes"], right=True),
    Column("MISSING", lambda row: row["missing"], right=True),
    Column("REFUSED", lambda row: row["rejected"], right=True),
    Column("URL", lambda row: row["url"]),
    Column("ERROR", lambda row: coloured(row["error"], BAD)),
)


async def source_rows(store: Store, namespace: str | None, now: datetime) -> list[dict[str, Any]]:
    """One row per source."""
    where = Where(namespace=namespace)
    reports = {report.key: report for report in await store.find(SourceReport, where, limit=100_000)}
    return [_row(source, reports.get(source.key), now) for source in await store.find(Source, where, limit=100_000)]


def _row(source: Source, report: SourceReport | None, now: datetime) -> dict[str, Any]:
    return {
        "namespace": source.namespace,
        "source": source.name,
        "enabled": source.enabled,
        "interval_s": source.interval,
        "url": bare_url(str(source.http.url)),
        "last_at": report.at if report else None,
        "age_s": seconds_since(report.at, now) if report else None,
        **{
            name: getattr(report, name) if report else None
            for name in ("duration_s", "error", "clusters", "nodes", "new", "changed", "missing")
        },
        "rejected": len(report.rejected) if report else None,
    }


def bare_url(url: str) -> str:
    """A URL without user, password and query: those may be secrets."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def sources(context: typer.Context, watch: Watch = None) -> None:
    """Discovery sources: what they told last, and whether they failed."""
    cli = Cli.of(context)

    async def read(parts: Parts) -> Answer:
        rows = await source_rows(await parts.store(), cli.namespace, cli.world.clock())
        return listing(rows, COLUMNS, "no sources: apply a DiscoverySettings manifest")

    cli.answer(read, watch)
