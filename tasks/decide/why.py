"""Why an action, or a cluster, does not move: every rule that keeps it, with when that may end. Pure: all that is known goes in.

The first reason is the one to do something about; what merely describes comes last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from blocks.models.action import Action, ActionState
from blocks.models.base import Fact, Text, Utc
from blocks.models.report import Choice
from blocks.models.request import Request, WorkState
from blocks.models.view import ClusterView
from tasks.decide.choose import acted_on, choose, in_doubt, left_at_work, unspared
from tasks.decide.cluster_kinds import Catalogue, Mode, mode_of, taken_node, timeout_of
from tasks.decide.gates import blocks, closed, disturbs, unjudged

S = ActionState
ACTIONS_MAX = 50
LEFT_MAX = 5


class Reason(Fact):
    """One rule that keeps something from moving, or what it waits for."""

    rule: str
    """A word for programs."""
    text: Text
    until: Utc | None = None
    """When this may be over; None: nobody knows."""
    about: str | None = None
    """The action it is about, where a cluster was asked about."""


@dataclass(frozen=True, slots=True)
class Lock:
    """Who holds the cluster's lock."""

    owner: str
    since: datetime
    purpose: str


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known beside the cluster's own records."""

    now: datetime
    kinds: Catalogue
    lock: Lock | None = None
    item: Request | None = None
    """The cluster's place on the timetable and in the queue."""
    ahead: int | None = None
    """How many items of the queue go before it; None: it is not queued."""
    holders: frozenset[str] = frozenset()
    """Ids of the actions that take room of the namespace's budget, where it has one."""


def why_action(view: ClusterView, action: Action, around: Circumstances) -> tuple[Reason, ...]:
    """Why an action stands where it stands; never empty."""
    match action.state:
        case S.PENDING_APPROVE:
            found = list(_approval(view, action))
        case S.PENDING_SCHEDULE:
            found = [*_before_it_begins(view, action, around), *keeping_cluster(view, around)]
            if not found:
                found = [turn_of(around)]
            takes = taken_node(action, around.kinds)
            if takes is not None and (text := unjudged(view, takes)) is not None:
                found.append(reason_of("NODE_UNKNOWN", text))
        case S.NEW | S.RUNNING:
            found = [*_under_way(view, action, around), *keeping_cluster(view, around)]
        case _:
            found = [_ended(action)]
    return tuple(found)


def why_cluster(view: ClusterView, around: Circumstances) -> tuple[Reason, ...]:
    """Why nothing goes on with a cluster, and the first reason of each of its unfinished actions; never empty."""
    gates = (reason_of(block.rule, block.reason, block.until) for block in closed(view.gates, around.now))
    found = [*keeping_cluster(view, around), *gates]
    open_ = sorted((one for one in view.actions.values() if not one.state.final), key=lambda one: one.created_at)
    for action in open_[:ACTIONS_MAX]:
        first = why_action(view, action, around)[0]
        found.append(first.evolve(about=action.action_id, text=f"action {action.action_id}: {first.text}"))
    return tuple(found) or (turn_of(around),)


def reason_of(rule: str, text: str, until: datetime | None = None) -> Reason:
    """One reason."""
    return Reason(rule=rule, text=text, until=until)


def _approval(view: ClusterView, action: Action) -> Iterator[Reason]:
    settings = view.namespace.settings
    until = action.created_at + timedelta(seconds=settings.approval_within) if settings.approval_within else None
    other = f", by somebody else than {action.created_by}" if settings.approver_must_differ else ""
    yield reason_of("APPROVAL", f"it waits for an approval{other}: `replictl approve {action.action_id}`")
    if until is not None:
        yield reason_of("LAPSES", "it is cancelled when nobody has approved it by then", until)


