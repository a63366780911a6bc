"""A worker of the commit before this one beside one of this tree: a rolling upgrade, and the way back."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.coordinator.zookeeper import ZooKeeperCoordinator
from blocks.event_bus.kafka import KafkaEventBus
from blocks.fleet import Fleet
from blocks.models.cluster import ClusterSpec, ClusterState
from blocks.models.event import Event
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace
from blocks.models.record import Change
from blocks.models.request import Pointer, Priority, WorkKind, WorkState
from blocks.store.mapping import to_document
from blocks.store.mongodb import MongoStore
from blocks.store.protocol import Store
from blocks.work_queue.kafka import KafkaWorkQueue
from doubles.views import discovery
from infra.stack.testing import running

pytestmark = pytest.mark.real

PROJECT = Path(__file__).resolve().parents[2]
ROOMS = ("blocks", "tasks", "flows", "deployments", "infra")
KEYS = [f"prod/c{number}" for number in range(6)]
WITHIN_S = 90.0


def older(folder: Path) -> str:
    """Put the tree of the commit before this one into a folder, or where its history is not there this tree; says which."""
    git = ("git", "-C", str(PROJECT), "archive", "HEAD~1", *ROOMS)
    done = subprocess.run(git, capture_output=True, timeout=60, check=False) if shutil.which("git") else None
    folder.mkdir()
    if done is not None and done.returncode == 0:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(folder, filter="data")
        return "the commit before this one"
    for room in ROOMS:
        shutil.copytree(PROJECT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    return "this tree, because git has no history here"


@asynccontextmanager
async def worker(tree: Path, environment: dict[str, str], log: Path) -> AsyncIterator[None]:
    """A process that works with the code of a tree, until it is told to end."""
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "infra.chaos.worker"),
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree), "PYTHONWARNINGS": "ignore", **environment},
            stdout=out,
            stderr=out,
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                await process.wait()


async def until(is_true: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that nobody tells of."""
    async with asyncio.timeout(WITHIN_S):
        while not await is_true():  # noqa: ASYNC110 - other processes have no event for us
            await asyncio.sleep(0.2)


async def all_worked_on(store: Store) -> None:
    """Ask for every cluster, and wait until each has been seen since."""
    asked = datetime.now(UTC) - timedelta(milliseconds=1)  # noqa: TID251 - workers go by this clock
    await store.ask_many(WorkKind.ORCHESTRATE, KEYS, Priority.PERSON, asked)

    async def done() -> bool:
        states = (await store.get_many(ClusterState, set(KEYS))).values()
        fresh = [state for state in states if state.observed_at is not None and state.observed_at >= asked]
        items = await store.list_work([WorkState.QUEUED, WorkState.CLAIMED])
        return len(fresh) == len(KEYS) and not any(item.kind == WorkKind.ORCHESTRATE for item in items)

    await until(done)


async def of_a_newer_version(store: MongoStore, queue: KafkaWorkQueue) -> None:
    """What neither worker knows: a kind of work with its pointer, a type of event, and a field of a record."""
    now = datetime.now(UTC)  # noqa: TID251 - the same
    item = await store.ask("ponder", "prod/c0", Priority.PERSON, now)
    await queue.send([Pointer(key=item.key, kind="ponder", subject="prod/c0", priority=Priority.PERSON)])
    event = Event(
        event_id="newer", type="io.replicante.mind.changed.v1", stream="mind", subject="mind", sequence=1, time=now, data={"x": 1}
    )  # fmt: skip
    await store.collection("events").insert_one(to_document(event))
    await store.collection("specs").update_many({}, {"$set": {"mood": "well"}})


async def test_two_versions_side_by_side(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Both work on the same clusters; then the older alone, on what the newer wrote. What neither knows waits untouched,
    and an event of a type that neither knows goes to the bus.
    """
    record_property("older", older(tmp_path / "older"))
    with running(["prefect", "zookeeper", "mongodb", "kafka"], tmp_path / "stack") as stack:
        fleet = Fleet().with_environment(stack.environment)
        environment = {**stack.environment, "REPLICORE_WORKERS_SEATS": "2"}
        async with (
            MongoStore(fleet.mongodb) as store,
            KafkaWorkQueue(fleet.kafka, fleet.work_queue) as queue,
            KafkaEventBus(fleet.kafka, fleet.event_bus) as bus,
            ZooKeeperCoordinator(fleet.zookeeper) as coordinator,
        ):
            await asyncio.gather(store.prepare(), queue.prepare(), bus.prepare())
            refs = [ClusterRef.parse(key) for key in KEYS]
            specs = [ClusterSpec(namespace=ref.namespace, cluster_id=ref.cluster_id, version=1) for ref in refs]
            found = [discovery((), cluster_id=ref.cluster_id) for ref in refs]
            began = datetime.now(UTC)  # noqa: TID251 - the same
            await store.commit(Change(puts=(Namespace(name="prod", version=1), *specs, *found)), now=began)

            async def both() -> bool:
                return len(await coordinator.holders(ClaimKind.WORKER)) == 2

            async with worker(tmp_path / "older", environment, tmp_path / "older.log"):
                async with worker(PROJECT, environment, tmp_path / "newer.log"):
                    await until(both)
                    await of_a_newer_version(store, queue)
                    await all_worked_on(store)
                await all_worked_on(store)
            faults = await store.faults()
            pondered = [item for item in await store.list_work() if item.kind == "ponder"]
            async with asyncio.timeout(WITHIN_S), aclosing(bus.follow(began - timedelta(seconds=5))) as events:
                newer = [event.type async for event in _first(events, "newer")]

    assert [] == faults
    assert [(WorkState.QUEUED, 0)] == [(item.state, item.attempts) for item in pondered]
    assert ["io.replicante.mind.changed.v1"] == newer
    for log in ("older.log", "newer.log"):
        assert "Traceback" not in (tmp_path / log).read_text()


async def _first(events: AsyncIterator[Event], event_id: str) -> AsyncIterator[Event]:
    async for event in events:
        if event.event_id == event_id:
            yield event
            return
