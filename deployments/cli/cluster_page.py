"""Everything about a cluster on one page: what `replictl cluster` and `replictl describe cluster` say."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

import typer
from rich.text import Text

from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.declaration import Declaration
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace
from blocks.models.report import Report
from blocks.models.request import WorkKind
from blocks.models.source import SourceReport
from blocks.store.protocol import Store, Where
from deployments.cli import clusters, problems
from deployments.cli.cycles import report_page, report_row
from deployments.cli.kinds import Listed, allowed, manifest, spec_facts
from deployments.cli.options import TheCluster, Watch
from deployments.cli.output import Answer, Grid, Row, clean
from deployments.cli.page import Page, put_events, put_timetable, put_unfinished
from deployments.cli.resolve import known_cluster
from deployments.cli.select import Note, Notes
from deployments.cli.session import Cli
from deployments.cli.topology import drawing, topology_of
from deployments.cli.turns import turns_of, until
from deployments.cli.words import BAD, MIDDLING, age, coloured, milliseconds, seconds_since
from deployments.cli.world import Parts
from tasks.decide.kinds.base import Kind
from tasks.decide.manifest_kinds import kind_of
from tasks.decide.select import written


def cluster(context: typer.Context, name: TheCluster, watch: Watch = None) -> None:
    """Everything about a cluster on one page: health, problems, topology, timetable, actions, last report and events."""
    cli, note = Cli.of(context), Notes()

    async def read(parts: Parts) -> Answer:
        store, now = await parts.store(), cli.world.clock()
        ref = await known_cluster(store, name, cli.namespace)
        return await cluster_answer(store, ref, kind_of("cluster"), now, note)

    cli.answer(read, watch)


async def cluster_answer(store: Store, ref: ClusterRef, kind: Kind, now: datetime, note: Note) -> Answer:
    """The page of a cluster that is declared, discovered or observed."""
    spec, told = await store.get(ClusterSpec, ref.key), await store.get(Discovery, ref.key)
    state, report = await store.get(ClusterState, ref.key), await store.get(Report, ref.key)
    home = await store.get(Namespace, ref.namespace)
    item = (await turns_of(store, WorkKind.ORCHESTRATE, note)).get(ref.key)
    row = clusters.cluster_row(ref.key, spec, told, state, item, now)
    extra = spec_facts(spec, {home.name: home.settings} if home is not None else {}) if spec is not None else {}
    shape = await topology_of(store, ref, now)
    page = Page(f"cluster {clean(ref)}")
    if spec is not None:
        page.value |= manifest(Listed(spec, {**row, **extra}), kind)
    else:
        page.value |= {"kind": kind.name, "status": row}
    _health(page, row, shape, spec, now)
    _wanted(page, row, spec, home, extra)
    await _source(page, store, told, now)
    put_timetable(page, item, row, extra.get("interval_s"))
    rows = await problems.problem_rows(store, ref, None, now, labels=False, note=note)
    page.value["problems"] = rows
    page.table("Problems", Grid(problems.COLUMNS, rows, "none"))
    if state is not None:
        page.value["topology"] = shape
        page.blocks += [Text(""), Text("Topology", style="bold"), drawing(shape)]
    await put_unfinished(page, store, Where(namespace=ref.namespace, cluster_id=ref.cluster_id), now)
    if report is not None:
        _last_report(page, report, now)
    await put_events(page, store, ref.key, None)
    return page.answer()


def _health(page: Page, row: Row, shape: Row, spec: ClusterSpec | None, now: datetime) -> None:
    lasting = f" for {age(seconds_since(row['health_since'], now))}" if row["health_since"] is not None else ""
    lag = None
    if row["lag_worst_ms"] is not None:
        limit = f", limit {spec.lag_limit_s:g}s" if spec is not None else ""
        late = spec is not None and row["lag_worst_ms"] > spec.lag_limit_s * 1_000
        old = f" {age(row['age_s'])} ago" if row["unseen"] else ""
        lag = Text.assemble((milliseconds(row["lag_worst_ms"]) + old, BAD if late else MIDDLING if old else ""), limit)
    agents = Counter(node["agent_version"] for node in shape["nodes"] if node["agent_version"])
    by_status = ", ".join(f"{count} {status}" for status, count in row["nodes_by_status"].items())
    page.facts(
        health=Text.assemble(coloured(row["health"]), "?" if row["unseen"] else "", lasting),
        since=row["health_since"],
        observed=_observed(row),
        nodes=f"{row['nodes_healthy']} of {row['nodes_total']} healthy" + (f" ({by_status})" if by_status else ""),
        shards=f"{row['shards']}, {row['primaries']} with a primary" if row["shards"] else None,
        lag=lag,
        store=", ".join(row["stores"]),
        agents=", ".join(f"{count} of {version}" for version, count in sorted(agents.items())),
    )


def _observed(row: Row) -> Text:
    if row["age_s"] is None:
        return Text("not yet")
    ago = f"{age(row['age_s'])} ago"
    return coloured(f"{ago}: what is told here is as old", MIDDLING) if row["unseen"] else Text(ago)


def _wanted(page: Page, row: Row, spec: ClusterSpec | None, home: Namespace | None, extra: dict[str, Any]) -> None:
    page.facts(
        display_name=row["display_name"],
        labels=written(row["labels"]),
        declared_by=("its source" if spec.synthetic else "a person") if spec is not None else "nobody: discovered only",
        active=None if spec is None or spec.active else "no: it is not looked after",
        namespace=Text.assemble(f"{home.status}: ", allowed(home)) if home is not None else "it does not exist",
        platform=extra.get("platform"),
        probes=_probes(spec, home),
        declaration=None
        if spec is None or spec.declaration == Declaration()
        else spec.declaration.model_dump(mode="json", exclude_defaults=True),
    )


def _probes(spec: ClusterSpec | None, home: Namespace | None) -> str | None:
    every = spec.probe_interval if spec is not None else None
    if every is None and home is not None:
        every = home.settings.probe_interval
    if spec is None or every is None:
        return None
    return f"every {every:g}s" if every else "none: the watch is off"


async def _source(page: Page, store: Store, told: Discovery | None, now: datetime) -> None:
    if told is None:
        page.facts(source="none tells of it")
        return
    report = await store.get(SourceReport, told.source)
    asked = f", asked {age(seconds_since(report.at, now))} ago" if report is not None else ""
    page.facts(
        source=f"{told.source}{asked}",
        source_error=coloured(report.error, MIDDLING) if report is not None and report.error else None,
        missing_since=told.missing_since,
    )


def _last_report(page: Page, report: Report, now: datetime) -> None:
    page.value["last_report"] = report_row(report)
    page.blocks += [Text(""), Text("Last report", style="bold")]
    begun = f"{until(report.started_at)} ({age(seconds_since(report.started_at, now))} ago)"
    page.facts(started=begun, error=coloured(report.error, BAD) if report.error else None)
    page.blocks.append(report_page(report))
