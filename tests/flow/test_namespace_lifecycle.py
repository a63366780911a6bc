from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.errors import (
    ConflictError,
    DependencyUnavailableError,
    InvalidInputError,
    NotFoundError,
    RecordError,
    RefusedError,
)
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.event import EventType
from blocks.models.gate import Gate
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.node import Node
from blocks.models.platform import PlatformRef
from blocks.models.report import Report
from blocks.models.rolling import RollingState
from blocks.models.source import PlatformApi, Source
from blocks.models.tls import Sensitive, Tls
from doubles.actions import make_action
from doubles.rollings import make_rolling, rolled, shown
from doubles.sources import MemorySources
from doubles.views import REF, intent
from doubles.world import SOURCE, World
from flows.cycle import Mode, cycle
from flows.delete import delete_namespace
from flows.discover import discover_source
from flows.emptying import AT_ONCE_MAX, Emptied, empty_namespaces
from flows.steps import Steps
from flows.sweep import sweep_once
from tasks.apply import apply_wanted
from tasks.decide.gating import EVERYTHING, freeze_of
from tasks.decide.manifests import Asked, parse
from tasks.decide.remove import Order, Removed
from tasks.decide.timetable import timetable
from tasks.gating import place
from tasks.hold import source_lock
from tasks.order import order, order_again
from tasks.order_rolling import order_rest, order_rolling
from tasks.remove_namespace import finish_namespace
from tasks.targets import load_targets

S = NamespaceStatus
ANN = Order(by="ann", reason="moved away")
FORCED = Order(by="ann", reason="burnt down", force=True)
GOING = (S.DELETING, S.DELETED)


async def _close(world: World, order: Order = ANN, name: str = "prod") -> Removed:
    return await delete_namespace(world.store, name, order, world.clock, Steps())


async def _turn(world: World, *, thorough: bool = True) -> Emptied:
    worker = await world.worker("sweeper")
    return await empty_namespaces(worker, world.store, world.secrets, world.clock, Steps(), thorough=thorough)


async def _status(world: World, name: str = "prod") -> NamespaceStatus | None:
    namespace = await world.store.get(Namespace, name)
    return namespace.status if namespace is not None else None


async def _left(world: World) -> int:
    """How much is stored of what was in namespaces."""
    records = [await world.store.find(type_) for type_ in (Source, ClusterSpec, Discovery, ClusterState, Node, Report)]
    return sum(len(found) for found in records) + len(world.store.work)


async def _full(world: World, clusters: int = 3) -> None:
    """A namespace with a source, clusters that were looked at, and a pending action on the first."""
    await world.declare()
    for number in range(1, clusters):
        await world.declare(f"c{number:03}", ["n1"])
    await world.save(SOURCE.evolve(version=1))
    specs = await world.store.find(ClusterSpec)
    await cycle(await world.turn(), [spec.ref for spec in specs], Mode.ORCHESTRATE)
    await world.store.ensure_work(timetable(await world.store.find(Namespace), [SOURCE], specs), world.clock())
    await world.order(make_action())


# -- what each status allows -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Allowed:
    """What a status allows."""

    looks: bool
    acts: bool
    adds: bool


ALLOWED = {
    S.ACTIVE: _Allowed(looks=True, acts=True, adds=True),
    S.OBSERVED: _Allowed(looks=True, acts=False, adds=True),
    S.INACTIVE: _Allowed(looks=False, acts=False, adds=True),
    S.DELETING: _Allowed(looks=False, acts=False, adds=False),
    S.DELETED: _Allowed(looks=False, acts=False, adds=False),
}
each_status = pytest.mark.parametrize("status", list(S))


@each_status
async def test_discover(world: World, status: NamespaceStatus) -> None:
    """Active and Observed: the source is asked. Else it is not, and its report says why."""
    await world.save(Namespace(name="prod", status=status, version=1), SOURCE)
    world.tell(orders=["n1"])
    worker = await world.worker()
    report = await discover_source(worker, world.store, world.sources, SOURCE.ref, world.clock, Steps())

    assert ALLOWED[status].looks == (await world.store.get(ClusterSpec, REF.key) is not None)
    assert (None if ALLOWED[status].looks else f"namespace prod is {status}") == report.error
    assert ALLOWED[status].looks == bool(world.sources.asked)


