"""The shape of a cluster as one object: its nodes, who has which shard, what is wrong and what is running where."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from blocks.models.cluster import Health
from blocks.models.node import Node, NodeStatus, Offset, Protocol, Shard, ShardRole
from blocks.models.problem import Problem
from tasks.decide.conditions import Fields
from tasks.decide.lag import lags
from tasks.decide.past import Records, Running
from tasks.decide.search import labels_of_cluster, labels_of_nodes
from tasks.decide.words import seconds_since

Row = dict[str, Any]

_PRIMARY = ShardRole.PRIMARY.value

NODE_FIELDS: Fields = {
    "namespace": str,
    "cluster": str,
    "node": str,
    "labels": dict,
    "status": NodeStatus,
    "status_text": str,
    "status_since": datetime,
    "status_age_s": float,
    "store": str,
    "version": str,
    "agent": str,
    "agent_version": str,
    "protocol": Protocol,
    "class": str,
    "group": str,
    "shards": int,
    "roles": dict,
    "lag_ms": int,
    "lag_last_ms": int,
    "lag_age_s": float,
    "stale": bool,
    "stale_since": datetime,
    "stale_age_s": float,
    "seen_at": datetime,
    "age_s": float,
    "notes": list,
}
"""What `node_row` has, for conditions."""


def shape_of(records: Records, now: datetime) -> Row:
    """Everything about a cluster's shape, complete, for machines and for `tree_of`."""
    ref, state = records.ref, records.state
    problems = state.problems if state else ()
    labels = labels_of_cluster(records.spec, records.discovery)
    own = labels_of_nodes(records.spec, records.discovery)
    observed_at = state.observed_at if state else None
    return {
        "namespace": ref.namespace,
        "cluster": ref.cluster_id,
        "labels": labels,
        "health": state.health if state else Health.UNKNOWN,
        "health_since": state.health_since if state else None,
        "health_age_s": seconds_since(state.health_since, now) if state else None,
        "observed_at": observed_at,
        "age_s": seconds_since(observed_at, now),
        "lag_worst_ms": state.lag_worst_ms if state else None,
        "lag_worst": dict(state.lag_worst) if state else {},
        "stores": state.stores if state else (),
        "problems": [_problem(problem, now) for problem in problems if problem.node_id not in records.nodes],
        "actions": [_action(one, now) for one in records.running if one.node_id not in records.nodes],
        "nodes": [
            {
                **node_row(node, now, own.get(node_id, labels), observed_at),
                "problems": [_problem(problem, now) for problem in problems if problem.node_id == node_id],
                "actions": [_action(one, now) for one in records.running if one.node_id == node_id],
            }
            for node_id, node in sorted(records.nodes.items(), key=lambda item: naturally(item[0]))
        ],
        "shards": _shards(records.nodes.values(), now, observed_at),
    }


def node_row(node: Node, now: datetime, labels: Mapping[str, str], observed_at: datetime | None) -> Row:
    """A node in short.

    Args:
        node: as stored.
        now: the present moment, for ages.
        labels: those in effect for it.
        observed_at: when its cluster was last seen; what could not be read then is older.
    """
    stale = [since for since in (node.info_stale_since, node.store_stale_since, node.shards_stale_since) if since]
    seen_at = min([moment for moment in (observed_at, *stale) if moment is not None], default=None)
    lag = last_lag(node, observed_at)
    return {
        "namespace": node.namespace,
        "cluster": node.cluster_id,
        "node": node.node_id,
        "labels": labels,
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
        "roles": dict(sorted(Counter(role_of(shard) for shard in node.shards).items())),
        "lag_ms": lag.ms if lag.stale_since is None else None,
        "lag_last_ms": lag.ms,
        "lag_age_s": seconds_since(lag.seen_at, now) if lag.ms is not None else None,
        "stale": bool(stale),
        "stale_since": min(stale, default=None),
        "stale_age_s": seconds_since(min(stale, default=None), now),
        "seen_at": seen_at,
        "age_s": seconds_since(seen_at, now),
        "notes": node.notes,
    }


