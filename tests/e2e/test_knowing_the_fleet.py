"""What exists and what is wanted, through the running product: a real platform, the queue, secrets, and taking things out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import PrefectClient
from pymongo import MongoClient

from deployments.catalog import NAME
from doubles.prefect_api import asking, ran
from doubles.product import Product
from doubles.waiting import until

pytestmark = pytest.mark.real

SECRET = "hunter2-of-the-inventory"
DEFINITION = {
    "cluster_id": "shop",
    "store": "mongo.replica",
    "store_version": "6.0",
    "nodes": {"main": {"desired_count": 2, "node_class": "small"}},
}
FLEET = """
apiVersion: replicante.io/v0
kind: Namespace
metadata: {name: lab, labels: {env: test}}
---
apiVersion: replicante.io/v0
kind: DiscoverySettings
metadata: {namespace: lab, name: written}
spec: {backend: file, path: FOLDER, interval: 3600}
"""
CLUSTERS = """
clusters:
  - cluster_id: one
    labels: {tier: gold}
    nodes: [{node_id: n1, agent_address: "http://127.0.0.1:9"}]
"""
WIDE = """
apiVersion: replicante.io/v0
kind: Namespace
metadata: {name: wide}
spec: {status: Inactive}
"""
WIDE_CLUSTER = """
apiVersion: replicante.io/v0
kind: ClusterSpec
metadata: {namespace: wide, cluster: c%d, labels: {a: %s, b: %s}}
"""
PARAMETERS_MAX = 512 * 1024
"""Prefect's limit."""
WITH_SECRET = """
apiVersion: replicante.io/v0
kind: DiscoverySettings
metadata: {namespace: demo, name: guarded}
spec: {interval: 3600, enabled: false, url: "http://127.0.0.1:9/", headers: {Authorization: "Bearer %s"}}
"""


def test_machines_of_a_platform_come_and_go(product: Product) -> None:
    """Provisioned for real, discovered, looked at; one taken back is removed, and what is left can be forgotten."""
    url = f"http://127.0.0.1:{product.stack.settings.platform_port}"
    body = {"cluster": DEFINITION, "provision": {"node_group_id": "main", "count": 2}}
    made = httpx.post(f"{url}/provision", json=body, timeout=30).raise_for_status().json()["node_ids"]
    try:
        found = product.rows("discover", "demo/local-machines")
        nodes = until(lambda: _seen(product, "demo/shop", 2), within_s=30, what="both nodes are seen")
        httpx.post(f"{url}/deprovision", json={"cluster_id": "shop", "node_id": made[0]}, timeout=30).raise_for_status()
        product.rows("discover", "demo/local-machines")
        left = until(lambda: _seen(product, "demo/shop", 1), within_s=30, what="one node is gone")
    finally:
        for node_id in made:
            httpx.post(f"{url}/deprovision", json={"cluster_id": "shop", "node_id": node_id}, timeout=30)
    told = product.rows("events", "--cluster", "demo/shop", "--limit", "1000")
    deleted = product.rows("delete", "cluster", "demo/shop", "--yes")

    assert 2 == found["nodes"]
    assert 1 == [event["type"] for event in told].count("io.replicante.cluster.discovered.v1")
    assert {"NOT_IN_CLUSTER"} == {node["status"] for node in nodes}
    assert [made[1]] == [node["node"] for node in left]
    assert "demo/shop" not in {f"{row['namespace']}/{row['cluster']}" for row in product.rows("clusters")}
    assert deleted


