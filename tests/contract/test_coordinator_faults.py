"""What the coordinator does when ZooKeeper, the network or its own process fails: on a real server of its own."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.security import make_acl

from blocks.coordinator.protocol import Claim, ClaimKind, Coordinator
from blocks.coordinator.settings import ZooKeeper
from blocks.coordinator.zookeeper import ZooKeeperCoordinator
from blocks.errors import DependencyUnavailableError
from doubles.eventually import until
from doubles.proxy import Mode, Proxy
from infra.stack.testing import TestStack, running

pytestmark = pytest.mark.real

LOCK = ClaimKind.LOCK
PROJECT = Path(__file__).resolve().parents[2]
_roots = itertools.count(1)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    """A server that these tests may hurt."""
    with running(["zookeeper"], tmp_path_factory.mktemp("hurt")) as stack:
        yield stack


@pytest.fixture
def settings(stack: TestStack) -> ZooKeeper:
    """A fleet of its own; sessions end after 2 s of silence."""
    return ZooKeeper(
        hosts=stack.zookeeper_hosts, root=f"/faults-{next(_roots)}", session_timeout_s=2, request_timeout_s=4
    )


@pytest.fixture
async def proxy(stack: TestStack) -> AsyncIterator[Proxy]:
    """A way to the server that a test can break."""
    host, port = stack.zookeeper_hosts.split(":")
    async with Proxy(host, int(port)) as proxy:
        yield proxy


@pytest.fixture
async def far(settings: ZooKeeper, proxy: Proxy) -> AsyncIterator[ZooKeeperCoordinator]:
    """A process behind the proxy."""
    async with ZooKeeperCoordinator(settings.model_copy(update={"hosts": proxy.address}), worker="far") as far:
        yield far


@pytest.fixture
async def near(settings: ZooKeeper) -> AsyncIterator[ZooKeeperCoordinator]:
    """A process with a way of its own."""
    async with ZooKeeperCoordinator(settings, worker="near") as near:
        yield near


def elapsed_s(since: float) -> float:
    """Seconds since a `time.monotonic()`."""
    return time.monotonic() - since


async def seen(coordinator: Coordinator, name: str) -> None:
    """Wait until somebody holds a lock."""
    while name not in {holder.name for holder in await coordinator.holders(LOCK)}:
        assert await coordinator.wait_change(LOCK, 5)


# --- connections ----------------------------------------------------------------------------------------


async def test_a_reset_connection_loses_nothing(far: ZooKeeperCoordinator, proxy: Proxy) -> None:
    """The session goes on over a new connection, with everything that it holds."""
    claim = await far.take(LOCK, "prod/orders", "")
    proxy.reset()
    await until(lambda: not far.connected)
    in_doubt = far.remaining_s(claim)
    confirmed = await far.confirm(claim)

    assert 0.0 == in_doubt
    assert confirmed
    assert 0.0 < far.remaining_s(claim)


async def test_a_taking_whose_answer_is_lost_is_found_out(
    far: ZooKeeperCoordinator, near: ZooKeeperCoordinator, proxy: Proxy
) -> None:
    """The claim was made, the answer was lost with the connection: after the next one it is known as ours."""
    proxy.mode = Mode.DROP_ANSWERS
    taking = asyncio.create_task(far.take(LOCK, "prod/orders", ""))
    await seen(near, "prod/orders")
    proxy.mode = Mode.PASS
    proxy.reset()
    claim = await taking
    [holder] = await near.holders(LOCK)

    assert ("far", claim.token) == (holder.owner, holder.token)
    assert await far.confirm(claim)


async def test_a_batch_whose_answer_is_lost_is_found_out(
    far: ZooKeeperCoordinator, near: ZooKeeperCoordinator, proxy: Proxy
) -> None:
    """The same for many at once, with one among them that another process holds."""
    await near.take(LOCK, "prod/2", "")
    proxy.mode = Mode.DROP_ANSWERS
    taking = asyncio.create_task(far.take_many(LOCK, ["prod/1", "prod/3"], ""))
    await seen(near, "prod/1")
    proxy.mode = Mode.PASS
    proxy.reset()
    claims = await taking
    rest = await far.take_many(LOCK, ["prod/1", "prod/2", "prod/3", "prod/4"], "")

    assert ({"prod/1", "prod/3"}, {"prod/4"}) == (set(claims), set(rest))
    assert all([await far.confirm(claim) for claim in claims.values()])


async def test_a_taking_that_was_given_up_does_not_stay_held(
    settings: ZooKeeper, near: ZooKeeperCoordinator, proxy: Proxy
) -> None:
    """Made, but its answer did not come in time: the taking fails, and when the connection is back the claim is undone."""
    hasty = settings.model_copy(update={"hosts": proxy.address, "request_timeout_s": 0.3, "session_timeout_s": 8})
    async with ZooKeeperCoordinator(hasty, worker="far") as far:
        proxy.mode = Mode.DROP_ANSWERS
        with pytest.raises(DependencyUnavailableError, match=f"ZooKeeper at {proxy.address} .*no answer in time"):
            await far.take(LOCK, "prod/orders", "")
        await seen(near, "prod/orders")
        proxy.mode = Mode.PASS
        proxy.reset()
        is_gone = await near.wait_gone(LOCK, "prod/orders", 3)
        session_lives_on = await far.take(LOCK, "prod/orders", "")

        assert is_gone
        assert await far.confirm(session_lives_on)


async def test_giving_back_without_a_connection_is_made_up_for(
    settings: ZooKeeper, near: ZooKeeperCoordinator, proxy: Proxy
) -> None:
    """Giving back neither raises nor hangs; what could not be given back is, as soon as the network is there again."""
    long_lived = settings.model_copy(update={"hosts": proxy.address, "session_timeout_s": 10})
    async with ZooKeeperCoordinator(long_lived, worker="far") as far:
        claims = await far.take_many(LOCK, ["prod/1", "prod/2"], "")
        proxy.mode = Mode.REFUSE
        proxy.reset()
        start = time.monotonic()
        await far.give_back(claims.values())
        took_s = elapsed_s(start)
        still_held = [holder.name for holder in await near.holders(LOCK)]
        proxy.mode = Mode.PASS
        gone = [await near.wait_gone(LOCK, name, 3) for name in claims]

        assert took_s < 3
        assert ["prod/1", "prod/2"] == still_held
        assert [True, True] == gone


async def test_in_a_partition_the_proof_ends_before_others_can_take_over(
    far: ZooKeeperCoordinator, near: ZooKeeperCoordinator, proxy: Proxy
) -> None:
    """A process behind a black hole holds nothing provably at the moment another one takes it; once healed it knows."""
    lost = await far.take(LOCK, "prod/orders", "")
    proxy.mode = Mode.BLACKHOLE
    before = far.remaining_s(lost)
    theirs = await near.take(LOCK, "prod/orders", "", wait_s=10)
    at_take_over = far.remaining_s(lost)
    proxy.mode = Mode.PASS
    mine = await far.take(LOCK, "prod/users", "")
    await until(lambda: not far._claims.holds(lost))

    assert before > 0
    assert 0.0 == at_take_over
    assert lost.token < theirs.token < mine.token
    assert lost.session != mine.session
    assert [False, True] == [await far.confirm(lost), await near.confirm(theirs)]


async def test_closing_does_not_wait_for_a_dead_network(settings: ZooKeeper, proxy: Proxy) -> None:
    """A process ends promptly although nobody answers, and leaves no thread behind."""
    far = ZooKeeperCoordinator(settings.model_copy(update={"hosts": proxy.address, "session_timeout_s": 10}))
    await far.connect()
    thread = far._session._client._connection._connection_routine
    assert thread is not None
    proxy.mode = Mode.BLACKHOLE
    start = time.monotonic()
    await far.close()
    took_s = elapsed_s(start)

    await until(lambda: not thread.is_alive(), within_s=2)
    assert took_s < 2.5


# --- the server -----------------------------------------------------------------------------------------


async def test_a_killed_server_that_comes_back_has_kept_our_claims(
    stack: TestStack, near: ZooKeeperCoordinator
) -> None:
    """While it is down nothing is proven and calls wait; afterwards session, claim and token are the same."""
    claim = await near.take(LOCK, "prod/orders", "")
    gone = asyncio.create_task(near.wait_gone(LOCK, "prod/orders", 60))
    await near.ready()  # its watch is set, on the connection that will break
    await asyncio.to_thread(stack.kill, "zookeeper")
    await until(lambda: not near.connected)
    while_down = near.remaining_s(claim)
    newer = await near.take(LOCK, "prod/users", "")

    assert 0.0 == while_down
    assert await near.confirm(claim)
    assert (claim.session, True) == (newer.session, newer.token > claim.token)
    await near.give_back([claim])
    async with asyncio.timeout(5):
        assert await gone


async def test_a_server_that_is_down_is_named_within_the_deadline(stack: TestStack, settings: ZooKeeper) -> None:
    """Calls fail with one clear sentence, waits go on to their deadline, and all is well again when it is back."""
    async with ZooKeeperCoordinator(settings.model_copy(update={"request_timeout_s": 2.0})) as hasty:
        claim = await hasty.take(LOCK, "prod/orders", "")
        await asyncio.to_thread(stack.stop, "zookeeper")
        start = time.monotonic()
        with pytest.raises(DependencyUnavailableError) as error:
            await hasty.take_many(LOCK, ["prod/users"], "")
        took_s = elapsed_s(start)
        with pytest.raises(DependencyUnavailableError):
            await hasty.confirm(claim)
        is_gone = await hasty.wait_gone(LOCK, "prod/orders", 0.3)
        await asyncio.to_thread(stack.start, "zookeeper")
        start = time.monotonic()
        await until(lambda: hasty.connected)
        back_s = elapsed_s(start)

        assert (
            f"ZooKeeper at {settings.hosts} is not available: Connection refused. "
            "Check that ZooKeeper runs there, and REPLICORE_ZOOKEEPER_HOSTS."
        ) == str(error.value)
        assert took_s < 2.5
        assert not is_gone
        assert back_s < 3


async def test_a_server_that_hangs_longer_than_a_session_leaves_no_doubt(
    stack: TestStack, settings: ZooKeeper, near: ZooKeeperCoordinator
) -> None:
    """The proof ends before a session does; when the server wakes, it keeps the session or not, and holder and others agree."""
    short = settings.model_copy(update={"session_timeout_s": 1})
    async with ZooKeeperCoordinator(short, worker="short") as holder:
        claim = await holder.take(LOCK, "prod/orders", "")
        stack.kill("zookeeper", signal.SIGSTOP)
        try:
            start = time.monotonic()
            await until(lambda: holder.remaining_s(claim) == 0)
            proven_s = elapsed_s(start)
            await until(lambda: elapsed_s(start) > 2)  # the fault lasts so long
        finally:
            stack.kill("zookeeper", signal.SIGCONT)
        is_ours = await holder.confirm(claim)
        theirs = await near.take_many(LOCK, ["prod/orders"], "")
        again = await holder.take(LOCK, "prod/users", "")

        assert proven_s < 1
        assert ([] if is_ours else ["prod/orders"]) == list(theirs)
        assert is_ours == (holder.remaining_s(claim) > 0) == (again.session == claim.session)


async def test_every_lock_goes_to_one_of_two_that_race(near: ZooKeeperCoordinator, far: ZooKeeperCoordinator) -> None:
    """Two processes that take the same fifty locks at once, in batches and one by one, share them out exactly."""
    wanted = [f"prod/{at:02}" for at in range(50)]

    async def alone(process: ZooKeeperCoordinator) -> dict[str, Claim]:
        tried = await asyncio.gather(*(process.take(LOCK, name, "") for name in wanted), return_exceptions=True)
        return {claim.name: claim for claim in tried if isinstance(claim, Claim)}

    for way in (alone, lambda process: process.take_many(LOCK, wanted, "")):
        ours, theirs = await asyncio.gather(way(near), way(far))

        assert wanted == sorted([*ours, *theirs])
        assert all([await near.confirm(claim) for claim in ours.values()])
        assert all([await far.confirm(claim) for claim in theirs.values()])
        await near.give_back(ours.values())
        await far.give_back(theirs.values())


# --- what lies in ZooKeeper -----------------------------------------------------------------------------


async def test_a_raised_generation_is_seen_without_a_restart(settings: ZooKeeper, near: ZooKeeperCoordinator) -> None:
    """A person raises it; from the next heartbeat on, claims are of the new generation."""
    client = KazooClient(settings.hosts)
    client.start()
    client.set(f"{settings.root}/generation", b"7")
    client.stop()
    client.close()
    await until(lambda: near._claims._generation == 7)
    claim = await near.take(LOCK, "prod/orders", "")

    assert f"7:{claim.token}" == claim.fence


async def test_a_generation_that_is_no_number_is_named(settings: ZooKeeper) -> None:
    """Nothing is claimed on unknown ground."""
    client = KazooClient(settings.hosts)
    client.start()
    client.create(f"{settings.root}/generation", b"seven", makepath=True)
    client.stop()
    client.close()

    with pytest.raises(DependencyUnavailableError, match="generation holds b'seven' and not a whole number above 0"):
        await ZooKeeperCoordinator(settings).connect()


async def test_znodes_of_another_user_are_named(settings: ZooKeeper) -> None:
    """Where we have no rights we say so, and what to check."""
    client = KazooClient(settings.hosts)
    client.start()
    client.create(settings.root, b"", acl=[make_acl("digest", "them:x", all=True)])
    client.stop()
    client.close()

    with pytest.raises(DependencyUnavailableError, match=r"its znodes belong to another user. Check .*SASL_USER"):
        await ZooKeeperCoordinator(settings).connect()


async def test_folders_that_vanish_are_made_again(settings: ZooKeeper, near: ZooKeeperCoordinator) -> None:
    """Somebody wiped the tree under a living session: the next taking works."""
    client = KazooClient(settings.hosts)
    client.start()
    client.delete(settings.root, recursive=True)
    client.stop()
    client.close()

    assert "prod/orders" == (await near.take(LOCK, "prod/orders", "")).name
    assert ["prod/orders"] == [holder.name for holder in await near.holders(LOCK)]


async def test_foreign_data_is_shown_as_a_holder(settings: ZooKeeper, near: ZooKeeperCoordinator) -> None:
    """A znode that we did not write is held all the same, by somebody who does not say who."""
    client = KazooClient(settings.hosts)
    client.start()
    for name, data in (("a", b"\xff\x00{"), ("b", b'["x"]'), ("c", b'{"owner": 5, "pid": "x", "new": 1}'), ("d", b"")):
        client.create(f"{settings.root}/locks/{name}", data, ephemeral=True)
    owners = [holder.owner for holder in await near.holders(LOCK)]
    client.stop()
    client.close()

    assert ["\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}{", '["x"]', "5", "somebody who does not say"] == owners


async def test_a_path_in_the_hosts_is_made_and_kept_apart(settings: ZooKeeper, near: ZooKeeperCoordinator) -> None:
    """Two chroots of one server are two fleets; neither needs to be there before."""
    one, two = (settings.model_copy(update={"hosts": f"{settings.hosts}/a/fleet-{n}"}) for n in (1, 2))
    async with ZooKeeperCoordinator(one) as first, ZooKeeperCoordinator(two) as second:
        claims = [await process.take(LOCK, "prod/orders", "") for process in (first, second, near)]

        assert 3 == len({claim.token for claim in claims})


# --- connecting -----------------------------------------------------------------------------------------


async def test_a_server_that_is_not_there_is_named(settings: ZooKeeper) -> None:
    """Connecting gives up at its deadline, with the hosts and the reason, and leaves nothing running."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        hosts = f"127.0.0.1:{taken.getsockname()[1]}"
        absent = ZooKeeperCoordinator(settings.model_copy(update={"hosts": hosts, "connect_timeout_s": 0.3}))
        start = time.monotonic()
        with pytest.raises(
            DependencyUnavailableError, match=f"ZooKeeper at {hosts} is not available: Connection refused"
        ):
            await absent.connect()

    assert elapsed_s(start) < 1.5


