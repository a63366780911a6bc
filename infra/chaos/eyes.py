"""How the product is at a moment, seen from outside all faults: who works, who has which duty, what waits, what is ill."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from blocks.coordinator.protocol import ClaimKind, Coordinator, Holder
from blocks.errors import ReplicoreError
from blocks.models.cluster import ClusterState, Health
from blocks.models.request import Request, WorkState
from blocks.store.protocol import Store
from infra.chaos.recorder import Recorder
from infra.chaos.settings import INTERVAL_S

DUTIES = frozenset({"enqueue", "relay", "sweep"})
EVERY_S = 0.5
OUTBOX_MAX_S = 5.0
LOOK_MAX_S = 2 * INTERVAL_S + 2.0
"""A cluster that was last seen longer ago is late."""
_WITHIN_S = 4.0
_FAILOVER_WITHIN_S = 90.0
_QUICK_S = 0.1
_SHOWN_MAX = 3


@dataclass(slots=True)
class Eyes:
    """Looks twice a second and writes down what it sees."""

    coordinator: Coordinator
    store: Store
    recorder: Recorder
    clock: Callable[[], datetime]
    seats: int
    clusters: int
    workers: list[Holder] = field(default_factory=list)
    """Who worked at the last look that ZooKeeper answered."""
    ill: tuple[str, ...] = ("not looked yet",)
    """What is not as it should be."""
    well_since: float | None = None
    """Since when nothing is ill."""

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            begun = time.monotonic()
            await self.look()
            await asyncio.sleep(max(0.05, EVERY_S - (time.monotonic() - begun)))

    async def look(self) -> None:
        """Look once."""
        at = time.monotonic()
        before, (items, late, bad) = self.workers, await self._work()
        away, between = await self._claims()  # after the work: a worker announces itself before it claims
        passing = (*between, *late)
        self.ill = (*away, *passing, *bad, *self._orphans(items, before))
        self.well_since = None if self.ill else self.well_since if self.well_since is not None else at
        self.recorder.note("pulse", at=at, workers=len(self.workers), ill=self.ill, passing=passing)

    async def _claims(self) -> tuple[list[str], list[str]]:
        """What is ill, and what is so for a moment, too, whenever a worker hands over."""
        try:
            async with asyncio.timeout(_WITHIN_S):
                workers, duties = await asyncio.gather(
                    self.coordinator.holders(ClaimKind.WORKER), self.coordinator.holders(ClaimKind.DUTY)
                )
        except (ReplicoreError, TimeoutError):
            return ["ZooKeeper does not answer"], []
        self.workers = workers
        owners = {worker.owner for worker in workers}
        free = sorted(DUTIES - {duty.name for duty in duties if duty.owner in owners})
        between = [f"duty {name} has no worker" for name in free]
        return [], between if len(workers) >= self.seats else [*between, f"{len(workers)} of {self.seats} workers"]

    def _orphans(self, items: Sequence[Request], before: Sequence[Holder]) -> list[str]:
        """Who was there before the work was looked at and is not any more has given it back in between, or is found next time."""
        owners = {worker.owner for worker in (*before, *self.workers)}
        count = sum(item.state is WorkState.CLAIMED and item.owner not in owners for item in items)
        return [f"{count} items of work are claimed by the dead"] if count else []

    async def _work(self) -> tuple[list[Request], list[str], list[str]]:
        """Work that is claimed or dead, what is late, and what is ill."""
        now = self.clock()
        try:
            async with asyncio.timeout(_WITHIN_S):
                (waiting, oldest), states, items = await asyncio.gather(
                    self.store.outbox_size(),
                    self.store.find(ClusterState),
                    self.store.list_work([WorkState.CLAIMED, WorkState.DEAD]),
                )
        except (ReplicoreError, TimeoutError):
            return [], [], ["MongoDB does not answer"]
        late, ill = [], unhealthy(states)
        if oldest is not None and (now - oldest).total_seconds() > OUTBOX_MAX_S:
            late.append(f"{waiting} events wait, the oldest for {(now - oldest).total_seconds():.0f} s")
        seen = [(now - state.observed_at).total_seconds() for state in states if state.observed_at is not None]
        if unseen := sum(age > LOOK_MAX_S for age in seen) + self.clusters - len(seen):
            late.append(f"{unseen} clusters not seen for {LOOK_MAX_S:.0f} s")
        if dead := sum(item.state is WorkState.DEAD for item in items):
            ill.append(f"{dead} items of work are dead")
        return items, late, ill

    async def until_well(self, within_s: float, for_s: float = 0.0) -> bool:
        """Wait until nothing has been ill for so long; False: it did not come to that."""
        ends = time.monotonic() + within_s
        while time.monotonic() < ends:
            if self.well_since is not None and time.monotonic() - self.well_since >= for_s:
                return True
            await asyncio.sleep(_QUICK_S)
        return False

    async def held_by(self, owner: str) -> tuple[set[str], set[str]]:
        """What a worker has now: the keys of its work, and its duties."""
        items, duties = await asyncio.gather(
            self.store.list_work([WorkState.CLAIMED]), self.coordinator.holders(ClaimKind.DUTY)
        )
        return {item.key for item in items if item.owner == owner}, {d.name for d in duties if d.owner == owner}

    async def failover(self, owner: str, keys: set[str], duties: set[str], since: float, now: datetime) -> None:
        """Wait until what a dead worker had is in other hands, and write down how long that took."""
        took: dict[str, float] = {}
        while len(took) < 1 + len(keys) + len(duties) and time.monotonic() - since < _FAILOVER_WITHIN_S:
            with contextlib.suppress(ReplicoreError):
                await self._passed_on(owner, keys, duties, since, now, took)
            await asyncio.sleep(_QUICK_S)
        missing = sorted(({"presence"} | keys | {f"duty {name}" for name in duties}) - took.keys())
        self.recorder.note(
            "failover",
            worker=owner,
            seconds=None if missing else round(max(took.values()), 2),
            work=len(keys),
            duties=sorted(duties),
            presence_s=round(took.get("presence", -1.0), 2),
            missing=missing,
        )

    async def _passed_on(
        self, owner: str, keys: set[str], duties: set[str], since: float, now: datetime, took: dict[str, float]
    ) -> None:
        workers, held, items = await asyncio.gather(
            self.coordinator.holders(ClaimKind.WORKER), self.coordinator.holders(ClaimKind.DUTY), self.store.list_work()
        )
        seconds = time.monotonic() - since
        if owner not in {worker.owner for worker in workers}:
            took.setdefault("presence", seconds)
        for duty in held:
            if duty.name in duties and duty.owner != owner:
                took.setdefault(f"duty {duty.name}", seconds)
        for item in items:
            elsewhere = item.owner not in {None, owner}
            done = item.finished_at is not None and item.finished_at > now
            if item.key in keys and (elsewhere or done):
                took.setdefault(item.key, seconds)


def unhealthy(states: Iterable[ClusterState]) -> list[str]:
    """Which clusters that were seen are not HEALTHY, and of what."""
    found = [
        f"{state.ref.key} {state.health} ({', '.join(sorted({one.code for one in state.problems}))})"
        for state in states
        if state.observed_at is not None and state.health is not Health.HEALTHY
    ]
    more = [f"{len(found) - _SHOWN_MAX} clusters more not HEALTHY"] if len(found) > _SHOWN_MAX else []
    return [*found[:_SHOWN_MAX], *more]
