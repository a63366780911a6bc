"""Everything about one object, on one page."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from uuid import UUID

import typer
from rich.text import Text

from blocks.errors import NotFoundError
from blocks.models.action import Action
from blocks.models.cluster import ClusterSpec, ClusterState
from blocks.models.namespace import Namespace
from blocks.models.request import WorkKind
from blocks.models.source import Source, SourceReport
from blocks.store.protocol import Store, Where
from deployments.cli import actions, sources
from deployments.cli.cluster_page import cluster_answer
from deployments.cli.kinds import NAMESPACE_COLUMNS, Listed, allowed, listed, manifest, one_of
from deployments.cli.objects import KindName, ObjectName
from deployments.cli.options import Watch
from deployments.cli.output import Answer, Column, Grid
from deployments.cli.page import Page, put_events, put_timetable, put_unfinished
from deployments.cli.resolve import known_cluster
from deployments.cli.select import READ_MAX, Note, Notes
from deployments.cli.session import Cli
from deployments.cli.turns import turns_of
from deployments.cli.words import age, coloured
from deployments.cli.world import Parts
from tasks.decide.manifest_kinds import kind_for, kind_of
from tasks.decide.select import written

REFUSED_COLUMNS = (
    Column("RECORD", lambda row: row["what"]),
    Column("IS", lambda row: "taken in part" if row["partial"] else "refused"),
    Column("WHY", lambda row: row["reason"]),
)


def describe(context: typer.Context, kind: KindName, name: ObjectName, watch: Watch = None) -> None:
    """Everything about one object: what is wanted, how it is, its timetable, problems, last events, unfinished actions."""
    cli = Cli.of(context)
    which, note = kind_of(kind), Notes()

    async def read(parts: Parts) -> Answer:
        store, now = await parts.store(), cli.world.clock()
        if which.record is ClusterSpec:
            return await cluster_answer(store, await known_cluster(store, name, cli.namespace), which, now, note)
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
    put_timetable(page, item, row, row["interval_s"])
    rejected = [dict(one) for one in report.rejected] if report is not None else []
    page.value["rejected"] = rejected
    if report is not None and rejected:
        total = max(report.rejected_total, len(rejected))
        page.table(
            f"Refused records, and parts of records ({len(rejected)} of {total})", Grid(REFUSED_COLUMNS, rejected)
        )
    await put_events(page, store, source.namespace, source.key)
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
    await put_unfinished(page, store, Where(namespace=namespace.name), now)
    await put_events(page, store, namespace.name, None)
    return page.answer()
