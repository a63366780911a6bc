from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TypeVar

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.coordinator.settings import ZooKeeper
from blocks.coordinator.zookeeper import ZooKeeperCoordinator
from blocks.errors import BusyError, DependencyUnavailableError, InvalidInputError, NotFoundError, RefusedError
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.event import EventType
from blocks.models.namespace import Namespace
from blocks.models.node import Node
from blocks.models.platform import PlatformRef
from blocks.models.record import Change, Record
from blocks.models.report import CycleOutcome, Report
from blocks.models.request import Priority, Request, WorkKind
from blocks.models.rolling import Rolling, RollingState
from blocks.models.source import PlatformApi, Source, SourceReport
from blocks.models.tls import Sensitive
from blocks.store.mongodb import MongoStore
from blocks.store.protocol import EventQuery, Store, Where
from blocks.store.settings import MongoDb
from doubles.actions import make_action
from doubles.agents import MemoryAgents, MemoryNode
from doubles.outside import MemoryOutside
from doubles.process import Process, settled
from doubles.rollings import make_rolling
from doubles.store import MemoryStore
from doubles.views import NODES, NOW, REF, address, discovery, found, intent, make_node, shard
from doubles.world import SOURCE, World
from flows.cycle import Mode, cycle
from flows.delete import delete_cluster, delete_source
from flows.discover import discover_source
from flows.steps import Steps, Turn
from infra.stack.testing import TestStack, running
from tasks.decide.remove import CHUNK_MAX, Order, Removed, Thing
from tasks.hold import source_lock

R = TypeVar("R", bound=Record)

S = ActionState
ANN = Order(by="ann", reason="retired")
FORCED = Order(by="ann", reason="burnt down", force=True)
OF_CLUSTER = (ClusterSpec, Discovery, ClusterState, Node, Report)
PLATFORM = Source(
    namespace="prod", name="metal", platform=PlatformApi.model_validate({"base_url": "http://metal.test/"}), version=1
)


async def _delete(world: World, order: Order = ANN, *, wait_s: float = 0.0) -> Removed:
    coordinator = await world.worker("deleter")
    return await delete_cluster(coordinator, world.store, REF, order, world.clock, Steps(), wait_s=wait_s)


async def _delete_source(
    world: World, order: Order = ANN, kind: Thing | None = None, name: str = "inventory"
) -> Removed:
    coordinator = await world.worker("deleter")
    ref = SOURCE.ref.evolve(name=name)
    return await delete_source(coordinator, world.store, world.secrets, ref, order, world.clock, Steps(), kind=kind)


async def _discover(world: World) -> None:
    worker = await world.worker()
    await discover_source(worker, world.store, world.sources, SOURCE.ref, world.clock, Steps())


async def _left(store: Store) -> list[str]:
    """What is stored of clusters, and who works on them."""
    records = [type_.__name__ for type_ in OF_CLUSTER if await store.find(type_)]
    return records + [item.key for item in await store.list_work() if item.kind == WorkKind.ORCHESTRATE]


async def _observed(world: World) -> None:
    """A cluster that was looked at, with a place on the timetable."""
    await world.declare()
    await cycle(await world.turn(), [REF], Mode.ORCHESTRATE)
    await world.store.ensure_work([Request(kind=WorkKind.ORCHESTRATE, subject=REF.key, interval=60)], world.clock())


# -- clusters --------------------------------------------------------------------------------------------------------------


async def test_a_deleted_cluster_leaves_its_history(world: World) -> None:
    """Records and work are gone, unfinished actions cancelled, each with an event; finished actions and events stay."""
    await _observed(world)
    pending = await world.order(make_action(1))
    await world.save(make_action(2, state=S.DONE, version=1))
    told = len(world.events)
    removed = await _delete(world)
    event, last = world.events[-1], (await world.action(pending)).history[-1]

    assert [] == await _left(world.store)
    assert (3, 1, ()) == (removed.nodes, removed.actions_cancelled, removed.notes)
    assert [EventType.ACTION_FINISHED, EventType.CLUSTER_DELETED] == world.types(told)
    assert ("ann", "retired", 3, 1, "prod/inventory", None) == tuple(
        event.data[name] for name in ("who", "why", "nodes", "actions_cancelled", "source", "still_told_by")
    )
    assert {S.CANCELLED, S.DONE} == {action.state for action in await world.store.find(Action)}
    assert ("ann", "its cluster is deleted: retired") == (last.who, last.why)
    assert told > 0
    assert REF.key == event.stream


