"""A worker process that a test drives step by step: every call to a service waits until it is let through.

So a test decides what happens between any two steps: a crash, a pause, somebody else's step. A process that crashed never
goes on (no `finally` of it runs), and the server hears nothing of it any more.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from blocks.models.record import Change, Fence
from blocks.models.sent import Sent
from doubles.coordinator import MemoryCoordinator
from doubles.views import REF
from doubles.world import World
from flows.cycle import Mode, Result, cycle
from flows.steps import Steps, Turn

ROUNDS = 400


@dataclass(frozen=True)
class Written:
    """A commit of a process that the store took."""

    process: str
    change: Change
    fence: Fence | None


@dataclass
class Gate:
    """A call that waits to be let through."""

    name: str
    opened: asyncio.Future[None]


@dataclass
class Process:
    """One worker and the cycle that it is in."""

    name: str
    world: World
    coordinator: MemoryCoordinator
    written: list[Written]
    """Shared by all processes: what the store took, in order."""
    gates: list[Gate] = field(default_factory=list)
    task: asyncio.Task[Result] | None = None
    paused: bool = False
    is_open: bool = False
    """Nothing waits any more: it runs freely."""

    def begin(self, mode: Mode = Mode.ORCHESTRATE) -> None:
        """Start a cycle of the cluster `prod/orders`."""
        if self.task is not None and not self.task.cancelled():
            self.task.exception()
        turn = Turn(
            coordinator=_Gated(self, self.coordinator),  # type: ignore[arg-type]
            store=_GatedStore(self, self.world.store),  # type: ignore[arg-type]
            agents=_GatedAgents(self, self.world.agents),  # type: ignore[arg-type]
            clock=self.world.clock,
            steps=Steps(),
            outside=self.world.outside,
        )
        self.task = asyncio.get_running_loop().create_task(cycle(turn, [REF], mode))

    @property
    def idle(self) -> bool:
        """Whether it is in no cycle."""
        return self.task is None or self.task.done()

    async def passes(self, name: str) -> None:
        """Wait at a gate."""
        if self.is_open:
            return
        gate = Gate(name, asyncio.get_running_loop().create_future())
        self.gates.append(gate)
        try:
            await gate.opened
        except asyncio.CancelledError:
            # The test is over: nothing shall hold up the end of its loop.
            self.is_open = True
            raise

    def step(self, index: int = 0) -> str:
        """Let one of the waiting calls through; says which."""
        gate = self.gates.pop(index % len(self.gates))
        gate.opened.set_result(None)
        return gate.name

    def run_freely(self) -> None:
        """Let everything through from now on."""
        self.is_open = True
        while self.gates:
            self.step()


class _Gated:
    """A service of which every async method waits at a gate first."""

    def __init__(self, process: Process, inner: Any) -> None:
        self._process = process
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(attribute):
            return attribute
        return self._gated(name, attribute)

    def _gated(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._process.passes(name)
            return await method(*args, **kwargs)

        return call


class _GatedStore(_Gated):
    """Remembers what was written."""

    async def commit(self, change: Change, *, now: datetime, fence: Fence | None = None) -> Any:
        """Write, and remember it; the answer may be lost after that."""
        await self._process.passes("commit")
        before = len(self._inner.log), dict(self._inner.fences)
        try:
            return await self._inner.commit(change, now=now, fence=fence)
        finally:
            if (len(self._inner.log), self._inner.fences) != before or self._took(change):
                self._process.written.append(Written(self._process.name, change, fence))

    def _took(self, change: Change) -> bool:
        return any(self._inner.records.get(type(one), {}).get(one.key) is one for one in change.swaps)


class _GatedAgents(_Gated):
    """Requests take as long as the test says; one that takes longer than its time never arrives."""

    async def send(
        self, target: Any, action: Any, fence: str, budget_s: float, *, proof: Callable[[], float] | None = None
    ) -> Sent:
        """Ask for the proof, write, and be on the way."""
        clock = self._process.world.clock
        ends = clock() + timedelta(seconds=budget_s)
        await self._process.passes("write")
        if clock() >= ends or (proof is not None and proof() <= 0):
            return Sent(accepted=False, failed="not sent: no time was left")
        await self._process.passes("send")
        if clock() > ends:
            return Sent(accepted=False, failed="no answer in time", maybe_sent=True)
        sent: Sent = await self._inner.send(target, action, fence, budget_s)
        return sent


async def settled(processes: list[Process]) -> None:
    """Let every process come to its next gate, or to its end."""
    quiet = 0
    for _ in range(ROUNDS):
        before = [(len(process.gates), process.idle) for process in processes]
        await asyncio.sleep(0)
        quiet = quiet + 1 if before == [(len(process.gates), process.idle) for process in processes] else 0
        if quiet > 25:
            return


async def to_the_end(process: Process) -> None:
    """A whole cycle, or what is left of one."""
    if process.idle:
        process.begin()
    process.run_freely()
    assert process.task is not None
    async with asyncio.timeout(5):
        await asyncio.wait({process.task})
    process.is_open = False
