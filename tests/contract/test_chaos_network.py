"""The network of chaos runs, with real sockets and real processes at both ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.chaos.callers import Caller, Callers
from infra.chaos.network import Address, Mode, Network, Rule, to
from infra.stack.processes import MARK

WITHIN_S = 10.0
CLIENT = """
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
for line in sys.stdin:
    s.sendall(line.encode())
    answer = s.recv(100)
    print(answer.decode().strip() or "closed", flush=True)
"""


class Client:
    """A process of a stack that asks through the network."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def ask(self, text: str) -> asyncio.Task[str]:
        """Send a line; the task ends with the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n".encode())
        await self._process.stdin.drain()
        return asyncio.create_task(self._answer())

    async def answered(self, text: str) -> str:
        """Send a line and wait for the answer."""
        async with asyncio.timeout(WITHIN_S):
            return await (await self.ask(text))

    async def _answer(self) -> str:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip() or "ended"


@dataclass
class Scene:
    """An echo server behind a door, and what it received."""

    network: Network
    door: Address
    root: Path
    received: list[str]

    @asynccontextmanager
    async def client(self, service: str) -> AsyncIterator[Client]:
        """A process of the stack."""
        environment = {**os.environ, MARK: f"{self.root}:{service}"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CLIENT, str(self.door[1]), env=environment,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield Client(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def until_received(self, text: str) -> None:
        """Wait until a line has arrived."""
        async with asyncio.timeout(WITHIN_S):
            while text not in self.received:  # noqa: ASYNC110 - it is looked at
                await asyncio.sleep(0.01)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A server that says what it hears."""
    received: list[str] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionResetError):
            while line := await reader.readline():
                received.append(line.decode().strip())
                writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with Network(Callers(tmp_path)) as network:
        door = await network.listen("127.0.0.1", 0, to("kafka-1", server.sockets[0].getsockname()[:2]))
        yield Scene(network, door, tmp_path, received)
    server.close()


class Counted(Callers):
    """Counts whom it was asked about."""

    asked = 0

    async def of(self, ports: tuple[int, int]) -> Caller:
        """See `Callers`."""
        self.asked += 1
        return await super().of(ports)


async def test_who_calls_is_only_found_out_for_a_rule(scene: Scene) -> None:
    """To look through all processes for each connection would make the network slow; a rule finds the open ones all the same."""
    scene.network.callers = counted = Counted(scene.root)
    async with scene.client("worker-1") as client:
        await client.answered("one")
        before = counted.asked
        scene.network.add(Rule(Mode.REFUSE, "zookeeper-"), Rule(Mode.REFUSE, "kafka-", client.pid))

        assert ("ended", 0, 1) == (await client.answered("two"), before, counted.asked)


async def test_everything_passes_without_rules(scene: Scene) -> None:
    """A network without rules is a network."""
    async with scene.client("worker-1") as client:
        assert "hello" == await client.answered("hello")
        assert "again" == await client.answered("again")


async def test_a_cut_holds_one_caller_and_what_was_held_arrives(scene: Scene) -> None:
    """A rule about a process holds what it sends, and nobody else's; lifted, everything arrives, and is written down."""
    async with scene.client("worker-1") as one, scene.client("worker-2") as other:
        await one.answered("before")
        rule = Rule(Mode.CUT, "kafka-", one.pid)
        scene.network.add(rule)
        waiting = await one.ask("held")
        passed = await other.answered("passes")
        arrived = "held" in scene.received
        scene.network.lift(rule)
        async with asyncio.timeout(WITHIN_S):
            answer = await waiting

    assert ("passes", False, "held") == (passed, arrived, answer)
    assert [("kafka-1", one.pid)] == [(held.target, held.pid) for held in scene.network.held]


async def test_a_one_way_cut_holds_requests_only(scene: Scene) -> None:
    """Requests wait; what was asked before is answered."""
    async with scene.client("worker-1") as client:
        await client.answered("before")
        rule = Rule(Mode.ONE_WAY, "kafka-1", client.pid)
        scene.network.add(rule)
        waiting = await client.ask("held")
        scene.network.lift(rule)
        async with asyncio.timeout(WITHIN_S):
            assert "held" == await waiting


async def test_dropped_answers_have_their_effect_and_break_the_connection_later(scene: Scene) -> None:
    """The request arrives, its answer never does; when the rule is lifted the connection is reset."""
    async with scene.client("worker-1") as client:
        await client.answered("before")
        rule = Rule(Mode.DROP_ANSWERS, "kafka-1", client.pid)
        scene.network.add(rule)
        waiting = await client.ask("lost")
        await scene.until_received("lost")
        quiet = not waiting.done()
        scene.network.lift(rule)
        async with asyncio.timeout(WITHIN_S):
            answer = await waiting

    assert (True, "ended") == (quiet, answer)


async def test_a_delay_is_a_delay(scene: Scene) -> None:
    """Both directions take longer by what the rule says."""
    loop = asyncio.get_running_loop()
    async with scene.client("worker-1") as client:
        await client.answered("before")
        scene.network.add(Rule(Mode.DELAY, "kafka-1", client.pid, 0.2))
        begun = loop.time()
        answer = await client.answered("late")

    assert ("late", True) == (answer, loop.time() - begun >= 0.4)


async def test_refusing_resets_what_is_open(scene: Scene) -> None:
    """An open connection is reset at once."""
    async with scene.client("worker-1") as client:
        await client.answered("before")
        scene.network.add(Rule(Mode.REFUSE, "kafka-1", client.pid))

        assert "ended" == await client.answered("refused")


async def test_a_rule_about_everybody_spares_ourselves(scene: Scene) -> None:
    """Who watches is not cut off."""
    scene.network.add(Rule(Mode.CUT, "kafka-1"))
    reader, writer = await asyncio.open_connection(*scene.door)
    writer.write(b"watching\n")
    async with asyncio.timeout(WITHIN_S):
        answer = await reader.readline()
    writer.close()
    async with scene.client("worker-1") as client:
        waiting = await client.ask("held")
        await asyncio.sleep(0)

        assert (b"watching\n", False) == (answer, waiting.done())
        scene.network.lift_all()
        async with asyncio.timeout(WITHIN_S):
            assert "held" == await waiting


async def test_callers_are_known_by_their_mark(scene: Scene, tmp_path: Path) -> None:
    """A process of the stack is told from a stranger, and its service is known."""
    async with scene.client("worker-7") as client:
        await client.answered("hello")
        service = Callers(tmp_path).service_of(client.pid)

        assert ("worker-7", "") == (service, Callers(tmp_path / "other").service_of(client.pid))
    assert Caller() == await Callers(tmp_path).of((1, 1))


async def test_nobody_behind_a_door_is_a_reset(scene: Scene) -> None:
    """A door whose route leads nowhere resets."""
    _, port = await scene.network.listen("127.0.0.1", 0, lambda _: None)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), WITHIN_S)
    writer.close()
