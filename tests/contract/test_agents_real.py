"""The agents on real servers: three mongods that become a replica set, a ZooKeeper, a Kafka."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from kazoo.client import KazooClient

from infra.agents.testing import AgentProcess, running
from infra.stack import testing as stack_testing
from infra.stack.fleet import ORDERS
from infra.stack.testing import TestStack

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

WITHIN_S = 60.0


def get(agent: AgentProcess, path: str) -> dict[str, Any]:
    """Return a body of the agent's API, whatever its status."""
    body: dict[str, Any] = httpx.get(agent.api + path, timeout=10).json()
    return body


def until(ask: Callable[[], dict[str, Any]], true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask until the answer is as wanted."""
    deadline, pause = time.monotonic() + WITHIN_S, 0.05
    while True:
        answer = ask()
        if true(answer):
            return answer
        if time.monotonic() > deadline:
            message = f"after {WITHIN_S:g} s still {answer}"
            raise AssertionError(message)
        time.sleep(pause)


def status_is(agent: AgentProcess, status: str) -> dict[str, Any]:
    """Wait for a node status and return the node."""
    return until(lambda: get(agent, "/info/node"), lambda node: bool(node.get("node_status") == status))


def act(agent: AgentProcess, kind: str, args: object = None) -> dict[str, Any]:
    """Run an action to its end and return its state."""
    action_id = str(uuid.uuid4())
    body = {"kind": f"agent.replicante.io/{kind}", "id": action_id, "args": args}
    httpx.post(f"{agent.api}/action", json=body).raise_for_status()
    over = {"DONE", "FAILED"}
    action = until(lambda: get(agent, f"/action/{action_id}"), lambda found: found["state"]["phase"] in over)
    state: dict[str, Any] = action["state"]
    return state


def shard(agent: AgentProcess) -> dict[str, Any]:
    """Return the node's only shard."""
    [found] = get(agent, "/info/shards")["shards"]
    assert isinstance(found, dict)
    return found


@dataclass
class Orders:
    """Three mongods and their agents."""

    stack: TestStack
    agents: dict[str, AgentProcess]

    def address(self, name: str) -> str:
        """Return where a mongod listens."""
        return f"127.0.0.1:{getattr(self.stack.settings, name.replace('-', '_') + '_port')}"

    @property
    def primary(self) -> str:
        """Return the member that leads, waiting for one."""
        found: list[str] = []

        def leads() -> dict[str, Any]:
            found[:] = [name for name, agent in self.agents.items() if _leads(agent)]
            return {"primaries": found}

        until(leads, lambda answer: len(answer["primaries"]) == 1)
        return found[0]


def _leads(agent: AgentProcess) -> bool:
    """Say whether an agent's mongod is the primary."""
    shards = get(agent, "/info/shards").get("shards", [])
    return [found["role"] for found in shards] == ["Primary"]


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orders]:
    """Start the mongods and an agent for each."""
    folder = tmp_path_factory.mktemp("orders")
    with ExitStack() as exits:
        stack = exits.enter_context(stack_testing.running(ORDERS, folder / "stack"))
        orders = Orders(stack, {})
        for name in ORDERS:
            agent = running(
                *("mongodb", folder / name, "--execute-interval", "0.1"),
                store=orders.address(name),
                node_id=name,
                cluster_id="orders",
            )
            orders.agents[name] = exits.enter_context(agent)
        yield orders


