"""What removing a cluster, a source or a namespace means: whether it is refused, what changes, and what is told of it.

Pure: what is stored and a person's order go in, changes and events come out. Events and finished actions are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from blocks.errors import InvalidInputError, RefusedError
from blocks.models.action import Action, ActionState
from blocks.models.base import Fact, Json, Text
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.event import EventType
from blocks.models.gate import Gate
from blocks.models.ids import ClusterRef
from blocks.models.node import Node
from blocks.models.record import Change, RecordKey
from blocks.models.report import Report
from blocks.models.rolling import Rolling, RollingState
from blocks.models.source import Source
from tasks.decide.diff import draft
from tasks.decide.gating import gate_told
from tasks.decide.lifecycle import moved
from tasks.decide.manifest_kinds import kind_of
from tasks.decide.rolling import moved as rolling_moved
from tasks.decide.rolling import tell_rolling
from tasks.decide.sync import tell

CHUNK_MAX = 500
"""So many nodes and actions are removed in one transaction; a cluster with more of them takes several."""
_CLUSTER = (ClusterSpec, Discovery, ClusterState, Report)
"""What makes it a cluster: one record each, of its key."""
NAMED_MAX = 10
"""So many are named in a refusal; the others are counted."""


class Thing(StrEnum):
    """What can be deleted."""

    CLUSTER = "cluster"
    SOURCE = "source"
    PLATFORM = "platform"
    NAMESPACE = "namespace"

    @classmethod
    def _missing_(cls, value: object) -> Thing | None:
        """By any name that its kind of manifest has."""
        try:
            return _THINGS.get(kind_of(str(value)).name)
        except InvalidInputError:
            return None


_THINGS: Mapping[str, Thing] = {
    "ClusterSpec": Thing.CLUSTER,
    "DiscoverySettings": Thing.SOURCE,
    "Platform": Thing.PLATFORM,
    "Namespace": Thing.NAMESPACE,
}


@dataclass(frozen=True, slots=True)
class Order:
    """That something is to go."""

    by: str
    reason: str = ""
    force: bool = False

    def __post_init__(self) -> None:
        """Force needs a reason.

        Raises:
            InvalidInputError: there is none.
        """
        if self.force and not self.reason.strip():
            message = "to force it, say why: a reason is kept with the event"
            raise InvalidInputError(message)

    @property
    def told(self) -> dict[str, Json]:
        """What events tell of it."""
        return {"who": self.by, "why": self.reason or None, "forced": self.force}


class Removed(Fact):
    """What came of an order to delete something."""

    kind: Thing
    name: str
    outcome: str = "deleted"
    """`deleted`; of a namespace first `deleting`, and at last `name free`."""
    nodes: int = 0
    actions_cancelled: int = 0
    clusters_missing: int = 0
    """Of a source: its clusters, which are kept and marked missing."""
    secrets_forgotten: tuple[str, ...] = ()
    notes: tuple[Text, ...] = ()
    """What a person should know now."""


@dataclass(frozen=True, slots=True)
class Remains:
    """What is stored of a cluster."""

    ref: ClusterRef
    spec: ClusterSpec | None = None
    discovery: Discovery | None = None
    state: ClusterState | None = None
    nodes: Sequence[Node] = ()
    actions: Sequence[Action] = ()
    """Unfinished ones."""
    rollings: Sequence[Rolling] = ()
    """Unfinished ones."""
    left: Sequence[Action] = ()
    """Those that were cancelled here and may go on at their agents: no part of the cluster, and kept."""
    gates: Sequence[Gate] = ()
    """In front of this cluster alone; they do not make it one."""
    source: Source | None = None
    """The source that owns it, if that still exists."""
    unreadable: Sequence[RecordKey] = ()
    """What of all that is there and cannot be read."""

    @property
    def empty(self) -> bool:
        """Whether nothing is left."""
        left = (self.spec, self.discovery, self.state, self.nodes, self.actions, self.rollings, self.unreadable)
        return not any(left)

    @property
    def told_by(self) -> Source | None:
        """The source that tells of it now, and will again."""
        here = self.discovery is not None and self.discovery.missing_since is None
        return self.source if here and self.source is not None and self.source.enabled else None


def refuse_under_way(what: str, actions: Iterable[Action], rollings: Iterable[Rolling], order: Order) -> None:
    """Refuse to delete what an agent is at work on, or a rolling action goes through, unless forced.

    Raises:
        RefusedError: with the actions and rolling actions.
    """
    if order.force:
        return
    busy = [
        f"{action.action_id} ({action.kind}, {action.state}{' here' if action.left_running else ''}, {action.node or action.cluster})"
        for action in actions
        if action.under_way
    ]
    rolls = [
        f"{one.rolling_id} ({one.plan.kind}, {one.state}, {one.cluster})"
        for one in rollings
        if one.state is RollingState.RUNNING
    ]
    why = [f"an agent has, or may have been sent, {listed(busy)}"] if busy else []
    why += [f"it is gone through by rolling action {listed(rolls)}"] if rolls else []
    if why:
        message = (
            f"{what} is not deleted: {', and '.join(why)}. Wait until that is finished, or delete it by force with a reason: "
            "then it is given up here, and may still run to its end there"
        )
        raise RefusedError(message)


def refuse_unread(what: str, actions: Sequence[str], order: Order) -> None:
    """Refuse to delete what has actions, unfinished or left running, that cannot be read, unless forced: an agent may be at
    work on them.

    Raises:
        RefusedError: with their ids.
    """
    if actions and not order.force:
        message = (
            f"{what} is not deleted: its actions {listed(actions)} cannot be read, and an agent may be at work on them. "
            "Delete it by force with a reason: then they are removed here, and may still run to their end there"
        )
        raise RefusedError(message)


def unread_told(remains: Remains) -> tuple[str, ...]:
    """What a person must know when records were removed that nobody could read."""
    count = len(remains.unreadable)
    return (f"{count} records of it could not be read: they are removed, too",) if count else ()


def cluster_removed(remains: Remains, order: Order, *, now: datetime) -> tuple[Change, ...]:
    """The changes that remove a cluster, each a transaction, in this order. All that makes it a cluster goes in the last
    one, with the event: when only some of them are made, the same order completes it.

    Raises:
        RefusedError: an agent is at work on it, or a rolling action goes through it, and the order is not forced.
    """
    refuse_under_way(f"cluster {remains.ref}", (*remains.actions, *remains.left), remains.rollings, order)
    unread = [one.key for one in remains.unreadable if one.record_type is Action]
    refuse_unread(f"cluster {remains.ref}", unread, order)
    parts = [*_cancelled(remains, order, now), *_forgotten(remains)]
    chunks = [_sum(parts[at : at + CHUNK_MAX]) for at in range(0, len(parts), CHUNK_MAX)] or [Change()]
    return (*chunks[:-1], chunks[-1] + _no_cluster(remains, order))


def leftovers_removed(remains: Remains, order: Order, *, now: datetime) -> tuple[Change, ...]:
    """The changes that remove what came while its cluster was removed; told of as actions only."""
    parts = [*_cancelled(remains, order, now), *_forgotten(remains), *_lifted(remains, order)]
    return tuple(_sum(parts[at : at + CHUNK_MAX]) for at in range(0, len(parts), CHUNK_MAX))


def node_count(remains: Remains) -> int:
    """How many nodes a cluster has: those known, and those that its source tells of."""
    told = remains.discovery.nodes if remains.discovery is not None else ()
    return len({node.node_id for node in remains.nodes} | {node.node_id for node in told})


def comes_back(remains: Remains) -> tuple[str, ...]:
    """What a person must know when the cluster's source still tells of it."""
    source = remains.told_by
    if source is None:
        return ()
    note = (
        f"source {source.key} still tells of {remains.ref}: it comes back with that source's next turn. To keep it away, "
        "take it out of there first; to have it left alone instead, apply a ClusterSpec with `active: false`"
    )
    return (note,)


