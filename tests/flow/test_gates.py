"""Gates through the cycle and the flows of people: what is closed begins nowhere, and what is lifted goes on."""

from __future__ import annotations

import functools
from datetime import datetime, timedelta

import pytest

from blocks.errors import InvalidInputError, NotFoundError, RefusedError
from blocks.models.action import Action, ActionState
from blocks.models.event import SYSTEM_STREAM, Event, EventType
from blocks.models.gate import Gate, Weekly
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace, NamespaceSettings, NamespaceStatus
from blocks.models.record import Change, Fence
from blocks.sources.webhooks_protocol import Answered
from doubles.actions import make_action
from doubles.gated import RESTART, frozen, frozen_meanwhile, turned
from doubles.store import MemoryStore
from doubles.views import NOW, later
from doubles.world import World
from flows.cycle import Mode, cycle
from tasks.decide.gating import EVERYTHING, freeze_of, window_of
from tasks.gating import lift, place
from tasks.order import order

S = ActionState


# -- freezes and windows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [EVERYTHING, "prod", "prod/orders"])
async def test_a_freeze_holds_until_it_is_lifted(world: World, target: str) -> None:
    """Approved before or after: nothing is sent, the reason is data; lifted, it goes on by itself."""
    ref = await world.declare()
    action = await world.order(make_action())
    gate = await frozen(world, target)
    kept = await turned(world, ref)
    sent = list(world.agents.sent)
    await lift.fn(world.store, gate.name, "bob", "mended", world.clock())
    await turned(world, ref)

    assert ({action.action_id: ["FREEZE"]}, []) == (kept, sent)
    assert S.NEW is await world.action_state(action)
    assert [EventType.GATE_PLACED, EventType.GATE_LIFTED] == [t for t in world.types() if "gate" in t]


async def test_a_freeze_of_others_keeps_nothing(world: World) -> None:
    """Another cluster, another namespace."""
    ref = await world.declare()
    await world.declare("billing")
    await world.save(Namespace(name="test", version=1))
    action = await world.order(make_action())
    await frozen(world, "prod/billing")
    await frozen(world, "test")
    await turned(world, ref)

    assert S.NEW is await world.action_state(action)


async def test_a_freeze_ends_by_itself(world: World) -> None:
    """At the moment that was said."""
    ref = await world.declare()
    action = await world.order(make_action())
    await frozen(world, "prod", world.clock() + timedelta(seconds=5))
    kept = [await turned(world, ref) for _ in range(4)]

    assert [True, True, True, False] == [bool(one) for one in kept]
    assert S.NEW is await world.action_state(action)


async def test_a_freeze_between_choice_and_sending(world: World) -> None:
    """The kill switch also stops what was already chosen: nothing leaves, and the intent is taken back."""
    ref = await world.declare()
    action = await world.order(make_action())

    await turned(world, ref, frozen_meanwhile(world, "prod"))
    after = await world.action(action)

    assert ([], S.PENDING_SCHEDULE, None, 0) == (world.agents.sent, after.state, after.intent, after.attempts)


async def _running_http(world: World, timeout_s: float = 30.0) -> tuple[ClusterRef, Action]:
    """An action on a cluster that has so much time, and has asked its endpoint once."""
    ref = await world.declare()
    args = {"remote": {"url": "http://remote.test"}}
    kind = "core.replicante.io/http"
    action = await world.order(make_action(node_id=None, kind=kind, args=args, timeout_s=timeout_s))
    world.outside.answers = [Answered(204)]
    await turned(world, ref)
    return ref, action


async def test_a_freeze_holds_effects_of_cluster_actions_that_run(world: World) -> None:
    """A running action asks nobody any more while it is frozen, and its time stands still; then it has all that was left."""
    ref, action = await _running_http(world)
    for _ in range(2):
        gate = await frozen(world)
        await turned(world, ref)
        world.advance(600)
        await turned(world, ref)
        held, asked = await world.action(action), len(world.outside.posted)
        await lift.fn(world.store, gate.name, "ann", "", world.clock())
        await turned(world, ref)
    world.advance(15)
    await turned(world, ref)
    going_on, more = await world.action_state(action), len(world.outside.posted)
    world.advance(15)
    await turned(world, ref)
    after = await world.action(action)

    assert (S.RUNNING, 2, 4) == (held.state, asked, more)
    assert held.held_since is not None
    assert (S.RUNNING, S.FAILED) == (going_on, after.state)
    assert "not done within 30 s" in str(after.error)
    assert after.held_s >= 1_200