def _before_it_begins(view: ClusterView, action: Action, around: Circumstances) -> Iterator[Reason]:
    now = around.now
    if action.node_id is not None:
        yield from _on_node(view, action)
    choice = choose(view, around.kinds, now=now).choice
    if action.node_id is not None and choice.block_nodes and view.namespace.may_act:
        waits = "EXCLUSIVE_WAITED_LONG" in choice.reasons
        text = (
            "an exclusive action on the cluster has waited long and goes first"
            if waits
            else "an exclusive action on the cluster runs"
        )
        yield reason_of("EXCLUSIVE", text)
    if action.node_id is None:
        yield from _on_cluster(view, action, around, choice)
    found = blocks(view, action, acted_on(view, now), now, taken_node(action, around.kinds))
    yield from (reason_of(block.rule, block.reason, block.until) for block in found)
    yield from _no_room(view, action, around)
    if action.intent is not None and in_doubt(view, action, now):
        yield reason_of(
            "IN_DOUBT",
            "it may have reached its agent: it is not sent again before the agent has said that it has it not",
            action.intent.answer_by,
        )
    if action.not_before is not None and action.not_before > now:
        yield reason_of(
            "BACKOFF",
            f"it could not be sent {action.attempts} times, last: {action.error or 'no reason is known'}",
            action.not_before,
        )


def _no_room(view: ClusterView, action: Action, around: Circumstances) -> Iterator[Reason]:
    most, taken = view.namespace.settings.disruption_max, len(around.holders - {action.action_id})
    if most is None or taken < most or action.forced is not None:
        return
    takes = taken_node(action, around.kinds) is not None
    if takes or (action.node_id is not None and disturbs(action, view.namespace)):
        text = f"{taken} nodes of namespace {action.namespace} are acted on, and {most} may be at once"
        yield reason_of("BUDGET", text)


def _on_node(view: ClusterView, action: Action) -> Iterator[Reason]:
    node = view.nodes.get(action.node_id or "")
    there = {node.node_id for node in view.discovery.nodes} if view.discovery is not None else set()
    if action.node_id not in there:
        yield reason_of(
            "NODE_GONE", f"its source no longer tells of node {action.node_id}: it is cancelled by the next cycle"
        )
    elif node is None:
        yield reason_of("NODE_UNKNOWN", f"node {action.node_id} was not looked at yet")
    elif node.foreign_id is not None:
        yield reason_of(
            "FOREIGN_NODE", f"the store of node {node.node_id} says cluster {node.foreign_id!r}: nothing is sent to it"
        )
    elif not node.takes_actions:
        yield reason_of(
            "NODE_UNREACHABLE",
            f"the agent of node {node.node_id} does not answer: {node.status_text or 'no reason is known'}",
        )
    mine = sorted(
        (one for one in view.actions.values() if one.node_id == action.node_id and not one.state.final),
        key=lambda one: (one.created_at, one.action_id),
    )
    running = next((one for one in mine if one.state.on_agent), None)
    if running is not None:
        yield reason_of("NODE_BUSY", f"action {running.action_id} ({running.kind}) is {running.state} on its node")
    yield from _left(one for one in view.actions.values() if one.left_running and one.node_id == action.node_id)
    before = [one for one in mine if one.state is S.PENDING_SCHEDULE]
    place = next((place for place, one in enumerate(before) if one.action_id == action.action_id), 0)
    if place:
        yield reason_of("QUEUED", f"{place} older actions go before it on its node, the first is {before[0].action_id}")


def _left(actions: Iterable[Action]) -> Iterator[Reason]:
    """Each that was cancelled here and is perhaps not at its end."""
    for one in sorted(actions, key=lambda one: one.action_id)[:LEFT_MAX]:
        text = f"action {one.action_id} ({one.kind}) was cancelled, and the agent of node {one.node_id} may still be at work on it"
        yield reason_of("NODE_BUSY", text)


def _on_cluster(view: ClusterView, action: Action, around: Circumstances, choice: Choice) -> Iterator[Reason]:
    if action.kind not in around.kinds:
        yield reason_of("UNKNOWN_KIND", f"there is no kind {action.kind}: it fails when its turn comes")
    mode = mode_of(action, around.kinds)
    if (mode is Mode.EXCLUSIVE and choice.block_exclusive) or (mode is Mode.NODE_PARALLEL and choice.block_parallel):
        wanted = "FOUND_" if mode is Mode.EXCLUSIVE else "FOUND_ORCHESTRATOR"
        found = [reason for reason in choice.reasons if reason.startswith(wanted) and "PARALLEL_PENDING" not in reason]
        if found:
            yield reason_of("SCHEDULING", f"it waits for what is under way or goes first: {', '.join(found)}")
    if mode is Mode.EXCLUSIVE:
        yield from _left(left_at_work(view, around.now))
    waiting = (one for one in view.actions.values() if one.node_id is None and one.state is S.PENDING_SCHEDULE)
    held = unspared(view, around.kinds, around.now).keys() - {action.action_id}
    before = sorted(
        (one for one in waiting if mode_of(one, around.kinds) is mode and one.action_id not in held),
        key=lambda one: (one.created_at, one.action_id),
    )
    if before and before[0].action_id != action.action_id:
        yield reason_of("QUEUED", f"older actions on the cluster go before it, the first is {before[0].action_id}")


