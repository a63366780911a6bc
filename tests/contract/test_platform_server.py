"""A real platform with real mongods and agents: it survives kill -9, and leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import AnyHttpUrl

from blocks.errors import PlatformRefusedError
from blocks.models.platform import ClusterDefinition, NodeGroup
from blocks.models.source import PlatformApi, Source
from blocks.sources.live import LiveSources
from blocks.sources.platforms import HttpPlatforms
from blocks.sources.settings import SourcesSettings
from doubles.waiting import until
from infra.platform.ledger import Ledger
from infra.stack import control, up
from infra.stack.console import Progress
from infra.stack.keeper import clean_environment
from infra.stack.layout import PROJECT
from infra.stack.processes import Process, marked
from infra.stack.settings import StackSettings

pytestmark = pytest.mark.real

WITHIN_S = 30.0
STATUS_DONE, STATUS_GONE = 204, 404


@dataclass
class RealPlatform:
    """A platform as a process of its own, in a folder and on ports of its own."""

    settings: StackSettings
    process: subprocess.Popen[bytes] | None = None
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=WITHIN_S))

    @property
    def url(self) -> str:
        """Where its API is."""
        return f"http://127.0.0.1:{self.settings.platform_port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        environment = {**clean_environment(), **self.settings.as_environment()}
        command = [sys.executable, "-m", "infra.platform"]
        with (self.settings.folder / "platform.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=PROJECT, env=environment, stderr=log)
        until(lambda: _answers(self.client, f"{self.url}/discover"), within_s=WITHIN_S, what="the platform answers")

    def end(self, signum: int) -> int:
        """End it by a signal and return its exit status."""
        assert self.process is not None
        self.process.send_signal(signum)
        return self.process.wait(WITHIN_S)

    def nodes(self) -> dict[str, str]:
        """Return what discover lists: agent address by node id."""
        found = self.client.get(f"{self.url}/discover").raise_for_status().json()
        return {node["node_id"]: node["agent_address"] for each in found["clusters"] for node in each["nodes"]}

    def provision(self, count: int) -> list[str]:
        """Make nodes and return their ids."""
        nodes = {"main": {"desired_count": count, "node_class": "small"}}
        cluster = {"cluster_id": "shop", "store": "mongo.replica", "store_version": "6.0", "nodes": nodes}
        body = {"cluster": cluster, "provision": {"node_group_id": "main", "count": count}}
        made: list[str] = self.client.post(f"{self.url}/provision", json=body).raise_for_status().json()["node_ids"]
        return made

    def deprovision(self, node_id: str) -> int:
        """Remove a node and return the status of the answer."""
        return self.client.post(f"{self.url}/deprovision", json={"cluster_id": "shop", "node_id": node_id}).status_code

    def status_is(self, node_id: str, status: str) -> dict[str, Any]:
        """Wait until the agent of a node tells this status; return what it tells."""
        address = self.nodes()[node_id]

        def told() -> dict[str, Any] | None:
            answer = _answers(self.client, f"{address}/api/unstable/info/node")
            return answer if answer and answer["node_status"] == status else None

        found = until(told, within_s=WITHIN_S, what=f"{node_id} is {status}")
        assert found is not None
        return found

    def pids(self, node_id: str) -> tuple[int, int] | None:
        """Return the pids of its mongod and its agent, when both run."""
        files = [self.settings.layout.pid_file(name) for name in (node_id, f"agent-{node_id}")]
        store, agent = [Process.read(path) for path in files]
        return (store.pid, agent.pid) if store is not None and agent is not None else None

    def left(self) -> list[str]:
        """Return the names of all folders and files that machines have left."""
        root = self.settings.layout.root
        return sorted(path.name for path in root.glob("*/*") if "machine-" in path.name)


def _answers(client: httpx.Client, url: str) -> dict[str, Any] | None:
    try:
        answer: dict[str, Any] = client.get(url).raise_for_status().json()
    except httpx.HTTPError:
        return None
    return answer


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[RealPlatform]:
    """An empty platform; whatever it has started is gone at the end."""
    made = RealPlatform(StackSettings.free(tmp_path))
    try:
        made.start()
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.end(signal.SIGKILL)
        made.client.close()
        control.stop(made.settings.layout)


def kill(pid: int, signum: int = signal.SIGKILL) -> None:
    """Send a signal to a process that is alive."""
    process = Process.of(pid)
    assert process is not None
    assert process.send(signum)


def test_life_of_two_nodes(platform: RealPlatform) -> None:
    """Provisioned nodes answer, survive the platform's death and their own, and end without a trace."""
    first, second = node_ids = platform.provision(2)
    told = [platform.status_is(node_id, "NOT_IN_CLUSTER") for node_id in node_ids]
    nodes, pids = platform.nodes(), [platform.pids(node_id) for node_id in node_ids]
    platform.end(signal.SIGKILL)
    platform.start()

    assert [(node_id, "mongo.replica", "6.0.5") for node_id in node_ids] == [
        (each["node_id"], each["store_id"], each["store_version"]["number"]) for each in told
    ]
    assert (nodes, pids) == (platform.nodes(), [platform.pids(node_id) for node_id in node_ids])

    assert pids[0] is not None
    for pid in pids[0]:
        kill(pid)
    until(lambda: platform.pids(first) not in {None, pids[0]}, within_s=WITHIN_S, what="both run again")
    platform.status_is(first, "NOT_IN_CLUSTER")
    statuses = [platform.deprovision(node_id) for node_id in (first, first, second, second)]

    assert [STATUS_DONE, STATUS_GONE] * 2 == statuses
    assert ({}, []) == (platform.nodes(), platform.left())
    assert [] == marked(platform.settings.layout.root)
    assert 0 == platform.end(signal.SIGTERM)