@pytest.mark.parametrize(
    "record",
    [
        ClusterSpec(namespace="prod", cluster_id="orders", version=1),
        discovery(),
        discovery(missing_since=NOW),
        make_node("n1"),
    ],
    ids=["spec only", "discovery only", "missing", "a node that was left behind"],
)
async def test_whatever_is_there_of_a_cluster_can_be_deleted(
    world: World, record: ClusterSpec | Discovery | Node
) -> None:
    """Declared or discovered alone, missing, or only a rest of it, even without its namespace."""
    await world.save(record)
    await _delete(world)

    assert ([], [EventType.CLUSTER_DELETED]) == (await _left(world.store), world.types())


@pytest.mark.parametrize(
    ("action", "forced_state"),
    [
        (make_action(state=S.RUNNING, version=1), S.CANCELLED),
        (make_action(state=S.NEW, version=1), S.CANCELLED),
        (make_action(intent=intent(), version=1), S.CANCELLED),
        (make_action(node_id=None, state=S.RUNNING, version=1), S.CANCELLED),
        (make_action(state=S.CANCELLED, left_running=True, version=1), S.CANCELLED),
    ],
    ids=["running", "new", "may be on its way", "running on the cluster", "cancelled and left running"],
)
async def test_an_agent_at_work_is_in_the_way(world: World, action: Action, forced_state: ActionState) -> None:
    """Refused with the action's id, nothing changed, the lock given back; by force with a reason it is cancelled."""
    await world.declare()
    await world.save(action)
    with pytest.raises(RefusedError, match=action.action_id):
        await _delete(world)
    untouched = (world.events, await world.action_state(action), await _left(world.store))
    await _delete(world, FORCED)

    assert ([], action.state, ["ClusterSpec", "Discovery"]) == untouched
    assert (forced_state, []) == (await world.action_state(action), await _left(world.store))
    assert [] == await (await world.worker()).holders(ClaimKind.LOCK)


async def test_a_rolling_action_is_in_the_way(world: World) -> None:
    """Also between its batches; one that a person has paused is cancelled with the cluster."""
    await world.declare()
    await world.save(make_rolling())
    with pytest.raises(RefusedError, match="gone through by rolling action"):
        await _delete(world)
    left = await _left(world.store)
    await world.save(make_rolling(state=RollingState.PAUSED))
    await _delete(world)
    (rolling,) = await world.store.find(Rolling)

    assert (["ClusterSpec", "Discovery"], [], RollingState.CANCELLED) == (left, await _left(world.store), rolling.state)


async def test_what_was_left_running_is_no_rest_of_a_cluster(world: World) -> None:
    """Deleted by force, the cluster is gone, whatever its agents still do."""
    await world.declare()
    await world.save(make_action(state=S.CANCELLED, left_running=True, version=1))
    await _delete(world, FORCED)
    with pytest.raises(NotFoundError, match="there is no cluster prod/orders"):
        await _delete(world)

    assert [True] == [action.left_running for action in await world.store.find(Action)]


def test_force_needs_a_reason() -> None:
    """Who forces something says why."""
    with pytest.raises(InvalidInputError, match="say why"):
        Order(by="ann", reason=" ", force=True)


async def test_what_its_source_still_tells_of_comes_back(world: World) -> None:
    """It is deleted all the same; the answer and the event say who will bring it back, and the next turn does."""
    await world.save(Namespace(name="prod", version=1), SOURCE)
    world.tell(orders=["n1"])
    await _discover(world)
    removed = await _delete(world)
    gone = await _left(world.store)
    event = world.events[-1]
    await _discover(world)

    assert ([], ["ClusterSpec", "Discovery", f"orchestrate:{REF.key}"]) == (gone, await _left(world.store))
    assert "prod/inventory" == event.data["still_told_by"]
    assert "source prod/inventory still tells of prod/orders: it comes back" in removed.notes[0]
    assert "active: false" in removed.notes[0]


