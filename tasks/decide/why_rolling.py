"""Why a rolling action stands where it stands: the gate, the health, the action, or the person that it waits for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from blocks.models.action import Action
from blocks.models.rolling import Rolling, RollingPhase, RollingState
from blocks.models.view import ClusterView
from tasks.decide.approval import approve_by
from tasks.decide.gates import closed
from tasks.decide.reasons import Circumstances, Reason, keeping_cluster, reason_of, turn_of
from tasks.decide.rolling import action_id_of
from tasks.decide.rolling_plan import disorderly, other_members, unwell
from tasks.decide.rolling_turn import front_of
from tasks.decide.why import why_action

S, P = RollingState, RollingPhase
SHOWN_MAX = 10
"""So many reasons of one kind are given at most."""


def why_rolling(
    view: ClusterView, rolling: Rolling, actions: Mapping[str, Action], around: Circumstances
) -> tuple[Reason, ...]:
    """Why it stands where it stands; never empty, the first is the one to do something about.

    Args:
        view: its cluster.
        rolling: as stored.
        actions: its actions as stored, by id.
        around: what is known beside the cluster's records.
    """
    match rolling.state:
        case S.PENDING_APPROVE:
            found = [*_changed(view, rolling), *_approval(view, rolling)]
        case S.RUNNING:
            found = [*_running(view, rolling, actions, around), *keeping_cluster(view, around)]
        case S.PAUSED:
            found = [_paused(rolling), *_under_way(view, rolling, actions, around)]
        case _:
            found = [_ended(rolling)]
    return tuple(found) or (turn_of(around),)


def why_rollings(view: ClusterView, around: Circumstances) -> tuple[Reason, ...]:
    """The first reason of each unfinished rolling action of a cluster."""
    found = []
    for rolling in view.rollings.values():
        if not rolling.state.final:
            first = why_rolling(view, rolling, view.actions, around)[0]
            text = f"rolling action {rolling.rolling_id}: {first.text}"
            found.append(first.evolve(about=rolling.rolling_id, text=text))
    return tuple(found[:SHOWN_MAX])


def _changed(view: ClusterView, rolling: Rolling) -> Iterator[Reason]:
    why = other_members(view, rolling.plan) or disorderly(view, rolling)
    if why is not None:
        yield reason_of("TOPOLOGY", f"it lapses: {why}")


def _approval(view: ClusterView, rolling: Rolling) -> Iterator[Reason]:
    other = f", by somebody else than {rolling.created_by}" if view.namespace.settings.approver_must_differ else ""
    text = f"its plan {rolling.plan.digest} waits for an approval{other}: `replictl approve {rolling.rolling_id}`"
    yield reason_of("APPROVAL", text)
    if (ends := approve_by(rolling.created_at, view.namespace.settings)) is not None:
        yield reason_of("LAPSES", "it is cancelled when nobody has approved it by then", ends)


def _running(
    view: ClusterView, rolling: Rolling, actions: Mapping[str, Action], around: Circumstances
) -> Iterator[Reason]:
    front = front_of(view)
    if front is not None and front.rolling_id != rolling.rolling_id:
        yield reason_of("QUEUED", f"rolling action {front.rolling_id} ({front.state}) goes before it on its cluster")
        return
    yield from _changed(view, rolling)
    match rolling.phase:
        case P.NEXT:
            yield from (reason_of(b.rule, b.reason, b.until) for b in closed(view.gates, around.now))
            if not view.namespace.may_act:
                yield reason_of("NAMESPACE", f"namespace {view.namespace.name} is {view.namespace.status}")
            yield from _health(view, rolling)
        case P.ACTING:
            yield from _under_way(view, rolling, actions, around)
            limit = timedelta(seconds=rolling.plan.pace.batch_within_s)
            ends = rolling.since + limit if rolling.since is not None else None
            yield reason_of(
                "BATCH", f"it is at batch {rolling.batch + 1} of {len(rolling.plan.batches)}; late, it is FAILED", ends
            )
        case P.SETTLING:
            ill = list(_health(view, rolling))
            yield from ill
            if not ill:
                settles = timedelta(seconds=rolling.plan.pace.settle_s)
                until = (rolling.healthy_since or around.now) + settles
                yield reason_of(
                    "SETTLING", f"batch {rolling.batch + 1} is done; the cluster must stay healthy until then", until
                )


def _health(view: ClusterView, rolling: Rolling) -> Iterator[Reason]:
    limit = timedelta(seconds=rolling.plan.pace.health_within_s)
    ends = rolling.since + limit if rolling.since is not None else None
    for why in unwell(view, rolling.plan)[:SHOWN_MAX]:
        yield reason_of(
            "HEALTH", f"the cluster is not fit for the next batch: {why}; if that lasts, it is FAILED", ends
        )


def _under_way(
    view: ClusterView, rolling: Rolling, actions: Mapping[str, Action], around: Circumstances
) -> Iterator[Reason]:
    """The first reason of each action of its batch that has not ended."""
    made = [actions.get(action_id_of(rolling, node_id)) for node_id in rolling.now_on]
    for action in [one for one in made if one is not None and not one.state.final][:SHOWN_MAX]:
        first = why_action(view, action, around)[0]
        yield first.evolve(about=action.action_id, text=f"action {action.action_id} on {action.node_id}: {first.text}")


def _paused(rolling: Rolling) -> Reason:
    last = rolling.history[-1] if rolling.history else None
    who = f" by {last.who}: {last.why or 'no reason was given'}" if last is not None else ""
    return reason_of("PAUSED", f"it is paused{who}; `replictl resume {rolling.rolling_id}`")


def _ended(rolling: Rolling) -> Reason:
    last = rolling.history[-1] if rolling.history else None
    words = [f"it is {rolling.state} and never moves again"]
    if last is not None and last.why:
        words.append(f"{last.who}: {last.why}")
    if rolling.state is not S.DONE or rolling.failed:
        words.append(f"`replictl retry {rolling.rolling_id}` orders what is not done")
    return reason_of(rolling.state.value, "; ".join(words))
