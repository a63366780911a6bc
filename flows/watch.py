"""The watch: cheap probes of this worker's share of the fleet, spread evenly; what differs is looked at under the lock.

Read-only: no lock, no write but the request for an urgent cycle, which finds and records the truth. With ZooKeeper away
the last known share is watched on; with MongoDB away what was found waits. A worker that was paused or starved knows it
(its own ticks come late) and counts no miss of that time.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from blocks.agents.protocol import Agents
from blocks.coordinator.protocol import ClaimKind, Coordinator
from blocks.errors import TransientError
from blocks.metrics.protocol import Metrics, NoMetrics
from blocks.models.look import Failure, Glimpse
from blocks.models.node import Protocol
from blocks.models.request import Priority, WorkKind
from blocks.store.protocol import Store
from blocks.work_queue.protocol import WorkQueue
from flows.waits import pause
from tasks.decide.share import owner, spread
from tasks.decide.watch import MISSES_MAX, Part, Watched, answered, missed
from tasks.request import request_work
from tasks.targets import Watchable, load_targets

TICK_S = 0.05
STALL_S = 0.5
"""A tick that comes so late means that this process was paused or starved."""
SHARE_EVERY_S = 1.0
TARGETS_EVERY_S = 5.0
SHARDS_EVERY = 2
"""Every so many probes ask for the shards instead of the node."""
PROBES_MAX = 500
"""Probes under way at once; more wait for their turn."""

_logger = logging.getLogger("replicore.watch")


@dataclass(slots=True)
class Watch:
    """One worker's watch."""

    coordinator: Coordinator
    store: Store
    queue: WorkQueue
    agents: Agents
    clock: Callable[[], datetime]
    metrics: Metrics = field(default_factory=NoMetrics)
    probes: int = 0
    _nodes: dict[str, Watchable] = field(default_factory=dict)
    """By node key, the share of this worker."""
    _protocols: dict[str, Protocol] = field(default_factory=dict)
    _memory: dict[str, Watched] = field(default_factory=dict)
    _due: list[tuple[float, str]] = field(default_factory=list)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _found: dict[str, str] = field(default_factory=dict)
    """By cluster key, why it must be looked at: not yet asked for."""
    _stalled_at: float = float("-inf")
    _targets_at: float = 0.0

    async def run(self, over: asyncio.Event) -> None:
        """Watch until the shift is over."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tick(over))
                group.create_task(self._keep_share(over))
                group.create_task(self._tell(over))
        finally:
            for probe in self._running:
                probe.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def refresh(self) -> None:
        """Ask now, not within seconds, which nodes there are."""
        self._targets_at = 0.0

    async def _tick(self, over: asyncio.Event) -> None:
        last = time.monotonic()
        while not over.is_set():
            await pause(over, TICK_S)
            now = time.monotonic()
            if now - last > TICK_S + STALL_S:
                self._stalled_at = now
                self.metrics.stalled()
            last = now
            while self._due and self._due[0][0] <= now and len(self._running) < PROBES_MAX:
                due, key = heapq.heappop(self._due)
                node = self._nodes.get(key)
                if node is not None and node.interval_s > 0:
                    heapq.heappush(self._due, (max(due + node.interval_s, now), key))
                    self._start(key, node)

    def _start(self, key: str, node: Watchable) -> None:
        probe = asyncio.create_task(self._probe(key, node))
        self._running.add(probe)
        probe.add_done_callback(self._running.discard)

    async def _probe(self, key: str, node: Watchable) -> None:
        watched, begun = self._memory.get(key, Watched()), time.monotonic()
        part = watched.part(SHARDS_EVERY)
        target = node.target.evolve(protocol=self._protocols.get(key))
        answer = await self.agents.probe(target, shards=part is Part.SHARDS)
        self.probes += 1
        if isinstance(answer, Failure):
            await asyncio.sleep(0)  # lets a late tick tell of a stall before the miss is judged
            on_time = self._stalled_at < begun and not self._late()
            verdict = missed(watched, answer.reason, on_time=on_time)
            self.metrics.missed(on_time=on_time)
        else:
            self._protocols[key] = answer.protocol
            verdict = answered(watched, part, answer.fingerprint, now_s=time.monotonic())
        if key in self._nodes:
            self._memory[key] = verdict.watched
            if verdict.escalate is not None:
                self.metrics.escalated(_cause(watched, answer, part))
                self._found[node.cluster] = f"{key}: {verdict.escalate}"

    def _late(self) -> bool:
        return bool(self._due) and time.monotonic() - self._due[0][0] > STALL_S and len(self._running) < PROBES_MAX

    async def _keep_share(self, over: asyncio.Event) -> None:
        everything: dict[str, Watchable] = {}
        workers: set[str] = {self.coordinator.worker}
        while not over.is_set():
            try:
                if time.monotonic() >= self._targets_at:
                    everything = await load_targets.fn(self.store, self.clock())
                    self._targets_at = time.monotonic() + TARGETS_EVERY_S
                if self.coordinator.connected:
                    workers = {holder.owner for holder in await self.coordinator.holders(ClaimKind.WORKER)}
                self._take(everything, workers | {self.coordinator.worker})
            except TransientError as error:
                _logger.info("the watch goes on with the share it has: %s", error)
            await pause(over, SHARE_EVERY_S)

    def _take(self, everything: dict[str, Watchable], workers: set[str]) -> None:
        """Make this worker's share what it should be; what stays keeps its turn and its memory."""
        mine = {key: node for key, node in everything.items() if owner(key, workers) == self.coordinator.worker}
        now = time.monotonic()
        if any(key not in self._memory for key in mine):
            turns = _turns(everything)
            self._memory |= {key: Watched(probes=turns[key]) for key in mine if key not in self._memory}
        for key, node in mine.items():
            known = self._nodes.get(key)
            if known is None or known.interval_s <= 0 < node.interval_s:
                heapq.heappush(self._due, (now + spread(key) * node.interval_s, key))
            if known is not None and known.target.agent_address != node.target.agent_address:
                self._forget(key)
                self._memory[key] = Watched()
        gone = self._nodes.keys() - mine.keys()
        for key in gone:
            self._forget(key)
        self._nodes = mine
        self.metrics.watching(len(mine))
        if gone:
            self._due = [entry for entry in self._due if entry[1] in mine]
            heapq.heapify(self._due)

    def _forget(self, key: str) -> None:
        self._memory.pop(key, None)
        self._protocols.pop(key, None)

    async def _tell(self, over: asyncio.Event) -> None:
        """Ask for urgent cycles; what cannot be asked for now is asked for later."""
        while not over.is_set():
            for cluster in list(self._found):
                why = self._found.pop(cluster)
                try:
                    await request_work.fn(
                        self.store, self.queue, WorkKind.ORCHESTRATE, cluster, Priority.URGENT, self.clock()
                    )
                except TransientError:
                    self._found.setdefault(cluster, why)
                    await pause(over, STALL_S)
                else:
                    _logger.info("%s is looked at: %s", cluster, why)
            await pause(over, TICK_S)


def _turns(everything: dict[str, Watchable]) -> dict[str, int]:
    """Which part each node is first asked for: the nodes of a cluster differ, so that some tell of its shards at any time."""
    before: Counter[str] = Counter()
    turns = {}
    for key, node in sorted(everything.items()):
        turns[key] = before[node.cluster] % SHARDS_EVERY
        before[node.cluster] += 1
    return turns


def _cause(watched: Watched, answer: Glimpse | Failure, part: Part) -> str:
    if isinstance(answer, Failure):
        return "silent"
    return "back" if watched.misses >= MISSES_MAX else part.value
