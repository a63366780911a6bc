"""A world in memory for `replictl`: what a test puts into its store is what the commands see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from blocks.errors import DependencyUnavailableError
from blocks.models.record import Change, Record
from deployments.cli.main import run
from deployments.cli.world import World
from doubles.coordinator import MemoryCoordinator
from doubles.event_bus import FakeEventBus
from doubles.secrets import MemorySecrets
from doubles.store import MemoryStore
from doubles.store_samples import NOW
from doubles.work_queue import FakeWorkQueue

PREFECT = "http://prefect/api"


@dataclass
class Outside:
    """Everything outside of a command, and what it asked of it."""

    store_: MemoryStore = field(default_factory=MemoryStore)
    coordinator_: MemoryCoordinator = field(default_factory=MemoryCoordinator)
    queue: FakeWorkQueue = field(default_factory=FakeWorkQueue)
    bus: FakeEventBus = field(default_factory=FakeEventBus)
    secrets_: MemorySecrets = field(default_factory=MemorySecrets)
    flows: dict[str, Callable[..., Any]] = field(default_factory=dict)
    prefect_down: bool = False
    now: datetime = NOW
    environ: dict[str, str] = field(default_factory=dict)
    folder: Path = Path("/nowhere")
    events_keep_days: int = 14
    called: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """The flows that were run, with their parameters."""

    async def store(self) -> MemoryStore:
        """The truth."""
        return self.store_

    async def coordinator(self) -> MemoryCoordinator:
        """Claims; connecting fails when the server is down, as the live one's does."""
        await self.coordinator_.ready()
        return self.coordinator_

    async def work_queue(self) -> FakeWorkQueue:
        """Pointers."""
        return self.queue

    async def event_bus(self) -> FakeEventBus:
        """Events."""
        return self.bus

    async def secrets(self) -> MemorySecrets:
        """What must not be shown."""
        return self.secrets_

    @asynccontextmanager
    async def connect(self, fleet: str, limit_s: float | None) -> AsyncIterator[Outside]:
        """Itself, whatever the fleet."""
        yield self

    async def prefect(self, within_s: float) -> str:
        """Its address, or that it is away."""
        if self.prefect_down:
            raise DependencyUnavailableError("Prefect", PREFECT, "connection refused", "Is the server running?")
        return PREFECT

    def flow(self, name: str) -> Callable[..., Any]:
        """A flow that remembers how it was called."""

        def call(**parameters: Any) -> Any:
            self.called.append((name, parameters))
            return self.flows[name](**parameters)

        return call

    def world(self) -> World:
        """As commands get it."""
        return World(
            connect=self.connect,
            flow=self.flow,
            prefect=self.prefect,
            clock=lambda: self.now,
            environ=self.environ,
            folder=self.folder,
            user="ann@here",
        )

    async def put(self, *records: Record) -> None:
        """Store records."""
        await self.store_.commit(Change(puts=records), now=self.now)

    def replictl(self, *arguments: str) -> int:
        """Run a command; returns its exit code."""
        return run(arguments, self.world())


async def replictl(outside: Outside, *arguments: str) -> int:
    """Run a command in a thread: it has an event loop of its own."""
    return await asyncio.to_thread(outside.replictl, *arguments)
