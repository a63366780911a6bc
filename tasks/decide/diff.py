"""What changed between two views of a cluster, as events. No change, no event; moving offsets and lag are no change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from blocks.models.base import Json
from blocks.models.cluster import ClusterState, Health
from blocks.models.event import EventDraft, EventType
from blocks.models.ids import ClusterRef
from blocks.models.node import Node, Shard
from blocks.models.problem import Problem
from blocks.models.view import ClusterView

FACTS = (
    "agent_address",
    "node_class",
    "node_group",
    "protocol",
    "agent_version",
    "store_id",
    "store_version",
    "reported_node_id",
    "reported_cluster_id",
    "foreign_id",
    "addresses",
    "attributes",
    "store_attributes",
)
"""Fields of a node whose change makes a `node.changed` event."""


def diff(before: ClusterView, after: ClusterView) -> tuple[EventDraft, ...]:
    """Events that tell how `before` became `after`, in the order in which a reader should hear of them."""
    ref = after.ref
    drafts = [
        *(
            draft
            for node_id in sorted(before.nodes.keys() - after.nodes.keys())
            for draft in _removed(before.nodes[node_id])
        ),
        *(draft for node_id in sorted(after.nodes) for draft in _node(before.nodes.get(node_id), after.nodes[node_id])),
        *_state(ref, before.state, after.state),
    ]
    return tuple(drafts)


def retyped_attributes(before: Node, after: Node) -> frozenset[str]:
    """The fields in which an attribute has a value of another type: to Python 1, 1.0 and true are equal."""
    return frozenset(
        name
        for name in ("attributes", "store_attributes")
        if any(type(value) is not type(getattr(before, name).get(key)) for key, value in getattr(after, name).items())
    )


def draft(ref: ClusterRef, type_: EventType, subject: str, **data: Any) -> EventDraft:
    """An event about a cluster or something in it, in the cluster's stream."""
    return EventDraft(type=type_, stream=ref.key, subject=subject, data=data)


def plain(value: object) -> Json:
    """A fact as it is told in an event's data."""
    dump = getattr(value, "model_dump", None)
    return dump(mode="json", exclude_none=True) if dump is not None else value  # type: ignore[return-value]


def plain_time(moment: datetime) -> str:
    """A moment as it is told in an event's data: RFC 3339 in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _removed(node: Node) -> Iterator[EventDraft]:
    yield draft(node.cluster, EventType.NODE_REMOVED, str(node.ref), node_id=node.node_id, status=node.status.value)


def _node(before: Node | None, after: Node) -> Iterator[EventDraft]:
    subject = str(after.ref)
    if before is None:
        facts = {name: plain(getattr(after, name)) for name in FACTS}
        yield draft(
            after.cluster, EventType.NODE_ADDED, subject, node_id=after.node_id, status=after.status.value, **facts
        )
    else:
        if before.status is not after.status:
            yield draft(
                after.cluster,
                EventType.NODE_STATUS_CHANGED,
                subject,
                node_id=after.node_id,
                before=before.status.value,
                after=after.status.value,
                reason=after.status_text,
            )
        retyped = retyped_attributes(before, after)
        changed = [name for name in FACTS if name in retyped or getattr(before, name) != getattr(after, name)]
        if changed:
            yield draft(
                after.cluster,
                EventType.NODE_CHANGED,
                subject,
                node_id=after.node_id,
                before={name: plain(getattr(before, name)) for name in changed},
                after={name: plain(getattr(after, name)) for name in changed},
            )
    yield from _shards(after, before.shards if before is not None else ())


def _shards(node: Node, before: tuple[Shard, ...]) -> Iterator[EventDraft]:
    subject = str(node.ref)
    old = {shard.shard_id: shard for shard in before}
    new = {shard.shard_id: shard for shard in node.shards}
    for shard_id in sorted(old.keys() - new.keys()):
        yield draft(node.cluster, EventType.SHARD_REMOVED, subject, node_id=node.node_id, shard_id=shard_id)
    for shard_id in sorted(new):
        was, shard = old.get(shard_id), new[shard_id]
        told = {
            "node_id": node.node_id,
            "shard_id": shard_id,
            "role": _role(shard),
            "role_value": shard.role.value,
            "role_text": shard.role_text,
        }
        if was is None:
            yield draft(node.cluster, EventType.SHARD_ADDED, subject, **told)
        elif (was.role, was.role_text) != (shard.role, shard.role_text):
            yield draft(node.cluster, EventType.SHARD_CHANGED, subject, **told, role_before=_role(was))


def _role(shard: Shard) -> str:
    return shard.role_text or shard.role.value


def _state(ref: ClusterRef, before: ClusterState | None, after: ClusterState | None) -> Iterator[EventDraft]:
    if after is None:
        return
    old = {_incident(problem): problem for problem in (before.problems if before is not None else ())}
    new = {_incident(problem): problem for problem in after.problems}
    for incident in sorted(old.keys() - new.keys()):
        yield about_problem(ref, EventType.PROBLEM_CLEARED, old[incident])
    for incident in sorted(new.keys() - old.keys()):
        problem = new[incident]
        yield about_problem(
            ref,
            EventType.PROBLEM_RAISED,
            problem,
            severity=problem.severity.value,
            description=problem.description,
            evidence=problem.evidence,
            remedy=problem.remedy,
        )
    health_before = before.health if before is not None else Health.UNKNOWN
    if health_before is not after.health:
        yield draft(
            ref,
            EventType.CLUSTER_HEALTH_CHANGED,
            str(ref),
            before=health_before.value,
            after=after.health.value,
            nodes_total=after.nodes_total,
            nodes_by_status=after.nodes_by_status,
        )


def about_problem(ref: ClusterRef, type_: EventType, problem: Problem, **more: Any) -> EventDraft:
    """An event about a problem of a cluster."""
    return draft(
        ref,
        type_,
        str(ref) if problem.node_id is None else str(ref.node(problem.node_id)),
        code=problem.code,
        node_id=problem.node_id,
        shard_id=problem.shard_id,
        since=plain_time(problem.since),
        cause=problem.cause,
        cause_node_id=problem.cause_node_id,
        **more,
    )


def _incident(problem: Problem) -> tuple[tuple[str, str, str], datetime]:
    """Two states tell of the same problem when this is equal: one that began at another moment is another one."""
    return (problem.identity, problem.since)