async def test_a_namespace_that_only_looks_holds_cluster_actions_that_run(world: World) -> None:
    """As a freeze does: time in which nothing may be done is no part of an action's time."""
    ref, action = await _running_http(world)
    home = await world.store.get(Namespace, "prod")
    assert home is not None
    await world.save(home.evolve(status=NamespaceStatus.OBSERVED, version=2))
    await turned(world, ref)
    world.advance(600)
    await turned(world, ref)
    await world.save(home.evolve(version=3))
    await turned(world, ref)

    assert (S.RUNNING, 2) == (await world.action_state(action), len(world.outside.posted))


async def test_held_while_it_waits_for_its_next_try(world: World) -> None:
    """Lifted before its next try is due: its time goes on from then, and the try keeps its moment."""
    ref, action = await _running_http(world, timeout_s=600)
    world.outside.answers = [Answered(unreachable="connection refused")]
    for _ in range(3):
        await turned(world, ref)
        world.advance(20)
    await turned(world, ref)
    gate = await frozen(world)
    await turned(world, ref)
    held = await world.action(action)
    await lift.fn(world.store, gate.name, "ann", "", world.clock())
    await turned(world, ref)
    after = await world.action(action)

    assert (True, None) == (held.held_since is not None, after.held_since)
    assert (held.not_before, held.attempts) == (after.not_before, after.attempts)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a/b-c", "a-b/c"),
        ("a/b", "a-b"),
        ("a/b_c", "a/b.c"),
        ("a", "a/日本"),
        ("a/" + "k" * 70 + "1", "a/" + "k" * 70 + "2"),
    ],
)
def test_no_freeze_has_the_name_of_another(one: str, other: str) -> None:
    """Freezing one place does not take the freeze of another away."""
    names = [freeze_of(target, "trouble", None, "ann", NOW).name for target in (one, other)]

    assert 2 == len(set(names))
    assert all(len(name) <= 63 for name in names)


async def test_a_gate_takes_the_place_of_its_like_only(world: World) -> None:
    """A name that is another kind's, or is in front of something else, is refused: nothing is lifted unsaid."""
    await world.declare()
    window = {"reason": "x", "owner": "ann", "expires_at": NOW + timedelta(days=1), "labels": {}, "starts_at": None}
    night = functools.partial(window_of, "night", weekly=None, by="ann", now=NOW, **window)
    await place.fn(world.store, night("blackout", target=EVERYTHING), NOW)

    again = await place.fn(world.store, night("blackout", target=EVERYTHING), NOW)
    for other in (night("blackout", target="prod"), night("maintenance", target=EVERYTHING)):
        with pytest.raises(InvalidInputError, match="'night' is the blackout of everything already; lift it first"):
            await place.fn(world.store, other, NOW)
    with pytest.raises(InvalidInputError, match="names that begin with 'freeze' are those of freezes"):
        window_of("freeze-prod", "blackout", target="prod", weekly=None, by="ann", now=NOW, **window)

    assert 2 == again.version


@pytest.mark.parametrize(("first", "then", "ends"), [(None, 5, None), (5, None, None), (9, 5, 9), (5, 9, 9)], ids=str)
async def test_what_is_frozen_is_frozen_for_both_reasons(
    world: World, first: int | None, then: int | None, ends: int | None
) -> None:
    """A second freeze takes nothing away from the first: both reasons are said, and the later end counts."""
    await world.declare()
    at = {None: None, **{hours: NOW + timedelta(hours=hours) for hours in (5, 9)}}
    await place.fn(world.store, freeze_of("prod", "disk trouble", at[first], "ann", NOW), NOW)
    both = await place.fn(world.store, freeze_of("prod", "audit", at[then], "bob", later(60)), later(60))
    again = await place.fn(world.store, freeze_of("prod", "audit", at[then], "bob", later(61)), later(61))

    assert ("audit (and before that ann: disk trouble)", at[ends], NOW) == (
        both.reason,
        both.expires_at,
        both.created_at,
    )
    assert (both.reason, both.expires_at) == (again.reason, again.expires_at)