async def test_who_has_it_is_said(world: World) -> None:
    """Its lock does not become free in time: the holder and its purpose."""
    await world.declare()
    await (await world.worker("worker-7")).take(ClaimKind.LOCK, REF.key, "orchestrate")
    with pytest.raises(BusyError, match=r"lock of prod/orders is held by worker-7 .*to orchestrate"):
        await _delete(world)

    assert ["ClusterSpec", "Discovery"] == await _left(world.store)


async def test_unknown_and_done_twice(world: World) -> None:
    """There is no such cluster; a work item that a crash left is enough to finish the work."""
    await world.store.ask(WorkKind.ORCHESTRATE, REF.key, Priority.ROUTINE, world.clock())
    removed = await _delete(world)
    with pytest.raises(NotFoundError, match="there is no cluster prod/orders"):
        await _delete(world)

    assert (("only its place on the timetable was left",), []) == (removed.notes, world.events)


async def test_a_crash_in_the_middle_of_a_huge_cluster_is_completed(world: World) -> None:
    """The first transaction is made, the second is not: it is still a cluster, and the same order removes the rest."""
    await world.declare()
    nodes = CHUNK_MAX + 10
    await world.save(*(make_node(f"m{number:04}") for number in range(nodes)))
    commit = world.store._commit
    calls = []

    def dies(*args: object) -> object:
        calls.append(args)
        if len(calls) == 2:
            raise DependencyUnavailableError("MongoDB", "memory", "it died", "Bring it back.")
        return commit(*args)  # type: ignore[arg-type]

    world.store._commit = dies  # type: ignore[method-assign, assignment]
    with pytest.raises(DependencyUnavailableError):
        await _delete(world)
    between = (await _left(world.store), len(await world.store.find(Node)), world.events)
    removed = await _delete(world)

    assert (["ClusterSpec", "Discovery", "Node"], 10, []) == between
    assert ([], 13) == (await _left(world.store), removed.nodes)
    assert [EventType.CLUSTER_DELETED] == world.types()


async def test_a_lost_answer_is_no_trouble(world: World) -> None:
    """The last transaction was made and its answer lost: the same order finds the rest, and tells nothing twice."""
    await _observed(world)
    told = len(world.events)
    world.store.lost_answers = {"commit"}
    with pytest.raises(DependencyUnavailableError):
        await _delete(world)
    await _delete(world)

    assert ([], [EventType.CLUSTER_DELETED]) == (await _left(world.store), world.types(told))


async def test_a_person_who_is_quicker_is_read_first(world: World) -> None:
    """An action that is approved in the very moment is cancelled as it now is; a spec that is applied is deleted as it now is."""
    ref = await world.declare()
    action = await world.order(make_action(state=S.PENDING_APPROVE))
    commit = world.store._commit
    raced = []

    def race(change: Change, *args: object) -> object:
        if not raced:
            raced.append(change)
            world.store.records[Action][action.key] = action.evolve(state=S.PENDING_SCHEDULE, version=2)
            world.store.records[ClusterSpec][ref.key] = ClusterSpec(namespace="prod", cluster_id="orders", version=2)
        return commit(change, *args)  # type: ignore[arg-type]

    world.store._commit = race  # type: ignore[method-assign, assignment]
    await _delete(world)
    last = (await world.action(action)).history[-1]

    assert (S.PENDING_SCHEDULE, S.CANCELLED) == (last.before, last.after)
    assert [] == await _left(world.store)


async def test_an_action_that_comes_too_late_is_cancelled(world: World) -> None:
    """Ordered while its cluster was being removed: nobody would look after it."""
    await world.declare()
    late = make_action(9, version=1)
    commit = world.store._commit

    def race(change: Change, *args: object) -> object:
        events = commit(change, *args)  # type: ignore[arg-type]
        if change.deletes:
            world.store.records.setdefault(Action, {}).setdefault(late.key, late)
        return events

    world.store._commit = race  # type: ignore[method-assign, assignment]
    removed = await _delete(world)

    assert (S.CANCELLED, 1) == (await world.action_state(late), removed.actions_cancelled)


