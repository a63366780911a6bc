"""What every coordinator promises: run against the one in memory and against ZooKeeper."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest
from kazoo.client import KazooClient

from blocks.coordinator.protocol import Claim, ClaimKind, Coordinator
from blocks.coordinator.session import boot_s
from blocks.coordinator.settings import ZooKeeper
from blocks.coordinator.zookeeper import ZooKeeperCoordinator
from blocks.errors import BusyError, DependencyUnavailableError
from doubles.coordinator import MemoryCoordinator, MemoryZooKeeper
from doubles.eventually import until

LOCK, SEAT, DUTY, WORKER = ClaimKind.LOCK, ClaimKind.SEAT, ClaimKind.DUTY, ClaimKind.WORKER
SESSION_S = 4.0
_roots = itertools.count(1)


class Bench(Protocol):
    """A fleet of processes on one server."""

    async def process(self, worker: str, flow_run: str | None = None) -> Coordinator:
        """A connected coordinator, closed after the test."""

    async def close(self, coordinator: Coordinator) -> None:
        """End a process in good order."""

    async def expire(self, coordinator: Coordinator) -> None:
        """Let the server end its session; return when it has a new one."""

    def leap(self, seconds: float) -> None:
        """Let time pass by the clocks of all processes, without a heartbeat."""


class MemoryBench:
    """Processes in memory."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._zookeeper = MemoryZooKeeper(session_timeout_s=SESSION_S, started=datetime.now(UTC))  # noqa: TID251
        self._processes: list[MemoryCoordinator] = []

    async def process(self, worker: str, flow_run: str | None = None) -> Coordinator:
        """See `Bench`."""
        made = MemoryCoordinator(self._zookeeper, worker=worker, flow_run=flow_run)
        self._processes.append(made)
        return await self._stack.enter_async_context(made)

    async def close(self, coordinator: Coordinator) -> None:
        """See `Bench`."""
        assert isinstance(coordinator, MemoryCoordinator)
        await coordinator.close()

    async def expire(self, coordinator: Coordinator) -> None:
        """See `Bench`."""
        assert isinstance(coordinator, MemoryCoordinator)
        self._zookeeper.expire(coordinator)

    def leap(self, seconds: float) -> None:
        """See `Bench`."""
        self._zookeeper.now_s += seconds


class RealBench:
    """Connections to a real server, each with a session of its own."""

    def __init__(self, stack: AsyncExitStack, hosts: str) -> None:
        self._stack = stack
        self._settings = ZooKeeper(hosts=hosts, root=f"/contract-{next(_roots)}", session_timeout_s=SESSION_S)
        self._leapt_s = 0.0

    async def process(self, worker: str, flow_run: str | None = None) -> Coordinator:
        """See `Bench`."""
        made = ZooKeeperCoordinator(
            self._settings, worker=worker, flow_run=flow_run, clock=lambda: boot_s() + self._leapt_s
        )
        return await self._stack.enter_async_context(made)

    async def close(self, coordinator: Coordinator) -> None:
        """See `Bench`."""
        assert isinstance(coordinator, ZooKeeperCoordinator)
        await coordinator.close()

    async def expire(self, coordinator: Coordinator) -> None:
        """See `Bench`."""
        assert isinstance(coordinator, ZooKeeperCoordinator)
        victim = coordinator._session._client.client_id
        assert victim is not None

        def steal_and_end() -> None:
            thief = KazooClient(hosts=self._settings.hosts, client_id=victim)
            thief.start()
            thief.stop()
            thief.close()

        await asyncio.to_thread(steal_and_end)
        await until(lambda: coordinator._session.id not in {None, victim[0]})

    def leap(self, seconds: float) -> None:
        """See `Bench`."""
        self._leapt_s += seconds


