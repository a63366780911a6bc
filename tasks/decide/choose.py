"""What may start on a cluster now, judged on the new view, and what becomes of an attempt to send it."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from blocks.models.action import Action, ActionState, Intent
from blocks.models.gate import Block
from blocks.models.node import Node
from blocks.models.report import BLOCKED_MAX, Choice
from blocks.models.sent import Sent
from blocks.models.view import ClusterView
from tasks.decide.cluster_kinds import Catalogue, Mode, mode_of, taken_node
from tasks.decide.gates import ABOUT_OTHERS, blocks, crowded, disturbed_nodes
from tasks.decide.lifecycle import moved, noted, ready_at

CORE = "core"
BACKOFF_BASE_S = 2.0
BACKOFF_MAX_S = 300.0


@dataclass(frozen=True, slots=True)
class Chosen:
    """What to send and start now, and why not the rest."""

    actions: tuple[Action, ...] = ()
    """On nodes: to send."""
    start: Action | None = None
    """On the cluster: to start."""
    choice: Choice = field(default_factory=Choice)


@dataclass(frozen=True, slots=True)
class _Standing:
    """The unfinished actions of a cluster by where they stand."""

    nodes: tuple[Action, ...]
    nodes_pending: bool
    nodes_running: bool
    nodes_silent: bool
    """Whether some of what runs on nodes, or may, is on one that cannot be asked."""
    pending: Mapping[Mode, tuple[Action, ...]]
    """On the cluster, approved and not begun, the oldest first."""
    running: Mapping[Mode, bool]


def choose(view: ClusterView, kinds: Catalogue, *, now: datetime, holders: Collection[str] = ()) -> Chosen:
    """Pick at most one action per node, the oldest approved one where nothing is under way on that node, and at most one
    on the whole cluster, the oldest that nothing speaks against.

    An action that would take a node away which the cluster cannot spare, or for which a budget has no room, waits, and holds
    nothing else back.

    An action whose last request may still be on its way is waited for. One that may have arrived is sent again only when its
    agent could be asked and does not have it; until then nothing else is sent to that node, older or not.

    Args:
        view: the cluster as the looks showed it.
        kinds: what kinds of actions on clusters there are.
        now: when the looks began.
        holders: the ids of the actions that take room in the budget of the namespace.
    """
    blocked = unspared(view, kinds, now, holders)
    standing = _standing(view, kinds, now, blocked)
    choice = _choice(view, standing, now)
    start = None
    if not choice.block_exclusive and standing.pending[Mode.EXCLUSIVE]:
        start = standing.pending[Mode.EXCLUSIVE][0]
    elif not choice.block_parallel and standing.pending[Mode.NODE_PARALLEL]:
        start = standing.pending[Mode.NODE_PARALLEL][0]
    ready = () if choice.block_nodes else tuple(_next_of_each_node(view, standing.nodes, now))
    disturbed = acted_on(view, now)
    if start is not None and (found := blocks(view, start, disturbed, now, taken_node(start, kinds))):
        blocked[start.action_id], start = found, None
    actions = []
    for action in sorted(ready, key=lambda one: (one.created_at, one.action_id)):
        if found := blocks(view, action, disturbed, now):
            blocked[action.action_id] = found
            continue
        actions.append(action)
        disturbed |= disturbed_nodes(view, [action])
    shown = dict(list(blocked.items())[:BLOCKED_MAX])
    return Chosen(tuple(actions), start, choice.evolve(blocked=shown) if shown else choice)


def acted_on(view: ClusterView, now: datetime) -> set[str]:
    """The nodes that are acted on, or may be."""
    return disturbed_nodes(view, acting_on(view, now))


def acting_on(view: ClusterView, now: datetime) -> list[Action]:
    """The actions that act on a node, or may, also those that were cancelled here and go on at their agents."""
    actions = (one for one in view.actions.values() if one.node_id is not None)
    return [a for a in actions if a.left_running or a.state.on_agent or in_doubt(view, a, now)]


def left_at_work(view: ClusterView, now: datetime) -> list[Action]:
    """The actions that were cancelled here and that their agents may still be at work on, as far as the whole cluster is concerned:
    an agent that has been silent for `exclusive_patience` keeps nothing exclusive back with what somebody has given up.
    """
    patience = timedelta(seconds=view.namespace.settings.exclusive_patience)
    silent = {node.node_id: node.actions_stale_since for node in view.nodes.values()}
    left = [action for action in view.actions.values() if action.left_running]
    return [a for a in left if (since := silent.get(a.node_id or "")) is None or now - since < patience]


def unspared(
    view: ClusterView, kinds: Catalogue, now: datetime, holders: Collection[str] = ()
) -> dict[str, tuple[Block, ...]]:
    """The actions that would take a node away and that health or a budget keeps back, by id; and why.

    What is under way here on nodes that answer does not count: it ends, and those that wait for that have their turn after it.
    """
    waiting = (a for a in view.actions.values() if a.state is ActionState.PENDING_SCHEDULE and a.forced is None)
    taking = [(action, node_id) for action in waiting if (node_id := taken_node(action, kinds)) is not None]
    lasting = [action for action in acting_on(view, now) if _silent(view, action)] if taking else []
    known, disturbed = {action.action_id for action in lasting}, disturbed_nodes(view, lasting)
    others = {one for one in holders if one not in view.actions or one in known}
    found = {
        action.action_id: (*blocks(view, action, disturbed, now, node_id), *crowded(view.namespace, others))
        for action, node_id in taking
    }
    return {key: why for key, why in found.items() if any(block.rule in ABOUT_OTHERS for block in why)}


def _standing(view: ClusterView, kinds: Catalogue, now: datetime, held: Collection[str]) -> _Standing:
    unfinished = (a for a in view.actions.values() if not a.state.final and a.action_id not in held)
    open_ = sorted(unfinished, key=lambda a: (a.created_at, a.action_id))
    nodes = tuple(action for action in open_ if action.node_id is not None)
    cluster = [(mode_of(action, kinds), action) for action in open_ if action.node_id is None]
    return _Standing(
        nodes=nodes,
        nodes_pending=any(action.state is ActionState.PENDING_SCHEDULE for action in nodes),
        nodes_running=any(action.state.on_agent or in_doubt(view, action, now) for action in nodes)
        or bool(left_at_work(view, now)),
        nodes_silent=any(on_silent_node(view, action, now) for action in nodes),
        pending={
            mode: tuple(a for m, a in cluster if m is mode and a.state is ActionState.PENDING_SCHEDULE) for mode in Mode
        },
        running={mode: any(m is mode and a.state.on_agent for m, a in cluster) for mode in Mode},
    )


def _choice(view: ClusterView, standing: _Standing, now: datetime) -> Choice:
    """The blocking table: what is under way, or waits, against what may begin.

    Running on a node: no exclusive one. Waiting for a node: no exclusive one, unless that has waited too long: then nothing
    more begins on nodes until it has had its turn. Running exclusively: nothing. Running beside nodes: nothing on the
    cluster. Waiting exclusively: nothing beside nodes. What waits for the end of something on a node that cannot be asked
    holds nobody back: nobody knows for how long.
    """
    exclusive, parallel = Mode.EXCLUSIVE, Mode.NODE_PARALLEL
    patience = timedelta(seconds=view.namespace.settings.exclusive_patience)
    goes_first = not standing.running[exclusive] and not standing.nodes_silent
    aged = goes_first and any(
        (ready := ready_at(action)) is not None and now - ready >= patience for action in standing.pending[exclusive]
    )
    found = {
        "DEFAULT_TO_ALL": True,
        "FOUND_NODE_PENDING": standing.nodes_pending,
        "FOUND_NODE_RUNNING": standing.nodes_running,
        "FOUND_ORCHESTRATOR_EXCLUSIVE_PENDING": bool(standing.pending[exclusive]),
        "FOUND_ORCHESTRATOR_EXCLUSIVE_RUNNING": standing.running[exclusive],
        "FOUND_ORCHESTRATOR_NODE_PARALLEL_PENDING": bool(standing.pending[parallel]),
        "FOUND_ORCHESTRATOR_NODE_PARALLEL_RUNNING": standing.running[parallel],
        "EXCLUSIVE_WAITED_LONG": aged,
        "EXCLUSIVE_WAITS_FOR_SILENT_NODE": standing.nodes_silent and bool(standing.pending[exclusive]),
        f"NAMESPACE_{view.namespace.status.upper()}": not view.namespace.may_act,
    }
    stopped = not view.namespace.may_act
    busy = standing.nodes_running or standing.running[exclusive] or standing.running[parallel]
    on_cluster = standing.running[exclusive] or standing.running[parallel]
    return Choice(
        block_nodes=stopped or standing.running[exclusive] or aged,
        block_exclusive=stopped or busy or (standing.nodes_pending and not aged),
        block_parallel=stopped or on_cluster or (bool(standing.pending[exclusive]) and not standing.nodes_silent),
        reasons=tuple(reason for reason, there in found.items() if there),
    )


def _next_of_each_node(view: ClusterView, actions: Sequence[Action], now: datetime) -> list[Action]:
    chosen, left = [], {action.node_id for action in view.actions.values() if action.left_running}
    for node_id, node in sorted(view.nodes.items()):
        mine = [action for action in actions if action.node_id == node_id]
        if not node.takes_actions or node_id in left or any(action.state.on_agent for action in mine):
            continue
        pending = [action for action in mine if action.state is ActionState.PENDING_SCHEDULE]
        if any(in_doubt(view, action, now) for action in pending):  # one of them may be there, the oldest or not
            continue
        if pending and (pending[0].not_before is None or pending[0].not_before <= now):
            chosen.append(pending[0])
    return chosen


def in_doubt(view: ClusterView, action: Action, now: datetime) -> bool:
    """Whether an action that waits may have reached its agent all the same."""
    node = view.nodes.get(action.node_id) if action.node_id is not None else None
    return action.intent is not None and (node is None or not _known_absent(action.intent, node, now))


def on_silent_node(view: ClusterView, action: Action, now: datetime) -> bool:
    """Whether an action on a node runs, or may, and its agent cannot be asked what became of it."""
    if action.node_id is None or action.state.final or not (action.state.on_agent or in_doubt(view, action, now)):
        return False
    return _silent(view, action)


def _silent(view: ClusterView, action: Action) -> bool:
    """Whether the agent of an action's node cannot be asked about it."""
    node = view.nodes.get(action.node_id or "")
    return node is None or not node.takes_actions or node.actions_stale_since is not None


