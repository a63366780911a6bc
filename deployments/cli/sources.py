"""Discovery sources: when they are asked, and how their last runs went."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import typer

from blocks.models.namespace import Namespace, NamespaceSettings
from blocks.models.request import Request, WorkKind
from blocks.models.source import Source, SourceReport
from blocks.store.protocol import Store, Where
from deployments.cli.options import Conditions, Selectors, Watch
from deployments.cli.output import Answer, Column, listing, say
from deployments.cli.select import Filter, Note, Notes, found
from deployments.cli.session import Cli
from deployments.cli.turns import TURN_FIELDS, next_turn, turn_fields, turns_of, until
from deployments.cli.words import BAD, age, coloured, milliseconds, seconds_since
from deployments.cli.world import Parts
from tasks.decide.conditions import Fields

COLUMNS = (
    Column("NAMESPACE", lambda row: row["namespace"]),
    Column("SOURCE", lambda row: row["source"]),
    Column("KIND", lambda row: row["kind"]),
    Column("ENABLED", lambda row: "yes" if row["enabled"] else "no"),
    Column("EVERY", lambda row: age(row["interval_s"]), right=True),
    Column("NEXT", next_turn, right=True),
    Column("PAUSED", lambda row: until(row["paused_until"])),
    Column("LAST", lambda row: age(row["age_s"]), right=True),
    Column(
        "TOOK",
        lambda row: milliseconds(row["duration_s"] * 1_000 if row["duration_s"] is not None else None),
        right=True,
    ),
    Column("GOOD", lambda row: age(row["good_age_s"]), right=True),
    Column("CLUSTERS", lambda row: row["clusters"], right=True),
    Column("NODES", lambda row: row["nodes"], right=True),
    Column("MISSING", lambda row: row["absent"], right=True),
    Column("REFUSED", lambda row: row["rejected"], right=True),
    Column("WHERE", lambda row: row["where"]),
    Column("ERROR", lambda row: coloured(row["error"], BAD)),
)
FIELDS: Fields = {
    "namespace": str,
    "source": str,
    "kind": str,
    "labels": dict,
    "enabled": bool,
    "interval_s": float,
    "where": str,
    **TURN_FIELDS,
    "last_at": datetime,
    "good_at": datetime,
    "good_age_s": float,
    "age_s": float,
    "duration_s": float,
    "error": str,
    "clusters": int,
    "nodes": int,
    "new": int,
    "changed": int,
    "missing": int,
    "absent": int,
    "rejected": int,
    "left_out": int,
}


async def source_rows(store: Store, namespace: str | None, now: datetime, note: Note = say) -> list[dict[str, Any]]:
    """One row per source."""
    where = Where(namespace=namespace)
    sources = await found(store, Source, where, note)
    reports = {report.key: report for report in await found(store, SourceReport, where, note)}
    settings = {space.name: space.settings for space in await found(store, Namespace, where, note)}
    turns = await turns_of(store, WorkKind.DISCOVER, note)
    return [source_row(source, reports.get(source.key), settings, turns.get(source.key), now) for source in sources]


def source_row(
    source: Source,
    report: SourceReport | None,
    settings: Mapping[str, NamespaceSettings],
    item: Request | None,
    now: datetime,
) -> dict[str, Any]:
    """A source with its last report, by namespace the settings, and its work item."""
    interval = source.interval
    if interval is None and source.namespace in settings:
        interval = settings[source.namespace].discovery_interval
    return {
        "namespace": source.namespace,
        "source": source.name,
        "kind": kind_of(source),
        "labels": source.labels,
        "enabled": source.enabled,
        "interval_s": interval,
        "where": source.where,
        **turn_fields(item, now),
        "last_at": report.at if report else None,
        "age_s": seconds_since(report.at, now) if report else None,
        "good_at": report.good_at if report else None,
        "good_age_s": seconds_since(report.good_at, now) if report and report.good_at else None,
        **{
            name: getattr(report, name) if report else None
            for name in ("duration_s", "error", "clusters", "nodes", "new", "changed", "missing", "absent")
        },
        "rejected": max(report.rejected_total, len(report.rejected)) - report.left_out_total if report else None,
        "left_out": report.left_out_total if report else None,
    }


def kind_of(source: Source) -> str:
    """What kind of source it is: `http`, `file` or `platform`."""
    return next(name for name in ("file", "platform", "http") if getattr(source, name) is not None)


def sources(context: typer.Context, selector: Selectors = None, where: Conditions = None, watch: Watch = None) -> None:
    """Discovery sources: when they are asked, what they told last, and whether they failed."""
    cli = Cli.of(context)
    wanted, note = Filter.of(selector, where, FIELDS), Notes()

    async def read(parts: Parts) -> Answer:
        rows = await source_rows(await parts.store(), cli.namespace, cli.world.clock(), note)
        empty = wanted.empty("no sources: apply a DiscoverySettings or Platform manifest", "source")
        return listing(wanted.kept(rows), COLUMNS, empty)

    cli.answer(read, watch)
