"""What may start on a cluster now, judged on the new view, and what becomes of an attempt to send it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from blocks.models.action import Action, ActionState, Intent
from blocks.models.node import Node
from blocks.models.report import Choice
from blocks.models.sent import Sent
from blocks.models.view import ClusterView
from tasks.decide.lifecycle import moved, noted

CORE = "core"
BACKOFF_BASE_S = 2.0
BACKOFF_MAX_S = 300.0


@dataclass(frozen=True, slots=True)
class Chosen:
    """What to send now, and why not the rest."""

    actions: tuple[Action, ...] = ()
    choice: Choice = field(default_factory=Choice)


def choose(view: ClusterView, *, now: datetime) -> Chosen:
    """Pick at most one action per node: the oldest approved one, where nothing is under way on that node.

    An action whose last request may still be on its way is waited for. One that may have arrived is sent again only when its
    agent could be asked and does not have it.

    Args:
        view: the cluster as the looks showed it.
        now: when the looks began.
    """
    reasons = ["DEFAULT_TO_ALL"]
    node_actions = [action for action in view.actions.values() if action.node_id is not None and not action.state.final]
    if any(action.state is ActionState.PENDING_SCHEDULE for action in node_actions):
        reasons.append("FOUND_NODE_PENDING")
    if any(action.state.on_agent for action in node_actions):
        reasons.append("FOUND_NODE_RUNNING")
    blocked = not view.namespace.may_act
    if blocked:
        reasons.append(f"NAMESPACE_{view.namespace.status.upper()}")
    choice = Choice(block_nodes=blocked, block_exclusive=len(reasons) > 1, reasons=tuple(reasons))
    if blocked:
        return Chosen(choice=choice)
    return Chosen(actions=tuple(_next_of_each_node(view, node_actions, now)), choice=choice)


def _next_of_each_node(view: ClusterView, actions: list[Action], now: datetime) -> list[Action]:
    chosen = []
    for node_id, node in sorted(view.nodes.items()):
        mine = sorted((a for a in actions if a.node_id == node_id), key=lambda a: (a.created_at, a.action_id))
        if not node.takes_actions or any(action.state.on_agent for action in mine):
            continue
        pending = [action for action in mine if action.state is ActionState.PENDING_SCHEDULE]
        if pending and _may_be_sent(pending[0], node, now):
            chosen.append(pending[0])
    return chosen


def _may_be_sent(action: Action, node: Node, now: datetime) -> bool:
    if action.not_before is not None and action.not_before > now:
        return False
    return action.intent is None or (action.intent.answer_by < now and node.actions_stale_since is None)


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
