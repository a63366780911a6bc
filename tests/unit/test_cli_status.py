from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.errors import DependencyUnavailableError
from blocks.models.record import Change, Fence
from blocks.models.request import Pointer
from blocks.models.source import SourceReport
from blocks.runs.prefect import PrefectRuns
from deployments.cli import checks
from deployments.cli.checks import check_all, stack_rows
from deployments.cli.status import status_of
from doubles.cli import Outside
from doubles.coordinator import MemoryCoordinator
from doubles.sources import MemorySources
from doubles.store import MemoryStore
from doubles.store_samples import NOW, draft, items, later
from flows.degraded import Degraded, DegradedMode
from flows.duties import duties
from tasks.hold import fence_of


@pytest.fixture
async def outside() -> Outside:
    """A product that works: one worker with all duties, some work, one event on its way."""
    outside = Outside()
    for kind, name in [
        (ClaimKind.WORKER, "worker-1"),
        (ClaimKind.SEAT, "seat-0"),
        *((ClaimKind.DUTY, duty) for duty in checks.DUTIES),
    ]:
        await outside.coordinator_.take(kind, name, "works")
    await outside.store_.ensure_work(items(3), NOW)
    await outside.store_.queue_due(NOW, 2)
    await outside.store_.commit(Change(drafts=(draft(),)), now=later(-7))
    await outside.queue.send([Pointer(key="k", kind="orchestrate", subject="s")])
    return outside


async def status(outside: Outside) -> dict[str, Any]:
    """The object that `status` prints."""
    return status_of(await check_all(outside.world(), "replicore", 1.0), None, NOW)


async def test_all_well(outside: Outside) -> None:
    """Components, workers, duties, queue, outbox; nothing is degraded, and there is no local stack."""
    value = await status(outside)

    expected = ["components", "workers", "duties", "standby", "queue", "outbox", "sources", "degraded"]
    assert expected == list(value)
    assert {"zookeeper", "mongodb", "kafka", "prefect"} == {
        name for name, row in value["components"].items() if row["ok"]
    }
    assert ["worker-1"] == [row["owner"] for row in value["workers"]]
    assert dict.fromkeys(checks.DUTIES, "worker-1") == {row["duty"]: row["owner"] for row in value["duties"]}
    assert (1, 0, 1, 2) == tuple(value["queue"][name] for name in ("backlog", "members", "idle", "queued"))
    assert {"size": 1, "oldest_age_s": 7.0} == value["outbox"]
    assert [] == value["degraded"]


@pytest.mark.parametrize(
    ("component", "name", "unknown"),
    [
        ("zookeeper", "NO_COORDINATOR", ("workers", "duties", "standby")),
        ("mongodb", "NO_STORE", ("outbox.size", "queue.idle")),
        ("kafka", "NO_QUEUE", ("queue.backlog", "queue.members")),
        ("prefect", "NO_PREFECT", ()),
    ],
)
async def test_one_component_down(outside: Outside, component: str, name: str, unknown: tuple[str, ...]) -> None:
    """It is named with its sentence; what it would tell is null; the others answer all the same."""
    outside.coordinator_.zookeeper.down = component == "zookeeper"
    outside.store_.down = component == "mongodb"
    outside.queue.down = component == "kafka"
    outside.prefect_down = component == "prefect"
    value = await status(outside)

    assert [name] == value["degraded"]
    assert [component] == [one for one, row in value["components"].items() if not row["ok"]]
    assert "is not available" in value["components"][component]["detail"]
    for path in unknown:
        part, _, field = path.partition(".")
        assert (value[part][field] if field else value[part]) is None


async def test_nobody_works() -> None:
    """Without workers that is said, and each duty that nobody has."""
    value = await status(Outside())

    assert ["NO_WORKER", "NO_DUTY_ENQUEUE", "NO_DUTY_RELAY", "NO_DUTY_SWEEP"] == value["degraded"]


async def test_a_zookeeper_that_lost_its_data(outside: Outside) -> None:
    """It is only at tokens that the store has seen newer ones than: that is named, until a person raises the generation."""
    await outside.store_.claim([Fence(subject="prod/orders", generation=1, token=10**6)])
    before = await status(outside)
    await outside.coordinator_.raise_generation()
    after = await status(outside)

    assert (["COORDINATOR_WIPED"], []) == (before["degraded"], after["degraded"])


class Told(MemoryCoordinator):
    """A coordinator that says when it has told how far it is."""

    def __init__(self) -> None:
        super().__init__()
        self.told = asyncio.Event()

    async def newest(self) -> tuple[int, int]:
        """How far it is."""
        found = await super().newest()
        self.told.set()
        return found


class Busy(MemoryStore):
    """A store that is asked only when ZooKeeper has answered and somebody has taken a lock since."""

    def __init__(self, coordinator: Told) -> None:
        super().__init__()
        self._coordinator = coordinator

    async def newest_fence(self) -> Fence | None:
        """The fence of that lock."""
        await asyncio.wait_for(self._coordinator.told.wait(), 1.0)
        await self.claim([fence_of(await self._coordinator.take(ClaimKind.LOCK, "prod/orders", ""))])
        return await super().newest_fence()


