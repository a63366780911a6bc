"""What people do meanwhile: order actions, approve, reject and cancel them, freeze and open blackouts, and lift those again.

Each order says who it is by a number in the action's arguments, so that an effect can be told from a copy with another id. What
could not be confirmed (MongoDB away) is written down as unknown: it may have been accepted or not.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from blocks.errors import PermanentError, ReplicoreError
from blocks.models.action import ActionState
from blocks.models.gate import Gate
from blocks.store.protocol import Store
from blocks.work_queue.protocol import WorkQueue
from flows.submit import submit
from infra.chaos.recorder import Recorder
from infra.chaos.settings import AGENT_TIMEOUT_S, BUDGET, FREE, INTERVAL_S, STRICT
from tasks.decide.gating import freeze_of, window_of
from tasks.gating import lift, place
from tasks.order import order

API = "replicante.io/v0"
NODE_KINDS = ("test.success", "test.success", "test.loop", "test.fail")
CLUSTER_KINDS = ("debug.success", "debug.counting", "debug.fail")
_AGAIN_S = 1.0
_GATE_S = (5.0, 9.0)
_GATE_EVERY_S = (4.0, 10.0)
_PLACES = ("everything", STRICT, FREE, "cluster")


def declared(folder: Path) -> str:
    """The manifests of the two namespaces and their sources, which are files in a folder."""
    common = {"agent_timeout": AGENT_TIMEOUT_S, "orchestrate_interval": INTERVAL_S, "discovery_interval": 30}
    namespaces = {
        STRICT: {**common, "disruption_max": BUDGET, "harmless_actions": []},
        FREE: common,
    }
    documents: list[dict[str, Any]] = [
        {"apiVersion": API, "kind": "Namespace", "metadata": {"name": name}, "spec": {"settings": chosen}}
        for name, chosen in namespaces.items()
    ]
    documents += [
        {
            "apiVersion": API,
            "kind": "DiscoverySettings",
            "metadata": {"namespace": name, "name": "fleet"},
            "spec": {"backend": "file", "path": str(folder / f"{name}.json"), "interval": 30},
        }
        for name in namespaces
    ]
    return str(yaml.safe_dump_all(documents))


@dataclass
class Load:
    """People at work."""

    store: Store
    queue: WorkQueue
    recorder: Recorder
    clock: Callable[[], datetime]
    seed: int
    every_s: float
    """Time between two orders, about."""
    nodes: dict[str, str]
    """By node, the key of its cluster."""
    closing: bool = True
    """Whether they also freeze and black out, now and then."""
    ordered: int = 0
    _dice: random.Random = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed + 1)  # noqa: S311 - to be repeated, not to be secret

    async def work(self) -> None:
        """Do what people do until cancelled; then whatever was placed is lifted."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._orders())
                if self.closing:
                    group.create_task(self._gates())
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- orders ----------------------------------------------------------------------------------------------------------

    async def _orders(self) -> None:
        while True:
            self._soon(self._order())
            await asyncio.sleep(self.every_s * self._dice.uniform(0.5, 1.5))

    def _soon(self, call: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(call)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _order(self) -> None:
        self.ordered += 1
        number, dice = self.ordered, self._dice
        granted, of_cluster = dice.random() < 0.7, dice.random() < 0.1  # noqa: PLR2004 - shares
        node = dice.choice(sorted(self.nodes))
        home, _, cluster = self.nodes[node].partition("/")
        action_id = str(uuid.UUID(int=dice.getrandbits(128), version=4))
        kind = f"core.replicante.io/{dice.choice(CLUSTER_KINDS)}" if of_cluster else _of_node(dice)
        metadata = {"namespace": home, "cluster": cluster, "approval": "granted" if granted else "required"}
        manifest = {
            "apiVersion": API,
            "kind": "OrchestratorAction" if of_cluster else "NodeAction",
            "metadata": metadata if of_cluster else {**metadata, "node": node},
            "spec": {"action": kind, "action_id": action_id, "args": _args(kind, number, dice)},
        }
        await self._hand_in(number, action_id, yaml.safe_dump(manifest), home)
        if not granted:
            await self._decide(action_id, dice.uniform(0.5, 5.0), dice.choice(_ANSWERS))
        elif dice.random() < 0.05:  # noqa: PLR2004 - a share
            await self._decide(action_id, dice.uniform(0.0, 2.0), ActionState.CANCELLED)

    async def _hand_in(self, number: int, action_id: str, manifest: str, home: str) -> None:
        begun = time.monotonic()
        outcome = "accepted"
        try:
            await submit(self.store, self.queue, manifest, "people", self.clock())
        except PermanentError as error:
            outcome = f"refused: {error}"
        except ReplicoreError:
            outcome = "unknown"
        self.recorder.note("order", at=begun, number=number, action=action_id, namespace=home, outcome=outcome)

    async def _decide(self, action_id: str, after_s: float, wanted: ActionState) -> None:
        """Approve, reject or cancel; tried again while the store is away or the order was not applied yet."""
        await asyncio.sleep(after_s)
        ends = time.monotonic() + 120.0
        while time.monotonic() < ends:
            try:
                await order.fn(self.store, action_id, wanted, "people", "chaos", self.clock())
            except PermanentError as error:
                if "no action" not in str(error):
                    return  # it moved on meanwhile
            except ReplicoreError:
                pass
            else:
                return
            await asyncio.sleep(_AGAIN_S)

    # -- gates -----------------------------------------------------------------------------------------------------------

    async def _gates(self) -> None:
        number = 0
        while True:
            await asyncio.sleep(self._dice.uniform(*_GATE_EVERY_S))
            number += 1
            await self._gate(f"chaos-{number}", self._dice.choice(_PLACES), self._dice.uniform(*_GATE_S))

    async def _gate(self, name: str, where: str, for_s: float) -> None:
        if where == "cluster":
            where = self.nodes[self._dice.choice(sorted(self.nodes))]
        now = self.clock()
        if self._dice.random() < 0.5:  # noqa: PLR2004 - one of two
            gate = _freeze(name, where, now)
        else:
            ends = now + timedelta(hours=1)
            gate = window_of(name, "blackout", "chaos", "people", ends, where, {}, None, None, "people", now)
        async with self._closed(gate, await self._placed(gate)):
            await asyncio.sleep(for_s)

    @asynccontextmanager
    async def frozen(self, name: str) -> AsyncIterator[float]:
        """A freeze of everything for as long as it is open; tells since when. Placing it is tried until the store takes it."""
        gate = _freeze(name, "everything", self.clock())
        while (since := await self._placed(gate)) is None:  # noqa: ASYNC110 - it is tried
            await asyncio.sleep(_AGAIN_S)
        async with self._closed(gate, since):
            yield since

    async def _placed(self, gate: Gate) -> float | None:
        """When it was confirmed; None: it may have been placed or not."""
        try:
            await place.fn(self.store, gate, self.clock())
        except ReplicoreError:
            return None
        return time.monotonic()

    @asynccontextmanager
    async def _closed(self, gate: Gate, placed: float | None) -> AsyncIterator[None]:
        """Then it is written down and lifted."""
        try:
            yield
        finally:
            lifting = time.monotonic()
            self.recorder.note("gate", at=placed, name=gate.name, where=gate.where, placed=placed, lifting=lifting)
            await self._lift(gate.name)

    async def _lift(self, name: str) -> None:
        while True:
            try:
                await lift.fn(self.store, name, "people", "chaos", self.clock())
            except PermanentError:
                return  # it was never placed
            except ReplicoreError:
                await asyncio.sleep(_AGAIN_S)
            else:
                return


_ANSWERS = (ActionState.PENDING_SCHEDULE,) * 4 + (ActionState.CANCELLED,)


def _freeze(name: str, where: str, now: datetime) -> Gate:
    return freeze_of(where, "chaos", None, "people", now).evolve(name=name)


def _of_node(dice: random.Random) -> str:
    return f"agent.replicante.io/{dice.choice(NODE_KINDS)}"


def _args(kind: str, number: int, dice: random.Random) -> dict[str, int] | None:
    """Arguments by which the order is known again, where its kind takes any."""
    if kind.startswith("core."):
        return {"count": dice.randint(1, 3)} if kind.endswith("debug.counting") else None
    target = {"target": dice.randint(2, 8)} if kind.endswith("test.loop") else {}
    return {"chaos": number, **target}