async def test_a_cycle_that_was_overtaken_brings_nothing_back(world: World) -> None:
    """It looked before, slept through the deletion, and wakes with an old fence: no record, no report, no event of it."""
    await world.declare()
    old = Process("worker-1", world, await world.worker(), [])
    old.begin()
    await settled([old])
    while "commit" not in {gate.name for gate in old.gates}:
        old.step()
        await settled([old])
    world.zookeeper.remove(ClaimKind.LOCK, REF.key)
    await _delete(world)
    told = len(world.events)
    old.run_freely()
    assert old.task is not None
    (report,) = (await old.task).reports

    assert (CycleOutcome.FAILED, True) == (report.outcome, "newer holder" in str(report.error))
    assert ([], told) == (await _left(world.store), len(world.events))


async def test_a_cycle_and_a_quiet_one_after_it_write_nothing(world: World) -> None:
    """A cycle that comes after the deletion is skipped, and what it would have seen is not stored."""
    await _observed(world)
    await _delete(world)
    told = len(world.events)
    result = await cycle(await world.turn(), [REF], Mode.ORCHESTRATE)

    assert [("it is not known any more",)] == [report.notes for report in result.reports]
    assert ([], told) == (await _left(world.store), len(world.events))


# -- sources ---------------------------------------------------------------------------------------------------------------


def _with_secrets(source: Source, *names: str) -> Source:
    assert source.http is not None
    headers = {f"h{number}": Sensitive(secret=name) for number, name in enumerate(names)}
    return source.evolve(http=source.http.evolve(headers=headers))


async def test_every_cluster_of_a_deleted_source_is_marked(world: World) -> None:
    """However many there are: those behind the longest list that is read at once, too."""

    class Short(MemoryStore):
        async def find(self, type_: type[R], where: Where | None = None, *, limit: int = 10_000) -> list[R]:
            return await super().find(type_, where, limit=min(limit, 10))

    world = World(store=Short())
    many = [discovery(["n1"], cluster_id=f"c{number:03}", source=SOURCE.key) for number in range(250)]
    await world.save(Namespace(name="prod", version=1), SOURCE, *many)
    removed = await _delete_source(world)

    records = [record async for page, _ in world.store.pages(Discovery) for record in page]
    assert 250 == removed.clusters_missing == sum(record.missing_since is not None for record in records)


async def test_a_deleted_source_leaves_its_clusters_missing(world: World) -> None:
    """Record, report and work are gone, its clusters stay and are marked missing, each with an event."""
    await world.save(Namespace(name="prod", version=1), SOURCE.evolve(version=1))
    world.tell(orders=["n1"], payments=["p1"])
    await _discover(world)
    await world.store.ensure_work([Request(kind=WorkKind.DISCOVER, subject=SOURCE.key, interval=60)], world.clock())
    told = len(world.events)
    removed = await _delete_source(world)

    assert (2, Thing.SOURCE) == (removed.clusters_missing, removed.kind)
    assert [EventType.CLUSTER_MISSING, EventType.CLUSTER_MISSING, EventType.SOURCE_DELETED] == world.types(told)
    assert ("prod", "prod/inventory") == (world.events[-1].stream, world.events[-1].subject)
    assert ([], []) == (await world.store.find(Source), await world.store.find(SourceReport))
    assert {world.clock()} == {record.missing_since for record in await world.store.find(Discovery)}
    assert {WorkKind.ORCHESTRATE} == {item.kind for item in await world.store.list_work()}
    with pytest.raises(NotFoundError, match="there is no source or platform"):
        await _delete_source(world)


async def test_secrets_that_only_it_named_are_forgotten(world: World) -> None:
    """Those made for it go; those of others, and those that a person made, stay."""
    world.secrets.texts = dict.fromkeys(
        ("replicore-a-0123abcd", "replicore-shared-0123abcd", "mine", "replicore-other-0123abcd"), "x"
    )
    shared = _with_secrets(SOURCE.evolve(name="second"), "replicore-shared-0123abcd")
    await world.save(_with_secrets(SOURCE, "replicore-a-0123abcd", "replicore-shared-0123abcd", "mine"), shared)
    removed = await _delete_source(world)

    assert {"replicore-shared-0123abcd", "mine", "replicore-other-0123abcd"} == world.secrets.texts.keys()
    assert (("replicore-a-0123abcd",), ["replicore-a-0123abcd"]) == (
        removed.secrets_forgotten,
        world.events[-1].data["secrets_forgotten"],
    )


