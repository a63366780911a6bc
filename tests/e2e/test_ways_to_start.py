"""Flows start (a) from the UI's API with typed parameters, (b) by schedule, both ways served, (c) from Python, (d) by replictl."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterName,
)
from prefect.exceptions import PrefectHTTPStatusError

from deployments.catalog import CATALOG, NAME, POOL_NAME, WORK_POOL
from doubles.prefect_api import asking, ran, start
from doubles.product import Product
from doubles.waiting import until

pytestmark = pytest.mark.real

NAMESPACE = "{apiVersion: replicante.io/v0, kind: Namespace, metadata: {name: typed}, spec: {status: Inactive}}"
PROGRAM = """
from flows.orchestrate import orchestrate

report = orchestrate("demo/orders")
print(report.outcome, report.nodes_synced)
"""


def test_ui_offers_every_flow_with_a_form(product: Product) -> None:
    """Every flow of the catalog is a deployment whose parameters have a schema from which the UI draws its form."""
    named = asking(product, _deployments)

    assert {entry.flow for entry in CATALOG} <= named.keys()
    properties = named["approve"]["properties"]
    assert ("string", "uuid") == (properties["action_id"]["type"], properties["action_id"]["format"])
    assert "number" == named["orchestrate"]["properties"]["wait_s"]["type"]


def test_flow_from_the_ui(product: Product) -> None:
    """A run created as the UI does it is picked up, works, and shows its steps and artifacts."""
    run = ran(product, f"orchestrate/{NAME}", {"cluster": "demo/orders"})

    assert "COMPLETED" == run.state.type
    assert "orchestrate demo/orders" == run.name


def test_manifests_and_discovery_from_the_ui(product: Product) -> None:
    """What is typed into the form of `apply` is applied, in the run's name; the form of `discover` asks a source."""
    applied = ran(product, f"apply/{NAME}", {"manifests": NAMESPACE})
    asked = ran(product, f"discover/{NAME}", {"source": "demo/local"})
    named = [row["metadata"]["name"] for row in product.rows("get", "namespaces")]
    left = asking(product, lambda client: _artifacts(client, asked.id))
    (event,) = product.rows("events", "--type", "namespace.applied", "--where", "stream=typed")

    assert ("COMPLETED", "COMPLETED") == (applied.state.type, asked.state.type)
    assert "typed" in named
    assert f"flow run {applied.name}" == event["data"]["who"]
    assert ["markdown", "table"] == sorted(left)
    assert all("3 clusters" in text for text in left.values())


def test_bad_parameters_are_refused_before_a_run(product: Product) -> None:
    """A parameter of the wrong type is refused when the run is created."""
    wrong = {"cluster": "demo/orders", "wait_s": "a while"}

    with pytest.raises(PrefectHTTPStatusError, match="wait_s"):
        asking(product, lambda client: start(client, f"orchestrate/{NAME}", wrong))


def test_shift_by_schedule(product: Product) -> None:
    """The timetable starts shifts by itself, and the duties are done."""
    status = product.rows("status")
    scheduled = until(
        lambda: [run for run in asking(product, _shifts) if run.auto_scheduled], within_s=90, what="a shift by schedule"
    )

    assert status["workers"]
    assert {"enqueue", "relay", "sweep"} == {duty["duty"] for duty in status["duties"]}
    assert scheduled


def test_flow_from_python(product: Product, tmp_path: Path) -> None:
    """A few lines of Python in any folder, with only PREFECT_API_URL set, run a flow to its end."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {name: value for name, value in product.environment.items() if not name.startswith("REPLICORE_")}
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=90,
        check=False,
    )

    assert "success 3" == done.stdout.strip().splitlines()[-1], done.stderr


def test_flow_by_replictl(product: Product) -> None:
    """`replictl orchestrate` runs the flow and prints its report."""
    report = product.rows("orchestrate", "demo/orders", "--wait", "20")

    report = report[0] if isinstance(report, list) else report
    assert ("success", 3) == (report["outcome"], report["nodes_synced"])
    assert {"lock", "load", "poll", "decide", "save", "unlock"} <= report["phases_ms"].keys()


def test_work_pool(product: Product) -> None:
    """`prefect deploy --all` and a process worker serve the same catalog from a work pool."""
    prefect = str(Path(sys.executable).parent / "prefect")
    made = product.run(prefect, "work-pool", "create", "--type", "process", WORK_POOL)
    deployed = product.run(prefect, "deploy", "--prefect-file", "deployments/prefect.yaml", "--all")
    worker = subprocess.Popen(
        [prefect, "worker", "start", "--pool", WORK_POOL],
        env=product.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        run = ran(product, f"observe/{POOL_NAME}", {"cluster": "demo/orders"})
    finally:
        worker.send_signal(signal.SIGINT)
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(10)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait(10)
        asking(product, _remove_pool)

    assert (0, 0) == (made.returncode, deployed.returncode), deployed.stderr
    assert "COMPLETED" == run.state.type


async def _deployments(client: PrefectClient) -> dict[str, dict[str, Any]]:
    wanted = DeploymentFilter(name=DeploymentFilterName(any_=[NAME]))
    found = await client.read_deployments(deployment_filter=wanted, limit=100)
    return {
        (await client.read_flow(deployment.flow_id)).name: deployment.parameter_openapi_schema
        for deployment in found
        if deployment.parameter_openapi_schema is not None
    }


async def _artifacts(client: PrefectClient, run_id: UUID) -> dict[str, str]:
    """By type, what a run left."""
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    return {str(found.type): str(found.data) for found in await client.read_artifacts(artifact_filter=wanted)}


async def _shifts(client: PrefectClient) -> list[Any]:
    runs = await client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=["shift"])), limit=100)
    return [run for run in runs if run.start_time is not None]


async def _remove_pool(client: PrefectClient) -> None:
    wanted = DeploymentFilter(name=DeploymentFilterName(any_=[POOL_NAME]))
    for deployment in await client.read_deployments(deployment_filter=wanted, limit=100):
        await client.delete_deployment(deployment.id)
    await client.delete_work_pool(WORK_POOL)