@pytest.fixture(params=["memory", pytest.param("zookeeper", marks=pytest.mark.real)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """Processes on a server that holds nothing yet."""
    async with AsyncExitStack() as stack:
        yield (
            MemoryBench(stack) if request.param == "memory" else RealBench(stack, request.getfixturevalue("zookeeper"))
        )


@pytest.fixture
async def one(bench: Bench) -> Coordinator:
    """A process."""
    return await bench.process("one", "run-1")


@pytest.fixture
async def two(bench: Bench) -> Coordinator:
    """Another one."""
    return await bench.process("two")


async def names(coordinator: Coordinator, kind: ClaimKind) -> list[str]:
    """The names of everything that is held."""
    return [holder.name for holder in await coordinator.holders(kind)]


# --- take and give back ------------------------------------------------------------------------------


async def test_everybody_sees_who_holds_what_and_why(one: Coordinator, two: Coordinator) -> None:
    """The holder of a claim is shown with owner, purpose, flow run, token and since when."""
    claim = await one.take(LOCK, "prod/orders", "orchestrate")

    [holder] = await two.holders(LOCK)

    assert ("one", "orchestrate", "run-1", claim.token) == (holder.owner, holder.purpose, holder.flow_run, holder.token)
    assert abs(datetime.now(UTC) - holder.since) < timedelta(minutes=1)  # noqa: TID251
    assert ("one", LOCK, "prod/orders") == (one.worker, claim.kind, claim.name)


async def test_what_is_held_is_busy_for_others_and_for_the_holder_itself(one: Coordinator, two: Coordinator) -> None:
    """A second taking is refused in one sentence that names the holder and the purpose."""
    await one.take(DUTY, "enqueue", "a shift")

    for process in (one, two):
        with pytest.raises(BusyError, match=r"the duty of enqueue is held by one.* for a shift since 20"):
            await process.take(DUTY, "enqueue", "another shift")


async def test_what_is_given_back_is_free(one: Coordinator, two: Coordinator) -> None:
    """After giving back, anybody may take it, and nothing is listed before."""
    claim = await one.take(LOCK, "prod/orders", "")
    await one.give_back([claim])
    listed = await two.holders(LOCK)
    taken = await two.take(LOCK, "prod/orders", "")

    assert [] == listed
    assert taken.token > claim.token


async def test_tokens_grow_with_every_taking_of_anything(one: Coordinator, two: Coordinator) -> None:
    """Tokens are ordered over all kinds, names and processes, also when something was given back between."""
    tokens = []
    for process, kind, name in [
        (one, LOCK, "a"),
        (two, SEAT, "1"),
        (one, LOCK, "b"),
        (two, LOCK, "a"),
        (one, WORKER, "one"),
    ]:
        claim = await process.take(kind, name, "")
        tokens.append(claim.token)
        if name == "a":
            await process.give_back([claim])

    assert sorted(set(tokens)) == tokens


async def test_kinds_do_not_meet(one: Coordinator, two: Coordinator) -> None:
    """The same name may be held once per kind."""
    for kind in ClaimKind:
        await one.take(kind, "x", "")

    assert [["x"]] * len(ClaimKind) == [await names(two, kind) for kind in ClaimKind]


async def test_any_name_is_kept_as_it_is(one: Coordinator, two: Coordinator) -> None:
    """Slashes, dots, blanks, percent signs and any script are part of a name; no two of them are the same claim."""
    odd = [
        ".",
        "..",
        "prod/orders",
        "prod%2Forders",
        "%2E",
        "a b",
        "größe",
        "日本語",
        "a\nb",
        "~-_",
        "x" * 256,
        "語" * 256,
    ]
    for name in odd:
        await one.take(LOCK, name, "")

    assert sorted(odd) == await names(two, LOCK)


async def test_a_claim_needs_a_name(one: Coordinator) -> None:
    """An empty name is a mistake of the caller."""
    with pytest.raises(ValueError, match="needs a name"):
        await one.take(LOCK, "", "")


async def test_the_fence_is_generation_and_token(one: Coordinator) -> None:
    """Agents are told the fence as GENERATION:TOKEN; a new fleet is in its first generation."""
    claim = await one.take(LOCK, "prod/orders", "")

    assert f"1:{claim.token}" == claim.fence


async def test_taking_waits_for_the_holder(one: Coordinator, two: Coordinator) -> None:
    """With `wait_s`, a taking ends as soon as the claim is free."""
    first = await one.take(LOCK, "prod/orders", "")
    waiting = asyncio.create_task(two.take(LOCK, "prod/orders", "", wait_s=30))
    await one.give_back([await one.take(LOCK, "something else", "")])
    was_waiting = not waiting.done()
    await one.give_back([first])
    async with asyncio.timeout(3):
        second = await waiting

    assert was_waiting
    assert second.token > first.token


async def test_taking_waits_no_longer_than_told(one: Coordinator, two: Coordinator) -> None:
    """When the wait is over, the holder is named."""
    await one.take(LOCK, "prod/orders", "orchestrate")

    with pytest.raises(BusyError, match="held by one"):
        await two.take(LOCK, "prod/orders", "", wait_s=0.05)


async def test_waiters_hold_one_after_the_other(one: Coordinator, two: Coordinator) -> None:
    """Of many that wait for one lock, each gets it, never two at a time."""
    inside: list[int] = []
    most = 0

    async def turn(process: Coordinator, number: int) -> int:
        nonlocal most
        claim = await process.take(LOCK, "prod/orders", "", wait_s=30)
        inside.append(number)
        most = max(most, len(inside))
        await asyncio.sleep(0)
        inside.remove(number)
        await process.give_back([claim])
        return claim.token

    tokens = await asyncio.gather(*(turn(process, at) for at, process in enumerate([one, two] * 5)))

    assert 1 == most
    assert 10 == len(set(tokens))


async def test_many_are_taken_except_those_that_others_hold(one: Coordinator, two: Coordinator) -> None:
    """`take_many` takes what is free, over several requests; what is held, by whomever, is left out without an error."""
    everything = [f"prod/{at:03}" for at in range(250)]
    theirs = await two.take_many(LOCK, everything[::50], "")
    before = await one.take(LOCK, everything[7], "")
    mine = await one.take_many(LOCK, [*everything, *everything], "orchestrate")

    assert everything[::50] == list(theirs)
    assert set(everything) - set(theirs) - {before.name} == set(mine)
    assert all(one.remaining_s(claim) > 0 and claim.token > before.token for claim in mine.values())
    assert everything == await names(two, LOCK)


async def test_many_are_given_back(one: Coordinator, two: Coordinator) -> None:
    """`give_back` frees all of a batch; those of others that lie between stay."""
    await two.take(LOCK, "prod/100", "")
    claims = await one.take_many(LOCK, [f"prod/{at:03}" for at in range(250)], "")
    await one.give_back(claims.values())

    assert ["prod/100"] == await names(one, LOCK)
    assert {0.0} == {one.remaining_s(claim) for claim in claims.values()}


async def test_nothing_may_be_taken_and_given_back(one: Coordinator) -> None:
    """Empty batches are fine."""
    await one.give_back([])

    assert {} == await one.take_many(LOCK, [], "")


async def test_giving_back_twice_harms_nobody(one: Coordinator, two: Coordinator) -> None:
    """The second time it is somebody else's, and stays so."""
    claim = await one.take(LOCK, "prod/orders", "")
    await one.give_back([claim])
    theirs = await two.take(LOCK, "prod/orders", "")
    await one.give_back([claim])

    assert await two.confirm(theirs)


async def test_a_cancelled_taking_leaves_nothing_behind(one: Coordinator, two: Coordinator) -> None:
    """At whatever moment a taking is cancelled, it holds nothing afterwards."""
    wanted = ["prod/orders", "prod/users"]
    for steps in range(12):
        taking = asyncio.create_task(one.take_many(LOCK, wanted, ""))
        for _ in range(steps):
            await asyncio.sleep(0)
        taking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await one.give_back((await taking).values())
        await one.ready()  # what was sent has arrived
        freed = [await two.wait_gone(LOCK, name, 5) for name in wanted]

        assert [True, True] == freed


# --- how long it is ours ------------------------------------------------------------------------------


async def test_a_fresh_claim_is_ours_for_most_of_a_session_timeout(one: Coordinator, two: Coordinator) -> None:
    """It is proven for two thirds of the session timeout, to its holder only."""
    claim = await one.take(LOCK, "prod/orders", "")

    assert SESSION_S / 2 < one.remaining_s(claim) <= SESSION_S * 2 / 3
    assert 0.0 == two.remaining_s(claim)
    assert await one.confirm(claim)
    assert not await two.confirm(claim)


async def test_a_claim_given_back_is_not_ours(one: Coordinator) -> None:
    """Giving back ends the proof, also of an older claim of the same name."""
    old = await one.take(LOCK, "prod/orders", "")
    await one.give_back([old])
    new = await one.take(LOCK, "prod/orders", "")

    assert 0.0 == one.remaining_s(old)
    assert 0.0 < one.remaining_s(new)
    assert [False, True] == [await one.confirm(old), await one.confirm(new)]


async def test_the_proof_wears_off_without_an_answer(bench: Bench, one: Coordinator) -> None:
    """After a pause of the process nothing is proven, although it looks connected, until the server has answered again."""
    claim = await one.take(LOCK, "prod/orders", "")
    bench.leap(SESSION_S)
    paused = (one.connected, one.remaining_s(claim))
    await one.ready()

    assert (True, 0.0) == paused
    assert 0.0 < one.remaining_s(claim)


async def test_an_expired_session_loses_everything(bench: Bench, one: Coordinator, two: Coordinator) -> None:
    """Others can take it at once; its holder sees that, can give it back without harm, and can take anew."""
    lost = await one.take(LOCK, "prod/orders", "")
    await bench.expire(one)
    theirs = await two.take(LOCK, "prod/orders", "", wait_s=3)
    seen = (one.remaining_s(lost), await one.confirm(lost))
    await one.give_back([lost])
    mine = await one.take(LOCK, "prod/users", "")

    assert (0.0, False) == seen
    assert await two.confirm(theirs)
    assert lost.token < theirs.token < mine.token
    assert lost.session != mine.session
    assert 0.0 < one.remaining_s(mine)


async def test_an_ended_process_frees_its_claims_at_once(bench: Bench, one: Coordinator, two: Coordinator) -> None:
    """Closing gives everything back and ends the work with the server; closing again is fine."""
    claim = await one.take(SEAT, "1", "")
    await bench.close(one)
    taken = await two.take(SEAT, "1", "", wait_s=1)
    await bench.close(one)

    assert claim.token < taken.token
    assert (False, 0.0) == (one.connected, one.remaining_s(claim))
    with pytest.raises(DependencyUnavailableError, match=r"ZooKeeper at .* the connection was closed"):
        await one.take(SEAT, "2", "")
    await one.give_back([claim])


# --- force ----------------------------------------------------------------------------------------------


async def test_a_person_can_take_a_claim_from_its_holder(one: Coordinator, two: Coordinator) -> None:
    """A forced release frees it; the holder finds out when it asks, and cannot give back what others took meanwhile."""
    lost = await one.take(LOCK, "prod/orders", "")
    kept = await one.take(LOCK, "prod/users", "")
    was_held = await two.force_release(LOCK, "prod/orders")
    theirs = await two.take(LOCK, "prod/orders", "")
    await one.give_back([lost])

    assert was_held
    assert [False, True, True] == [await one.confirm(lost), await one.confirm(kept), await two.confirm(theirs)]
    assert [0.0, True] == [one.remaining_s(lost), one.remaining_s(kept) > 0]


async def test_after_a_forced_release_batches_are_given_back_with_care(one: Coordinator, two: Coordinator) -> None:
    """Of a batch from which one was taken away, all others are given back, and that one stays with its new holder."""
    claims = await one.take_many(LOCK, [f"prod/{at}" for at in range(5)], "")
    await two.force_release(LOCK, "prod/3")
    await two.take(LOCK, "prod/3", "")
    await one.give_back(claims.values())

    assert ["prod/3"] == await names(one, LOCK)


async def test_forcing_what_nobody_holds_says_so(one: Coordinator) -> None:
    """There is nothing to release."""
    assert not await one.force_release(LOCK, "prod/orders")


# --- waiting --------------------------------------------------------------------------------------------


async def test_nobody_holds_it_at_once(one: Coordinator) -> None:
    """Waiting for what is free already ends at once."""
    assert await one.wait_gone(DUTY, "relay", 30)


async def test_waiting_for_a_holder_ends_when_it_gives_back_or_goes(
    bench: Bench, one: Coordinator, two: Coordinator
) -> None:
    """The wait is woken by giving back, by a forced release and by the end of the holder."""
    endings: list[Callable[[Claim], asyncio.Task[object]]] = [
        lambda claim: asyncio.create_task(one.give_back([claim])),
        lambda claim: asyncio.create_task(two.force_release(DUTY, claim.name)),
        lambda _: asyncio.create_task(bench.close(one)),
    ]
    for ending in endings:
        claim = await one.take(DUTY, "relay", "")
        waits = [asyncio.create_task(two.wait_gone(DUTY, "relay", 30)) for _ in range(3)]
        await two.ready()
        await ending(claim)
        async with asyncio.timeout(3):
            assert [True] * 3 == await asyncio.gather(*waits)


async def test_waiting_for_a_holder_ends_at_its_deadline(one: Coordinator, two: Coordinator) -> None:
    """False says that somebody still holds it."""
    await one.take(DUTY, "relay", "")

    assert not await two.wait_gone(DUTY, "relay", 0.05)


async def test_a_change_wakes_who_waits_for_it(one: Coordinator, two: Coordinator) -> None:
    """Taking and giving back are changes of that kind; so is the wait over when it has not begun yet."""
    await two.holders(WORKER)
    claim = await one.take(WORKER, "one", "")
    taken = await two.wait_change(WORKER, 3)
    again = await two.wait_change(WORKER, 0.05)
    waiting = asyncio.create_task(two.wait_change(WORKER, 30))
    await two.ready()
    await one.give_back([claim])
    async with asyncio.timeout(3):
        gone = await waiting

    assert (True, False, True) == (taken, again, gone)


async def test_changes_of_other_kinds_wake_nobody(one: Coordinator, two: Coordinator) -> None:
    """A wait for workers sleeps through locks."""
    await two.holders(WORKER)
    await one.take(LOCK, "prod/orders", "")

    assert not await two.wait_change(WORKER, 0.05)


# --- what only the one in memory lets tests do ------------------------------------------------------------


async def test_a_raised_generation_beats_every_token(one: Coordinator) -> None:
    """After a person raised the generation, a new claim is of the new one; what is held stays of the old."""
    before = await one.take(LOCK, "prod/orders", "")
    raised = await one.raise_generation()
    after = await one.take(LOCK, "prod/users", "")

    assert (before.generation + 1, raised) == (raised, after.generation)


@pytest.fixture
async def memory() -> AsyncIterator[tuple[MemoryZooKeeper, MemoryCoordinator, MemoryCoordinator]]:
    """A server in memory and two processes."""
    server = MemoryZooKeeper(session_timeout_s=6)
    async with MemoryCoordinator(server, worker="one") as one, MemoryCoordinator(server, worker="two") as two:
        yield server, one, two


Memory = tuple[MemoryZooKeeper, MemoryCoordinator, MemoryCoordinator]


async def test_in_memory_a_suspended_process_loses_its_claims_after_a_session_timeout(memory: Memory) -> None:
    """It can prove nothing from the start and ask nothing; others get the claim when its session is over."""
    server, one, two = memory
    claim = await one.take(LOCK, "prod/orders", "")
    one.suspend()
    with pytest.raises(DependencyUnavailableError):
        await one.confirm(claim)
    waiting = asyncio.create_task(two.take(LOCK, "prod/orders", "", wait_s=60))
    server.advance(5)
    before = [holder.owner for holder in await two.holders(LOCK)]
    server.advance(1)
    theirs = await waiting
    one.resume()

    assert ["one"] == before
    assert (False, 0.0) == (await one.confirm(claim), one.remaining_s(claim))
    assert await two.confirm(theirs)


async def test_in_memory_a_short_suspension_loses_nothing(memory: Memory) -> None:
    """The session goes on."""
    server, one, _ = memory
    claim = await one.take(LOCK, "prod/orders", "")
    one.suspend()
    server.advance(5)
    while_away = (one.connected, one.remaining_s(claim))
    one.resume()

    assert (False, 0.0) == while_away
    assert (True, 4.0) == (await one.confirm(claim), one.remaining_s(claim))


async def test_in_memory_a_paused_process_looks_connected_and_proves_less_and_less(memory: Memory) -> None:
    """As after SIGSTOP: it wakes up with a connection, without a proof, and then without its claims."""
    server, one, two = memory
    claim = await one.take(LOCK, "prod/orders", "")
    one.pause()
    proven = []
    for _ in range(3):
        server.advance(2)
        proven.append((one.connected, one.remaining_s(claim)))
    await two.take(LOCK, "prod/orders", "")
    one.wake()

    assert [(True, 2.0), (True, 0.0), (True, 0.0)] == proven
    assert not await one.confirm(claim)


async def test_in_memory_nothing_expires_while_the_server_is_down(memory: Memory) -> None:
    """Waits go on, calls fail, and a server that comes back has kept every session."""
    server, one, two = memory
    claim = await one.take(LOCK, "prod/orders", "")
    server.down = True
    server.advance(60)
    with pytest.raises(DependencyUnavailableError, match="Connection refused"):
        await two.take(LOCK, "prod/users", "")
    while_down = one.remaining_s(claim)
    server.down = False

    assert 0.0 == while_down
    assert await one.confirm(claim)


async def test_in_memory_deadlines_follow_the_clock_of_the_test(memory: Memory) -> None:
    """Moving the clock ends a wait that would take an hour."""
    server, one, two = memory
    await one.take(LOCK, "prod/orders", "")
    waiting = asyncio.create_task(two.wait_gone(LOCK, "prod/orders", 3600))
    await two.ready()
    server.advance(3600)

    assert not await waiting


async def test_in_memory_generations_can_be_raised(memory: Memory) -> None:
    """Claims are of the generation in which they were taken."""
    server, one, _ = memory
    server.generation = 2
    claim = await one.take(LOCK, "prod/orders", "")

    assert f"2:{claim.token}" == claim.fence
