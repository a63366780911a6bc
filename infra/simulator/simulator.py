"""One simulated fleet, running: agents, discovery and control on one event loop."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.simulator.actions import Executor
from infra.simulator.agent import AgentConnection
from infra.simulator.conductor import Conductor
from infra.simulator.control import Control, Discovery, Handle, ServiceConnection
from infra.simulator.errors import SimulatorError
from infra.simulator.fleet import Fleet
from infra.simulator.layout import Layout, addresses, build
from infra.simulator.listeners import Listeners, bind
from infra.simulator.posts import Posts
from infra.simulator.record import Record
from infra.simulator.script import Player, Script

FLUSH_S = 0.2
SWEEPS = 10
"""How often a connection is looked at before it has been idle for too long."""
PAGE_SIZE_MAX = 10_000

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a fleet is run; a port 0 takes a free one, an address of None is not served."""

    layout: Layout = field(default_factory=Layout)
    port: int = 0
    control: Address | None = None
    discovery: Address | None = None
    page_size: int = 100
    script: Script = field(default_factory=Script)
    record: Path | None = None
    execute_interval_s: float = 1.0
    offsets_every_s: float | None = None
    """How often all offsets grow; None leaves every answer as it is."""
    keep_alive_s: float = 90.0
    """How long an idle connection is kept open, at least; at most a tenth longer."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if not 1 <= self.page_size <= PAGE_SIZE_MAX:
            message = f"a page must have from 1 to {PAGE_SIZE_MAX} clusters"
            raise SimulatorError(message)
        for what, seconds in (("keep-alive", self.keep_alive_s), ("offsets", self.offsets_every_s or 1.0)):
            if not 0.1 <= seconds <= 86_400:  # noqa: PLR2004 - a day
                message = f"the seconds of {what} must be from 0.1 to 86400"
                raise SimulatorError(message)
        if not 0 <= self.execute_interval_s <= 3_600:  # noqa: PLR2004 - an hour
            message = "the execute interval must be from 0 to 3600 seconds"
            raise SimulatorError(message)


class Simulator:
    """A fleet; `async with` it, on one event loop."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime]) -> None:
        """Tell agents the time with `clock`."""
        self._settings = settings
        self._clock = clock
        self._stack = AsyncExitStack()
        self.addresses: dict[str, Address] = {}
        """Where ``agents`` (by any of their own addresses), ``control`` and ``discovery`` listen."""

    async def __aenter__(self) -> Self:
        """Build the fleet and listen.

        Raises:
            SimulatorError: A port is taken, or the record cannot be written.
        """
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self, stack: AsyncExitStack) -> None:
        """Put the parts together, the last one closed first."""
        settings, layout = self._settings, self._settings.layout
        self.record = Record(self._clock())
        stack.callback(self.record.close)
        if settings.record is not None:
            self.record.open(settings.record)
        listeners = Listeners(lambda: AgentConnection(self.fleet, posts))
        stack.push_async_callback(listeners.close)
        port, own_port = await listeners.open(settings.port, layout.refusable)
        self.fleet = Fleet(build(layout, port, own_port), self.record, layout.seed)
        stack.callback(self._end)
        executor = Executor(self.fleet, self._clock, settings.execute_interval_s)
        posts = Posts(executor, self.record)
        places = islice(addresses(layout.base_address, 0), len(self.fleet.nodes), None)
        self.conductor = Conductor(self.fleet, executor, listeners, places, port)
        stack.callback(self.conductor.close)
        for node in self.fleet.nodes.values():
            listeners.listen(node)
        self.addresses["agents"] = ("0.0.0.0", port)
        self.control = Control(self.fleet, self.conductor)
        self.discovery = Discovery(self.fleet, settings.page_size)
        await self._serve(stack, "control", settings.control, self.control.handle)
        await self._serve(stack, "discovery", settings.discovery, self.discovery.handle)
        self._every(stack, FLUSH_S, self.record.flush)
        self._every(stack, settings.keep_alive_s / SWEEPS, self._sweep)
        if settings.offsets_every_s is not None:
            self._every(stack, settings.offsets_every_s, self.fleet.move_on)
        player = Player(settings.script, self.conductor)
        player.start()
        stack.callback(player.close)

    async def _serve(self, stack: AsyncExitStack, name: str, address: Address | None, handle: Handle) -> None:
        """Listen for a service."""
        if address is None:
            return
        listener = bind(*address)
        server = await asyncio.get_running_loop().create_server(lambda: ServiceConnection(handle), sock=listener)
        stack.callback(server.close)
        self.addresses[name] = listener.getsockname()[:2]

    def _every(self, stack: AsyncExitStack, seconds: float, do: Callable[[], None]) -> None:
        """Do something again and again until the end."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def again() -> None:
            nonlocal timer
            do()
            timer = loop.call_later(seconds, again)

        timer = loop.call_later(seconds, again)
        stack.callback(lambda: timer.cancel())  # noqa: PLW0108 - the timer of then

    def _sweep(self) -> None:
        """Close connections that nobody uses."""
        for node in self.fleet.nodes.values():
            for connection in tuple(node.connections):
                connection.age(SWEEPS)

    def _end(self) -> None:
        """Break off all connections and forget what was to happen."""
        self.fleet.close()
        for node in self.fleet.nodes.values():
            if node.turn is not None:
                node.turn.cancel()
            for connection in tuple(node.connections):
                connection.reset()