async def test_a_source_that_stays_keeps_its_secrets(world: World) -> None:
    """The store dies in the middle of it: the source is still asked with what it names."""
    world.secrets.texts = {"replicore-a-0123abcd": "x"}
    await world.save(_with_secrets(SOURCE, "replicore-a-0123abcd"))
    commit = world.store._commit

    def dies(*_: object) -> object:
        raise DependencyUnavailableError("MongoDB", "memory", "it died", "Bring it back.")

    world.store._commit = dies  # type: ignore[method-assign, assignment]
    with pytest.raises(DependencyUnavailableError, match="MongoDB"):
        await _delete_source(world)
    kept = (len(await world.store.find(Source)), dict(world.secrets.texts))
    world.store._commit = commit  # type: ignore[method-assign]
    await _delete_source(world)

    assert (1, {"replicore-a-0123abcd": "x"}) == kept
    assert ([], {}) == (await world.store.find(Source), world.secrets.texts)


async def test_secrets_that_cannot_be_forgotten_any_more_are_said(world: World) -> None:
    """Prefect goes away just after the source went: the answer says so, and the event has their names."""
    world.secrets.texts = {"replicore-a-0123abcd": "x"}
    await world.save(_with_secrets(SOURCE, "replicore-a-0123abcd"))
    commit = world.store._commit

    def last(*given: object) -> object:
        world.secrets.away = True
        return commit(*given)  # type: ignore[arg-type]

    world.store._commit = last  # type: ignore[method-assign, assignment]
    removed = await _delete_source(world)

    assert ([], ()) == (await world.store.find(Source), removed.secrets_forgotten)
    assert ("secrets that only it named may still be kept: its event names them",) == removed.notes
    assert ["replicore-a-0123abcd"] == world.events[-1].data["secrets_forgotten"]


async def test_nothing_is_lost_while_secrets_cannot_be_forgotten(world: World) -> None:
    """Prefect is away: the source stays, and the same order completes it later."""
    world.secrets.texts, world.secrets.away = {"replicore-a-0123abcd": "x"}, True
    await world.save(_with_secrets(SOURCE, "replicore-a-0123abcd"))
    with pytest.raises(DependencyUnavailableError, match="Prefect"):
        await _delete_source(world)
    kept = await world.store.find(Source)
    world.secrets.away = False
    await _delete_source(world)

    assert (1, [], {}) == (len(kept), await world.store.find(Source), world.secrets.texts)


async def test_a_platform_that_clusters_name(world: World) -> None:
    """Refused, naming them, unless forced."""
    spec = ClusterSpec(namespace="other", cluster_id="orders", platform=PlatformRef(ns_id="prod", name="metal"))
    await world.save(PLATFORM, spec)
    with pytest.raises(RefusedError, match="other/orders"):
        await _delete_source(world, kind=Thing.PLATFORM, name="metal")
    removed = await _delete_source(world, FORCED, kind=Thing.PLATFORM, name="metal")

    assert (Thing.PLATFORM, []) == (removed.kind, await world.store.find(Source))
    assert "Platform" == world.events[-1].data["kind"]


async def test_a_platform_is_no_source_and_the_other_way_round(world: World) -> None:
    """They share their names: what a person takes for the other is not deleted."""
    await world.save(PLATFORM, SOURCE)
    with pytest.raises(
        RefusedError, match="prod/metal is a platform, not a source: `replictl delete platform prod/metal`"
    ):
        await _delete_source(world, kind=Thing.SOURCE, name="metal")
    with pytest.raises(RefusedError, match="is a source, not a platform"):
        await _delete_source(world, kind=Thing.PLATFORM)

    assert (2, []) == (len(await world.store.find(Source)), world.events)