async def test_a_host_that_has_no_address_is_named(settings: ZooKeeper) -> None:
    """A wrong name is told from a server that is down."""
    absent = settings.model_copy(update={"hosts": "no-such-host.invalid:2181", "connect_timeout_s": 0.5})

    with pytest.raises(DependencyUnavailableError, match=r"no-such-host.invalid:2181 .* the host name is unknown"):
        await ZooKeeperCoordinator(absent).connect()


CONNECTED = struct.pack("!iiiqi16s?", 37, 0, 2000, 1, 16, b"", False)  # noqa: FBT003 - not read-only


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9, b"\x00\x00\x00\x08" + b"x" * 8, b"", CONNECTED + b"\x00\x00\x00\x01x"],
)
async def test_a_server_of_another_kind_is_survived(settings: ZooKeeper, answer: bytes) -> None:
    """Garbage in place of an answer ends in the same error, not in a dead thread."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        wrong = settings.model_copy(update={"hosts": f"127.0.0.1:{port}", "connect_timeout_s": 0.4})

        with pytest.raises(DependencyUnavailableError, match="is not available"):
            await ZooKeeperCoordinator(wrong).connect()


# --- the process ----------------------------------------------------------------------------------------

CHILD_SESSION_S = 1.0
HOLDER = """
import asyncio, json, sys
from blocks.coordinator.protocol import ClaimKind
from blocks.coordinator.settings import ZooKeeper
from blocks.coordinator.zookeeper import ZooKeeperCoordinator

