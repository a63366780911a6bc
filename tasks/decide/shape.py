"""The shape of a cluster as one object: its nodes, who has which shard, what is wrong and what is running where."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from blocks.models.cluster import Health
from blocks.models.node import Node, NodeStatus, Protocol, Shard
from blocks.models.problem import Problem
from tasks.decide.conditions import Fields
from tasks.decide.past import Records, Running
from tasks.decide.search import labels_of_cluster, labels_of_nodes
from tasks.decide.words import seconds_since

Row = dict[str, Any]

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
        "shards": _shards(records.nodes.values()),
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
        "lag_ms": lag_ms(node.shards),
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


def lag_ms(shards: Iterable[Shard]) -> int | None:
    """The largest lag in units of time."""
    lags = (shard.lag.milliseconds for shard in shards if shard.lag is not None)
    return max((lag for lag in lags if lag is not None), default=None)


def naturally(text: str) -> list[tuple[int, str]]:
    """Sorts `topic/2` before `topic/10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", text)]


def _problem(problem: Problem, now: datetime) -> Row:
    return {**dict(problem), "age_s": seconds_since(problem.since, now)}


def _action(one: Running, now: datetime) -> Row:
    return {
        "action_id": one.action_id,
        "kind": one.kind,
        "state": one.state,
        "since": one.at,
        "age_s": seconds_since(one.at, now),
    }


def _shards(nodes: Iterable[Node]) -> list[Row]:
    copies: dict[str, list[Row]] = defaultdict(list)
    for node in nodes:
        for shard in node.shards:
            copies[shard.shard_id].append(_copy(node, shard))
    return [
        {
            "shard": shard_id,
            "nodes": sorted(found, key=lambda copy: (copy["role"] != "primary", naturally(copy["node"]))),
        }
        for shard_id, found in sorted(copies.items(), key=lambda item: naturally(item[0]))
    ]


def _copy(node: Node, shard: Shard) -> Row:
    return {
        "node": node.node_id,
        "role": role_of(shard),
        "stale": not node.shards_fresh or shard.stale_since is not None,
        "lag": shard.lag.value if shard.lag else None,
        "lag_unit": shard.lag.unit if shard.lag else None,
        "lag_ms": shard.lag.milliseconds if shard.lag else None,
        "offset": shard.commit_offset.value if shard.commit_offset else None,
        "offset_unit": shard.commit_offset.unit if shard.commit_offset else None,
    }
