"""Our own network: every connection to a server or an agent goes through it, and rules say what becomes of which.

A rule is about a caller (a process; None: everybody but ourselves) and a target (by name, or the beginning of one). What is
held arrives when the rule is lifted, even when the client has given up meanwhile: as with a real network that comes back.
Connections of which bytes were dropped are reset then.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from types import TracebackType
from typing import Self

from infra.chaos.callers import Caller, Callers

_BYTES = 65_536
_BACKLOG = 1_024
_NO_LINGER = struct.pack("ii", 1, 0)
"""Closing sends RST at once."""
_HELD_MAX = 100_000

Address = tuple[str, int]
Route = Callable[[Address], tuple[str, Address] | None]
"""From the address that was called to the target's name and address; None: nobody is there."""


class Mode(StrEnum):
    """What a rule does."""

    CUT = "cut"
    """Nothing arrives, in either direction."""
    ONE_WAY = "one-way cut"
    """Requests do not arrive; what the server says does."""
    DROP_ANSWERS = "answers dropped"
    """Requests arrive and have their effect; what the server says is lost."""
    DELAY = "delay"
    """Everything arrives later."""
    REFUSE = "refuse"
    """Open connections are reset, new ones too."""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One rule in force."""

    mode: Mode
    target: str
    """A target's name, or the beginning of names that ends with a dash or a colon."""
    pid: int | None = None
    delay_s: float = 0.0

    def about(self, target: str, caller: Caller) -> bool:
        """Whether it is about a connection of this caller to this target."""
        named = target == self.target or (self.target[-1] in "-:" and target.startswith(self.target))
        return named and (caller.pid == self.pid if self.pid is not None else caller.pid != os.getpid())


@dataclass(frozen=True, slots=True)
class Held:
    """A request that arrived late because a rule held it."""

    target: str
    pid: int
    sent_at: float
    arrived_at: float


@dataclass(slots=True, eq=False)
class _Link:
    """One connection."""

    target: str
    callers: Callers
    writers: tuple[asyncio.StreamWriter, ...]
    has_lost: bool = False
    _knowing: asyncio.Task[Caller] | None = None

    def knowing(self) -> asyncio.Task[Caller]:
        """Find out who called. That costs much, so it is only done once a rule may be about it."""
        if self._knowing is None:
            self._knowing = asyncio.ensure_future(self.callers.of(_ports(self.writers[0])))
        return self._knowing

    @property
    def caller(self) -> Caller | None:
        """Who called, once that is known."""
        known = self._knowing
        return known.result() if known is not None and known.done() and not known.cancelled() else None

    def reset(self) -> None:
        """Break it off."""
        for writer in self.writers:
            _reset(writer)


@dataclass(slots=True)
class Network:
    """All proxies; `async with` it, `listen` for each target, then `add` and `lift` rules."""

    callers: Callers
    held: list[Held] = field(default_factory=list)
    """Requests that arrived late, the first `_HELD_MAX` of them."""
    _rules: list[Rule] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _links: set[_Link] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _servers: list[asyncio.Server] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.close()
        for link in tuple(self._links):
            link.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def listen(self, host: str, port: int, route: Route) -> Address:
        """Open a door; returns where it is."""

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._accept(reader, writer, route))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        server = await asyncio.start_server(accept, host, port, backlog=_BACKLOG)
        self._servers.append(server)
        address: Address = server.sockets[0].getsockname()[:2]
        return address

    def add(self, *rules: Rule) -> None:
        """Put rules in force."""
        self._rules.extend(rules)
        for link in self._links:
            if self._may_be_about(link.target):
                link.knowing()
        for rule in rules:
            if rule.mode is Mode.REFUSE:
                self._reset(rule)
        self._wake()

    def lift(self, *rules: Rule) -> None:
        """Take rules away: what was held arrives, what has holes is reset."""
        self._rules = [rule for rule in self._rules if rule not in rules]
        for link in tuple(self._links):
            if link.has_lost:
                link.reset()
        self._wake()

    def lift_all(self) -> None:
        """Take all rules away."""
        self.lift(*self._rules)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _reset(self, rule: Rule) -> None:
        def reset(link: _Link) -> None:
            if rule in self._rules and link.caller is not None and rule.about(link.target, link.caller):
                link.reset()

        for link in tuple(self._links):
            if not self._may_be_about(link.target):
                continue
            if link.caller is not None:
                reset(link)
            else:
                link.knowing().add_done_callback(partial(_call, partial(reset, link)))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, route: Route) -> None:
        found = route(writer.get_extra_info("sockname")[:2])
        if found is None:
            _reset(writer)
            return
        target, address = found
        link = _Link(target, self.callers, (writer,))
        try:
            if (rule := await self._rule(link)) is not None and rule.mode is Mode.REFUSE:
                _reset(writer)
                return
            far_reader, far_writer = await asyncio.open_connection(*address)
        except OSError:
            _reset(writer)
            return
        link.writers = (writer, far_writer)
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pipe(link, reader, far_writer, is_answer=False),
                self._pipe(link, far_reader, writer, is_answer=True),
            )
        finally:
            self._links.discard(link)
            for one in link.writers:
                one.close()

    async def _pipe(
        self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        try:
            while data := await source.read(_BYTES):
                if await self._passes(link, is_answer=is_answer):
                    sink.write(data)
                    await sink.drain()
            if await self._passes(link, is_answer=is_answer) and sink.can_write_eof():
                sink.write_eof()
        except (OSError, RuntimeError):
            link.reset()

    async def _passes(self, link: _Link, *, is_answer: bool) -> bool:
        """Wait for as long as the rules say; False: it is lost."""
        begun, was_held = time.monotonic(), False
        while True:
            changed, rule = self._changed, await self._rule(link)
            match rule:
                case Rule(mode=Mode.CUT):
                    pass
                case Rule(mode=Mode.ONE_WAY) if not is_answer:
                    pass
                case Rule(mode=Mode.DROP_ANSWERS) if is_answer:
                    link.has_lost = True
                    return False
                case Rule(mode=Mode.DELAY):
                    await asyncio.sleep(rule.delay_s)
                    was_held = True
                    break
                case _:
                    break
            was_held = True
            await changed.wait()
        if was_held and not is_answer and len(self.held) < _HELD_MAX:
            caller = link.caller or Caller()
            self.held.append(Held(link.target, caller.pid, begun, time.monotonic()))
        return True

    async def _rule(self, link: _Link) -> Rule | None:
        """The first rule about a connection; who calls is waited for only where it matters."""
        if not self._may_be_about(link.target):
            return None
        caller = await link.knowing()
        return next((rule for rule in self._rules if rule.about(link.target, caller)), None)

    def _may_be_about(self, target: str) -> bool:
        """Whether there is a rule about this target, whoever calls."""
        return any(rule.about(target, Caller(rule.pid or -1)) for rule in self._rules)


def to(name: str, address: Address) -> Route:
    """The route of a door that leads to one target."""
    return lambda _: (name, address)


def _ports(writer: asyncio.StreamWriter) -> tuple[int, int]:
    """The ports of a connection as its client has them."""
    return writer.get_extra_info("peername")[1], writer.get_extra_info("sockname")[1]


def _call(do: Callable[[], None], _: object) -> None:
    do()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError, ValueError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()