def _cancelled(remains: Remains, order: Order, now: datetime) -> Iterator[Change]:
    why = f"its cluster is deleted{f': {order.reason}' if order.reason else ''}"
    for action in remains.actions:
        after = moved(action, ActionState.CANCELLED, now=now, who=order.by, why=why)
        yield Change(swaps=(after,), drafts=tuple(tell(action, after)))
    for rolling in remains.rollings:
        gone = rolling_moved(rolling, RollingState.CANCELLED, now=now, who=order.by, why=why)
        yield Change(swaps=(gone,), drafts=(tell_rolling(rolling, gone),))


def _forgotten(remains: Remains) -> Iterator[Change]:
    for node in remains.nodes:
        yield Change(deletes=(RecordKey(Node, node.key),))
    for broken in remains.unreadable:
        if broken.record_type not in _CLUSTER:
            yield Change(deletes=(broken,))


def _no_cluster(remains: Remains, order: Order) -> Change:
    key, spec, told_by = remains.ref.key, remains.spec, remains.told_by
    told = draft(
        remains.ref,
        EventType.CLUSTER_DELETED,
        str(remains.ref),
        **order.told,
        nodes=node_count(remains),
        actions_cancelled=len(remains.actions),
        source=remains.discovery.source if remains.discovery is not None else None,
        still_told_by=told_by.key if told_by is not None else None,
        unreadable=len(remains.unreadable),
    )
    deletes = tuple(RecordKey(type_, key) for type_ in _CLUSTER)
    # A swap before the delete: a spec that a person has just applied is read first.
    swaps = (spec.evolve(version=spec.version + 1),) if spec is not None else ()
    return _sum([*_lifted(remains, order)]) + Change(swaps=swaps, deletes=deletes, drafts=(told,))


def _lifted(remains: Remains, order: Order) -> Iterator[Change]:
    """Its gates are not for another cluster that has its name one day."""
    why = f"cluster {remains.ref} is deleted"
    for gate in remains.gates:
        told = gate_told(EventType.GATE_LIFTED, gate, who=order.by, why=why)
        yield Change(deletes=(RecordKey(Gate, gate.key),), drafts=(told,))


def _sum(parts: Sequence[Change]) -> Change:
    return Change(
        swaps=tuple(record for part in parts for record in part.swaps),
        deletes=tuple(key for part in parts for key in part.deletes),
        drafts=tuple(told for part in parts for told in part.drafts),
    )


def listed(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more