class TestMongo:
    """Three empty mongods of one set name; the tests build on each other, in order."""

    def test_before(self, orders: Orders) -> None:
        """A mongod without a set is NOT_IN_CLUSTER and answers everything."""
        agent = orders.agents["orders-1"]
        node = get(agent, "/info/node")

        assert "NOT_IN_CLUSTER" == node["node_status"]
        assert ("mongo.replica", "6.0.5") == (node["store_id"], node["store_version"]["number"])
        assert {"client": orders.address("orders-1"), "member": orders.address("orders-1")} == node["address"]
        assert {"cluster_id": "orders", "attributes": {}} == get(agent, "/info/store")
        assert {"shards": []} == get(agent, "/info/shards")

    def test_add_too_early(self, orders: Orders) -> None:
        """A member cannot be added to a set that does not exist."""
        state = act(orders.agents["orders-1"], "cluster.add", {"host": orders.address("orders-2")})

        assert "FAILED" == state["phase"]
        assert "not a member of a replica set" in state["error"]["error_msg"]

    def test_init(self, orders: Orders) -> None:
        """cluster.init makes a set of one; it ends when that one is the primary."""
        agent = orders.agents["orders-1"]
        state = act(agent, "cluster.init")

        assert ("DONE", None) == (state["phase"], state["error"])
        assert "HEALTHY" == get(agent, "/info/node")["node_status"]
        assert "Primary" == shard(agent)["role"]
        assert {"mongodb.com/feature-compatibility", "mongodb.com/oplog.size"} == set(
            get(agent, "/info/store")["attributes"]
        )

    def test_init_again(self, orders: Orders) -> None:
        """A second cluster.init is refused with the reason."""
        state = act(orders.agents["orders-1"], "cluster.init")

        assert "FAILED" == state["phase"]
        assert "already initialised: a member of orders with 1 members" == state["error"]["error_msg"]

    @pytest.mark.parametrize("name", ["orders-2", "orders-3"])
    def test_add(self, orders: Orders, name: str) -> None:
        """cluster.add makes a mongod a secondary with an offset and a lag."""
        state = act(orders.agents["orders-1"], "cluster.add", {"host": orders.address(name)})
        status_is(orders.agents[name], "HEALTHY")
        found = shard(orders.agents[name])

        assert ("DONE", "added") == (state["phase"], state["payload"]["result"])
        assert ("orders", "Secondary") == (found["id"], found["role"])
        assert "milliseconds" == found["commit_offset"]["unit"]
        assert 0 <= found["lag"]["value"] < 60_000

    def test_add_again(self, orders: Orders) -> None:
        """Adding a member twice is DONE and says so."""
        state = act(orders.agents["orders-1"], "cluster.add", {"host": orders.address("orders-2")})

        assert ("DONE", "already a member") == (state["phase"], state["payload"]["result"])

    def test_primary_has_no_lag(self, orders: Orders) -> None:
        """The primary lags behind nobody."""
        assert shard(orders.agents[orders.primary])["lag"] is None

    def test_step_down_a_secondary(self, orders: Orders) -> None:
        """A secondary has nothing to step down from."""
        secondary = next(name for name in ORDERS if name != orders.primary)
        state = act(orders.agents[secondary], "node.stepdown")

        assert "FAILED" == state["phase"]
        assert "not the primary" in state["error"]["error_msg"]

    def test_step_down(self, orders: Orders) -> None:
        """node.stepdown makes way for another primary."""
        before = orders.primary
        state = act(orders.agents[before], "node.stepdown", {"seconds": 20})

        assert ("DONE", False) == (state["phase"], state["payload"]["primary"])
        assert before != orders.primary

    def test_killed(self, orders: Orders) -> None:
        """A killed mongod is UNAVAILABLE at once, with its version; it is HEALTHY again when it is back."""
        name = next(name for name in ORDERS if name != orders.primary)
        agent = orders.agents[name]
        orders.stack.stop(name)
        started = time.monotonic()
        node = get(agent, "/info/node")
        answered_in = time.monotonic() - started
        shards = httpx.get(f"{agent.api}/info/shards")
        orders.stack.start(name)
        back = status_is(agent, "HEALTHY")

        assert ("UNAVAILABLE", "6.0.5") == (node["node_status"], node["store_version"]["number"])
        assert answered_in < 1.0
        assert (500, True) == (shards.status_code, shards.json()["error"])
        assert "6.0.5" == back["store_version"]["number"]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    """Start a ZooKeeper and a Kafka."""
    with stack_testing.running(["zookeeper", "kafka"], tmp_path_factory.mktemp("servers")) as stack:
        yield stack


