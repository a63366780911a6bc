"""How ten thousand agents listen: one socket for all addresses of 127.0.0.0/8, and one each for those that must refuse.

A connection's own address tells which agent it is for. What the kernel has accepted can only be reset afterwards; an
agent with a listener of its own has its port closed when it is killed, and that is a real refusal. A black hole is real
for all: a socket filter drops the segments of new connections, as a firewall would; where the kernel has no such filter
(or for more addresses than it holds) they are accepted and never answered.
"""

import asyncio
import ctypes
import errno
import logging
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress

from infra.simulator.errors import SimulatorError
from infra.simulator.model import Node

log = logging.getLogger(__name__)

BACKLOG = 4_096
ATTACH_FILTER, DETACH_FILTER = 26, 27
HOLES_MAX = 1_900
"""A filter has at most 4,096 instructions, two for each address."""

_LOAD_WORD, _EQUALS, _RETURN = 0x20, 0x15, 0x06
_DESTINATION = 0xFFF00000 + 16
"""Where the filter finds the IPv4 destination: the offset from the network header."""
_ALL = 0xFFFFFFFF

Factory = Callable[[], asyncio.Protocol]


class Listeners:
    """All listening sockets of the agents."""

    def __init__(self, factory: Factory) -> None:
        """Make a protocol with `factory` for each connection."""
        self._factory = factory
        self._shared: tuple[socket.socket, asyncio.Server] | None = None
        self._own: dict[Node, tuple[socket.socket, asyncio.Task[asyncio.Server]]] = {}
        self.own_port = 0
        self._holes: set[Node] = set()
        self._drawing: asyncio.Handle | None = None

    async def open(self, port: int, own: int) -> tuple[int, int]:
        """Listen for all; return the shared port, and the one of the `own` listeners that may be opened later.

        Raises:
            SimulatorError: The port is taken.
        """
        listener = bind("0.0.0.0", port, loopback_only=True)
        server = await asyncio.get_running_loop().create_server(self._factory, sock=listener, backlog=BACKLOG)
        self._shared = (listener, server)
        port = listener.getsockname()[1]
        if own:
            with bind("127.0.0.1", 0) as free:
                self.own_port = free.getsockname()[1]
        return port, self.own_port

    def listen(self, node: Node) -> None:
        """Open the port of a node that has its own listener; nothing for others.

        Raises:
            SimulatorError: It is taken.
        """
        if not node.refusable or node in self._own:
            return
        listener = bind(node.host, node.port)
        loop = asyncio.get_running_loop()
        serving = loop.create_server(self._factory, sock=listener, backlog=BACKLOG)
        self._own[node] = (listener, loop.create_task(serving))

    def refuse(self, node: Node) -> None:
        """Close the port of a node that has its own listener."""
        own = self._own.pop(node, None)
        if own is not None:
            own[1].add_done_callback(_close)

    def black_hole(self, node: Node, *, on: bool) -> None:
        """Drop, or let through, what comes for a node."""
        if (node in self._holes) is on:
            return
        (self._holes.add if on else self._holes.remove)(node)
        if node in self._own:
            _filter(self._own[node][0], [node.host] if on else [])
        elif self._drawing is None:
            self._drawing = asyncio.get_running_loop().call_soon(self._draw)

    async def close(self) -> None:
        """Close all."""
        if self._drawing is not None:
            self._drawing.cancel()
        for _, serving in self._own.values():
            (await serving).close()
        self._own.clear()
        if self._shared is not None:
            self._shared[1].close()
            self._shared = None

    def _draw(self) -> None:
        """Give the shared listener its filter."""
        self._drawing = None
        if self._shared is not None:
            _filter(self._shared[0], [node.host for node in self._holes if node not in self._own][:HOLES_MAX])


def bind(host: str, port: int, *, loopback_only: bool = False) -> socket.socket:
    """Return a bound socket, listening.

    Raises:
        SimulatorError: The address is taken or not ours.
    """
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if loopback_only:
            with suppress(OSError):  # without it, other interfaces are answered with a reset
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - its only argument
    except (OSError, OverflowError) as error:
        listener.close()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        message = f"cannot listen on {host}:{port}: " + ("the port is taken" if taken else str(error))
        raise SimulatorError(message) from error
    return listener


def filter_program(hosts: Iterable[str]) -> bytes:
    """Return the classic BPF program that drops all segments to `hosts`."""
    program = [struct.pack("HBBI", _LOAD_WORD, 0, 0, _DESTINATION)]
    for host in hosts:
        (address,) = struct.unpack("!I", socket.inet_aton(host))
        program += [struct.pack("HBBI", _EQUALS, 0, 1, address), struct.pack("HBBI", _RETURN, 0, 0, 0)]
    return b"".join([*program, struct.pack("HBBI", _RETURN, 0, 0, _ALL)])


def _filter(listener: socket.socket, hosts: list[str]) -> None:
    """Replace the filter of a listener; without one, black holes accept and stay silent."""
    try:
        if not hosts:
            with suppress(FileNotFoundError):
                listener.setsockopt(socket.SOL_SOCKET, DETACH_FILTER, 0)
            return
        program = filter_program(hosts)
        buffer = ctypes.create_string_buffer(program, len(program))
        pointer = struct.pack("HP", len(program) // 8, ctypes.addressof(buffer))
        listener.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, pointer)
    except OSError as error:
        log.warning("black holes accept connections and never answer: no socket filter (%s)", error.strerror)


def _close(serving: "asyncio.Task[asyncio.Server]") -> None:
    """Close a listener once it is there."""
    if not serving.cancelled() and serving.exception() is None:
        serving.result().close()