@each_status
async def test_observe(world: World, status: NamespaceStatus) -> None:
    """Active and Observed: every node is looked at. Else nothing is asked and the report says why."""
    await world.declare(status=status)
    result = await cycle(await world.turn(), [REF], Mode.OBSERVE)

    assert (1 if ALLOWED[status].looks else 0) == world.node().looks
    assert (() if ALLOWED[status].looks else (f"its namespace is {status}",)) == result.reports[0].notes


@each_status
@pytest.mark.parametrize("mode", [Mode.ACT, Mode.ORCHESTRATE])
async def test_act_and_orchestrate(world: World, status: NamespaceStatus, mode: Mode) -> None:
    """Active: what is approved is sent. Observed: it stays PENDING_SCHEDULE, the report says why. Else nothing is asked."""
    await world.declare(status=status)
    action = await world.order(make_action())
    result = await cycle(await world.turn(), [REF], mode)
    choice = result.reports[0].choice

    assert ALLOWED[status].acts == bool(world.node().deliveries)
    assert (ActionState.NEW if ALLOWED[status].acts else ActionState.PENDING_SCHEDULE) == await world.action_state(
        action
    )
    assert (status is S.OBSERVED) == ("NAMESPACE_OBSERVED" in choice.reasons and choice.block_nodes)
    assert ALLOWED[status].looks == bool(world.node().looks)


@each_status
async def test_watch_and_timetable(world: World, status: NamespaceStatus) -> None:
    """Active and Observed: nodes are probed and turns come. Else neither."""
    await world.declare(status=status)
    targets = await load_targets.fn(world.store, world.clock())
    items = timetable(await world.store.find(Namespace), [SOURCE], await world.store.find(ClusterSpec))

    assert (3 if ALLOWED[status].looks else 0) == len(targets)
    assert {ALLOWED[status].looks} == {item.active for item in items}


@each_status
@pytest.mark.parametrize("what", ["cluster", "action"])
async def test_apply(world: World, status: NamespaceStatus, what: str) -> None:
    """Objects and actions are added to a namespace as long as it is not going."""
    await world.declare(status=status)
    action = {"metadata": {"namespace": "prod", "cluster": "orders", "node": "n1"}, "spec": {"action": "a"}}
    documents = {
        "cluster": {"kind": "ClusterSpec", "metadata": {"namespace": "prod", "cluster": "new"}},
        "action": {"kind": "NodeAction", **action},
    }
    asked = Asked(who="ann", now=world.clock(), new_id=uuid4)
    wanted = parse([{"apiVersion": "replicante.io/v0", **documents[what]}], asked)

    async def apply() -> int:
        return len(await apply_wanted.fn(world.store, wanted, "ann", world.clock()))

    if ALLOWED[status].adds:
        assert 1 == await apply()
        return
    with pytest.raises(InvalidInputError, match=f"'prod' is {status}"):
        await apply()


@each_status
async def test_orders(world: World, status: NamespaceStatus) -> None:
    """Actions are ordered once more, and approved, as rolling ones are, as long as the namespace is not going."""
    await world.declare()
    await cycle(await world.turn(), [REF], Mode.OBSERVE)
    plan = (await shown(world)).plan
    waiting = await rolled(world, approved=False)
    partly = make_rolling(rolling_id=str(uuid4()), plan=plan, state=RollingState.CANCELLED)
    paused = make_rolling(rolling_id=str(uuid4()), plan=plan, state=RollingState.PAUSED)
    failed, pending = (make_action(n, state=a, version=1) for n, a in enumerate(("FAILED", "PENDING_APPROVE"), 1))
    await world.save(partly, paused, failed, pending, Namespace(name="prod", status=status, version=2))
    store, now, running = world.store, world.clock(), RollingState.RUNNING
    ways: list[Callable[[], Awaitable[object]]] = [
        lambda: order_again.fn(store, failed.action_id, "bob", "", now),
        lambda: order.fn(store, pending.action_id, ActionState.PENDING_SCHEDULE, "bob", "", now),
        lambda: rolled(world, rolling_id=str(uuid4()), approved=False),
        lambda: order_rolling.fn(store, waiting.rolling_id, running, "bob", "", now),
        lambda: order_rolling.fn(store, paused.rolling_id, running, "bob", "", now),
        lambda: order_rest.fn(store, partly.rolling_id, "bob", "", now),
    ]
    refused = 0
    for way in ways:
        try:
            await way()
        except RefusedError as error:
            refused += f"namespace prod is {status}" in str(error)

    assert (0 if ALLOWED[status].adds else len(ways)) == refused


