"""The last steps of a namespace: Deleting, then Deleted, then its name is free again. It never comes back from any of them."""

from __future__ import annotations

from collections.abc import Iterable

from blocks.models.base import Json
from blocks.models.event import EventDraft, EventType
from blocks.models.gate import Gate
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.record import Change, RecordKey
from tasks.decide.differences import shown
from tasks.decide.gating import gate_told
from tasks.decide.remove import Order


def namespace_closed(namespace: Namespace, order: Order) -> Change:
    """The change by which a namespace begins to go."""
    after = namespace.evolve(status=NamespaceStatus.DELETING, closing_until=None, version=namespace.version + 1)
    data: dict[str, Json] = {**order.told, "kind": "Namespace", "before": shown(namespace), "after": shown(after)}
    told = EventDraft(type=EventType.NAMESPACE_APPLIED, stream=after.name, subject=after.name, data=data)
    return Change(swaps=(after,), drafts=(told,))


def namespace_emptied(namespace: Namespace, gates: Iterable[Gate] = (), unread: Iterable[str] = ()) -> Change:
    """The change by which it is gone, once nothing is left in it: its name stays taken.

    It forgets its secrets; freezes and windows in front of it are lifted: they are not for whoever has the name next. Nor are
    those that cannot be read, of which only the keys are known.
    """
    after = namespace.evolve(status=NamespaceStatus.DELETED, tls=None, version=namespace.version + 1)
    mine = [gate for gate in gates if gate.namespace == namespace.name]
    why = f"namespace {namespace.name} is deleted"
    lifted = [gate_told(EventType.GATE_LIFTED, gate, who="sweep", why=why) for gate in mine]
    return Change(
        swaps=(after,),
        deletes=tuple(RecordKey(Gate, key) for key in (*(gate.key for gate in mine), *unread)),
        drafts=(*lifted, _gone(namespace, {"name_free": False})),
    )


def namespace_freed(namespace: Namespace, order: Order) -> Change:
    """The change by which the name of a deleted one can be used again."""
    return Change(
        swaps=(namespace.evolve(version=namespace.version + 1),),
        deletes=(RecordKey(Namespace, namespace.key),),
        drafts=(_gone(namespace, {**order.told, "name_free": True}),),
    )


def _gone(namespace: Namespace, data: dict[str, Json]) -> EventDraft:
    return EventDraft(type=EventType.NAMESPACE_DELETED, stream=namespace.name, subject=namespace.name, data=data)
