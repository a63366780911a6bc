"""Carries out a schedule of faults on a world; every beginning and end is written down, and everything is put right again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from pymongo.errors import PyMongoError

from blocks.errors import ReplicoreError
from infra.chaos.eyes import Eyes
from infra.chaos.network import Mode, Rule
from infra.chaos.plan import Fault, FaultKind
from infra.chaos.recorder import Recorder
from infra.chaos.records import double, lose
from infra.chaos.settings import AGENTS, BROKERS, MEMBERS, PREFECT, ZOOKEEPERS, Part
from infra.chaos.world import World
from infra.simulator.errors import CommandError
from infra.stack.processes import Process

K = FaultKind
_STEP_DOWN_S = 20
_STOPPED_S, _GOING_S = 0.3, 0.15
"""A slow disk: a server stands still for so long, and goes on for so long, again and again."""
_FILE_BYTES = 4_096
_JUMP_S = 45.0
_DELAY_S = 0.8
_AGENTS_SHARE = 0.3

Harm = Callable[[Fault], AbstractAsyncContextManager[str]]
"""Does something for as long as it is open; tells to whom."""


class NobodyError(Exception):
    """There is nobody whom this fault could be about; says who was looked for."""


@dataclass
class Nemesis:
    """Does what a schedule says."""

    world: World
    part: Part
    eyes: Eyes
    recorder: Recorder
    say: Callable[[str], None] = lambda _: None
    """Told of every fault as it happens."""
    _begun: float = 0.0
    _stopped: set[int] = field(default_factory=set)
    _measuring: set[asyncio.Task[None]] = field(default_factory=set)

    async def carry_out(self, faults: Iterable[Fault]) -> None:
        """Carry out the whole schedule, and end well."""
        self._begun = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                for fault in faults:
                    group.create_task(self._one(fault))
        finally:
            self.heal()
        await asyncio.gather(*self._measuring)

    def heal(self) -> None:
        """Whatever is broken is whole again."""
        self.world.network.lift_all()
        for pid in tuple(self._stopped):
            self._signal(pid, signal.SIGCONT)

    async def _one(self, fault: Fault) -> None:
        await asyncio.sleep(max(0.0, self._begun + fault.at_s - time.monotonic()))
        begun = time.monotonic()
        target, ended = "", begun
        try:
            async with self._harms()[fault.kind](fault) as target:
                await asyncio.sleep(fault.for_s)
                ended = time.monotonic()
            outcome = "done"
        except NobodyError as error:
            outcome = f"skipped: there is no {error}"
        except (ReplicoreError, PyMongoError, CommandError, OSError, TimeoutError) as error:
            outcome = f"failed: {type(error).__name__}: {error}"
        over = max(ended, begun) if fault.for_s else begun
        self.say(f"{fault.kind.value}: {target or outcome}" + (f", for {fault.for_s:.0f} s" if fault.for_s else ""))
        self.recorder.note(
            "fault", at=begun, number=fault.number, kind=fault.kind.name, target=target, over_at=over,
            put_right_at=time.monotonic(), outcome=outcome,
        )  # fmt: skip

    def _harms(self) -> Mapping[FaultKind, Harm]:
        """What each kind is."""
        return {
            K.WORKER_KILL: self._kill_worker, K.WORKER_PAUSE: self._pause_worker, K.WORKER_STOP: self._stop_worker,
            K.WORKER_CLOCK: self._jump, K.SERVE_KILL: lambda fault: self._kill(self._service(fault, "serve-")),
            K.ZOOKEEPER_KILL: lambda fault: self._kill(self._member(fault, ZOOKEEPERS)),
            K.ZOOKEEPER_PAUSE: lambda fault: self._pause(self._member(fault, ZOOKEEPERS)),
            K.ZOOKEEPER_AWAY: lambda _: self._away("zookeeper"),
            K.ZOOKEEPER_ALONE: lambda fault: self._ruled(self._member(fault, ZOOKEEPERS), None, Mode.CUT),
            K.KAFKA_KILL: lambda fault: self._kill(self._member(fault, BROKERS)),
            K.KAFKA_PAUSE: lambda fault: self._pause(self._member(fault, BROKERS)),
            K.KAFKA_AWAY: lambda _: self._away("kafka"),
            K.MONGODB_KILL: lambda _: self._primary(self._kill),
            K.MONGODB_PAUSE: lambda _: self._primary(self._pause),
            K.MONGODB_STEPDOWN: lambda _: self._primary(self._step_down),
            K.MONGODB_AWAY: lambda _: self._away("mongodb"),
            K.MONGODB_ALONE: lambda _: self._primary(self._alone),
            K.PREFECT_KILL: lambda _: self._kill(self._prefect()),
            K.DISK_FULL: lambda fault: self._full(self._member(fault, MEMBERS[fault.server])),
            K.DISK_SLOW: lambda fault: self._slow(self._member(fault, MEMBERS[fault.server]), fault.for_s),
            K.NET_CUT: lambda fault: self._between(fault, Mode.CUT),
            K.NET_ONE_WAY: lambda fault: self._between(fault, Mode.ONE_WAY),
            K.NET_DELAY: lambda fault: self._between(fault, Mode.DELAY),
            K.NET_ANSWERS: lambda fault: self._between(fault, Mode.DROP_ANSWERS),
            K.NET_RESET: lambda fault: self._between(fault, Mode.REFUSE),
            K.NET_AGENTS_CUT: lambda fault: self._ruled(AGENTS, self._worker(fault).pid, Mode.CUT),
            K.NET_AGENTS_ANSWERS: lambda fault: self._ruled(AGENTS, self._worker(fault).pid, Mode.DROP_ANSWERS),
            K.POINTERS_LOST: lambda _: self._records(lose, self.part.work),
            K.POINTERS_TWICE: lambda _: self._records(double, self.part.work),
            K.EVENTS_TWICE: lambda _: self._records(double, (self.part.events,)),
            K.AGENTS_GONE: lambda fault: self._agents(fault, do="kill"),
            K.AGENTS_SILENT: lambda fault: self._agents(fault, do="black_hole"),
            K.AGENTS_HANG_UP: lambda fault: self._agents(fault, do="hang_up", taken=True),
            K.AGENTS_RESTART: lambda fault: self._agents(fault, do="restart", down_s=1.0),
        }  # fmt: skip

    # -- whom ------------------------------------------------------------------------------------------------------------

    def _worker(self, fault: Fault) -> Process:
        """A process that works, and is one of ours."""
        pids = sorted(worker.pid for worker in self.eyes.workers if self.world.owns(worker.pid))
        pid = fault.pick(pids)
        process = None if pid is None else Process.of(pid)
        if process is None:
            raise NobodyError("worker")
        return process

    def _owner(self, pid: int) -> str:
        return next((worker.owner for worker in self.eyes.workers if worker.pid == pid), "")

    def _service(self, fault: Fault, prefix: str) -> str:
        count = self.world.settings.serving if prefix == "serve-" else self.world.settings.workers
        name = fault.pick([f"{prefix}{number + 1}" for number in range(count)])
        if name is None:
            raise NobodyError(prefix)
        return name

    def _prefect(self) -> str:
        """Whoever works outside of flow runs asks Prefect before every task, as no shift of the product does."""
        if not self.world.settings.serving:
            what = "serving process"
            raise NobodyError(what)
        return PREFECT

    def _member(self, fault: Fault, names: tuple[str, ...]) -> str:
        return fault.pick(names) or names[0]

    @asynccontextmanager
    async def _primary(self, harm: Callable[[str], AbstractAsyncContextManager[str]]) -> AsyncIterator[str]:
        name = await asyncio.to_thread(self.world.primary)
        if name is None:
            raise NobodyError("primary")
        async with harm(name) as target:
            yield target

    def _signal(self, pid: int, signum: int) -> None:
        (self._stopped.add if signum == signal.SIGSTOP else self._stopped.discard)(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)

    def _pid(self, name: str) -> int:
        pid = self.world.pid(name)
        if pid is None:
            raise NobodyError(name)
        return pid

    # -- processes --------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _kill_worker(self, fault: Fault) -> AsyncIterator[str]:
        process = self._worker(fault)
        owner = self._owner(process.pid)
        keys, duties = await self.eyes.held_by(owner)
        now, since = self.eyes.clock(), time.monotonic()
        process.send(signal.SIGKILL)
        self._measuring.add(asyncio.create_task(self.eyes.failover(owner, keys, duties, since, now)))
        yield f"{owner} (pid {process.pid})"

    @asynccontextmanager
    async def _pause_worker(self, fault: Fault) -> AsyncIterator[str]:
        process = self._worker(fault)
        self._signal(process.pid, signal.SIGSTOP)
        try:
            yield f"{self._owner(process.pid)} (pid {process.pid})"
        finally:
            self._signal(process.pid, signal.SIGCONT)

    @asynccontextmanager
    async def _stop_worker(self, fault: Fault) -> AsyncIterator[str]:
        process = self._worker(fault)
        process.send(signal.SIGTERM)
        yield f"{self._owner(process.pid)} (pid {process.pid})"

    @asynccontextmanager
    async def _jump(self, fault: Fault) -> AsyncIterator[str]:
        name = self._service(fault, "worker-")
        seconds = round((2 * fault.amount - 1) * _JUMP_S, 1)
        self._set_clock(name, seconds)
        try:
            yield f"{name} by {seconds:+g} s"
        finally:
            self._set_clock(name, 0.0)

    def _set_clock(self, name: str, seconds: float) -> None:
        self.world.clock_of(name).write_text(str(seconds), encoding="ascii")
        with contextlib.suppress(NobodyError, ProcessLookupError):
            if self.world.ready(name):
                os.kill(self._pid(name), signal.SIGUSR1)

    @asynccontextmanager
    async def _kill(self, name: str) -> AsyncIterator[str]:
        os.kill(self._pid(name), signal.SIGKILL)
        yield name

    @asynccontextmanager
    async def _pause(self, name: str) -> AsyncIterator[str]:
        pid = self._pid(name)
        self._signal(pid, signal.SIGSTOP)
        try:
            yield name
        finally:
            self._signal(pid, signal.SIGCONT)

    @asynccontextmanager
    async def _slow(self, name: str, for_s: float) -> AsyncIterator[str]:
        pid = self._pid(name)

        async def stutter() -> None:
            try:
                for _ in range(int(for_s / (_STOPPED_S + _GOING_S)) + 1):
                    self._signal(pid, signal.SIGSTOP)
                    await asyncio.sleep(_STOPPED_S)
                    self._signal(pid, signal.SIGCONT)
                    await asyncio.sleep(_GOING_S)
            finally:
                self._signal(pid, signal.SIGCONT)

        stuttering = asyncio.create_task(stutter())
        try:
            yield name
        finally:
            stuttering.cancel()
            await asyncio.gather(stuttering, return_exceptions=True)

    @asynccontextmanager
    async def _full(self, name: str) -> AsyncIterator[str]:
        """No file of the server may grow: what a full disk does to it. Most servers end then, and begin again with room."""
        pid = self._pid(name)
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (_FILE_BYTES, hard))
        try:
            yield name
        finally:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))

    @asynccontextmanager
    async def _away(self, kind: str) -> AsyncIterator[str]:
        await self.world.hold(*MEMBERS[kind])
        try:
            yield kind
        finally:
            await self.world.release(*MEMBERS[kind])

    @asynccontextmanager
    async def _step_down(self, name: str) -> AsyncIterator[str]:
        def step_down() -> None:
            with self.world.mongod(name) as client:
                client.admin.command("replSetStepDown", _STEP_DOWN_S, secondaryCatchUpPeriodSecs=5)

        await asyncio.to_thread(step_down)
        yield name

    # -- network, records, agents -------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _ruled(self, target: str, pid: int | None, mode: Mode, delay_s: float = 0.0) -> AsyncIterator[str]:
        rule = Rule(mode, target, pid, delay_s)
        self.world.network.add(rule)
        try:
            yield f"{'everybody' if pid is None else self._owner(pid)} and {target}*, {mode}"
        finally:
            self.world.network.lift(rule)

    @asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[str]:
        """Cut a member of the set off from clients and from its peers, whoever calls whom."""
        rules = (Rule(Mode.CUT, name), Rule(Mode.CUT, "mongodb-", self._pid(name)))
        self.world.network.add(*rules)
        try:
            yield f"{name} and everybody"
        finally:
            self.world.network.lift(*rules)

    def _between(self, fault: Fault, mode: Mode) -> AbstractAsyncContextManager[str]:
        return self._ruled(f"{fault.server}-", self._worker(fault).pid, mode, 0.05 + fault.amount * _DELAY_S)

    @asynccontextmanager
    async def _records(self, do: Callable[[str, tuple[str, ...]], int], topics: tuple[str, ...]) -> AsyncIterator[str]:
        count = await asyncio.to_thread(do, self.world.bootstrap, topics)
        yield f"{count} records of {', '.join(topics)}"

    @asynccontextmanager
    async def _agents(self, fault: Fault, *, do: str, **more: float | bool) -> AsyncIterator[str]:
        share = round(0.02 + fault.amount * _AGENTS_SHARE, 3)
        for_s = {} if do == "restart" else {"for_s": fault.for_s}
        names = await asyncio.to_thread(lambda: self.world.fleet.do(do, nodes={"share": share}, **for_s, **more))
        yield f"{len(names)} agents"
