"""Fields of a cluster's records whose change alone makes no event, and why. Every other field has one: tests hold both to it,
and the catalogue of events lists these.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from blocks.models.base import Fact
from blocks.models.cluster import ClusterState
from blocks.models.node import Node, Shard
from blocks.models.problem import Problem

PENDING = "not said yet: it is when it has lasted"
COUNTED = "counted from nodes and shards, whose own events tell of it"
MOVING = "moves all the time"
STALE = "a healthy node is INCOMPLETE or UNREACHABLE by it, and what lasts is the problem `STALE_FACTS`"
WORDS = "words; told with the event that they belong to, and they may differ at every look"
RULE = "the same for every problem of its code"
OURS = "how often we have saved it"

UNTOLD: Mapping[type[Fact], Mapping[str, str]] = MappingProxyType(
    {
        Node: {
            "status_text": WORDS,
            "status_since": "begins with the event of the status",
            "pending_status": PENDING,
            "pending_text": PENDING,
            "pending_since": PENDING,
            "protocol_before": "told as `protocol`, and as the problem `AGENT_PROTOCOL_CHANGED`",
            "protocol_changed_at": "told as `protocol`, and as the problem `AGENT_PROTOCOL_CHANGED`",
            "rewinds": "the problem `OFFSET_WENT_BACK`",
            "tls_trouble": "the problem `TLS_MATERIAL`",
            "clock_off": "the problem `CLOCK_SKEW`",
            "info_stale_since": STALE,
            "store_stale_since": STALE,
            "shards_stale_since": STALE,
            "actions_stale_since": STALE,
            "notes": WORDS,
            "version": OURS,
        },
        Shard: {
            "commit_offset": MOVING,
            "lag": MOVING,
            "stale_since": STALE,
            "led": "the problem `OFFSET_WENT_BACK`",
            "behind_since": PENDING,
        },
        Problem: {
            "severity": RULE,
            "description": RULE,
            "remedy": RULE,
            "evidence": WORDS,
            "cause": "told when it is raised and when it is cleared; in between it follows from the other problems",
            "cause_node_id": "like `cause`",
            "symptoms": "counted from problems, whose own events tell of it",
            "acknowledged": "told as `problem.acknowledged` when a person says so, not by a cycle",
        },
        ClusterState: {
            "health_since": "begins with the event of the health",
            "pending": PENDING,
            "nodes_total": COUNTED,
            "nodes_by_status": COUNTED,
            "shards": COUNTED,
            "primaries": COUNTED,
            "lag_worst_ms": MOVING,
            "lag_worst": MOVING,
            "lags_synthesised": MOVING,
            "stores": COUNTED,
            "versions": COUNTED,
            "agents": COUNTED,
            "node_classes": COUNTED,
            "node_groups": COUNTED,
            "observed_at": MOVING,
            "offsets_at": MOVING,
            "open_since": "follows from freezes, windows and the namespace, whose own events tell of it",
            "version": OURS,
        },
    }
)
"""By type of record, by field, why."""
