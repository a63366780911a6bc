"""Send actions to agents: intent before effect, only while the lock is provably ours, never twice without asking first."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.agents.protocol import Agents
from blocks.coordinator.protocol import Claim, Coordinator
from blocks.errors import ConflictError, FencedError, LockLostError
from blocks.models.action import Action
from blocks.models.record import Change, Record
from blocks.models.sent import Sent
from blocks.models.view import ClusterView
from blocks.store.protocol import Store
from tasks.budget import room_for
from tasks.decide.choose import after_sending, intended
from tasks.decide.lifecycle import noted
from tasks.decide.sync import tell
from tasks.gating import still_closed, stopped_rollings
from tasks.hold import fence_of
from tasks.poll import target_of

MARGIN_S = 0.5
"""So much of the lock must be left beyond the longest time that the request may take, in seconds."""
BUDGET_MIN_S = 1.0
"""A request that could have less time than this is not sent at all."""

_logger = logging.getLogger("replicore.dispatch")


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What came of sending."""

    actions: tuple[Action, ...] = ()
    """The actions as they are now, sent or not."""
    sent: int = 0
    failed: int = 0
    notes: tuple[str, ...] = ()


@task(name="dispatch actions", cache_policy=NO_CACHE)
async def dispatch(
    agents: Agents,
    coordinator: Coordinator,
    store: Store,
    view: ClusterView,
    claim: Claim,
    chosen: Sequence[Action],
    clock: Callable[[], datetime],
) -> Dispatched:
    """Send what was chosen, at most one action per node, all nodes at once.

    Raises:
        FencedError: a newer holder has taken the cluster; what was not saved is the newer holder's to find out.
        LockLostError: the lock can no longer be proven; nothing was sent.
    """
    if not chosen:
        return Dispatched()
    budget_s = _budget_s(coordinator, claim, view)
    room, holders = await room_for(store, view.namespace, chosen)
    full = f"the budget of namespace {view.namespace.name} leaves no room for {len(chosen) - len(room)} actions"
    notes = (full,) if len(room) < len(chosen) else ()
    if not room:
        return Dispatched(notes=notes)
    intents = [
        intended(action, generation=claim.generation, token=claim.token, now=clock(), budget_s=budget_s)
        for action in room
    ]
    try:
        swaps: tuple[Record, ...] = (*intents, *([holders] if holders is not None else []))
        await store.commit(Change(swaps=swaps), now=clock(), fence=fence_of(claim))
    except ConflictError:
        room_taken = ", or another worker took the room in the budget" if holders is not None else ""
        return Dispatched(notes=(f"a person changed an action just now{room_taken}; nothing was sent",))
    if closed := await still_closed(store, view, clock()):
        return await _withheld(store, claim, intents, closed[0].reason, clock)
    stopped = await stopped_rollings(store, intents)
    if held := [action for action in intents if action.rolling_id in stopped]:
        back = await _withheld(store, claim, held, f"rolling action {held[0].rolling_id} was stopped just now", clock)
        intents = [action for action in intents if action not in held]
        notes = (*notes, *back.notes)
        if not intents:
            return replace(back, notes=notes)
    answers = await asyncio.gather(
        *(_send(agents, coordinator, view, claim, action, budget_s, clock) for action in intents),
        return_exceptions=True,
    )
    results = [(action, _value(action, answer)) for action, answer in zip(intents, answers, strict=True)]
    if any(sent.superseded for _, sent in results) and not await coordinator.confirm(claim):
        msg = f"an agent of {view.ref} has seen a newer holder than {claim.fence}, and the lock is no longer ours"
        raise FencedError(msg)
    done = await _record(store, view, claim, results, clock)
    return replace(done, notes=(*notes, *done.notes))


async def _withheld(
    store: Store, claim: Claim, intents: Sequence[Action], why: str, clock: Callable[[], datetime]
) -> Dispatched:
    """A gate came down between the choice and the sending: nothing was sent, and the intents are taken back."""
    back = tuple(noted(action, intent=None) for action in intents)
    note = f"nothing was sent: {why}"
    try:
        await store.commit(Change(swaps=back), now=clock(), fence=fence_of(claim))
    except ConflictError:
        return Dispatched(actions=tuple(intents), notes=(note,))
    return Dispatched(actions=back, notes=(note,))


def _value(action: Action, answer: Sent | BaseException) -> Sent:
    """What came of sending one action, as a value: what goes wrong with one must not hide what came of the others."""
    if isinstance(answer, Sent):
        if answer.superseded:  # judged by the caller; while the lock is ours, it is that agent's own memory
            return answer.evolve(failed=f"its agent has seen a newer fencing token than {_fence(action)}")
        return answer
    if not isinstance(answer, Exception):
        raise answer
    _logger.error("sending action %s failed unexpectedly", action.action_id, exc_info=answer)
    return Sent(accepted=False, failed=f"{type(answer).__name__}: {answer}", maybe_sent=True)


def _fence(action: Action) -> str:
    return action.intent.fence if action.intent is not None else "ours"


def _budget_s(coordinator: Coordinator, claim: Claim, view: ClusterView) -> float:
    left_s = coordinator.remaining_s(claim) if coordinator.connected else 0.0
    budget_s = min(view.namespace.settings.agent_timeout, left_s - MARGIN_S)
    if budget_s < BUDGET_MIN_S:
        msg = f"the lock of {claim.name} is provably ours for only {left_s:.1f} s more: nothing was sent"
        raise LockLostError(msg)
    return budget_s


async def _send(
    agents: Agents,
    coordinator: Coordinator,
    view: ClusterView,
    claim: Claim,
    action: Action,
    budget_s: float,
    clock: Callable[[], datetime],
) -> Sent:
    nodes = view.discovery.nodes if view.discovery is not None else ()
    node = next((node for node in nodes if node.node_id == action.node_id), None)
    if node is None:
        return Sent(accepted=False, failed="its node is not in the cluster")
    if not coordinator.connected or coordinator.remaining_s(claim) < budget_s:
        return Sent(accepted=False, failed="the lock could no longer be proven just before sending")
    if action.intent is None or clock() + timedelta(seconds=budget_s) > action.intent.answer_by:
        return Sent(accepted=False, failed="saving the intent took so long that the time to send had passed")

    def proof() -> float:
        return coordinator.remaining_s(claim) - MARGIN_S if coordinator.connected else 0.0

    return await agents.send(target_of(view, node), action, claim.fence, budget_s, proof=proof)


async def _record(
    store: Store,
    view: ClusterView,
    claim: Claim,
    results: Sequence[tuple[Action, Sent]],
    clock: Callable[[], datetime],
) -> Dispatched:
    now, jitter = clock(), random.Random()  # noqa: S311 - spreads retries, hides nothing
    attempts_max = view.namespace.settings.schedule_attempts_max
    after = tuple(
        after_sending(action, sent, now=now, attempts_max=attempts_max, jitter=jitter) for action, sent in results
    )
    drafts = tuple(draft for (before, _), now_ in zip(results, after, strict=True) for draft in tell(before, now_))
    try:
        await store.commit(Change(swaps=after, drafts=drafts), now=now, fence=fence_of(claim))
    except ConflictError:
        note = "a person changed an action while it was sent; the next cycle asks its agent"
        return Dispatched(actions=tuple(before for before, _ in results), notes=(note,))
    accepted = sum(sent.accepted for _, sent in results)
    notes = tuple(f"action {action.action_id}: {note}" for action, sent in results for note in sent.notes)
    return Dispatched(actions=after, sent=accepted, failed=len(results) - accepted, notes=notes)
