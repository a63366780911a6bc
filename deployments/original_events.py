"""The events of Replicante Core 0.7 and of its rewrite, and what of ours says the same."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from blocks.models.event import EventType as E

NONE = "none"
Row = tuple[str, tuple[E, ...], str]
"""Their code, our types, and a word on the difference."""

_LEGACY: tuple[Row, ...] = (
    ("CLUSTER_NEW", (E.CLUSTER_DISCOVERED,), ""),
    ("CLUSTER_CHANGED", (E.CLUSTER_DISCOVERY_CHANGED,), "also `cluster.missing` and `cluster.returned`, which 0.7 never told"),
    ("CLUSTER_SETTINGS_SYNTHETIC", (E.CLUSTER_SPEC_SYNTHESISED,), ""),
    ("ORCHESTRATE_REPORT", (E.CLUSTER_REPORT,), "only of cycles that changed or sent something, failed, or were run by a person: no news, no event"),
    ("AGENT_NEW", (E.NODE_ADDED,), "an agent is its node's: one fact, one event"),
    ("AGENT_INFO_NEW", (E.NODE_ADDED,), "in `agent_version`"),
    ("AGENT_INFO_CHANGED", (E.NODE_CHANGED,), "in `agent_version`"),
    ("AGENT_DOWN", (E.NODE_STATUS_CHANGED, E.PROBLEM_RAISED), "`after` is UNREACHABLE; problem NODE_UNREACHABLE"),
    ("AGENT_UP", (E.NODE_STATUS_CHANGED, E.PROBLEM_CLEARED), "`before` is UNREACHABLE; also where the store is still down, which 0.7 did not tell"),
    ("NODE_NEW", (E.NODE_ADDED,), ""),
    ("NODE_CHANGED", (E.NODE_CHANGED,), "only the fields that changed are in `before` and `after`"),
    ("NODE_DOWN", (E.NODE_STATUS_CHANGED, E.PROBLEM_RAISED), "`after` is UNAVAILABLE, or what the agent says"),
    ("NODE_UP", (E.NODE_STATUS_CHANGED, E.PROBLEM_CLEARED), "`after` is HEALTHY, or what the agent says"),
    ("SHARD_ALLOCATION_NEW", (E.SHARD_ADDED,), ""),
    ("SHARD_ALLOCATION_CHANGED", (E.SHARD_CHANGED,), "never because of lag"),
    ("ACTION_NEW", (E.ACTION_CREATED,), ""),
    ("ACTION_CHANGED", (E.ACTION_CHANGED,), ""),
    ("ACTION_FINISHED", (E.ACTION_FINISHED,), "`state` is DONE, FAILED, CANCELLED or LOST"),
    ("ACTION_HISTORY", (), "each move is an `action.changed` with who and why; `replictl action ID` shows all"),
    ("ACTION_LOST", (E.ACTION_FINISHED,), "`state` is LOST"),
    ("ACTION_ORCHESTRATOR_NEW", (E.ACTION_CREATED,), "`node_id` is null"),
    ("ACTION_ORCHESTRATOR_CHANGED", (E.ACTION_CHANGED,), "`node_id` is null; a final state is `action.finished`, always"),
    ("ACTION_ORCHESTRATOR_FINISHED", (E.ACTION_FINISHED,), "`node_id` is null"),
    ("DISCOVERY_SETTINGS_APPLY", (E.SOURCE_APPLIED,), "not when nothing changed"),
    ("DISCOVERY_SETTINGS_DELETE", (E.SOURCE_DELETED,), "not of one that was not there"),
    ("NAMESPACE_APPLY", (E.NAMESPACE_APPLIED,), "not when nothing changed"),
    ("PLATFORM_APPLY", (E.SOURCE_APPLIED,), "`kind` is Platform; not when nothing changed"),
    ("SNAPSHOT_AGENT", (), "0.6 only: state is read from the store, or made by reading a stream from its beginning"),
    ("SNAPSHOT_AGENT_INFO", (), "as above"),
    ("SNAPSHOT_CLUSTER_DISCOVERY", (), "as above"),
    ("SNAPSHOT_NODE", (), "as above"),
    ("SNAPSHOT_SHARD", (), "as above"),
)  # fmt: skip

_REWRITE: tuple[Row, ...] = (
    ("AUDIT_AUTHORISATION", (), "there is no authorisation of our own: Prefect and the servers have theirs. Who did what is `who` in each event"),
    ("NAMESPACE_APPLY", (E.NAMESPACE_APPLIED,), ""),
    ("NAMESPACE_DELETE_REQUESTED", (E.NAMESPACE_APPLIED, E.NAMESPACE_DELETED), "`after.status` is Deleting; `namespace.deleted` once nothing is left"),
    ("CLUSTER_SPEC_APPLY", (E.CLUSTER_SPEC_APPLIED,), ""),
    ("CLUSTER_SPEC_DELETED", (E.CLUSTER_DELETED,), "the whole cluster goes"),
    ("PLATFORM_APPLY", (E.SOURCE_APPLIED,), "`kind` is Platform"),
    ("PLATFORM_DELETED", (E.SOURCE_DELETED,), "`kind` is Platform"),
    ("NACTION_CREATE", (E.ACTION_CREATED,), ""),
    ("NACTION_APPROVE", (E.ACTION_CHANGED,), "from PENDING_APPROVE to PENDING_SCHEDULE"),
    ("NACTION_CANCEL", (E.ACTION_FINISHED,), "`state` is CANCELLED"),
    ("NACTION_REJECT", (E.ACTION_FINISHED,), "`state` is CANCELLED, `state_before` PENDING_APPROVE"),
    ("OACTION_CREATE", (E.ACTION_CREATED,), "`node_id` is null"),
    ("OACTION_APPROVE", (E.ACTION_CHANGED,), "`node_id` is null"),
    ("OACTION_CANCEL", (E.ACTION_FINISHED,), "`node_id` is null"),
    ("OACTION_REJECT", (E.ACTION_FINISHED,), "`node_id` is null"),
    ("CLUSTER_DISCOVERY_NEW", (E.CLUSTER_DISCOVERED,), ""),
    ("CLUSTER_DISCOVERY_UPDATE", (E.CLUSTER_DISCOVERY_CHANGED,), ""),
    ("CLUSTER_DISCOVERY_SYNTHETIC", (E.CLUSTER_SPEC_SYNTHESISED,), ""),
    ("NODE_SYNC_NEW", (E.NODE_ADDED,), ""),
    ("NODE_SYNC_UPDATE", (E.NODE_CHANGED, E.NODE_STATUS_CHANGED), "status and facts apart"),
    ("NODE_DELETE", (E.NODE_REMOVED,), ""),
    ("STORE_EXTRAS_SYNC_NEW", (E.NODE_ADDED, E.NODE_CHANGED), "in `store_attributes`"),
    ("STORE_EXTRAS_SYNC_UPDATE", (E.NODE_CHANGED,), "in `store_attributes`; staleness alone is a problem, not a change"),
    ("SHARD_SYNC_NEW", (E.SHARD_ADDED,), ""),
    ("SHARD_SYNC_UPDATE", (E.SHARD_CHANGED,), "role only; staleness alone is a problem, not a change"),
    ("NACTION_SYNC_NEW", (E.ACTION_CREATED,), ""),
    ("NACTION_SYNC_UPDATE", (E.ACTION_CHANGED, E.ACTION_FINISHED), "LOST is an `action.finished`"),
    ("OACTION_FAIL", (E.ACTION_FINISHED,), "`state` is FAILED"),
    ("OACTION_SUCCESS", (E.ACTION_FINISHED,), "`state` is DONE"),
    ("OACTION_UPDATE", (E.ACTION_CHANGED,), "`node_id` is null"),
    ("ORCHESTRATE_REPORT", (E.CLUSTER_REPORT,), "as above"),
)  # fmt: skip

ORIGINAL: Mapping[str, tuple[Row, ...]] = MappingProxyType({"0.7": _LEGACY, "The rewrite": _REWRITE})
"""By version, what became of each of its codes."""

OURS_ALONE = tuple(
    type_ for type_ in E if type_ not in {ours for rows in ORIGINAL.values() for _, known, _ in rows for ours in known}
)
"""Types that neither of them has."""