def test_a_namespace_from_the_queue_to_its_end(product: Product, tmp_path: Path) -> None:
    """Applied off the queue, filled by a file that is read again when it changes, paused, selected, and deleted from the UI."""
    file = tmp_path / "clusters.yaml"
    file.write_text(CLUSTERS)
    applied = product.replictl("apply", "-f", "-", "--queue", stdin=FLEET.replace("FOLDER", str(tmp_path)))
    until(lambda: _cluster(product, "one"), within_s=30, what="the first cluster is discovered")
    file.write_text(CLUSTERS + CLUSTERS.partition("clusters:\n")[2].replace("one", "two").replace("gold", "tin"))
    until(lambda: _cluster(product, "two"), within_s=30, what="the file is read again")
    gold = product.rows("clusters", "-l", "tier=gold,env!=prod", "--where", "namespace=lab")
    paused = product.replictl("pause", "lab/one", "--for", "1h", "--reason", "an end-to-end test")
    told = product.rows("clusters", "-n", "lab", "--where", "paused_until!=null")
    same = product.replictl("apply", "-f", "-", stdin=product.replictl("export", "-n", "lab").stdout)
    run = ran(product, f"delete/{NAME}", {"kind": "namespace", "name": "lab", "reason": "it has served"})
    until(lambda: _status(product, "lab") == "Deleted", within_s=30, what="the namespace is empty")
    events = product.rows("events", "--cluster", "lab/one")

    assert (0, 0) == (applied.returncode, paused.returncode), applied.stderr + paused.stderr
    assert (["one"], ["one"]) == ([row["cluster"] for row in gold], [row["cluster"] for row in told])
    assert {"unchanged"} == {line.split()[2] for line in same.stdout.splitlines()[1:]}, same.stdout + same.stderr
    assert "COMPLETED" == run.state.type
    assert "io.replicante.cluster.deleted.v1" in {event["type"] for event in events}


def test_a_secret_in_a_manifest_is_seen_nowhere(product: Product) -> None:
    """Not in the run's parameters, not in the store, not in events, listings or exports: only where secrets are kept."""
    done = product.replictl("apply", "-f", "-", stdin=WITH_SECRET % SECRET)
    parameters = asking(product, _parameters_of_apply)
    stored = _everything(product)
    shown = "".join(
        product.replictl(*words).stdout
        for words in (
            ("export",),
            ("describe", "source", "demo/guarded"),
            ("get", "source", "demo/guarded", "-o", "json"),
            ("events", "-o", "json"),
        )
    )
    product.replictl("delete", "source", "demo/guarded", "--yes")

    assert 0 == done.returncode, done.stderr
    assert "replicore-discoverysettings-demo-guarded" in parameters
    assert "demo/guarded" in stored
    assert "demo/guarded" in shown or "guarded" in shown
    assert not [text for text in (parameters, stored, shown) if SECRET in text]


def test_more_than_fits_into_a_parameter(product: Product) -> None:
    """A fleet of 900 clusters in one file is applied by one run, all or nothing, and goes with its namespace."""
    fleet = "---".join([WIDE, *(WIDE_CLUSTER % (number, "x" * 250, "y" * 250) for number in range(900))])
    done = product.replictl("apply", "-f", "-", "-o", "json", stdin=fleet)
    listed = product.rows("clusters", "-n", "wide")
    product.replictl("delete", "namespace", "wide", "--yes")
    until(lambda: _status(product, "wide") == "Deleted", within_s=60, what="the namespace is empty")

    assert 0 == done.returncode, done.stderr
    assert (901, 900) == (len(json.loads(done.stdout)), len(listed))
    assert len(fleet) > PARAMETERS_MAX


def _seen(product: Product, cluster: str, count: int) -> Any:
    done = product.replictl("nodes", cluster, "-o", "json")
    nodes = json.loads(done.stdout) if done.returncode == 0 else []
    return nodes if len(nodes) == count else None


def _cluster(product: Product, cluster_id: str) -> Any:
    return [row for row in product.rows("clusters", "-n", "lab") if row["cluster"] == cluster_id]


def _status(product: Product, name: str) -> str | None:
    rows = product.rows("get", "namespaces")
    found = [row for row in rows if row["metadata"]["name"] == name]
    return str(found[0]["spec"].get("status", "Active")) if found else None


async def _parameters_of_apply(client: PrefectClient) -> str:
    runs = await client.read_flow_runs(limit=200)
    return "".join(json.dumps(run.parameters) for run in runs)


def _everything(product: Product) -> str:
    """All that the store holds, as text."""
    address = product.environment["REPLICORE_MONGODB_URI"]
    with MongoClient[dict[str, Any]](address, serverSelectionTimeoutMS=5_000) as client:
        database = client["replicore"]
        return "".join(str(document) for name in database.list_collection_names() for document in database[name].find())
