"""Clusters and their problems, as tables."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from blocks.models.cluster import ClusterSpec, ClusterState, Discovery, Health
from blocks.models.ids import ClusterRef
from blocks.models.problem import Severity
from blocks.models.request import Request, WorkKind
from blocks.store.protocol import Store, Where
from deployments.cli.options import Conditions, OneCluster, Selectors, ShowLabels, Watch
from deployments.cli.output import Answer, Column, Format, Row, listing, say
from deployments.cli.resolve import known_cluster
from deployments.cli.select import Filter, Note, Notes, Tags, found, place
from deployments.cli.session import Cli
from deployments.cli.turns import TURN_FIELDS, turn_fields, turns_of, until
from deployments.cli.words import age, coloured, milliseconds, seconds_since
from deployments.cli.world import Parts
from tasks.decide.conditions import Fields
from tasks.decide.search import labels_of_cluster
from tasks.decide.select import written


def _note(row: Row) -> str:
    notes = (
        "" if row["active"] else "not active",
        "missing from its source" if row["missing_since"] else "",
        "not observed yet" if row["observed_at"] is None else "",
        f"paused until {until(row['paused_until'])}" if row["paused_until"] else "",
    )
    return ", ".join(filter(None, notes))


CLUSTER_COLUMNS = (
    Column("NAMESPACE", lambda row: row["namespace"]),
    Column("CLUSTER", lambda row: row["cluster"]),
    Column("HEALTH", lambda row: coloured(row["health"])),
    Column("NODES", lambda row: f"{row['nodes_healthy']}/{row['nodes_total']}", right=True),
    Column("PROBLEMS", lambda row: row["problems"], right=True),
    Column("LAG", lambda row: milliseconds(row["lag_worst_ms"]), right=True),
    Column("STORE", lambda row: ", ".join(row["stores"])),
    Column("SEEN", lambda row: age(row["age_s"]), right=True),
    Column("NOTE", _note),
)
LABELS = Column("LABELS", lambda row: written(row["labels"]))
CLUSTER_FIELDS: Fields = {
    "namespace": str,
    "cluster": str,
    "display_name": str,
    "labels": dict,
    "health": Health,
    "health_since": datetime,
    "nodes_total": int,
    "nodes_healthy": int,
    "nodes_by_status": dict,
    "problems": int,
    "shards": int,
    "primaries": int,
    "lag_worst_ms": int,
    "stores": list,
    "active": bool,
    "source": str,
    "missing_since": datetime,
    "observed_at": datetime,
    "age_s": float,
    **TURN_FIELDS,
}
PROBLEM_COLUMNS = (
    Column("SEVERITY", lambda row: coloured(row["severity"])),
    Column("CLUSTER", lambda row: f"{row['namespace']}/{row['cluster']}"),
    Column("NODE", lambda row: row["node"]),
    Column("SHARD", lambda row: row["shard"]),
    Column("CODE", lambda row: row["code"]),
    Column("FOR", lambda row: age(row["age_s"]), right=True),
    Column("PROBLEM", lambda row: " - ".join(filter(None, (row["description"], row["evidence"])))),
    Column("WHAT TO DO", lambda row: row["remedy"]),
)


PROBLEM_FIELDS: Fields = {
    "namespace": str,
    "cluster": str,
    "node": str,
    "shard": str,
    "labels": dict,
    "severity": Severity,
    "code": str,
    "description": str,
    "evidence": str,
    "remedy": str,
    "since": datetime,
    "age_s": float,
}


async def cluster_rows(store: Store, namespace: str | None, now: datetime, note: Note = say) -> list[dict[str, Any]]:
    """One row per cluster that is declared or was discovered, sorted by name."""
    where = Where(namespace=namespace)
    specs = {spec.key: spec for spec in await found(store, ClusterSpec, where, note)}
    discoveries = {told.key: told for told in await found(store, Discovery, where, note)}
    states = {state.key: state for state in await found(store, ClusterState, where, note)}
    turns = await turns_of(store, WorkKind.ORCHESTRATE, note)
    return [
        cluster_row(key, specs.get(key), discoveries.get(key), states.get(key), turns.get(key), now)
        for key in sorted({*specs, *discoveries, *states})
    ]


def cluster_row(
    key: str,
    spec: ClusterSpec | None,
    told: Discovery | None,
    state: ClusterState | None,
    item: Request | None,
    now: datetime,
) -> dict[str, Any]:
    """A cluster of which at least one of spec, discovery and state is there, with its work item."""
    ref = ClusterRef.from_key(key)
    unseen = state is None or state.observed_at is None
    return {
        "namespace": ref.namespace,
        "cluster": ref.cluster_id,
        "display_name": told.display_name if told else None,
        "labels": labels_of_cluster(spec, told),
        "health": state.health if state else Health.UNKNOWN,
        "health_since": state.health_since if state else None,
        "nodes_total": len(told.nodes) if unseen and told else state.nodes_total if state else 0,
        "nodes_healthy": state.nodes_healthy if state else 0,
        "nodes_by_status": state.nodes_by_status if state else {},
        "problems": len(state.problems) if state else 0,
        "shards": state.shards if state else 0,
        "primaries": state.primaries if state else 0,
        "lag_worst_ms": state.lag_worst_ms if state else None,
        "stores": state.stores if state else (),
        "active": spec.active if spec else False,
        "source": told.source if told else None,
        "missing_since": told.missing_since if told else None,
        "observed_at": state.observed_at if state else None,
        "age_s": seconds_since(state.observed_at, now) if state else None,
        **turn_fields(item, now),
    }


async def problem_rows(
    store: Store,
    ref: ClusterRef | None,
    namespace: str | None,
    now: datetime,
    *,
    labels: bool = True,
    note: Note = say,
) -> list[dict[str, Any]]:
    """One row per problem, the worst first, then the oldest; with the labels of its node, or else of its cluster."""
    where = place(ref, namespace)
    tags = await Tags.load(store, where, note) if labels else Tags()
    rows = [
        {
            "namespace": state.namespace,
            "cluster": state.cluster_id,
            "node": problem.node_id,
            "shard": problem.shard_id,
            "labels": tags.of_node(state.key, problem.node_id),
            "severity": problem.severity,
            "code": problem.code,
            "description": problem.description,
            "evidence": problem.evidence,
            "remedy": problem.remedy,
            "since": problem.since,
            "age_s": seconds_since(problem.since, now),
        }
        for state in await found(store, ClusterState, where, note)
        for problem in state.problems
    ]
    order = list(Severity)
    return sorted(rows, key=lambda row: (-order.index(row["severity"]), row["since"]))


def clusters(
    context: typer.Context,
    selector: Selectors = None,
    where: Conditions = None,
    watch: Watch = None,
    *,
    show_labels: ShowLabels = False,
) -> None:
    """All clusters: health, nodes, problems, and how old that knowledge is."""
    cli = Cli.of(context)
    wanted, note = Filter.of(selector, where, CLUSTER_FIELDS), Notes()
    columns = (*CLUSTER_COLUMNS[:2], LABELS, *CLUSTER_COLUMNS[2:]) if show_labels else CLUSTER_COLUMNS

    async def read(parts: Parts) -> Answer:
        rows = await cluster_rows(await parts.store(), cli.namespace, cli.world.clock(), note)
        empty = "no clusters: apply a DiscoverySettings manifest, or see `replictl sources`"
        return listing(wanted.kept(rows), columns, wanted.empty(empty, "cluster"))

    cli.answer(read, watch)


def problems(
    context: typer.Context,
    cluster: OneCluster = None,
    selector: Selectors = None,
    where: Conditions = None,
    watch: Watch = None,
    *,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 when any problem is listed.")] = False,
) -> None:
    """What is wrong now, the worst first, and what to do about it."""
    cli = Cli.of(context)
    wanted, note = Filter.of(selector, where, PROBLEM_FIELDS), Notes()
    labels = wanted.needs_labels or cli.form is not Format.TABLE

    async def read(parts: Parts) -> Answer:
        store, now = await parts.store(), cli.world.clock()
        ref = await known_cluster(store, cluster, cli.namespace) if cluster is not None else None
        rows = wanted.kept(await problem_rows(store, ref, cli.namespace, now, labels=labels, note=note))
        listed = listing(rows, PROBLEM_COLUMNS, wanted.empty("no problems", "problem"))
        return Answer(listed.value, listed.blocks, code=1 if check and rows else 0)

    cli.answer(read, watch)