async def test_a_freeze_that_has_ended_is_replaced(world: World) -> None:
    """Nothing of it stays."""
    await world.declare()
    await place.fn(world.store, freeze_of("prod", "disk trouble", later(60), "ann", NOW), NOW)
    new = await place.fn(world.store, freeze_of("prod", "audit", None, "bob", later(60)), later(60))

    assert ("audit", None, later(60)) == (new.reason, new.expires_at, new.created_at)


class Freezing(MemoryStore):
    """A store in which everything is frozen right after the first intent of an action on a cluster was saved."""

    frozen = False

    async def commit(self, change: Change, *, now: datetime, fence: Fence | None = None) -> tuple[Event, ...]:
        """See `Store`."""
        events = await super().commit(change, now=now, fence=fence)
        if not self.frozen and any(isinstance(one, Action) and one.intent is not None for one in change.swaps):
            self.frozen = True
            await place.fn(self, freeze_of(EVERYTHING, "disk trouble", None, "ann", now), now)
        return events


async def test_a_freeze_between_intent_and_call_of_a_step_that_is_repeated() -> None:
    """It may have arrived: it is held with its intent and not asked again; lifted, it is asked with the same key."""
    store = Freezing()
    world, store.frozen = World(store=store), True
    ref = await world.declare()
    world.outside.answers = [Answered(unreachable="timeout"), Answered(200, '{"state": "DONE"}')]
    args = {"remote": {"url": "http://remote.test"}}
    action = await world.order(make_action(node_id=None, kind="core.replicante.io/http", args=args))
    await turned(world, ref)
    world.advance(10)
    store.frozen = False
    await turned(world, ref)
    kept, asked = await world.action(action), len(world.outside.posted)
    world.advance(600)
    await turned(world, ref)
    await lift.fn(world.store, "freeze", "ann", "", world.clock())
    await turned(world, ref)
    after = await world.action(action)

    assert (S.RUNNING, True, True) == (kept.state, kept.intent is not None, kept.held_since is not None)
    assert (1, [f"{action.action_id}:0"] * 2) == (asked, [call.idempotency_key for call in world.outside.posted])
    assert (S.DONE, True) == (after.state, after.held_s >= 600)


async def test_a_freeze_between_intent_and_call_of_a_cluster_action() -> None:
    """Nobody is asked, and the intent is taken back: once lifted it is asked as if for the first time."""
    world = World(store=Freezing())
    ref = await world.declare()
    args = {"remote": {"url": "http://remote.test"}}
    action = await world.order(make_action(node_id=None, kind="core.replicante.io/http", args=args))
    await turned(world, ref)
    kept, asked = await world.action(action), len(world.outside.posted)
    await lift.fn(world.store, "freeze", "ann", "", world.clock())
    world.outside.answers = [Answered(200, '{"state": "DONE"}')]
    await turned(world, ref)

    assert (S.RUNNING, None, 0) == (kept.state, kept.intent, asked)
    assert (S.DONE, [f"{action.action_id}:0"]) == (
        await world.action_state(action),
        [call.idempotency_key for call in world.outside.posted],
    )


async def test_windows(world: World) -> None:
    """Outside its maintenance windows nothing begins, and when the next opens is said; within one it does."""
    ref = await world.declare()
    action = await world.order(make_action())
    now = world.clock()
    weekly = Weekly(days=("thu",), at="01:00", minutes=60)
    window = window_of(
        "nights", "maintenance", "few users", "ann", now + timedelta(days=9), "prod", {}, None, weekly, "ann", now
    )
    await place.fn(world.store, window, now)
    [report] = (await cycle(await world.turn(), [ref], Mode.ORCHESTRATE)).reports
    (block,) = report.choice.blocked[action.action_id]
    world.advance(3_600)
    await turned(world, ref)

    assert ("OUTSIDE_WINDOW", now + timedelta(hours=1)) == (block.rule, block.until)
    assert S.NEW is await world.action_state(action)


