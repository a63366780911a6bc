"""One connection to an agent: the quick way for requests whose answer is ready, and the slow way for all others.

Quick: a GET that comes in one piece, from a node that nothing is wrong with, is one look-up and one write. Everything
else (actions, faults, the first request after a change) is parsed and answered step by step.
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET

from infra.simulator.bodies import ITEMS, body
from infra.simulator.faults import BlackHole, Fail, Fault, Garbage, HangUp, Huge, Kill, OnPaths, Slow, Trickle
from infra.simulator.fleet import Fleet
from infra.simulator.http import TEXT, Connection, Request, head, response, status_of
from infra.simulator.model import Node
from infra.simulator.posts import Posts
from infra.simulator.record import REFUSED
from infra.simulator.rubbish import garbage, huge

_RESET_AT_CLOSE = struct.pack("ii", 1, 0)
_TEXTS = {"html": "text/html", "text": TEXT}


class AgentConnection(Connection):
    """A client of one agent; which one is told by the address it connected to."""

    __slots__ = ("_drained", "_fleet", "_later", "_node", "_posts", "_read", "idle")

    def __init__(self, fleet: Fleet, posts: Posts) -> None:
        super().__init__()
        self._fleet = fleet
        self._posts = posts
        self._read = fleet.record.read
        self._node: Node | None = None
        self._later: asyncio.Task[None] | None = None
        self._drained = asyncio.Event()
        self.idle = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Find out whose agent this is; one that is down, or none at all, is a reset."""
        super().connection_made(transport)
        self._drained.set()
        place = transport.get_extra_info("sockname")
        node = self._fleet.places.get(place[:2]) if place else None
        if node is None or not node.agent_up:
            if node is not None:
                self._read(node, b"", REFUSED)
            self.reset()
            return
        self._node = node
        node.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what is under way."""
        super().connection_lost(exc)
        if self._node is not None:
            self._node.connections.discard(self)
        if self._later is not None:
            self._later.cancel()
        self._drained.set()

    def pause_writing(self) -> None:
        """Wait: the client reads slowly."""
        self._drained.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._drained.set()

    def reset(self) -> None:
        """Break off: the client gets ECONNRESET."""
        transport = self.transport
        if transport is None:
            return
        socket = transport.get_extra_info("socket")
        with suppress(OSError):
            socket.setsockopt(SOL_SOCKET, SO_LINGER, _RESET_AT_CLOSE)
        transport.abort()

    def age(self, limit: int) -> None:
        """Grow older by one; close when idle for `limit` times."""
        self.idle += 1
        if self.idle >= limit and not self.busy and self.transport is not None:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Answer at once what is ready; collect the rest."""
        node = self._node
        self.idle = 0
        whole = data.startswith(b"GET ") and data.find(b"\r\n\r\n") == len(data) - 4
        if whole and node is not None and not self.buffer and not self.busy:
            target = data[4 : data.find(b" ", 4)]
            answer = node.ready.get(target)
            if answer is not None and self.transport is not None:
                self.transport.write(answer)
                node.requests += 1
                self._read(node, target, 200)
                if b"onnection: close" in data:
                    self.transport.close()
                return
        super().data_received(data)

    def handle(self, request: Request) -> None:
        """Answer as the node's fault has it."""
        node = self._node
        if node is None:
            return
        node.requests += 1
        fault = node.fault
        if isinstance(fault, OnPaths) and not fault.hits(request.path):
            fault = None
        match fault:
            case BlackHole() | Kill():
                self.busy = True
                self._note(node, request, 0)
            case HangUp():
                if fault.taken:
                    self._answer(node, request, None)
                else:
                    self._note(node, request, 0)
                if self.transport is not None:
                    self.transport.close()
            case Slow() | Trickle() | Huge():
                self.busy = True
                self._later = asyncio.get_running_loop().create_task(self._answer_later(node, request, fault))
            case _:
                self._answer_now(node, request, fault)

    def _answer_now(self, node: Node, request: Request, fault: Fault | None) -> None:
        """Answer, and keep the answer ready if it is the same for the next one."""
        answer = self._answer(node, request, fault)
        lasting = request.method == "GET" and not isinstance(node.fault, OnPaths) and not request.path.startswith(ITEMS)
        if lasting and status_of(answer) == 200 and request.target == request.path:  # noqa: PLR2004 - the quick way notes this status
            node.ready[request.target.encode("latin-1")] = answer
        self._note(node, request, status_of(answer))
        self.reply(answer, close=request.close)

    def _answer(self, node: Node, request: Request, fault: Fault | None) -> bytes:
        """Make the complete answer."""
        match fault:
            case Fail():
                wait = [] if fault.retry_after_s is None else [f"retry-after: {fault.retry_after_s}"]
                return response(fault.status, b"upstream connect error", TEXT, wait)
            case Garbage():
                _, content = body(node, request.path, self._fleet.tick)
                return response(200, garbage(fault.form, content), _TEXTS.get(fault.form, "application/json"))
        if request.method == "GET":
            status, content = body(node, request.path, self._fleet.tick)
            return response(status, content)
        return self._posts.answer(node, request)

    async def _answer_later(self, node: Node, request: Request, fault: Fault) -> None:
        """Answer slowly, then go on with what came meanwhile."""
        plain = self._answer(node, request, None)
        self._note(node, request, status_of(plain))
        if isinstance(fault, Slow):
            await asyncio.sleep(fault.delay_s + self._fleet.rng.random() * fault.jitter_s)
            self.reply(plain, close=request.close)
        elif isinstance(fault, Huge):
            await self._send_huge(fault)
        elif isinstance(fault, Trickle):
            await self._trickle(plain, fault.interval_s)
        if request.close and self.transport is not None:
            self.transport.close()
        self.busy = False
        self._later = None
        self.work()

    async def _send_huge(self, fault: Huge) -> None:
        """Send a body of any size, as fast as it is read."""
        await self._send(head(200, fault.size_bytes if fault.declared else None))
        async for piece in _pieces(fault.size_bytes):
            await self._send(piece if fault.declared else b"%x\r\n%b\r\n" % (len(piece), piece))
        if not fault.declared:
            await self._send(b"0\r\n\r\n")

    async def _trickle(self, answer: bytes, interval_s: float) -> None:
        """Send the head at once and the body byte by byte."""
        start = answer.find(b"\r\n\r\n") + 4
        await self._send(answer[:start])
        for index in range(start, len(answer)):
            await asyncio.sleep(interval_s)
            await self._send(answer[index : index + 1])

    async def _send(self, data: bytes) -> None:
        """Write when there is room."""
        await self._drained.wait()
        if self.transport is not None:
            self.transport.write(data)

    def _note(self, node: Node, request: Request, status: int) -> None:
        """Put a GET into the record; other methods are noted where they are answered, or here when they are not."""
        if request.method == "GET":
            self._read(node, request.target.encode("latin-1"), status)
        elif status == 0:
            self._posts.note(node, request, None)


async def _pieces(size: int) -> AsyncIterator[bytes]:
    """Return a JSON body of `size` bytes, piece by piece, letting others work in between."""
    for piece in huge(size):
        yield piece
        await asyncio.sleep(0)