async def main() -> None:
    async with ZooKeeperCoordinator(ZooKeeper().overlaid(), worker="child") as coordinator:
        claim = await coordinator.take(ClaimKind.LOCK, "prod/orders", "")
        print(json.dumps(coordinator.remaining_s(claim)), flush=True)
        sys.stdin.readline()  # stopped in here, with the whole loop
        print(json.dumps([coordinator.connected, coordinator.remaining_s(claim)]), flush=True)
        print(json.dumps(await coordinator.confirm(claim)), flush=True)

asyncio.run(main())
"""


async def holder_process(settings: ZooKeeper) -> asyncio.subprocess.Process:
    """Another process that holds the lock of prod/orders, as soon as it has said so."""
    environment = {
        **os.environ,
        ZooKeeper.variable("hosts"): settings.hosts,
        ZooKeeper.variable("root"): settings.root,
        ZooKeeper.variable("session_timeout_s"): str(CHILD_SESSION_S),
    }
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, cwd=PROJECT, env=environment, stdin=pipe, stdout=pipe
    )
    assert process.stdout is not None
    assert json.loads(await process.stdout.readline()) > 0
    return process


async def test_the_claims_of_a_killed_process_are_free_within_a_session(
    settings: ZooKeeper, near: ZooKeeperCoordinator
) -> None:
    """After kill -9 of a holder, who waits takes over after a session timeout and a tick at most."""
    process = await holder_process(settings)
    process.kill()
    start = time.monotonic()
    await near.take(LOCK, "prod/orders", "", wait_s=20)
    took_s = elapsed_s(start)
    await process.wait()

    assert took_s < CHILD_SESSION_S + 1.5


async def test_a_stopped_process_knows_when_it_wakes_that_nothing_is_proven(
    settings: ZooKeeper, near: ZooKeeperCoordinator
) -> None:
    """Another took over while it slept; its first look says so, before it has heard anything from the server."""
    process = await holder_process(settings)
    assert process.stdin is not None
    assert process.stdout is not None
    process.send_signal(signal.SIGSTOP)
    await near.take(LOCK, "prod/orders", "", wait_s=20)
    process.stdin.write(b"\n")
    process.send_signal(signal.SIGCONT)
    _, remaining_s = json.loads(await process.stdout.readline())
    is_ours = json.loads(await process.stdout.readline())
    await process.wait()

    assert 0.0 == remaining_s
    assert not is_ours