def _known_absent(intent: Intent, node: Node, now: datetime) -> bool:
    """Whether its agent was asked after the last moment at which it could arrive, and does not have it."""
    return intent.answer_by < now and node.actions_stale_since is None


def intended(action: Action, *, generation: int, token: int, now: datetime, budget_s: float) -> Action:
    """The action with the intent to send it, to be saved before anything is sent.

    Args:
        action: what was chosen.
        generation: the fencing generation of the lock we hold.
        token: its token.
        now: the present.
        budget_s: longest time the request may take, in seconds.
    """
    answer_by = now + timedelta(seconds=budget_s * 2)
    intent = Intent(attempt=action.attempts + 1, generation=generation, token=token, at=now, answer_by=answer_by)
    return noted(action, intent=intent)


def after_sending(action: Action, sent: Sent, *, now: datetime, attempts_max: int, jitter: random.Random) -> Action:
    """The action after an attempt to send it.

    Args:
        action: with its intent.
        sent: what came of it.
        now: when the answer came.
        attempts_max: after more failures than this it is FAILED.
        jitter: spreads the retries.
    """
    if sent.accepted:
        return moved(
            action, ActionState.NEW, now=now, who=CORE, why="its agent has it", scheduled_at=now, attempts=0, not_before=None, error=None
        )  # fmt: skip
    if sent.refused is not None:
        return moved(action, ActionState.FAILED, now=now, who=CORE, why="its agent refused it", error=sent.refused)
    attempts, error = action.attempts + 1, sent.failed or "it could not be sent"
    if attempts > attempts_max and not sent.maybe_sent:
        why = f"not sent after {attempts} attempts"
        return moved(action, ActionState.FAILED, now=now, who=CORE, why=why, attempts=attempts, error=error)
    wait_s = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** min(attempts - 1, 10)) * jitter.uniform(0.5, 1.0)
    not_before = now + timedelta(seconds=wait_s)
    intent = action.intent if sent.maybe_sent else None
    return noted(action, attempts=attempts, error=error, not_before=not_before, intent=intent)
