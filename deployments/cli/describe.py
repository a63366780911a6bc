"""Everything about one object, on one page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import typer
from rich.text import Text

from blocks.errors import NotFoundError
from blocks.models.action import Action
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.event import Event
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace
from blocks.models.report import Report
from blocks.models.request import Request, WorkKind
from blocks.models.source import Source, SourceReport
from blocks.store.protocol import EventQuery, Store, Where
from deployments.cli import actions, clusters, events, sources, topology
from deployments.cli.cycles import report_row
from deployments.cli.kinds import NAMESPACE_COLUMNS, Listed, allowed, listed, manifest, one_of, spec_facts
from deployments.cli.objects import KindName, ObjectName
from deployments.cli.options import TheCluster, Watch
from deployments.cli.output import Answer, Block, Column, Format, Grid, clean, console, dump
from deployments.cli.resolve import known_cluster
from deployments.cli.select import READ_MAX, Note, Notes
from deployments.cli.session import Cli
from deployments.cli.turns import next_turn, turns_of, until
from deployments.cli.words import age, coloured
from deployments.cli.world import Parts
from tasks.decide.kinds.base import Kind
from tasks.decide.manifest_kinds import kind_for, kind_of
from tasks.decide.select import written

EVENTS_SHOWN = 10
EVENTS_READ = 1_000
"""So many of the newest events of a stream are looked through for those of one object."""
ACTIONS_SHOWN = 100
CLUSTER = "cluster"
REFUSED_COLUMNS = (Column("REFUSED", lambda row: row["what"]), Column("WHY", lambda row: row["reason"]))


@dataclass(slots=True)
class Page:
    """What is told of an object."""

    title: str
    value: dict[str, Any] = field(default_factory=dict)
    """For machines, by section."""
    blocks: list[Block] = field(default_factory=list)

    def facts(self, **facts: Any) -> None:
        """Add names with values; what is nothing is left out."""
        shown = {name.replace("_", " "): value for name, value in facts.items() if value not in (None, "", {}, ())}
        width = max((len(name) for name in shown), default=0)
        lines = [Text.assemble((f"  {name:<{width}}  ", "bold"), _fact(value)) for name, value in shown.items()]
        self.blocks.append(Text("\n").join(lines))

    def table(self, title: str, grid: Grid) -> None:
        """Add a table."""
        self.blocks += [Text(""), Text(title, style="bold"), grid]

    def answer(self) -> Answer:
        """All of it."""
        return Answer(self.value, (Text(self.title, style="bold"), *self.blocks))


def _fact(value: object) -> Text:
    if isinstance(value, Text):
        return value
    if isinstance(value, dict | list | tuple):
        return Text(clean(dump(value, Format.JSON, compact=True)))
    return coloured(value)


def describe(context: typer.Context, kind: KindName, name: ObjectName, watch: Watch = None) -> None:
    """Everything about one object: what is wanted, how it is, its timetable, problems, last events, unfinished actions."""
    cli = Cli.of(context)
    which, note = kind_of(kind), Notes()

    async def read(parts: Parts) -> Answer:
        store, now = await parts.store(), cli.world.clock()
        if which.record is ClusterSpec:
            return await _cluster(store, await known_cluster(store, name, cli.namespace), which, now, note)
        record = await one_of(store, which, name, cli.namespace)
        match record:
            case Namespace():
                return await _namespace(store, record, now, note)
            case Source():
                return await _source(store, record, now, note)
            case Action():
                row = await actions.whole_action(store, UUID(record.action_id), now)
                return Answer(row, actions.page(row))
            case _:
                message = f"there is no {which.name} {name}"
                raise NotFoundError(message)

    cli.answer(read, watch)


def cluster(context: typer.Context, name: TheCluster, watch: Watch = None) -> None:
    """Everything about a cluster on one page: health, problems, topology, timetable, actions, last report and events."""
    describe(context, kind=CLUSTER, name=name, watch=watch)


async def _cluster(store: Store, ref: ClusterRef, kind: Kind, now: datetime, note: Note) -> Answer:
    spec, told = await store.get(ClusterSpec, ref.key), await store.get(Discovery, ref.key)
    state, report = await store.get(ClusterState, ref.key), await store.get(Report, ref.key)
    home = await store.get(Namespace, ref.namespace)
    item = (await turns_of(store, WorkKind.ORCHESTRATE, note)).get(ref.key)
    row = clusters.cluster_row(ref.key, spec, told, state, item, now)
    extra = spec_facts(spec, {home.name: home.settings} if home is not None else {}) if spec is not None else {}
    page = Page(f"cluster {clean(ref)}")
    if spec is not None:
        page.value |= manifest(Listed(spec, {**row, **extra}), kind)
    else:
        page.value |= {"kind": kind.name, "status": row}
    page.facts(
        health=row["health"],
        since=row["health_since"],
        observed=f"{age(row['age_s'])} ago" if row["age_s"] is not None else None,
        nodes=f"{row['nodes_healthy']} of {row['nodes_total']} healthy",
        store=", ".join(row["stores"]),
        display_name=row["display_name"],
        labels=written(row["labels"]),
        declared_by=("its source" if spec.synthetic else "a person") if spec is not None else "nobody: discovered only",
        active=None if spec is None or spec.active else "no: it is not looked after",
        namespace=Text.assemble(f"{home.status}: ", allowed(home)) if home is not None else "it does not exist",
        platform=extra.get("platform"),
        source=row["source"],
        missing_since=row["missing_since"],
    )
    _timetable(page, item, row, extra.get("interval_s"))
    problems = await clusters.problem_rows(store, ref, None, now, labels=False, note=note)
    page.value["problems"] = problems
    page.table("Problems", Grid(clusters.PROBLEM_COLUMNS, problems, "none"))
    if state is not None:
        shape = await topology.topology_of(store, ref, now)
        page.value["topology"] = shape
        tree = topology.drawn_tree(topology.tree_of(shape, every_shard=False), ascii_only=not console().is_terminal)
        page.blocks += [Text(""), Text("Topology", style="bold"), tree]
    await _unfinished(page, store, Where(namespace=ref.namespace, cluster_id=ref.cluster_id), now)
    if report is not None:
        page.value["last_report"] = report_row(report)
        page.facts(
            last_report=f"{report.outcome} at {clean(report.started_at)}", error=report.error, notes=report.notes
        )
    await _events(page, store, ref.key, None)
    return page.answer()


async def _source(store: Store, source: Source, now: datetime, note: Note) -> Answer:
    report = await store.get(SourceReport, source.key)
    home = await store.get(Namespace, source.namespace)
    item = (await turns_of(store, WorkKind.DISCOVER, note)).get(source.key)
    settings = {home.name: home.settings} if home is not None else {}
    row = sources.source_row(source, report, settings, item, now)
    kind = kind_for(source)
    page = Page(f"{kind.name} {source.key}", manifest(Listed(source, row), kind))
    page.facts(
        where=row["where"],
        enabled=None if source.enabled else "no: it is not asked",
        labels=written(source.labels),
        namespace=Text.assemble(f"{home.status}: ", allowed(home)) if home is not None else "it does not exist",
        last=f"{age(row['age_s'])} ago, {report.duration_s:g} s" if report is not None else "never",
        error=row["error"],
        found=f"{report.clusters} clusters, {report.nodes} nodes" if report is not None else None,
        news=f"{report.new} new, {report.changed} changed, {report.missing} missing" if report is not None else None,
    )
    _timetable(page, item, row, row["interval_s"])
    rejected = [dict(one) for one in report.rejected] if report is not None else []
    page.value["rejected"] = rejected
    if report is not None and rejected:
        total = max(report.rejected_total, len(rejected))
        page.table(f"Refused records ({len(rejected)} of {total})", Grid(REFUSED_COLUMNS, rejected))
    await _events(page, store, source.namespace, source.key)
    return page.answer()


async def _namespace(store: Store, namespace: Namespace, now: datetime, note: Note) -> Answer:
    kind = kind_for(namespace)
    (one,) = await listed(store, kind, [namespace], namespace.name, now, note)
    page = Page(f"namespace {namespace.name}", manifest(one, kind))
    settings = namespace.settings
    states = await store.find(ClusterState, Where(namespace=namespace.name), limit=READ_MAX)
    health = Counter(state.health.value for state in states)
    page.facts(
        status=coloured(namespace.status),
        allows=allowed(namespace),
        note=NAMESPACE_COLUMNS[-1].cell(one.row),
        labels=written(namespace.labels),
        tls="its own" if namespace.tls is not None else "the system's certificates",
        clusters=one.row["clusters"],
        health=", ".join(f"{count} {word}" for word, count in sorted(health.items())),
        every=f"clusters {age(settings.orchestrate_interval)}, sources {age(settings.discovery_interval)}",
        agents=f"{settings.agent_timeout:g} s for an answer, {settings.schedule_attempts_max} attempts to send an action",
    )
    page.value["health"] = health
    rows = await sources.source_rows(store, namespace.name, now, note)
    page.value["sources"] = rows
    page.table("Sources", Grid(sources.COLUMNS, rows, "none"))
    await _unfinished(page, store, Where(namespace=namespace.name), now)
    await _events(page, store, namespace.name, None)
    return page.answer()


def _timetable(page: Page, item: Request | None, row: dict[str, Any], interval_s: float | None) -> None:
    """When it has its turns."""
    page.value["work"] = item.model_dump() if item is not None else None
    if item is None:
        page.facts(timetable="it has no place there")
        return
    paused = f"until {until(row['paused_until'])} by {clean(row['paused_by'])}: {clean(row['paused_why'])}"
    page.facts(
        every=age(interval_s) if interval_s is not None else None,
        next_turn=next_turn(row) or "none",
        last_start=item.started_at,
        late=f"{item.late_s:.1f} s" if item.started_at is not None else None,
        paused=coloured(paused, "yellow") if row["paused_until"] else None,
        failures=item.failures or None,
        last_error=item.error,
    )


async def _unfinished(page: Page, store: Store, where: Where, now: datetime) -> None:
    among = where.evolve(action_states=actions.UNFINISHED)
    found = await store.find(Action, among, limit=ACTIONS_SHOWN + 1)
    rows = [actions.action_row(one, now, {}) for one in found[:ACTIONS_SHOWN]]
    page.value["actions"] = rows
    more = f", the newest {ACTIONS_SHOWN}" if len(found) > ACTIONS_SHOWN else ""
    page.table(f"Unfinished actions{more}", Grid(actions.COLUMNS, rows, "none"))


async def _events(page: Page, store: Store, stream: str, subject: str | None) -> None:
    """The last events of a stream, or those in it that are about one thing."""
    if subject is None:
        told: Sequence[Event] = await store.events(EventQuery(stream=stream, newest=EVENTS_SHOWN))
    else:
        about = {subject, f"{WorkKind.DISCOVER}:{subject}"}
        told = [
            one for one in await store.events(EventQuery(stream=stream, newest=EVENTS_READ)) if one.subject in about
        ]
    rows = [events.cloud_event(one) for one in told[-EVENTS_SHOWN:]]
    page.value["events"] = rows
    page.table("Last events", Grid(events.COLUMNS, rows, "none"))
