"""Clusters, their nodes and their problems, as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

import typer

from blocks.models.cluster import ClusterSpec, ClusterState, Discovery, Health
from blocks.models.ids import ClusterRef
from blocks.models.node import Node, Shard
from blocks.models.problem import Severity
from blocks.store.protocol import Store, Where
from deployments.cli.options import OneCluster, Watch
from deployments.cli.output import Answer, Column, Row, listing
from deployments.cli.resolve import known_cluster
from deployments.cli.session import Cli
from deployments.cli.words import age, coloured, milliseconds, seconds_since
from deployments.cli.world import Parts

ROWS_MAX = 100_000


def _note(row: Row) -> str:
    notes = (
        "" if row["active"] else "not active",
        "missing from its source" if row["missing_since"] else "",
        "not observed yet" if row["observed_at"] is None else "",
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
NODE_COLUMNS = (
    Column("NAMESPACE", lambda row: row["namespace"]),
    Column("CLUSTER", lambda row: row["cluster"]),
    Column("NODE", lambda row: row["node"]),
    Column("STATUS", lambda row: coloured(row["status"])),
    Column("FOR", lambda row: age(row["status_age_s"]), right=True),
    Column("STORE", lambda row: row["store"]),
    Column("VERSION", lambda row: row["version"]),
    Column("SHARDS", lambda row: row["shards"], right=True),
    Column("ROLES", lambda row: " ".join(f"{role}:{count}" for role, count in row["roles"].items())),
    Column("LAG", lambda row: milliseconds(row["lag_ms"]), right=True),
    Column("STALE", lambda row: coloured("stale", "yellow") if row["stale"] else ""),
    Column("AGENT", lambda row: row["agent"]),
    Column("WHY", lambda row: row["status_text"]),
)
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


async def cluster_rows(store: Store, namespace: str | None, now: datetime) -> list[dict[str, Any]]:
    """One row per cluster that is declared or was discovered, sorted by name."""
    where = Where(namespace=namespace)
    specs = {spec.key: spec for spec in await store.find(ClusterSpec, where, limit=ROWS_MAX)}
    discoveries = {found.key: found for found in await store.find(Discovery, where, limit=ROWS_MAX)}
    states = {state.key: state for state in await store.find(ClusterState, where, limit=ROWS_MAX)}
    return [
        _cluster_row(ClusterRef.from_key(key), specs.get(key), discoveries.get(key), states.get(key), now)
        for key in sorted({*specs, *discoveries, *states})
    ]


def _cluster_row(
    ref: ClusterRef, spec: ClusterSpec | None, found: Discovery | None, state: ClusterState | None, now: datetime
) -> dict[str, Any]:
    unseen = state is None or state.observed_at is None
    return {
        "namespace": ref.namespace,
        "cluster": ref.cluster_id,
        "display_name": found.display_name if found else None,
        "health": state.health if state else Health.UNKNOWN,
        "health_since": state.health_since if state else None,
        "nodes_total": len(found.nodes) if unseen and found else state.nodes_total if state else 0,
        "nodes_healthy": state.nodes_healthy if state else 0,
        "nodes_by_status": state.nodes_by_status if state else {},
        "problems": len(state.problems) if state else 0,
        "shards": state.shards if state else 0,
        "primaries": state.primaries if state else 0,
        "lag_worst_ms": state.lag_worst_ms if state else None,
        "stores": state.stores if state else (),
        "active": spec.active if spec else False,
        "source": found.source if found else None,
        "missing_since": found.missing_since if found else None,
        "observed_at": state.observed_at if state else None,
        "age_s": seconds_since(state.observed_at, now) if state else None,
    }


async def node_rows(store: Store, ref: ClusterRef | None, namespace: str | None, now: datetime) -> list[dict[str, Any]]:
    """One row per node, of one cluster or of all."""
    where = Where(namespace=namespace) if ref is None else Where(namespace=ref.namespace, cluster_id=ref.cluster_id)
    return [node_row(node, now) for node in await store.find(Node, where, limit=ROWS_MAX)]


def node_row(node: Node, now: datetime) -> dict[str, Any]:
    """A node in short."""
    stale = [since for since in (node.info_stale_since, node.store_stale_since, node.shards_stale_since) if since]
    return {
        "namespace": node.namespace,
        "cluster": node.cluster_id,
        "node": node.node_id,
        "status": node.status,
        "status_text": node.status_text,
        "status_since": node.status_since,
        "status_age_s": seconds_since(node.status_since, now),
        "store": node.store_id,
        "version": str(node.store_version) if node.store_version else None,
        "agent": node.agent_address,
        "agent_version": str(node.agent_version) if node.agent_version else None,
        "protocol": node.protocol,
        "class": node.node_class,
        "group": node.node_group,
        "shards": len(node.shards),
        "roles": dict(Counter(role_of(shard) for shard in node.shards)),
        "lag_ms": lag_ms(node.shards),
        "stale": bool(stale),
        "stale_since": min(stale, default=None),
        "notes": node.notes,
    }


def role_of(shard: Shard) -> str:
    """A shard's role in the agent's words, where it has its own."""
    return shard.role_text or shard.role.value


def lag_ms(shards: Iterable[Shard]) -> int | None:
    """The largest lag in units of time."""
    lags = (shard.lag.milliseconds for shard in shards if shard.lag is not None)
    return max((lag for lag in lags if lag is not None), default=None)


async def problem_rows(
    store: Store, ref: ClusterRef | None, namespace: str | None, now: datetime
) -> list[dict[str, Any]]:
    """One row per problem, the worst first, then the oldest."""
    where = Where(namespace=namespace) if ref is None else Where(namespace=ref.namespace, cluster_id=ref.cluster_id)
    rows = [
        {
            "namespace": state.namespace,
            "cluster": state.cluster_id,
            "node": problem.node_id,
            "shard": problem.shard_id,
            "severity": problem.severity,
            "code": problem.code,
            "description": problem.description,
            "evidence": problem.evidence,
            "remedy": problem.remedy,
            "since": problem.since,
            "age_s": seconds_since(problem.since, now),
        }
        for state in await store.find(ClusterState, where, limit=ROWS_MAX)
        for problem in state.problems
    ]
    order = list(Severity)
    return sorted(rows, key=lambda row: (-order.index(row["severity"]), row["since"]))


def clusters(context: typer.Context, watch: Watch = None) -> None:
    """All clusters: health, nodes, problems, and how old that knowledge is."""
    cli = Cli.of(context)

    async def read(parts: Parts) -> Answer:
        rows = await cluster_rows(await parts.store(), cli.namespace, cli.world.clock())
        return listing(
            rows, CLUSTER_COLUMNS, "no clusters: apply a DiscoverySettings manifest, or see `replictl sources`"
        )

    cli.answer(read, watch)


def nodes(context: typer.Context, cluster: OneCluster = None, watch: Watch = None) -> None:
    """The nodes of a cluster, or of all."""
    cli = Cli.of(context)

    async def read(parts: Parts) -> Answer:
        store = await parts.store()
        ref = await known_cluster(store, cluster, cli.namespace) if cluster is not None else None
        return listing(await node_rows(store, ref, cli.namespace, cli.world.clock()), NODE_COLUMNS, "no nodes")

    cli.answer(read, watch)


def problems(
    context: typer.Context,
    cluster: OneCluster = None,
    watch: Watch = None,
    *,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 when there is any problem.")] = False,
) -> None:
    """What is wrong now, the worst first, and what to do about it."""
    cli = Cli.of(context)

    async def read(parts: Parts) -> Answer:
        store = await parts.store()
        ref = await known_cluster(store, cluster, cli.namespace) if cluster is not None else None
        rows = await problem_rows(store, ref, cli.namespace, cli.world.clock())
        found = listing(rows, PROBLEM_COLUMNS, "no problems")
        return Answer(found.value, found.blocks, code=1 if check and rows else 0)

    cli.answer(read, watch)
