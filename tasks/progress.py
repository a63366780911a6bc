"""Bring the actions on a cluster a step further, each by the handler of its kind; what goes wrong with one is that one's end.

Intent before effect, as for actions on nodes: a handler that may have an effect outside is called only after the step's key
was saved under the fence, and only while the lock is provably ours for as long as the call may take.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import ExternalSignal

from blocks.coordinator.protocol import Claim, Coordinator
from blocks.errors import ConflictError, DependencyUnavailableError, LockLostError, ReplicoreError
from blocks.models.action import Action, ActionState
from blocks.models.gate import Block, Disruptions
from blocks.models.namespace import Namespace
from blocks.models.record import Change
from blocks.models.source import Source
from blocks.models.view import ClusterView
from blocks.store.protocol import Store
from tasks.budget import room_for
from tasks.cluster_actions.base import ClusterAction, Outside, Scene
from tasks.decide.cluster_kinds import Catalogue, taken_node
from tasks.decide.gates import unjudged
from tasks.decide.lifecycle import noted
from tasks.decide.progress import Step, broken, fault, held, intending, let_go, overdue, started, stepped
from tasks.decide.sync import tell
from tasks.gating import still_closed
from tasks.hold import fence_of

STEP_S = 60.0
"""The longest call of a handler, in seconds."""
MARGIN_S = 0.5
BUDGET_MIN_S = 1.0
_HANDLER_ENDS_S = 0.4
"""So much earlier than its time is over a handler's own calls are to end: what came of them is its to say."""
ACTIONS_MAX = 100
"""So many actions of a cluster are brought further in one cycle, those first that waited longest."""

STOPS = frozenset({"FREEZE", "NAMESPACE", "INACTIVE"})
"""Rules that also hold the effects of what runs already."""
TOLD = ("state", "payload", "error")
"""What of an action on a cluster is worth an event."""

_logger = logging.getLogger("replicore.progress")


@dataclass(frozen=True, slots=True)
class Progressed:
    """What came of it."""

    actions: tuple[Action, ...] = ()
    """Those that changed, as they are now."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a step is done with."""

    coordinator: Coordinator
    store: Store
    outside: Outside
    clock: Callable[[], datetime]
    handlers: Mapping[str, ClusterAction]
    kinds: Catalogue
    step_s: float = STEP_S
    """The longest call of a handler, in seconds."""


@task(name="progress cluster actions", cache_policy=NO_CACHE)
async def progress(world: Surroundings, view: ClusterView, claim: Claim, start: Action | None) -> Progressed:
    """Start one action, where one was chosen, and bring all that run a step further.

    Raises:
        FencedError: a newer holder has taken the cluster.
        DependencyUnavailableError: the store is gone.
    """
    running = sorted(
        (
            action
            for action in view.actions.values()
            if action.node_id is None and action.state in {ActionState.NEW, ActionState.RUNNING}
        ),
        key=lambda action: (action.not_before or action.created_at, action.action_id),
    )[:ACTIONS_MAX]
    changed, notes = [], []
    closed = await still_closed(world.store, view, world.clock())
    frozen = [block for block in closed if block.rule in STOPS]
    start, room, why_not = await _startable(world, view, start, closed)
    if why_not is not None:
        notes.append(why_not)
    for action in [*([start] if start is not None else []), *running]:
        beside = room if action is start else None
        try:
            after = await _step(world, view, claim, action, beside, frozen=bool(frozen))
        except ConflictError:
            room_taken = ", or another worker took the room in the budget" if beside is not None else ""
            notes.append(f"action {action.action_id}: a person changed it just now{room_taken}")
            continue
        except LockLostError as error:
            notes.append(str(error))
            break
        if after is not None:
            changed.append(after)
    return Progressed(tuple(changed), tuple(notes))


async def _startable(
    world: Surroundings, view: ClusterView, start: Action | None, closed: Sequence[Block]
) -> tuple[Action | None, Disruptions | None, str | None]:
    """What is to be started all the same, the room that it takes, to be saved with it, and why nothing is."""
    if start is None:
        return None, None, None
    if closed:
        return None, None, f"action {start.action_id} was not started: {closed[0].reason}"
    if taken_node(start, world.kinds) is None:
        return start, None, None
    allowed, room = await room_for(world.store, view.namespace, (start,))
    if allowed:
        return start, room, None
    full = f"the budget of namespace {view.namespace.name} leaves no room for it"
    return None, None, f"action {start.action_id} was not started: {full}"


