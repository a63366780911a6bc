"""Why an action, or a cluster, does not move: every rule that keeps it, with when that may end. Pure: all that is known goes in.

The first reason is the one to do something about; what merely describes comes last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from blocks.models.action import Action, ActionState
from blocks.models.view import ClusterView
from tasks.decide.approval import approve_by
from tasks.decide.choose import Chosen, acting_on, choose, in_doubt, left_at_work, unspared
from tasks.decide.cluster_kinds import Mode, mode_of, taken_node
from tasks.decide.gates import ABOUT_OTHERS, blocks, closed, crowded, disturbed_nodes, disturbs, stopped, unjudged
from tasks.decide.in_the_way import in_the_way, named
from tasks.decide.lapsing import begin_by
from tasks.decide.progress import ends_at
from tasks.decide.reasons import Circumstances, Reason, keeping_cluster, reason_of, turn_of

S = ActionState
ACTIONS_MAX = 50
LEFT_MAX = 5


def why_action(view: ClusterView, action: Action, around: Circumstances) -> tuple[Reason, ...]:
    """Why an action stands where it stands; never empty."""
    match action.state:
        case S.PENDING_APPROVE:
            found = list(_approval(view, action))
        case S.PENDING_SCHEDULE:
            found = [*_before_it_begins(view, action, around), *keeping_cluster(view, around)]
            found = found or [turn_of(around)]
            takes = taken_node(action, around.kinds)
            if takes is not None and (text := unjudged(view, takes)) is not None:
                found.append(reason_of("NODE_UNKNOWN", text))
            found += [*_last_error(action, around), *_lapse(view, action, around, found)]
        case S.NEW | S.RUNNING:
            found = [*_under_way(view, action, around), *keeping_cluster(view, around)]
        case _:
            found = [_ended(action), *_left_running(view, action)]
    return tuple(found)


def why_cluster(view: ClusterView, around: Circumstances) -> tuple[Reason, ...]:
    """Why nothing goes on with a cluster, and the first reason of each of its unfinished actions; never empty."""
    gates = (reason_of(block.rule, block.reason, block.until) for block in closed(view.gates, around.now))
    found = [*keeping_cluster(view, around), *gates]
    open_ = sorted((one for one in view.actions.values() if not one.state.final), key=lambda one: one.created_at)
    for action in open_[:ACTIONS_MAX]:
        first = why_action(view, action, around)[0]
        found.append(first.evolve(about=action.action_id, text=f"action {action.action_id}: {first.text}"))
    return tuple(found) or (turn_of(around, "no action of it waits, and it is looked at"),)


def _approval(view: ClusterView, action: Action) -> Iterator[Reason]:
    settings = view.namespace.settings
    until = approve_by(action.created_at, settings)
    other = f", by somebody else than {action.created_by}" if settings.approver_must_differ else ""
    yield reason_of("APPROVAL", f"it waits for an approval{other}: `replictl approve {action.action_id}`")
    if until is not None:
        yield reason_of("LAPSES", "it is cancelled when nobody has approved it by then", until)


def _lapse(view: ClusterView, action: Action, around: Circumstances, found: Sequence[Reason]) -> Iterator[Reason]:
    """Until when what keeps an approved action may keep it."""
    ends = begin_by(view, action, around.now)
    if ends is not None and found[0].rule != "TURN":
        yield reason_of("LAPSES", "it is cancelled when it has not begun by then", ends)


def _before_it_begins(view: ClusterView, action: Action, around: Circumstances) -> Iterator[Reason]:
    now = around.now
    if action.node_id is not None:
        yield from _on_node(view, action, now)
    chosen = choose(view, around.kinds, now=now, holders=around.namespace_holders)
    choice = chosen.choice
    before = in_the_way(view, action, choice, around)
    if action.node_id is not None and before and view.namespace.may_act:
        waits = "EXCLUSIVE_WAITED_LONG" in choice.reasons
        what = "has waited long and goes first" if waits else "runs"
        yield reason_of("EXCLUSIVE", f"an exclusive action on the cluster {what}: {named(view, before, now)}")
    if action.node_id is None:
        yield from _on_cluster(view, action, around, before)
    yield from _gates(view, action, around, chosen)
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


def _gates(view: ClusterView, action: Action, around: Circumstances, chosen: Chosen) -> Iterator[Reason]:
    """What the gates say, and which actions take the room that it needs: those under way, and those that begin before it."""
    now = around.now
    others = [one for one in acting_on(view, now) if one.action_id != action.action_id]
    acting = [one for one in others if disturbed_nodes(view, [one])]
    takes = taken_node(action, around.kinds)
    found = blocks(view, action, disturbed_nodes(view, acting), now, takes)
    if action.node_id is not None and action.action_id in chosen.choice.blocked:
        found = chosen.choice.blocked[action.action_id]
        acting += [one for one in chosen.actions if disturbed_nodes(view, [one]) and _order(one) < _order(action)]
    for block in found:
        by = f"; acted on by {named(view, acting, now)}" if acting and block.rule in ABOUT_OTHERS else ""
        yield reason_of(block.rule, f"{block.reason}{by}", block.until)
    counts = takes is not None or (action.node_id is not None and disturbs(action, view.namespace))
    if counts and action.forced is None:
        full = crowded(view.namespace, around.namespace_holders - {action.action_id})
        yield from (reason_of(block.rule, block.reason) for block in full)


def _order(action: Action) -> tuple[datetime, str]:
    """In which order actions have their turn."""
    return (action.created_at, action.action_id)


def _last_error(action: Action, around: Circumstances) -> Iterator[Reason]:
    """Its last error, also when the next try is due; where it waits for that, the wait tells of it."""
    waits = action.not_before is not None and action.not_before > around.now
    if action.error and not waits:
        tries = f" ({action.attempts} tries failed)" if action.attempts else ""
        yield reason_of("ERROR", f"its last error{tries}: {action.error}")


def _on_node(view: ClusterView, action: Action, now: datetime) -> Iterator[Reason]:
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
        key=_order,
    )
    running = next((one for one in mine if one.state.on_agent), None)
    if running is not None:
        yield reason_of("NODE_BUSY", f"action {running.action_id} ({running.kind}) is {running.state} on its node")
    yield from _left(one for one in view.actions.values() if one.left_running and one.node_id == action.node_id)
    waiting = [one for one in mine if one.state is S.PENDING_SCHEDULE]
    yield from _perhaps_there(view, (one for one in waiting if one.action_id != action.action_id), now)
    place = next((place for place, one in enumerate(waiting) if one.action_id == action.action_id), 0)
    if place and not in_doubt(view, action, now):
        yield reason_of(
            "QUEUED", f"{place} older actions go before it on its node, the first is {waiting[0].action_id}"
        )


def _perhaps_there(view: ClusterView, others: Iterable[Action], now: datetime) -> Iterator[Reason]:
    """The action that keeps all others from its node because it may have reached its agent."""
    doubtful = next((one for one in others if in_doubt(view, one, now)), None)
    if doubtful is not None and doubtful.intent is not None:
        text = f"action {doubtful.action_id} ({doubtful.kind}) may have reached the agent of its node, which is asked about it first"
        yield reason_of("NODE_BUSY", text, doubtful.intent.answer_by)


def _left(actions: Iterable[Action]) -> Iterator[Reason]:
    """Each that was cancelled here and is perhaps not at its end."""
    for one in sorted(actions, key=lambda one: one.action_id)[:LEFT_MAX]:
        text = f"action {one.action_id} ({one.kind}) was cancelled, and the agent of node {one.node_id} may still be at work on it"
        yield reason_of("NODE_BUSY", text)


def _on_cluster(view: ClusterView, action: Action, around: Circumstances, before: Sequence[Action]) -> Iterator[Reason]:
    if action.kind not in around.kinds:
        yield reason_of("UNKNOWN_KIND", f"there is no kind {action.kind}: it fails when its turn comes")
    if before and view.namespace.may_act:
        text = f"it waits for what is under way or goes first: {named(view, before, around.now)}"
        yield reason_of("SCHEDULING", text)
    mode = mode_of(action, around.kinds)
    if mode is Mode.EXCLUSIVE:
        yield from _left(left_at_work(view, around.now))
    waiting = (one for one in view.actions.values() if one.node_id is None and one.state is S.PENDING_SCHEDULE)
    held = unspared(view, around.kinds, around.now, around.namespace_holders).keys() - {action.action_id}
    queue = sorted(
        (one for one in waiting if mode_of(one, around.kinds) is mode and one.action_id not in held),
        key=_order,
    )
    place = next((place for place, one in enumerate(queue) if one.action_id == action.action_id), 0)
    if place:
        text = f"{place} older actions on the cluster go before it, the first is {queue[0].action_id}"
        yield reason_of("QUEUED", text)


def _under_way(view: ClusterView, action: Action, around: Circumstances) -> Iterator[Reason]:
    since = action.history[-1].at if action.history else action.created_at
    if action.node_id is None:
        ends = ends_at(action, around.kinds)
        if action.not_before is not None and action.not_before > around.now:
            yield reason_of(
                "BACKOFF", f"its last step failed: {action.error or 'no reason is known'}", action.not_before
            )
        elif action.error:
            yield reason_of("ERROR", f"its last step said: {action.error}")
        held_by = (*stopped(view.namespace, around.now), *closed(view.gates, around.now))
        yield from (reason_of(b.rule, b.reason, b.until) for b in held_by if b.rule in {"FREEZE", "NAMESPACE"})
        if action.held_since is not None:
            yield reason_of(
                "HELD", f"its steps are held since {action.held_since:%Y-%m-%dT%H:%M:%SZ}: its time stands still"
            )
            return
        yield reason_of(
            "RUNNING", "it runs, step by step with the cycles of its cluster; what is not done by then is FAILED", ends
        )
        return
    node = view.nodes.get(action.node_id)
    if node is None or not node.takes_actions:
        yield reason_of(
            "NODE_UNREACHABLE", f"the agent of node {action.node_id} does not answer: what became of it is not known"
        )
    word = "has it and has not begun" if action.state is S.NEW else "is at work on it"
    yield reason_of(action.state.value, f"its agent {word}, since {since:%Y-%m-%dT%H:%M:%SZ}")
    yield from _last_error(action, around)


def _ended(action: Action) -> Reason:
    last = action.history[-1] if action.history else None
    words = [f"it is {action.state} and never moves again"]
    if last is not None and last.why:
        words.append(f"{last.who}: {last.why}")
    if action.error:
        words.append(action.error)
    return reason_of(action.state.value, "; ".join(words))


def _left_running(view: ClusterView, action: Action) -> Iterator[Reason]:
    """What a cancelled action's agent makes of it."""
    if action.ended_as is not None:
        yield reason_of("ENDED_AS", f"its agent could not be told, and ended it as {action.ended_as}")
    if not action.left_running:
        return
    node = view.nodes.get(action.node_id or "")
    silent = node is None or not node.takes_actions
    asked = "cannot be asked now" if silent else "is asked in every cycle how it ends"
    yield reason_of(
        "LEFT_RUNNING",
        f"its agent had it, or may have had it, and cannot be told to stop: it goes on there to its end, node {action.node_id} "
        f"counts as acted on and takes nothing else until then, and the agent {asked}",
    )
