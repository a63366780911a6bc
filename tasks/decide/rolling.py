"""The one table of a rolling action's life, the only functions that move one along it, and what its moves tell.

Final states never change: what was not done is done by another rolling action, which points at this one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from blocks.errors import RefusedError
from blocks.models.action import HISTORY_MAX, Action, ActionState
from blocks.models.event import EventDraft, EventType
from blocks.models.rolling import Rolling, RollingPlan, RollingState, RollingStep
from tasks.decide.diff import draft
from tasks.decide.lifecycle import begun as action_begun

CORE = "core"
S = RollingState

TABLE: dict[RollingState, frozenset[RollingState]] = {
    S.PENDING_APPROVE: frozenset({S.RUNNING, S.CANCELLED, S.LAPSED}),
    S.RUNNING: frozenset({S.PAUSED, S.DONE, S.FAILED, S.CANCELLED, S.LAPSED}),
    S.PAUSED: frozenset({S.RUNNING, S.CANCELLED, S.LAPSED}),
    S.DONE: frozenset(),
    S.FAILED: frozenset(),
    S.CANCELLED: frozenset(),
    S.LAPSED: frozenset(),
}
"""From each state, where one may go."""

FIRST: frozenset[RollingState] = frozenset({S.PENDING_APPROVE, S.RUNNING})
"""Where one may begin: approved by its order, or not."""


def ordered(rolling: Rolling, *, now: datetime, who: str, why: str = "") -> Rolling:
    """A new rolling action with its first line of history and its first version.

    Raises:
        RefusedError: none begins in this state.
    """
    if rolling.state not in FIRST:
        message = f"no rolling action begins as {rolling.state}"
        raise RefusedError(message)
    step = RollingStep(at=now, before=None, after=rolling.state, who=who, why=why)
    return rolling.evolve(history=(step,), version=1)


def moved(rolling: Rolling, after: RollingState, *, now: datetime, who: str, why: str = "", **changes: Any) -> Rolling:
    """A rolling action after a move, with its history and its next version.

    Raises:
        RefusedError: the table does not have this move.
    """
    if after not in TABLE[rolling.state]:
        allowed = ", ".join(sorted(TABLE[rolling.state])) or "nothing, it is final"
        message = f"rolling action {rolling.rolling_id} is {rolling.state} and cannot become {after}; from there it can become {allowed}"
        raise RefusedError(message)
    step = RollingStep(at=now, before=rolling.state, after=after, who=who, why=why)
    finished = {"finished_at": now} if after.final else {}
    return rolling.evolve(
        state=after, history=(*rolling.history, step)[-HISTORY_MAX:], version=rolling.version + 1, **{**finished, **changes}
    )  # fmt: skip


def noted(rolling: Rolling, **changes: Any) -> Rolling:
    """A rolling action with other facts in the same state, in its next version."""
    return rolling.evolve(version=rolling.version + 1, **changes)


def action_id_of(rolling: Rolling, node_id: str) -> str:
    """The id of its action on a node: it follows from both, so that a crash makes no second one."""
    return str(uuid5(UUID(rolling.rolling_id), node_id))


def action_ids_of(rolling: Rolling) -> tuple[str, ...]:
    """The ids of all actions that it makes."""
    return tuple(action_id_of(rolling, node_id) for node_id in rolling.plan.nodes)


def with_ends(rollings: Mapping[str, Rolling], actions: Iterable[Action]) -> tuple[Rolling, ...]:
    """The rolling actions whose actions have ended now, with what came of these, by node: also of one that is over already."""
    ends: dict[str, dict[str, ActionState]] = defaultdict(dict)
    for action in actions:
        rolling_id, node_id = action.rolling_id, action.node_id
        if rolling_id in rollings and rolling_id is not None and node_id is not None and action.state.final:
            ends[rolling_id][node_id] = action.state
    return tuple(noted(rollings[key], ended={**rollings[key].ended, **ended}) for key, ended in ends.items())


def actions_of(rolling: Rolling, *, now: datetime) -> tuple[Action, ...]:
    """The actions of its batch, approved as it was. Ordinary ones: one at a time on a node, through all gates."""
    by = rolling.approved_by or rolling.created_by
    why = f"batch {rolling.batch + 1} of {len(rolling.plan.batches)} of rolling action {rolling.rolling_id}"
    return tuple(
        action_begun(
            Action(
                action_id=action_id_of(rolling, node_id),
                namespace=rolling.namespace,
                cluster_id=rolling.cluster_id,
                node_id=node_id,
                kind=rolling.plan.kind,
                args=rolling.plan.args,
                state=ActionState.PENDING_SCHEDULE,
                created_at=now
                + timedelta(milliseconds=place),  # where a gate lets only some begin: in the plan's order
                created_by=rolling.created_by,
                approved_by=by,
                forced=rolling.forced,
                rolling_id=rolling.rolling_id,
            ),
            now=now,
            who=CORE,
            why=why,
        )
        for place, node_id in enumerate(rolling.now_on)
    )


def tell_rolling(before: Rolling | None, after: Rolling) -> EventDraft:
    """The event of its change."""
    plan, last = after.plan, after.history[-1] if after.history else None
    is_move = before is None or before.state is not after.state
    return draft(
        after.cluster,
        EventType.ROLLING_CHANGED,
        str(after.cluster),
        rolling_id=after.rolling_id,
        kind=plan.kind,
        state=after.state.value,
        state_before=before.state.value if before is not None else None,
        batch=after.batch,
        batches=len(plan.batches),
        nodes_done=after.done,
        nodes_failed=len(after.failed),
        digest=plan.digest,
        retry_of=after.retry_of,
        who=last.who if last is not None and is_move else CORE,
        why=last.why if last is not None and is_move else None,
        error=after.error,
    )


def refuse_rolling(rolling: Rolling, wanted: RollingState, who: str, reason: str) -> EventDraft:
    """The event of a move that was refused: never silent."""
    return draft(
        rolling.cluster,
        EventType.ROLLING_REFUSED,
        str(rolling.cluster),
        rolling_id=rolling.rolling_id,
        state=rolling.state.value,
        wanted=wanted.value,
        who=who,
        reason=reason,
    )


def again(rolling: Rolling, plan: RollingPlan, *, now: datetime, who: str, why: str) -> Rolling:
    """A new order for what was not done, which waits for approval. Its id follows from the old one: asked for twice it is one."""
    made = Rolling(
        rolling_id=retry_id(rolling),
        plan=plan,
        state=S.PENDING_APPROVE,
        created_at=now,
        created_by=who,
        reason=why,
        forced=rolling.forced,
        retry_of=rolling.rolling_id,
    )
    return ordered(made, now=now, who=who, why=why or f"what {rolling.rolling_id} did not do")


def retry_id(rolling: Rolling) -> str:
    """The id of the order for what was not done."""
    return str(uuid5(UUID(rolling.rolling_id), "retry"))


def left_of(rolling: Rolling, actions: Mapping[str, Action]) -> tuple[str, ...]:
    """The nodes on which it is not done, in the order of the plan.

    Args:
        rolling: one that is finished.
        actions: those of its actions that are stored, by id: some may have ended after it was given up.

    Raises:
        RefusedError: it is not finished, or an agent may still be at work for it, or nothing is left.
    """
    if not rolling.state.final:
        message = f"rolling action {rolling.rolling_id} is {rolling.state}; only what is finished is done once more"
        raise RefusedError(message)
    left = []
    for node_id in rolling.plan.nodes:
        action = actions.get(action_id_of(rolling, node_id))
        if action is not None and not action.state.final:
            message = (
                f"action {action.action_id} of it is still {action.state} on {node_id}: wait for its end, or cancel it"
            )
            raise RefusedError(message)
        if action is not None and action.left_running:
            message = (
                f"action {action.action_id} of it was cancelled, and the agent of {node_id} may still be at work on it: wait for "
                "its end, or order a rolling action on the other nodes"
            )
            raise RefusedError(message)
        state = action.state if action is not None else rolling.ended.get(node_id)
        if state is not ActionState.DONE:
            left.append(node_id)
    if not left:
        message = f"rolling action {rolling.rolling_id} is done on all its nodes: nothing is left"
        raise RefusedError(message)
    return tuple(left)