def _under_way(view: ClusterView, action: Action, around: Circumstances) -> Iterator[Reason]:
    since = action.history[-1].at if action.history else action.created_at
    if action.node_id is None:
        ends = (action.scheduled_at or since) + timedelta(seconds=timeout_of(action, around.kinds))
        if action.not_before is not None and action.not_before > around.now:
            yield reason_of(
                "BACKOFF", f"its last step failed: {action.error or 'no reason is known'}", action.not_before
            )
        elif action.error:
            yield reason_of("ERROR", f"its last step said: {action.error}")
        yield from (reason_of(b.rule, b.reason, b.until) for b in closed(view.gates, around.now) if b.rule == "FREEZE")
        yield reason_of("RUNNING", "it runs, step by step with the cycles of its cluster; then it is FAILED", ends)
        return
    node = view.nodes.get(action.node_id)
    if node is None or not node.takes_actions:
        yield reason_of(
            "NODE_UNREACHABLE", f"the agent of node {action.node_id} does not answer: what became of it is not known"
        )
    word = "has it and has not begun" if action.state is S.NEW else "is at work on it"
    yield reason_of(action.state.value, f"its agent {word}, since {since:%Y-%m-%dT%H:%M:%SZ}")


def _ended(action: Action) -> Reason:
    last = action.history[-1] if action.history else None
    words = [f"it is {action.state} and never moves again"]
    if last is not None and last.why:
        words.append(f"{last.who}: {last.why}")
    if action.error:
        words.append(action.error)
    if action.left_running:
        words.append("its agent may still be at work on it, and its node takes nothing else until that has ended")
    return reason_of(action.state.value, "; ".join(words))


def keeping_cluster(view: ClusterView, around: Circumstances) -> Iterator[Reason]:
    """What keeps the cluster's cycles."""
    item, now = around.item, around.now
    if not view.spec.active:
        yield reason_of("INACTIVE", "its ClusterSpec is not active")
    if not view.namespace.may_look:
        yield reason_of("NAMESPACE", f"namespace {view.namespace.name} is {view.namespace.status}")
    if around.lock is not None and around.lock.since < now - timedelta(seconds=LOCK_OLD_S):
        age_s = (now - around.lock.since).total_seconds()
        text = f"its lock is held by {around.lock.owner} for {age_s:.0f} s ({around.lock.purpose})"
        yield reason_of("LOCK", text)
    if item is None:
        yield reason_of("NOT_SCHEDULED", "it has no place on the timetable yet")
    elif item.state is WorkState.DEAD:
        yield reason_of(
            "WORK_DEAD",
            f"its work failed too often, `replictl work retry {item.key}`: {item.error or 'no reason is known'}",
        )
    elif item.state is WorkState.QUEUED and item.not_before is not None and item.not_before > now:
        yield reason_of("WORK_BACKOFF", f"its last cycle failed: {item.error or 'no reason is known'}", item.not_before)
    elif item.paused_until is not None and item.paused_until > now and not item.by_person:
        who = f" by {item.paused_by}" if item.paused_by else ""
        yield reason_of(
            "PAUSED", f"its turns are paused{who}: {item.paused_why or 'no reason was given'}", item.paused_until
        )
    elif around.ahead:
        yield reason_of("QUEUE", f"{around.ahead} other items go before it in the work queue")


def turn_of(around: Circumstances) -> Reason:
    """That nothing keeps it, and when its turn is."""
    item = around.item
    if item is not None and item.state is WorkState.CLAIMED:
        return reason_of("TURN", f"nothing keeps it; {item.owner or 'a worker'} is at work on its cluster now")
    if item is not None and item.state is WorkState.QUEUED:
        return reason_of("TURN", "nothing keeps it; its cluster is queued and the next in turn")
    due = item.next_at if item is not None else None
    return reason_of("TURN", "nothing keeps it: it begins with the next cycle of its cluster", due)


LOCK_OLD_S = 10.0
"""A lock that is held for longer than a cycle takes is worth a word."""