async def test_a_lock_taken_while_we_look_is_no_loss() -> None:
    """ZooKeeper answered before the lock was taken and the store afterwards: ZooKeeper is asked once more."""
    coordinator = Told()
    value = await status(Outside(store_=Busy(coordinator), coordinator_=coordinator))

    assert "COORDINATOR_WIPED" not in value["degraded"]


async def test_component_that_hangs_delays_nothing(outside: Outside) -> None:
    """A server that neither answers nor fails is down after the deadline."""

    async def hang(_: float) -> str:
        await asyncio.Event().wait()
        return "never"

    world = dataclasses.replace(outside.world(), prefect=hang)
    found = await check_all(world, "replicore", 0.05, grace_s=0.0)

    assert not found["prefect"].ok
    assert found["mongodb"].ok


@pytest.mark.parametrize(("down", "code"), [(False, 0), (True, 1)])
async def test_exit_code(outside: Outside, capsys: pytest.CaptureFixture[str], *, down: bool, code: int) -> None:
    """0 when all is well, 1 when something is degraded; the answer is printed either way."""
    outside.queue.down = down
    found = await asyncio.to_thread(outside.replictl, "status", "-o", "json")

    assert code == found
    assert (["NO_QUEUE"] if down else []) == json.loads(capsys.readouterr().out)["degraded"]


async def test_page_for_people(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """For people the first line says it all, and a duty that nobody has says so."""
    await outside.coordinator_.force_release(ClaimKind.DUTY, "relay")
    await asyncio.to_thread(outside.replictl, "status")
    lines = capsys.readouterr().out.splitlines()

    assert "degraded: NO_DUTY_RELAY" == lines[0]
    assert ["relay", "nobody", "-"] in [line.split() for line in lines]


def test_stack(tmp_path: Path) -> None:
    """The local stack's processes are shown; one whose process is gone is said to be."""
    path = tmp_path / "status.json"
    ready = {
        "name": "kafka",
        "state": "ready",
        "pid": 2**22 + 1,
        "restarts": 2,
        "since": "2030-01-01T00:00:00Z",
        "rss": 1,
    }
    path.write_text(json.dumps({"processes": [ready, {**ready, "name": "mongodb", "state": "stopped", "pid": None}]}))
    rows = stack_rows({"REPLICORE_STACK_STATUS": str(path)})

    assert rows is not None
    assert [("kafka", "gone", 2), ("mongodb", "stopped", 2)] == [(r["name"], r["state"], r["restarts"]) for r in rows]


def test_no_stack(tmp_path: Path) -> None:
    """Without a local stack there is nothing to show."""
    assert stack_rows({}) is None
    assert stack_rows({"REPLICORE_STACK_STATUS": str(tmp_path / "gone.json")}) is None


async def test_unreadable_stack_is_said(outside: Outside, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken file of the local stack does not hide the rest."""
    (tmp_path / "status.json").write_text("{")
    outside.environ["REPLICORE_STACK_STATUS"] = str(tmp_path / "status.json")
    code = await asyncio.to_thread(outside.replictl, "status")

    assert 0 == code
    assert "cannot be read" in capsys.readouterr().out


async def test_names_are_those_of_the_product() -> None:
    """Duties and degraded modes are called here as where they come from."""
    outside = Outside()
    degraded = Degraded(outside.store_, outside.world().clock, "worker-1")
    made = duties(
        outside.coordinator_,
        outside.store_,
        outside.queue,
        outside.bus,
        PrefectRuns(),
        outside.secrets_,
        outside.world().clock,
        asyncio.Event(),
        degraded,
        MemorySources(),
    )

    assert checks.DUTIES == tuple(duty.name for duty in made)
    assert {*checks.MODES.values(), checks.WIPED} == set(DegradedMode.__members__)


async def test_modes_of_living_workers_and_dead_work_are_named(outside: Outside) -> None:
    """A mode that a living worker has entered and not left, and work that waits for a person, are named in the status."""
    away = DependencyUnavailableError("Kafka", "h:1", "gone", "Check.")
    mine = Degraded(outside.store_, outside.world().clock, outside.coordinator_.worker)
    for worker in (mine, Degraded(outside.store_, outside.world().clock, "long dead")):
        await worker.enter(DegradedMode.NO_QUEUE, away)
    await Degraded(outside.store_, outside.world().clock, "long dead").enter(DegradedMode.NO_STORE, away)
    entered = (await status(outside))["degraded"]
    await mine.leave(DegradedMode.NO_QUEUE)
    left = (await status(outside))["degraded"]

    assert (["NO_QUEUE"], []) == (entered, left)


async def test_sources_in_trouble_are_not_passed_over(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """All is well with the product, and yet a source that fails is said where everybody looks first."""
    for name, error in (("a", None), ("b", "HTTP 500")):
        await outside.put(SourceReport(namespace="prod", name=name, at=NOW, duration_s=0.1, error=error))
    value = await status(outside)
    await asyncio.to_thread(outside.replictl, "status")

    assert {"total": 2, "failing": 1} == value["sources"]
    assert "1 source of 2 in trouble" in capsys.readouterr().out
