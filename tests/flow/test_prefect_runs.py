from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, TaskRunFilter, TaskRunFilterFlowRunId
from prefect.runtime import flow_run

from blocks.coordinator.settings import ZooKeeper
from blocks.errors import InvalidInputError
from blocks.fleet import Connections
from blocks.kafka.settings import Kafka
from blocks.models.namespace import Namespace
from blocks.models.report import CycleOutcome, Report
from blocks.store.settings import MongoDb
from doubles.world import SOURCE, World
from flows.apply import apply
from flows.approve import approve
from flows.artifacts import artifact_key, show_cluster, show_source
from flows.cycle import Mode, cycle_one
from flows.discover import discover_source
from flows.entry import FLEET, run
from flows.orchestrate import orchestrate
from flows.steps import Steps
from tasks.apply import apply_wanted
from tasks.decide.manifests import Wanted

# Prefect's own client for flows leaves its sockets to the garbage collector.
pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Leave none of those sockets to the tests of others."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


async def _task_names(run_id: UUID) -> list[str]:
    async with get_client() as client:
        runs = await client.read_task_runs(
            task_run_filter=TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[run_id]))
        )
    return sorted(run.name.rpartition("-")[0] for run in runs if run.state is not None and run.state.is_completed())


async def test_a_watched_cycle_is_task_runs_that_people_can_see(world: World) -> None:
    """A run that a person starts: each verb is a task run of its name, and the report is an artifact."""
    ref = await world.declare()
    ids: list[UUID] = []

    @flow(name="watched")
    async def watched() -> Report:
        ids.append(UUID(str(flow_run.id)))
        report = await cycle_one(await world.turn(watched=True), ref, Mode.ORCHESTRATE, wait_s=0)
        await show_cluster(world.store, ref, report)
        return report

    report = await watched()
    names: list[str] = []
    wanted = ["hold clusters", "let go", "load views", "poll nodes", "save", "save report"]
    async with asyncio.timeout(10):
        while len(names) < len(wanted):
            names = await _task_names(ids[0])

    assert (CycleOutcome.SUCCESS, wanted) == (report.outcome, names)


async def test_a_watched_apply_tells_what_it_replaced(world: World) -> None:
    """As a task run, too: the secrets of what it replaced are to be forgotten."""
    before = Namespace(name="prod", version=1)
    await world.save(before)
    replaced: list[Wanted] = []

    @flow(name="applying")
    async def applying() -> None:
        wanted = [Namespace(name="prod", labels={"env": "test"})]
        steps = Steps(watched=True)
        await steps("apply", apply_wanted, world.store, wanted, "ann", world.clock(), None, replaced.extend)

    await applying()

    assert [before] == replaced


def test_a_run_has_one_client_for_all_its_task_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would make its own otherwise, and read all certificates for it."""

    async def sentence(_: Connections) -> bool:
        return get_client() is get_client()

    @flow(name="shared")
    def shared() -> bool:
        return run(sentence, FLEET)

    for part in (ZooKeeper.variable("hosts"), MongoDb.variable("uri"), Kafka.variable("bootstrap")):
        monkeypatch.setenv(part, "none:1")  # named, and not connected to

    assert shared()


async def test_a_report_is_shown_as_artifacts(world: World) -> None:
    """A table of nodes and a page: what an id holds is no markup there."""
    ref = await world.declare("odd*cluster#1", ["n1"])

    @flow(name="shown")
    async def shown() -> None:
        await show_cluster(world.store, ref, await cycle_one(await world.turn(), ref, Mode.OBSERVE, wait_s=0))

    await shown()
    async with get_client() as client:
        key = ArtifactFilterKey(any_=[artifact_key("report", ref.key), artifact_key("nodes", ref.key)])
        found = {
            artifact.key: artifact for artifact in await client.read_artifacts(artifact_filter=ArtifactFilter(key=key))
        }

    assert {"report-prod-odd-2acluster-231", "nodes-prod-odd-2acluster-231"} == found.keys()
    assert "# prod/odd\\*cluster\\#1: HEALTHY" in str(found["report-prod-odd-2acluster-231"].data)


async def test_a_discovery_is_shown_as_artifacts(world: World) -> None:
    """A table and a page of what a source told, by name."""
    world.tell(**{"odd*cluster": ["n1"]})
    await world.save(Namespace(name="prod", version=1), SOURCE)

    @flow(name="asked")
    async def asked() -> None:
        await show_source(
            await discover_source(
                await world.worker(), world.store, world.sources, SOURCE.ref, world.clock, Steps(watched=True)
            )
        )

    await asked()
    keys = ["discovery-prod-inventory", "discovery-report-prod-inventory"]
    async with get_client() as client:
        key = ArtifactFilterKey(any_=keys)
        found = {
            artifact.key: artifact for artifact in await client.read_artifacts(artifact_filter=ArtifactFilter(key=key))
        }

    assert set(keys) == found.keys()
    assert "odd*cluster" in str(found[keys[0]].data)
    assert "- odd\\*cluster" in str(found[keys[1]].data)


def test_a_bad_manifest_fails_the_run_before_anything_is_connected() -> None:
    """`apply` from Python: every fault in the error, no server asked."""
    with pytest.raises(InvalidInputError, match=r"document 1: metadata\.name"):
        apply("{apiVersion: replicante.io/v0, kind: Namespace}")


def test_a_fleet_that_is_not_registered_is_said_to_be_so() -> None:
    """A flow of an unknown fleet: a sentence with the command that registers it."""
    with pytest.raises(InvalidInputError, match="no Fleet block named 'nowhere' in Prefect; register it"):
        orchestrate("prod/orders", fleet="nowhere")


def test_parameters_are_checked_before_the_run() -> None:
    """An id that is none never reaches the flow."""
    with pytest.raises(Exception, match="action_id"):
        approve("not an id", fleet="nowhere")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="nowhere"):
        approve(uuid4(), fleet="nowhere")


async def test_a_flow_works_inside_a_running_loop() -> None:
    """From a notebook: the same error, from a thread of its own."""
    with pytest.raises(InvalidInputError, match="no Fleet block"):
        orchestrate("prod/orders", fleet="nowhere")


@pytest.mark.parametrize(
    ("parts", "key"),
    [(("nodes", "prod/Orders_1"), "nodes-prod-orders-1"), (("!",), "artifact"), (("x" * 99,), "x" * 80)],
)
def test_artifact_keys(parts: tuple[str, ...], key: str) -> None:
    """Lower-case letters, digits and dashes, not too long."""
    assert key == artifact_key(*parts)