async def test_a_source_that_is_being_asked(world: World) -> None:
    """Who asks it is said; nothing is changed."""
    await world.save(SOURCE)
    await (await world.worker("worker-7")).take(ClaimKind.LOCK, source_lock(SOURCE.ref), "discover")
    with pytest.raises(BusyError, match="source prod/inventory is held by worker-7"):
        await _delete_source(world)

    assert 1 == len(await world.store.find(Source))


@pytest.mark.parametrize(
    ("word", "thing"),
    [("ClusterSpec", "cluster"), ("clusters", "cluster"), ("DiscoverySettings", "source"), ("Platforms", "platform")],
)
def test_kinds_in_any_spelling(word: str, thing: str) -> None:
    """The flow's parameter takes what manifests and people say."""
    assert thing == Thing(word)


@pytest.mark.parametrize("word", ["NodeAction", "banana"])
def test_other_things_cannot_be_deleted(word: str) -> None:
    """An action is cancelled, not deleted."""
    with pytest.raises(ValueError, match="is not a valid Thing"):
        Thing(word)


# -- on real servers -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    """A ZooKeeper and a MongoDB."""
    with running(["zookeeper", "mongodb"], tmp_path_factory.mktemp("servers")) as stack:
        yield stack


class _Slow(MemoryAgents):
    """Agents that answer when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def look(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
        self.asked.set()
        await self.may_answer.wait()
        return await super().look(*args, **kwargs)  # type: ignore[arg-type]


def _slow_agents() -> _Slow:
    agents = _Slow()
    for node_id in NODES:
        agents.add(MemoryNode(node_id=node_id, shards=(shard(),)), address(node_id))
    return agents


@pytest.mark.real
@pytest.mark.parametrize("overtaken", [False, True], ids=["waits for the cycle", "overtakes the cycle"])
async def test_against_a_running_cycle(servers: TestStack, overtaken: bool) -> None:
    """Deletion waits for the lock that a cycle has; where that lock was taken away, the cycle's late writes are fenced out."""
    settings = ZooKeeper(hosts=servers.zookeeper_hosts, root=f"/delete-{overtaken}")
    database = MongoDb.model_validate({"uri": servers.mongodb_uri, "database": f"delete-{overtaken}"})
    agents = _slow_agents()

    async with (
        ZooKeeperCoordinator(settings) as worker,
        ZooKeeperCoordinator(settings) as deleter,
        MongoStore(database) as store,
    ):
        await store.prepare()
        spec = ClusterSpec(namespace="prod", cluster_id="orders", version=1)
        told = discovery(nodes=tuple(found(node_id) for node_id in NODES))
        await store.commit(Change(puts=(Namespace(name="prod", version=1), spec, told)), now=NOW)
        await store.ensure_work([Request(kind=WorkKind.ORCHESTRATE, subject=REF.key, interval=60)], NOW)
        turn = Turn(worker, store, agents, lambda: NOW, Steps(), MemoryOutside())
        running_cycle = asyncio.create_task(cycle(turn, [REF], Mode.ORCHESTRATE))
        async with asyncio.timeout(10):
            await agents.asked.wait()
            with pytest.raises(BusyError, match=r"held by .* \(to orchestrate\)"):
                await delete_cluster(deleter, store, REF, ANN, lambda: NOW, Steps())
            if overtaken:
                await deleter.force_release(ClaimKind.LOCK, REF.key)
                await delete_cluster(deleter, store, REF, ANN, lambda: NOW, Steps())
                agents.may_answer.set()
                (report,) = (await running_cycle).reports
            else:
                deletion = asyncio.create_task(
                    delete_cluster(deleter, store, REF, ANN, lambda: NOW, Steps(), wait_s=10.0)
                )
                agents.may_answer.set()
                (report,) = (await running_cycle).reports
                await deletion
        types = [event.type for event in await store.events(EventQuery(stream=REF.key))]

        assert (CycleOutcome.FAILED if overtaken else CycleOutcome.SUCCESS) == report.outcome
        assert [] == await _left(store)
        assert EventType.CLUSTER_DELETED == types[-1]
        assert (0 if overtaken else 3) == types.count(EventType.NODE_ADDED)
        assert [] == await store.find(Action, Where(namespace="prod"))