# -- going -----------------------------------------------------------------------------------------------------------------


async def test_a_namespace_goes_step_by_step(world: World) -> None:
    """Deleting at once, told, its turns off; then sources, clusters, and at last it is Deleted, each with an event."""
    await _full(world)
    told = len(world.events)
    removed = await _close(world)
    first = (await _status(world), {item.active for item in world.store.work.values()}, world.types(told))
    turns = [await _turn(world) for _ in range(4)]
    types = world.types(told)

    assert (S.DELETING, {False}, [EventType.NAMESPACE_APPLIED]) == first
    assert ("deleting", True) == (removed.outcome, "3 clusters and 1 sources" in removed.notes[0])
    assert [(1, True), (3, True), (0, False), (0, False)] == [(turn.removed, turn.more) for turn in turns]
    assert (S.DELETED, 0) == (await _status(world), await _left(world))
    assert (1, 3, 1) == tuple(
        types.count(one) for one in (EventType.SOURCE_DELETED, EventType.CLUSTER_DELETED, EventType.NAMESPACE_DELETED)
    )
    assert (types[-1], {S.DELETING}) == (
        EventType.NAMESPACE_DELETED,
        {S(event.data["after"]["status"]) for event in world.events[told : told + 1]},  # type: ignore[call-overload, index]
    )
    assert {ActionState.CANCELLED} == {action.state for action in await world.store.find(Action)}


async def test_what_a_turn_does_is_bounded(world: World) -> None:
    """More than a turn's worth is removed in several, and a turn says that more is left."""
    await world.declare(status=S.DELETING)
    specs = [ClusterSpec(namespace="prod", cluster_id=f"x{number}") for number in range(AT_ONCE_MAX + 5)]
    await world.save(*specs)
    turns = [await _turn(world, thorough=False) for _ in range(3)]

    assert [(50, True), (6, True), (0, False)] == [(turn.removed, turn.more) for turn in turns]
    assert (S.DELETED, 0) == (await _status(world), await _left(world))


async def test_what_others_hold_waits_for_its_turn(world: World) -> None:
    """A source that is being asked keeps its clusters waiting; a busy cluster does not keep the others from going."""
    await _full(world)
    await _close(world)
    other = await world.worker("other")
    asking = await other.take(ClaimKind.LOCK, source_lock(SOURCE.ref), "discover")
    first = await _turn(world)
    await other.give_back([asking])
    await _turn(world)
    looking = await other.take(ClaimKind.LOCK, REF.key, "orchestrate")
    second = await _turn(world)
    third = await _turn(world)
    status = await _status(world)
    await other.give_back([looking])
    await _turn(world)
    await _turn(world)

    assert [Emptied(0, more=False), Emptied(2, more=True), Emptied(0, more=False)] == [first, second, third]
    assert (S.DELETING, S.DELETED) == (status, await _status(world))


async def test_discovery_that_was_under_way_makes_nothing_new(world: World) -> None:
    """It asked while the namespace was Active: its source is not removed before it ends, and what it found is not saved."""
    await world.save(Namespace(name="prod", version=1), SOURCE.evolve(version=1))
    world.tell(orders=["n1"])
    turns = []

    class Meanwhile(MemorySources):
        async def ask(self, source: Source) -> object:  # type: ignore[override]
            await _close(world)
            turns.append(await _turn(world))
            return await world.sources.ask(source)

    await discover_source(await world.worker(), world.store, Meanwhile(), SOURCE.ref, world.clock, Steps())
    turns += [await _turn(world) for _ in range(3)]

    assert [0, 1, 0, 0] == [turn.removed for turn in turns]
    assert (S.DELETED, 0) == (await _status(world), await _left(world))