def test_term_stops_everything_and_the_data_is_used_again(platform: RealPlatform) -> None:
    """SIGTERM ends every process; started again, the platform has the same nodes with the same data."""
    [node_id] = platform.provision(1)
    platform.status_is(node_id, "NOT_IN_CLUSTER")
    nodes = platform.nodes()
    data = platform.settings.layout.data(node_id) / "data" / "storage.bson"
    made = data.stat().st_ino
    status = platform.end(signal.SIGTERM)
    running = marked(platform.settings.layout.root)
    platform.start()
    platform.status_is(node_id, "NOT_IN_CLUSTER")

    assert (0, []) == (status, running)
    assert (nodes, made) == (platform.nodes(), data.stat().st_ino)


def test_killed_while_it_removes(platform: RealPlatform) -> None:
    """A platform that is killed in the middle of a removal finishes it when it comes back."""
    [node_id] = platform.provision(1)
    platform.status_is(node_id, "NOT_IN_CLUSTER")
    pids = platform.pids(node_id)
    assert pids is not None
    kill(pids[1], signal.SIGSTOP)  # the removal waits for the agent's end
    with ThreadPoolExecutor(1) as pool:
        removal = pool.submit(platform.deprovision, node_id)
        ledger = platform.settings.layout.root / "platform.json"
        until(lambda: all(each.leaving for each in Ledger(ledger)), within_s=WITHIN_S, what="the removal has begun")
        platform.end(signal.SIGKILL)
        kill(pids[1], signal.SIGCONT)
        failed = removal.exception(WITHIN_S)
    platform.start()
    until(lambda: not list(Ledger(ledger)), within_s=WITHIN_S, what="the removal is finished")

    assert isinstance(failed, httpx.TransportError)
    assert (STATUS_GONE, []) == (platform.deprovision(node_id), platform.left())
    assert [] == marked(platform.settings.layout.root)


def test_only_one_serves_a_folder(platform: RealPlatform) -> None:
    """A second platform on the same folder says so and ends."""
    settings = platform.settings.model_copy(update={"platform_port": StackSettings.free(Path()).platform_port})
    environment = {**clean_environment(), **settings.as_environment()}
    command = [sys.executable, "-m", "infra.platform"]
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )

    assert 1 == done.returncode
    assert "another platform serves" in done.stderr


async def test_our_own_client(platform: RealPlatform) -> None:
    """What the product sends is understood, and its refusals too: discover, provision, discover, deprovision, again."""
    api = PlatformApi(base_url=AnyHttpUrl(platform.url), timeout=int(WITHIN_S * 1000))
    source = Source(namespace="demo", name="local-machines", platform=api)
    group = NodeGroup(desired_count=1, node_class="small")
    shop = ClusterDefinition(cluster_id="shop", store="mongo.replica", store_version="6.0", nodes={"main": group})
    async with LiveSources(SourcesSettings()) as sources, HttpPlatforms(SourcesSettings()) as platforms:
        before = await sources.ask(source)
        with pytest.raises(PlatformRefusedError, match=r"'nobody'.*it defines the node groups main"):
            await platforms.provision(source, shop, "nobody", 1)
        with pytest.raises(PlatformRefusedError, match=r"HTTP 404: no template for 'mongo.replica' in version '7.0'"):
            await platforms.provision(source, shop.model_copy(update={"store_version": "7.0"}), "main", 1)
        with pytest.raises(PlatformRefusedError, match=r"HTTP 409: this platform has 0 of at most 9 nodes"):
            await platforms.provision(source, shop, "main", 10)
        made = await platforms.provision(source, shop, "main", 1)
        found = await sources.ask(source)
        assert made.node_ids is not None
        [node_id] = made.node_ids
        with pytest.raises(PlatformRefusedError, match="is not in cluster 'bank'"):
            await platforms.deprovision(source, "bank", node_id)
        for _ in range(2):
            await platforms.deprovision(source, "shop", node_id)
        after = await sources.ask(source)

    assert (1, (), ()) == (made.count, tuple(before.clusters), tuple(after.clusters))
    [cluster] = found.clusters
    assert ("shop", [(node_id, "main")]) == (
        cluster.cluster_id,
        [(node.node_id, node.node_group) for node in cluster.nodes],
    )
    assert [] == platform.left()


def test_part_of_the_stack(tmp_path: Path) -> None:
    """`up` starts it, `down` stops it with all its nodes and keeps their data, `up` brings them back."""
    platform = RealPlatform(StackSettings.free(tmp_path))
    layout = platform.settings.layout
    try:
        up.up(platform.settings, ["platform"], Progress())
        [node_id] = platform.provision(1)
        platform.status_is(node_id, "NOT_IN_CLUSTER")
        nodes = platform.nodes()
        up.down(platform.settings, Progress())
        running = marked(layout.root)
        up.up(platform.settings, ["platform"], Progress())
        platform.status_is(node_id, "NOT_IN_CLUSTER")

        assert ([], nodes) == (running, platform.nodes())
    finally:
        control.stop(layout)
        platform.client.close()
    assert [] == marked(layout.root)