async def test_placing_again_changes_it(world: World) -> None:
    """A freeze of the same target has the same name: it is one, with its new end; told each time, in the right stream."""
    await world.declare()
    first, second = await frozen(world), await frozen(world, until=world.clock() + timedelta(hours=1))

    assert (first.name, 1, 2) == (second.name, first.version, second.version)
    assert [SYSTEM_STREAM] * 2 == [event.stream for event in world.events if event.type == EventType.GATE_PLACED]
    assert [second] == await world.store.find(Gate)


@pytest.mark.parametrize(
    ("target", "error"), [("test", NotFoundError), ("prod/nobody", NotFoundError), ("Not A Name", InvalidInputError)]
)
async def test_targets_that_there_are_not(world: World, target: str, error: type[Exception]) -> None:
    """A typing mistake does not pass for a freeze."""
    await world.declare()
    with pytest.raises(error):
        await frozen(world, target)

    assert [] == await world.store.find(Gate)


async def test_lifting_what_is_not_there(world: World) -> None:
    """Said, with where to look."""
    with pytest.raises(NotFoundError, match="replictl windows"):
        await lift.fn(world.store, "freeze", "ann", "", world.clock())


@pytest.mark.parametrize("missing", ["reason", "owner"])
async def test_a_window_needs_reason_and_owner(world: World, missing: str) -> None:
    """Neither may be blank, and it must end in the future."""
    now = world.clock()
    fields = {"reason": "r", "owner": "o", missing: " "}
    with pytest.raises(InvalidInputError, match="a reason and an owner"):
        window_of("w", "blackout", fields["reason"], fields["owner"], now, "prod", {}, None, None, "ann", now)
    with pytest.raises(InvalidInputError, match="would have ended"):
        window_of("w", "blackout", "r", "o", now, "prod", {}, None, None, "ann", now)


# -- approvals -------------------------------------------------------------------------------------------------------------


async def approve(world: World, action: Action, who: str, why: str = "go", *, forced: bool = False) -> Action:
    """A person approves."""
    return await order.fn(
        world.store, action.action_id, S.PENDING_SCHEDULE, who, why, world.clock(), None, forced=forced
    )


async def test_somebody_else_must_approve(world: World) -> None:
    """Where the namespace wants it so: refused and told, then approved by another."""
    await world.save(Namespace(name="prod", version=1, settings=NamespaceSettings(approver_must_differ=True)))
    await world.declare()
    action = await world.order(make_action(state=S.PENDING_APPROVE))
    with pytest.raises(RefusedError, match="wants somebody else to approve it"):
        await approve(world, action, "ann")

    assert EventType.ACTION_REFUSED == world.types()[-1]
    assert S.PENDING_SCHEDULE is (await approve(world, action, "bob")).state


async def test_an_approval_that_never_comes(world: World) -> None:
    """The action is cancelled after its time, and told; one that may wait for ever does."""
    ref = await world.declare()
    action = await world.order(make_action(state=S.PENDING_APPROVE))
    world.advance(7 * 86_400 - 10)
    await turned(world, ref)
    waiting = await world.action_state(action)
    world.advance(60)
    await turned(world, ref)
    after = await world.action(action)

    assert (S.PENDING_APPROVE, S.CANCELLED) == (waiting, after.state)
    assert "nobody approved it within 604800 s" == after.history[-1].why


async def test_forced_with_a_reason(world: World) -> None:
    """The last healthy copy is not touched, unless an approval says so and why; a freeze holds even then."""
    ref = await world.declare(node_ids=("n1",))
    plain = await world.order(make_action(1, kind=RESTART, state=S.PENDING_APPROVE))
    with pytest.raises(RefusedError, match="needs a reason"):
        await approve(world, plain, "bob", " ", forced=True)
    await approve(world, plain, "bob")
    kept = await turned(world, ref)
    forced = await world.order(make_action(2, kind=RESTART, state=S.PENDING_APPROVE))
    await order.fn(world.store, plain.action_id, S.CANCELLED, "bob", "", world.clock())
    await approve(world, forced, "bob", "we accept the outage", forced=True)
    gate = await frozen(world)
    still = await turned(world, ref)
    await lift.fn(world.store, gate.name, "ann", "", world.clock())
    await turned(world, ref)

    assert {plain.action_id: ["LAST_COPY"]} == kept
    assert {forced.action_id: ["FREEZE"]} == still
    assert (S.NEW, "we accept the outage") == ((after := await world.action(forced)).state, after.forced)