@pytest.mark.parametrize("after", range(1, 12))
async def test_a_crash_at_any_point(world: World, after: int) -> None:
    """Whatever call of the store is the last one, the next turns go on from there: the end is the same, told once."""
    await _full(world, clusters=2)
    await _close(world)
    call, calls = world.store._call, []

    async def dies(name: str, what: Callable[[], object]) -> object:
        if name in {"commit", "drop_work", "claim"}:
            calls.append(name)
        if len(calls) > after:
            raise DependencyUnavailableError("MongoDB", "memory", "it died", "Bring it back.")
        return await call(name, what)

    world.store._call = dies  # type: ignore[method-assign]
    for _ in range(4):
        try:
            await _turn(world)
        except DependencyUnavailableError:
            break
    world.store._call = call  # type: ignore[method-assign]
    for _ in range(4):
        await _turn(world)
    await sweep_once(
        await world.worker("sweeper"), world.store, world.runs, world.secrets, world.clock, Steps(), thorough=True
    )
    types = world.types()

    assert (S.DELETED, 0) == (await _status(world), await _left(world))
    assert (1, 2, 1, 1) == tuple(
        types.count(one)
        for one in (
            EventType.SOURCE_DELETED,
            EventType.CLUSTER_DELETED,
            EventType.ACTION_FINISHED,
            EventType.NAMESPACE_DELETED,
        )
    )


async def test_the_sweep_does_it(world: World) -> None:
    """It is a part of that duty, in the cheap turns, too."""
    await _full(world)
    await _close(world)
    worker = await world.worker("sweeper")
    swept = [
        await sweep_once(worker, world.store, world.runs, world.secrets, world.clock, Steps(), thorough=False)
        for _ in range(3)
    ]

    assert [(1, True), (3, True), (0, False)] == [(one.removed, one.removing) for one in swept]
    assert await _status(world) is S.DELETED


