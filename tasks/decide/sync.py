"""What becomes of a cluster's actions once their agents have been asked: the agent's word wins, final states stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from blocks.models.action import Action, ActionState, Requester
from blocks.models.base import Json
from blocks.models.event import EventDraft, EventType
from blocks.models.ids import ClusterRef
from blocks.models.look import AgentAction, Failure, Look
from blocks.models.view import ClusterView
from tasks.decide.diff import draft
from tasks.decide.lifecycle import begun, may_move, moved, noted

AGENT = "agent"
CORE = "core"


@dataclass(frozen=True, slots=True)
class Synced:
    """The actions that changed, and the events that tell of it."""

    actions: tuple[Action, ...] = ()
    drafts: tuple[EventDraft, ...] = ()
    lost: int = 0


def asked_ids(view: ClusterView, node_id: str) -> tuple[str, ...]:
    """Which actions an agent must be asked about by id: those it should have, or may have been sent."""
    return tuple(action.action_id for action in view.actions.values() if action.node_id == node_id and action.under_way)


def strangers(view: ClusterView, looks: Mapping[str, Look]) -> tuple[str, ...]:
    """Ids of actions that agents tell of and the view does not have: begun by an agent itself, or finished by our word."""
    ids = (
        action_id
        for look in looks.values()
        for action_id, word in look.details.items()
        if isinstance(word, AgentAction)
    )
    return tuple(dict.fromkeys(action_id for action_id in ids if action_id not in view.actions))


def sync(
    view: ClusterView, looks: Mapping[str, Look], *, now: datetime, stored: frozenset[str] = frozenset()
) -> Synced:
    """Settle the cluster's actions with what the looks brought.

    Args:
        view: the view before, with its unfinished actions.
        looks: by node id; nodes that were not looked at are left alone.
        now: when the cycle looked.
        stored: those of `strangers` that the store has: they are finished or another cluster's, and are left alone.
    """
    adopted = set(stored)
    changed: list[tuple[Action | None, Action]] = []
    for node_id, look in looks.items():
        for action_id, word in look.details.items():
            known = view.actions.get(action_id)
            if known is not None:
                after = _settled(view, node_id, known, word, now, _upgraded(view, node_id, look))
            else:
                after = None if action_id in adopted else _adopted(view, node_id, word, now)
                adopted.add(action_id)
            if after is not None and after != known:
                changed.append((known, after))
    drafts = tuple(told for before, after in changed for told in _told(before, after))
    lost = sum(after.state is ActionState.LOST for _, after in changed)
    return Synced(actions=tuple(after for _, after in changed), drafts=drafts, lost=lost)


def _told(before: Action | None, after: Action) -> Iterator[EventDraft]:
    if before is not None and before.left_running and after.ended_as is None:
        return  # that it will never be known is no news
    if before is not None and before.state is after.state and before.intent != after.intent:
        return  # nor that it did not arrive: how sending it ended was told
    if before is None or before.refused == after.refused or after.refused is None:
        yield from tell(before, after)
        return
    reason = f"its agent says {after.refused}, and no action moves from {after.state} to that"
    yield refused(after.cluster, after, ActionState(after.refused), reason)


def cancelled_with_node(view: ClusterView, node_id: str, *, now: datetime) -> Synced:
    """Cancel what is unfinished on a node that is no longer part of the cluster."""
    why = "its node is no longer in the cluster"
    changed = [
        (action, moved(action, ActionState.CANCELLED, now=now, who=CORE, why=why).evolve(left_running=False))
        for action in view.actions.values()
        if action.node_id == node_id and not action.state.final
    ]
    changed += [  # nobody is left to tell how they end
        (action, noted(action, left_running=False))
        for action in view.actions.values()
        if action.node_id == node_id and action.left_running
    ]
    drafts = tuple(told for before, after in changed for told in tell(before, after))
    return Synced(actions=tuple(after for _, after in changed), drafts=drafts)


def tell(before: Action | None, after: Action) -> Iterator[EventDraft]:
    """The event of an action's change: created, changed or finished."""
    data: dict[str, Json] = {
        "action_id": after.action_id,
        "node_id": after.node_id,
        "kind": after.kind,
        "state": after.state.value,
        "state_before": before.state.value if before is not None else None,
        "payload": after.payload,
        "error": after.error,
        "ended_as": after.ended_as.value if after.ended_as is not None else None,
        "attempts": after.attempts,
        "who": after.history[-1].who if after.history else None,
        "why": after.history[-1].why if after.history else None,
    }
    if before is None:
        kind = EventType.ACTION_CREATED
    elif after.state.final and not before.state.final:
        kind = EventType.ACTION_FINISHED
    else:
        kind = EventType.ACTION_CHANGED
    yield draft(after.cluster, kind, _subject(after), **data)