@pytest.fixture(scope="module")
def zookeeper(servers: TestStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """Start its agent."""
    folder = tmp_path_factory.mktemp("agent")
    with running("zookeeper", folder, store=servers.zookeeper_hosts, cluster_id="coordination") as agent:
        yield agent


@pytest.fixture(scope="module")
def kafka(servers: TestStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """Create a topic, write to it, start the agent."""
    admin = AdminClient({"bootstrap.servers": servers.kafka_bootstrap})
    admin.create_topics([NewTopic("agents.real", 3, 1)])["agents.real"].result(20)
    producer = Producer({"bootstrap.servers": servers.kafka_bootstrap})
    for _ in range(7):
        producer.produce("agents.real", b"x", partition=1)
    producer.flush(20)
    folder = tmp_path_factory.mktemp("agent")
    options = ("--store-version", "4.4.0")
    with running("kafka", folder, *options, store=servers.kafka_bootstrap, cluster_id="queue") as agent:
        yield agent


class TestZooKeeper:
    """One standalone ZooKeeper."""

    def test_node(self, zookeeper: AgentProcess) -> None:
        """A serving server is HEALTHY with its real version."""
        node = get(zookeeper, "/info/node")

        assert ("HEALTHY", "zookeeper") == (node["node_status"], node["store_id"])
        assert "3.9.5" == node["store_version"]["number"]
        assert "standalone" == node["attributes"]["zookeeper.apache.org/mode"]

    def test_zxid_moves(self, servers: TestStack, zookeeper: AgentProcess) -> None:
        """A write moves the commit offset."""
        before = shard(zookeeper)
        client = KazooClient(hosts=servers.zookeeper_hosts)
        client.start(timeout=20)
        client.create("/agents/real", makepath=True)
        client.stop()
        client.close()
        after = shard(zookeeper)

        assert ("coordination", "Primary", None) == (after["id"], after["role"], after["lag"])
        assert {"unit": "zxid"} == after["commit_offset"]["unit"]
        assert before["commit_offset"]["value"] < after["commit_offset"]["value"]
        assert {
            "cluster_id": "coordination",
            "attributes": {"zookeeper.apache.org/server.state": "standalone"},
        } == get(zookeeper, "/info/store")

    def test_killed(self, servers: TestStack, zookeeper: AgentProcess) -> None:
        """A killed server is UNAVAILABLE until it is back."""
        status_is(zookeeper, "HEALTHY")
        servers.stop("zookeeper")
        down = get(zookeeper, "/info/node")
        servers.start("zookeeper")
        status_is(zookeeper, "HEALTHY")

        assert ("UNAVAILABLE", "3.9.5") == (down["node_status"], down["store_version"]["number"])


class TestKafka:
    """One broker."""

    def test_node(self, kafka: AgentProcess) -> None:
        """A broker in its cluster's list is HEALTHY, with what Kafka tells of itself."""
        node = get(kafka, "/info/node")

        assert ("HEALTHY", "kafka", "4.4.0") == (
            node["node_status"],
            node["store_id"],
            node["store_version"]["number"],
        )
        assert 1 == node["attributes"]["kafka.apache.org/broker.id"]
        assert node["attributes"]["kafka.apache.org/metadata.version"] > 0

    def test_shards(self, kafka: AgentProcess) -> None:
        """Each partition is a shard; the broker leads them and tells their latest offsets."""
        shards = {found["id"]: found for found in get(kafka, "/info/shards")["shards"]}

        assert {
            "id": "agents.real/1",
            "role": "Primary",
            "commit_offset": {"unit": {"unit": "offset"}, "value": 7},
            "lag": None,
        } == shards["agents.real/1"]
        assert {"agents.real/0", "agents.real/1", "agents.real/2"} <= set(shards)

    def test_store(self, kafka: AgentProcess) -> None:
        """The cluster is the configured one; Kafka's own id is an attribute."""
        found = get(kafka, "/info/store")

        assert "queue" == found["cluster_id"]
        assert 22 == len(found["attributes"]["kafka.apache.org/cluster.id"])

    def test_not_ours(self, servers: TestStack, tmp_path: Path) -> None:
        """A broker that nobody lists under this address is UNHEALTHY, and its shards say why."""
        options = ("--client", "elsewhere:9092")
        with running("kafka", tmp_path, *options, store=servers.kafka_bootstrap, cluster_id="queue") as agent:
            node, shards = get(agent, "/info/node"), get(agent, "/info/shards")

        assert "UNHEALTHY" == node["node_status"]
        assert "no broker of the cluster advertises elsewhere:9092" in shards["error_msg"]

    def test_killed(self, servers: TestStack, kafka: AgentProcess) -> None:
        """A killed broker is UNAVAILABLE until it is back."""
        status_is(kafka, "HEALTHY")
        servers.stop("kafka")
        down, shards = get(kafka, "/info/node"), httpx.get(f"{kafka.api}/info/shards")
        servers.start("kafka")
        status_is(kafka, "HEALTHY")

        assert ("UNAVAILABLE", "4.4.0") == (down["node_status"], down["store_version"]["number"])
        assert (500, True) == (shards.status_code, shards.json()["error"])