async def test_one_that_cannot_be_read_does_not_stop_the_others(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A record that a newer version wrote holds up its own namespace, loudly."""
    await world.save(*(Namespace(name=name, status=S.DELETING, version=1) for name in ("a", "b")))
    find = world.store._find

    def broken(type_: type[object], where: object, limit: int) -> object:
        if type_ is Source and getattr(where, "namespace", None) == "a":
            message = "a source of a newer version"
            raise RecordError(message)
        return find(type_, where, limit)  # type: ignore[arg-type]

    world.store._find = broken  # type: ignore[method-assign, assignment]
    await _turn(world)

    assert (S.DELETING, S.DELETED) == (await _status(world, "a"), await _status(world, "b"))
    assert "namespace a cannot be emptied" in caplog.text


# -- refused ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"state": ActionState.RUNNING},
        {"intent": intent()},
        {"state": ActionState.CANCELLED, "left_running": True},
    ],
    ids=["running", "on its way", "cancelled and left running"],
)
async def test_an_agent_at_work_is_in_the_way(world: World, fields: dict[str, object]) -> None:
    """Refused with the action's id; by force it goes all the same."""
    await world.declare()
    action = make_action(version=1, **fields)
    await world.save(action)
    with pytest.raises(RefusedError, match=action.action_id):
        await _close(world)
    before = (await _status(world), world.events)
    await _close(world, FORCED)
    for _ in range(2):
        await _turn(world)

    assert (S.ACTIVE, []) == before
    assert (S.DELETED, ActionState.CANCELLED) == (await _status(world), await world.action_state(action))


async def test_a_rolling_action_is_in_the_way(world: World) -> None:
    """Also between its batches, when no agent has anything of it."""
    await world.declare()
    await world.save(make_rolling())
    with pytest.raises(RefusedError, match="gone through by rolling action"):
        await _close(world)

    assert await _status(world) is S.ACTIVE


async def test_what_was_left_running_in_a_cluster_that_is_gone_is_in_nobodys_way(world: World) -> None:
    """Nobody will ever hear how it ends."""
    await world.save(Namespace(name="prod", version=1))
    await world.save(make_action(version=1, state=ActionState.CANCELLED, left_running=True))

    assert "deleting" == (await _close(world)).outcome


async def test_a_namespace_that_stays_keeps_its_secrets(world: World) -> None:
    """Its last step meets another change: nothing is forgotten."""
    world.secrets.texts = {"replicore-key-0123abcd": "x"}
    tls = Tls(ca_bundle=Sensitive(secret="replicore-key-0123abcd"))
    going = Namespace(name="prod", status=S.DELETING, tls=tls, version=7)
    await world.save(going)
    with pytest.raises(ConflictError):
        await finish_namespace.fn(world.store, world.secrets, going.evolve(version=6), world.clock())

    assert {"replicore-key-0123abcd": "x"} == world.secrets.texts


async def test_platforms_that_clusters_elsewhere_name(world: World) -> None:
    """Refused unless forced; clusters inside do not count, they go along."""
    platform = PlatformApi.model_validate({"base_url": "http://metal.test/"})
    metal = Source(namespace="prod", name="metal", platform=platform, version=1)
    inside = ClusterSpec(namespace="prod", cluster_id="orders", platform=PlatformRef(name="metal"))
    elsewhere = ClusterSpec(namespace="other", cluster_id="x", platform=PlatformRef(ns_id="prod", name="metal"))
    await world.save(Namespace(name="prod", version=1), metal, inside, elsewhere)
    with pytest.raises(RefusedError, match=r"those of cluster other/x\."):
        await _close(world)
    refused = await world.store.get(Namespace, "prod")
    await _close(world, FORCED)
    for _ in range(3):
        await _turn(world)

    assert refused == Namespace(name="prod", version=1)
    assert (S.DELETED, [elsewhere]) == (await _status(world), await world.store.find(ClusterSpec))


async def test_names_that_are_none(world: World) -> None:
    """Unknown, or no name at all."""
    with pytest.raises(NotFoundError, match="there is no namespace nope"):
        await _close(world, name="nope")
    with pytest.raises(InvalidInputError, match="not the name of a namespace"):
        await _close(world, name="No Name")


# -- gone ------------------------------------------------------------------------------------------------------------------


async def test_it_never_comes_back_but_its_name_can_be_freed(world: World) -> None:
    """Deleted again while Deleting: nothing new. Once Deleted: the tombstone goes, and the name can be used."""
    await world.declare()
    await _close(world)
    told = len(world.events)
    again = await _close(world)
    silent = world.types(told)
    for _ in range(2):
        await _turn(world)
    freed = await _close(world)

    assert ("deleting", [], "name free", None) == (again.outcome, silent, freed.outcome, await _status(world))
    assert (EventType.NAMESPACE_DELETED, True, "ann") == (
        world.events[-1].type,
        world.events[-1].data["name_free"],
        world.events[-1].data["who"],
    )


async def test_what_slipped_in_at_the_last_moment_goes_too(world: World) -> None:
    """Applied just before it was closed, written just after it was gone: removed by a thorough turn, the name is kept till then."""
    late = ClusterSpec(namespace="prod", cluster_id="late", version=1)
    await world.save(Namespace(name="prod", status=S.DELETED, version=3), late)
    with pytest.raises(RefusedError, match="try again"):
        await _close(world)
    cheap = await _turn(world, thorough=False)
    thorough = await _turn(world)
    await _close(world)

    assert (0, 1, None) == (cheap.removed, thorough.removed, await _status(world))


async def test_its_secrets_go_with_it(world: World) -> None:
    """Those that only it named are forgotten with the last step."""
    world.secrets.texts = {"replicore-key-0123abcd": "x", "own": "y"}
    tls = Tls(client_cert=Sensitive(secret="own"), client_key=Sensitive(secret="replicore-key-0123abcd"))
    await world.save(Namespace(name="prod", tls=tls, version=1))
    await _close(world)
    kept = dict(world.secrets.texts)
    await _turn(world)

    assert ({"replicore-key-0123abcd": "x", "own": "y"}, {"own": "y"}) == (kept, world.secrets.texts)
    assert await _status(world) is S.DELETED


async def test_its_freezes_and_windows_go_with_it(world: World) -> None:
    """Whoever has the name next is not stopped by them; those of others stay. Each is told of."""
    await world.save(Namespace(name="prod", version=1), Namespace(name="other", version=1))
    for target in ("prod", "other", EVERYTHING):
        await place.fn(world.store, freeze_of(target, "disks", None, "ann", world.clock()), world.clock())
    await _close(world)
    await _turn(world)

    assert {"freeze", "freeze-other"} == {gate.name for gate in await world.store.find(Gate)}
    assert 1 == world.types().count(EventType.GATE_LIFTED)