def refused(ref: ClusterRef, action: Action, wanted: ActionState, reason: str) -> EventDraft:
    """The event of a move that the table does not have: never silent."""
    return draft(
        ref,
        EventType.ACTION_REFUSED,
        _subject(action),
        action_id=action.action_id,
        node_id=action.node_id,
        state=action.state.value,
        wanted=wanted.value,
        reason=reason,
    )


def _subject(action: Action) -> str:
    return str(action.node) if action.node is not None else str(action.cluster)


def _settled(
    view: ClusterView, node_id: str, known: Action, word: object, now: datetime, upgraded: str
) -> Action | None:
    if known.node_id != node_id:
        return None
    if known.state.final:
        return _left(known, word, now) if known.left_running else None
    if isinstance(word, AgentAction):
        return _agreed(known, word, now)
    if word is None and known.state.on_agent:
        why = f"the agent no longer knows it{upgraded}"
        return moved(known, ActionState.LOST, now=now, who=CORE, why=why, error=why)
    if word is None and known.intent is not None and known.intent.answer_by < now:
        return _not_arrived(known, view.namespace.settings.schedule_attempts_max, now)
    return None


def _not_arrived(known: Action, attempts_max: int, now: datetime) -> Action:
    """What its agent does not have and will not get any more: in doubt no longer, so that it takes no room until its next try."""
    if known.attempts > attempts_max:
        why = f"not sent after {known.attempts} attempts; its agent does not have it"
        return moved(known, ActionState.FAILED, now=now, who=CORE, why=why)
    return noted(known, intent=None)


def _left(known: Action, word: object, now: datetime) -> Action | None:
    """What an agent says of an action that was cancelled here: how it ended there is kept, and its state stays."""
    if isinstance(word, AgentAction):
        if not word.state.final:
            return None
        return noted(known, left_running=False, ended_as=word.state, payload=word.payload, error=word.error)
    arrived = known.intent is None or known.intent.answer_by < now
    if word is None and arrived:  # it never came, or has been forgotten
        return noted(known, left_running=False)
    return None


def _upgraded(view: ClusterView, node_id: str, look: Look) -> str:
    """What to add to a loss when the agent speaks another protocol than before: its actions stayed behind."""
    node = view.nodes.get(node_id)
    if node is None or node.protocol is None or isinstance(look.info, Failure) or look.info.protocol is node.protocol:
        return ""
    return f": it was replaced by one that speaks protocol {look.info.protocol} instead of {node.protocol}"


def _agreed(known: Action, word: AgentAction, now: datetime) -> Action | None:
    facts: dict[str, Any] = {
        "payload": word.payload, "error": word.error, "scheduled_at": word.scheduled_at, "attempts": 0,
    }  # fmt: skip
    if word.kind != known.kind:  # two actions with one id: what the agent does is what it says
        facts |= {"kind": word.kind, "args": word.args}
    if word.state is known.state:
        same = all(getattr(known, name) == value for name, value in facts.items())
        return None if same else noted(known, **facts)
    if not may_move(known.state, word.state):
        return None if known.refused == word.state else noted(known, refused=word.state.value)
    finished = {"finished_at": word.finished_at or now} if word.state.final else {}
    return moved(known, word.state, now=now, who=AGENT, why="as its agent says", **facts, **finished)


def _adopted(view: ClusterView, node_id: str, word: object, now: datetime) -> Action | None:
    if not isinstance(word, AgentAction) or word.state.final:
        return None
    action = Action(
        action_id=word.action_id,
        namespace=view.spec.namespace,
        cluster_id=view.spec.cluster_id,
        node_id=node_id,
        kind=word.kind,
        args=word.args,
        metadata=word.metadata,
        state=word.state,
        created_at=now,
        created_by=f"agent of {node_id}",
        requester=Requester.AGENT_API,
        scheduled_at=word.scheduled_at,
        payload=word.payload,
        error=word.error,
    )
    return begun(action, now=now, who=AGENT, why="found on its agent")