async def _step(
    world: Surroundings, view: ClusterView, claim: Claim, action: Action, room: Disruptions | None, *, frozen: bool
) -> Action | None:
    """One action's next step, saved; None where nothing changed."""
    now, before = world.clock(), action
    if action.state is ActionState.PENDING_SCHEDULE:
        takes = taken_node(action, world.kinds)
        action = started(action, now=now, note=unjudged(view, takes) if takes is not None else None)
    known = world.handlers.get(action.kind)
    kinds = world.kinds
    if known is None:
        after: Action | None = broken(action, f"there is no kind of action {action.kind!r}", now=now)
        return await _saved(world, claim, before, after)
    if frozen and known.effect:
        return await _saved(world, claim, before, held(action, now=now))
    was_held = action.held_since is not None
    if was_held:
        before = action = await _saved(world, claim, before, let_go(action, now=now)) or action
    if action.not_before is not None and action.not_before > now and not overdue(action, kinds, now=now):
        return action if was_held else None
    budget_s = _budget_s(world, claim) if known.effect else world.step_s
    repeated = action.intent is not None
    if known.effect:
        generation, token = claim.generation, claim.token
        action = intending(action, generation=generation, token=token, now=now, budget_s=budget_s)
        before = action = await _saved(world, claim, before, action, room) or action
        if await _stopped(world, view):  # a gate came down just now: nobody was asked, or not once more
            kept = held(action, now=world.clock()) if repeated else noted(action, intent=None)
            return await _saved(world, claim, before, kept)
    step, wrong = await _called(known, world, view, claim, action, budget_s, repeated=repeated)
    now = world.clock()
    if wrong is not None:
        return await _saved(world, claim, before, broken(action, wrong, now=now))
    after = _judged(action, step, kinds, now)
    if after is None and action is not before:  # it has begun, and that is all
        after = action
    return await _saved(world, claim, before, after)


def _judged(action: Action, step: Step | None, kinds: Catalogue, now: datetime) -> Action | None:
    """The action after its step; what no code foresaw in what its handler gave back is that action's end, and no other's."""
    jitter = random.Random()  # noqa: S311 - spreads tries, hides nothing
    try:
        return stepped(action, step, kinds, now=now, jitter=jitter)
    except Exception as error:
        _logger.exception("what the handler of %s gave back for action %s is nonsense", action.kind, action.action_id)
        return broken(action, f"its handler said what cannot be kept: {fault(error)}", now=now)


async def _stopped(world: Surroundings, view: ClusterView) -> bool:
    """Whether effects are stopped; only certain when it is asked after the intent was saved."""
    return any(block.rule in STOPS for block in await still_closed(world.store, view, world.clock()))


async def _called(
    known: ClusterAction,
    world: Surroundings,
    view: ClusterView,
    claim: Claim,
    action: Action,
    within_s: float,
    *,
    repeated: bool,
) -> tuple[Step | None, str | None]:
    """What the handler gave back, or what it did wrong."""
    try:
        scene = _scene(known, world, view, claim, action, within_s - _HANDLER_ENDS_S, repeated=repeated)
        async with asyncio.timeout(within_s):
            step: object = await known.handler(scene)
    except DependencyUnavailableError as error:  # where it is our store, saving this says so
        return _again(known, fault(error)), None
    except TimeoutError:
        late = f"its handler did not come back within {within_s:g} s"
        doubt = f"{late}: whether what it asked for was done is not known"
        return (_again(known, doubt), None) if known.effect else (None, late)
    except ReplicoreError as error:
        return None, fault(error)
    except BaseException as error:
        if _is_ours(error):
            raise
        _logger.exception("the handler of %s failed on action %s", action.kind, action.action_id)
        return None, fault(error)
    if step is not None and not isinstance(step, Step):
        return None, f"its handler gave back a {type(step).__name__}"
    return step, None


def _scene(
    known: ClusterAction,
    world: Surroundings,
    view: ClusterView,
    claim: Claim,
    action: Action,
    within_s: float,
    *,
    repeated: bool,
) -> Scene:
    return Scene(
        action=action,
        args=known.kind.read(action.args),
        view=view,
        now=world.clock(),
        key=f"{action.action_id}:{action.step}",
        fence=claim.fence,
        repeated=repeated,
        within_s=within_s,
        source=lambda key: world.store.get(Source, key),
        namespace=lambda name: world.store.get(Namespace, name),
        outside=world.outside,
    )


def _is_ours(error: BaseException) -> bool:
    """Whether it is meant for this process or this task, and is no fault of the handler that was at work."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | SystemExit | ExternalSignal)


def _again(known: ClusterAction, why: str) -> Step:
    """A failed try: the step is tried again while its action has time, with the same key where it may have had its effect."""
    return Step(ActionState.RUNNING, error=why, failed=True, in_doubt=known.effect)


def _budget_s(world: Surroundings, claim: Claim) -> float:
    left_s = world.coordinator.remaining_s(claim) if world.coordinator.connected else 0.0
    budget_s = left_s - MARGIN_S
    if budget_s < BUDGET_MIN_S:
        message = f"the lock of {claim.name} is provably ours for only {left_s:.1f} s more: nothing was begun"
        raise LockLostError(message)
    return min(world.step_s, budget_s)


async def _saved(
    world: Surroundings, claim: Claim, before: Action, after: Action | None, room: Disruptions | None = None
) -> Action | None:
    if after is None or after is before:
        return None
    after = after.evolve(version=before.version + 1)  # several moves may be saved at once
    told = any(getattr(before, name) != getattr(after, name) for name in TOLD)
    change = Change(
        swaps=(after, *([room] if room is not None else [])), drafts=tuple(tell(before, after)) if told else ()
    )
    await world.store.commit(change, now=world.clock(), fence=fence_of(claim))
    return after