def role_of(shard: Shard) -> str:
    """A shard's role in the agent's words, where it has its own."""
    return shard.role_text or shard.role.value


class LastLag(NamedTuple):
    """The largest lag of a node in units of time, as it was last told."""

    ms: int | None
    """In milliseconds; None: none is known. What was read lately goes before what is larger and older."""
    stale_since: datetime | None
    """Since when it could not be read again; None while it is current."""
    seen_at: datetime | None
    """When it was last read."""


def last_lag(node: Node, observed_at: datetime | None) -> LastLag:
    """How far a node is behind by its agent's word; what was told before it fell silent is not how far it is now."""
    told = [
        (stale_since(node, shard), shard.lag.milliseconds)
        for shard in node.shards
        if shard.lag is not None and shard.lag.milliseconds is not None and shard.lag.milliseconds >= 0
    ]
    fresh = max((ms for since, ms in told if since is None), default=None)
    if fresh is not None or not told:
        return LastLag(fresh, None, observed_at)
    since, ms = max(((since, ms) for since, ms in told if since is not None), key=lambda one: one[1])
    return LastLag(ms, since, since)


def stale_since(node: Node, shard: Shard) -> datetime | None:
    """Since when a node's copy of a shard could not be read again; None while it is fresh."""
    moments = (shard.stale_since, node.shards_stale_since, node.info_stale_since)
    return min((moment for moment in moments if moment is not None), default=None)


def naturally(text: str) -> list[tuple[int, str]]:
    """Sorts `topic/2` before `topic/10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", text)]


def _problem(problem: Problem, now: datetime) -> Row:
    word = problem.acknowledged
    told = dict(word) if word is not None else None
    return {**dict(problem), "acknowledged": told, "age_s": seconds_since(problem.since, now)}


def _action(one: Running, now: datetime) -> Row:
    return {
        "action_id": one.action_id,
        "kind": one.kind,
        "state": one.state,
        "since": one.at,
        "age_s": seconds_since(one.at, now),
    }


def _shards(nodes: Iterable[Node], now: datetime, observed_at: datetime | None) -> list[Row]:
    nodes = tuple(nodes)
    computed = _computed(nodes)
    copies: dict[str, list[Row]] = defaultdict(list)
    for node in nodes:
        for shard in node.shards:
            lag = computed.get((node.node_id, shard.shard_id))
            copies[shard.shard_id].append(_copy(node, shard, lag, now, observed_at))
    return [
        {
            "shard": shard_id,
            "nodes": sorted(found, key=lambda copy: (copy["role_value"] != _PRIMARY, naturally(copy["node"]))),
        }
        for shard_id, found in sorted(copies.items(), key=lambda item: naturally(item[0]))
    ]


def _computed(nodes: Iterable[Node]) -> dict[tuple[str, str], Offset]:
    """By node and shard, lags that their agents do not tell and that follow from the offsets."""
    fresh = tuple(node for node in nodes if node.shards_fresh)
    primaries = Counter(
        shard.shard_id
        for node in fresh
        for shard in node.shards
        if shard.role is ShardRole.PRIMARY and shard.stale_since is None
    )
    return {
        (lag.node_id, lag.shard_id): Offset(unit=lag.unit, value=lag.value)
        for lag in lags(fresh, primaries)
        if lag.synthesised
    }


def _copy(node: Node, shard: Shard, computed: Offset | None, now: datetime, observed_at: datetime | None) -> Row:
    since, lag = stale_since(node, shard), shard.lag or computed
    return {
        "node": node.node_id,
        "role": role_of(shard),
        "role_value": shard.role.value,
        "stale": since is not None,
        "stale_since": since,
        "age_s": seconds_since(since or observed_at, now),
        "lag": lag.value if lag else None,
        "lag_unit": lag.unit if lag else None,
        "lag_ms": lag.milliseconds if lag else None,
        "lag_computed": shard.lag is None and lag is not None,
        "offset": shard.commit_offset.value if shard.commit_offset else None,
        "offset_unit": shard.commit_offset.unit if shard.commit_offset else None,
    }
