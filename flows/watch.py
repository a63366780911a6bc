"""The watch: cheap probes of this worker's share of the fleet, spread evenly; what differs is looked at under the lock.

Read-only: no lock, no write but the request for an urgent cycle, which finds and records the truth. With ZooKeeper away
the last known share is watched on; with MongoDB away what was found waits. A worker that was paused or starved knows it
(its own ticks come late) and counts no miss of that time. The first answers of nodes that it takes over are compared with what
is stored, some at a time: what changed between two owners is told too, and a shift that begins makes no storm.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from blocks.agents.protocol import Agents
from blocks.coordinator.protocol import ClaimKind, Coordinator
from blocks.errors import RecordError, ReplicoreError, TransientError
from blocks.metrics.protocol import Metrics, NoMetrics
from blocks.models.look import Failure, Glimpse
from blocks.models.node import Node, Protocol
from blocks.models.request import Priority, WorkKind
from blocks.store.protocol import Store
from blocks.work_queue.protocol import WorkQueue
from flows.turns import Lane, Turns
from flows.waits import pause
from tasks.decide.share import owner, spread
from tasks.decide.watch import Part, Verdict, Watched, answered, differs, missed
from tasks.request import request_work
from tasks.targets import Known, Watchable, load_targets

TICK_S = 0.05
UNASKABLE_AGAIN_S = 60.0
"""What can never be asked for is tried again after so long."""
STALL_S = 0.5
"""A tick that comes so late means that this process was paused or starved."""
SHARE_EVERY_S = 1.0
TARGETS_EVERY_S = 5.0
SHARDS_EVERY = 2
"""Every so many probes ask for the shards instead of the node."""
PROBES_MAX = 500
"""Probes under way at once of nodes that answer; more wait for their turn."""
SILENT_MAX = 500
"""Probes under way at once of nodes that did not answer, or let us wait; each takes a connection and no work."""
PATIENCE_S = 0.25
"""A node that lets us wait for longer keeps no place from the others."""
COMPARE_EVERY_S = 0.25
COMPARE_MAX = 100
"""So many first answers are compared at a time."""

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
    _turns: Turns = field(default_factory=lambda: Turns({Lane.LIVELY: PROBES_MAX, Lane.SILENT: SILENT_MAX}, PATIENCE_S))
    _first: dict[tuple[str, Part], Glimpse] = field(default_factory=dict)
    """By node key and part, the first answer, not yet compared with what is stored."""
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _found: dict[str, str] = field(default_factory=dict)
    """By cluster key, why it must be looked at: not yet asked for."""
    _known: Known = field(default_factory=Known)
    _owners: dict[str, str | None] = field(default_factory=dict)
    """By node key, who owns it among `_workers`."""
    _workers: frozenset[str] = frozenset()
    _stalled_at: float = float("-inf")
    _targets_at: float = 0.0

    async def run(self, over: asyncio.Event) -> None:
        """Watch until the shift is over."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tick(over))
                group.create_task(self._keep_share(over))
                group.create_task(self._compare(over))
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
            for key, due in self._turns.begin(now):
                probe = asyncio.create_task(self._turn(key, due))
                self._running.add(probe)
                probe.add_done_callback(self._running.discard)

    async def _turn(self, key: str, due: float) -> None:
        try:
            if key in self._nodes:
                await self._probe(key, self._nodes[key])
        finally:
            self._turns.end(key)
            if key in self._nodes:
                watched = self._memory[key]
                at = max(due + watched.every_s(self._nodes[key].interval_s), time.monotonic())
                self._turns.plan(key, at, silent=watched.silent(watched.part(SHARDS_EVERY)))

    async def _probe(self, key: str, node: Watchable) -> None:
        watched, begun = self._memory[key], time.monotonic()
        part = watched.part(SHARDS_EVERY)
        target = node.target.evolve(protocol=self._protocols.get(key))
        answer = await self.agents.probe(target, shards=part is Part.SHARDS)
        self.probes += 1
        if isinstance(answer, Failure):
            await asyncio.sleep(0)  # lets a late tick tell of a stall before the miss is judged
            on_time = self._stalled_at < begun and self._turns.late_s(time.monotonic()) <= STALL_S
            verdict = missed(watched, part, answer.reason, on_time=on_time)
            self.metrics.missed(on_time=on_time)
        else:
            verdict = answered(watched, part, answer.fingerprint, now_s=time.monotonic())
        if self._memory.get(key) is watched:  # else it was given away, or its agent is elsewhere now
            self._learn(key, watched, part, answer, verdict)

    def _learn(self, key: str, watched: Watched, part: Part, answer: Glimpse | Failure, verdict: Verdict) -> None:
        self._memory[key] = verdict.watched
        if isinstance(answer, Failure):
            self._protocols.pop(key, None)  # whatever stands there when it answers again is asked what it speaks
        else:
            self._protocols[key] = answer.protocol
            if watched.of(part).last is None:
                self._first[key, part] = answer
        if verdict.escalate is not None:
            cause = part.value if not isinstance(answer, Failure) else "silent"
            back = watched.silence.told is not None and not isinstance(answer, Failure)
            self._find(key, verdict.escalate, "back" if back else cause)

    def _find(self, key: str, why: str, cause: str) -> None:
        self.metrics.escalated(cause)
        self._found[self._nodes[key].cluster] = f"{key}: {why}"

    async def _compare(self, over: asyncio.Event) -> None:
        """Compare first answers with what is stored; what cannot be read now is compared later, or left to its cycle."""
        while not over.is_set():
            await pause(over, COMPARE_EVERY_S)
            some = dict(list(self._first.items())[:COMPARE_MAX])
            try:
                stored = await self._stored({key for key, _ in some}) if some else {}
            except ReplicoreError:
                continue
            for (key, part), glimpse in some.items():
                if self._first.get((key, part)) is not glimpse:
                    continue  # it was given away meanwhile, or its agent is elsewhere now
                del self._first[key, part]
                if key in stored and differs(stored[key], part, glimpse):
                    self._find(key, f"its {part} changed while nobody watched", part.value)

    async def _stored(self, keys: set[str]) -> dict[str, Node]:
        try:
            return await self.store.get_many(Node, keys)
        except RecordError:
            found: dict[str, Node] = {}
            for key in keys:
                with suppress(RecordError):  # its cycle tells of it
                    found |= await self.store.get_many(Node, {key})
            return found

    async def _keep_share(self, over: asyncio.Event) -> None:
        everything: dict[str, Watchable] = {}
        workers: set[str] = {self.coordinator.worker}
        while not over.is_set():
            try:
                if time.monotonic() >= self._targets_at:
                    everything = await load_targets.fn(self.store, self.clock(), self._known)
                    self._targets_at = time.monotonic() + TARGETS_EVERY_S
                if self.coordinator.connected:
                    workers = {holder.owner for holder in await self.coordinator.holders(ClaimKind.WORKER)}
                self._take(everything, workers | {self.coordinator.worker})
            except ReplicoreError as error:
                _logger.info("the watch goes on with the share it has: %s", error)
            await pause(over, SHARE_EVERY_S)

    def _take(self, everything: dict[str, Watchable], workers: set[str]) -> None:
        """Make this worker's share what it should be; what stays keeps its turn and its memory."""
        owners = self._owners if workers == self._workers else {}
        self._workers = frozenset(workers)
        self._owners = {key: owners[key] if key in owners else owner(key, workers) for key in everything}
        mine = {key: node for key, node in everything.items() if self._owners[key] == self.coordinator.worker}
        now, wall_s = time.monotonic(), self.clock().timestamp()
        if any(key not in self._memory for key in mine):
            turns = _first_parts(everything)
            self._memory |= {key: Watched(probes=turns[key]) for key in mine if key not in self._memory}
        for key, node in mine.items():
            known = self._nodes.get(key)
            if known is not None and known.target.agent_address != node.target.agent_address:
                self._forget(key)
                self._memory[key] = Watched()
            if known is None or known.interval_s != node.interval_s:
                # The same moments whoever watches: a node that is handed over is asked when its turn would have been.
                self._turns.plan(key, now + (spread(key) * node.interval_s - wall_s) % node.interval_s, silent=False)
        for key in self._nodes.keys() - mine.keys():
            self._forget(key)
            self._turns.drop(key)
        self._nodes = mine
        self.metrics.watching(len(mine))

    def _forget(self, key: str) -> None:
        self._memory.pop(key, None)
        self._protocols.pop(key, None)
        for part in Part:
            self._first.pop((key, part), None)

    async def _tell(self, over: asyncio.Event) -> None:
        """Ask for urgent cycles; what cannot be asked for now is asked for later. One that can never be asked for, such as a
        work item that cannot be read, is tried again once a minute, and holds up no other.
        """
        unaskable: dict[str, float] = {}
        while not over.is_set():
            for cluster in list(self._found):
                if unaskable.get(cluster, 0.0) > time.monotonic():
                    continue
                why = self._found.pop(cluster)
                try:
                    await request_work.fn(
                        self.store, self.queue, WorkKind.ORCHESTRATE, cluster, Priority.URGENT, self.clock()
                    )
                except TransientError:
                    self._found.setdefault(cluster, why)
                    await pause(over, STALL_S)
                except ReplicoreError as error:
                    self._found.setdefault(cluster, why)
                    if cluster not in unaskable:
                        _logger.warning("%s cannot be asked for (%s): %s", cluster, why, error)
                    unaskable[cluster] = time.monotonic() + UNASKABLE_AGAIN_S
                else:
                    unaskable.pop(cluster, None)
                    _logger.info("%s is looked at: %s", cluster, why)
            await pause(over, TICK_S)


def _first_parts(everything: dict[str, Watchable]) -> dict[str, int]:
    """Which part each node is first asked for: the nodes of a cluster differ, so that some tell of its shards at any time."""
    before: Counter[str] = Counter()
    turns = {}
    for key, node in sorted(everything.items()):
        turns[key] = before[node.cluster] % SHARDS_EVERY
        before[node.cluster] += 1
    return turns
