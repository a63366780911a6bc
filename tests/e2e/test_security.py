"""The whole product with TLS and a user everywhere, and with no more rights than the examples in `infra/security` give."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from kazoo.exceptions import NoAuthError
from kazoo.security import make_acl
from pymongo.errors import OperationFailure

from blocks.event_bus.kafka import KafkaEventBus
from blocks.fleet import Fleet
from blocks.store.mongodb import MongoStore
from blocks.store.settings import MongoDb
from doubles import rights
from doubles.attempts import joined, refused_by, written
from doubles.leaks import holding_collections, holding_files
from doubles.product import Product
from infra.agents.testing import AgentProcess
from infra.agents.testing import running as agent_running
from infra.stack import control, fleet
from infra.stack.context import Context
from infra.stack.testing import running

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

CLUSTER = "demo/orders"
T = "io.replicante."
_SET = "orders"
_TLS = "{ca_bundle: {file: %(ca)s}, client_cert: {file: %(certificate)s}, client_key: {file: %(key)s}}"
FLEET = f"""
apiVersion: replicante.io/v0
kind: Namespace
metadata: {{name: demo}}
spec: {{tls: {_TLS}, settings: {{agent_timeout: 10, orchestrate_interval: 5}}}}
---
apiVersion: replicante.io/v0
kind: DiscoverySettings
metadata: {{namespace: demo, name: local}}
spec: {{backend: http, interval: 10, url: "%(discovery)s/discover", tls: {_TLS}}}
"""
INIT = """
apiVersion: replicante.io/v0
kind: NodeAction
metadata: {namespace: demo, cluster: orders, node: orders-1, approval: required}
spec: {action: agent.replicante.io/cluster.init}
"""
MAY_HOLD = {"run/plan.json", "data/zookeeper/jaas.conf", "data/kafka/server.properties"}
"""Where this stack tells its servers the passwords, as whoever runs servers has to."""


@dataclass(frozen=True)
class Secured:
    """The product, and the one agent of its fleet."""

    product: Product
    agent: AgentProcess

    @property
    def settings(self) -> Fleet:
        """What the product's own processes are told."""
        return Fleet().with_environment(self.product.stack.environment)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Servers, an agent and discovery that all want certificates or passwords; rights as in the examples; the product serves."""
    folder = tmp_path_factory.mktemp("secure")
    with running(("servers", "orders-1"), folder / "stack", secure=True) as stack:
        rights.grant(stack)
        product = Product(stack, {})
        registered = product.run(sys.executable, "-m", "deployments.register")
        assert (0, False) == (registered.returncode, "do not let" in registered.stderr), registered.stderr
        control.add([fleet.serve(Context(stack.settings, security=stack.security))], stack.layout)
        with _fleet(product, folder) as (agent, discovery):
            stack.wait_ready("serve")
            declared = product.replictl("apply", "-f", "-", stdin=FLEET % {**_tls(product), "discovery": discovery.url})
            assert declared.returncode == 0, declared.stderr
            yield Secured(product, agent)


@contextmanager
def _fleet(product: Product, folder: Path) -> Iterator[tuple[AgentProcess, AgentProcess]]:
    """The agent of the one node, and discovery, both for those with a certificate only."""
    stack, certificates = product.stack, Path(rights.secured(product.stack).tls.ca).parent
    own = ("--tls-cert", str(certificates / "server.pem"), "--tls-key", str(certificates / "server.key"))
    mutual = (*own, "--tls-client-ca", str(certificates / "ca.pem"))
    store, listed = f"mongodb://127.0.0.1:{stack.settings.orders_1_port}", folder / "fleet.json"
    quick = ("--execute-interval", "0.2")
    with agent_running(
        "mongodb", folder / "agent", *mutual, *quick, store=store, node_id="orders-1", cluster_id=_SET
    ) as agent:
        node = {"agent_address": agent.url, "node_id": "orders-1", "node_class": "mongodb", "node_group": None}
        listed.write_text(json.dumps({"clusters": [{"cluster_id": _SET, "nodes": [node]}]}))
        with agent_running("discovery", folder, "--file", str(listed), *mutual) as discovery:
            yield agent, discovery


def _tls(product: Product) -> dict[str, str]:
    tls = rights.secured(product.stack).tls
    return {"ca": tls.ca, "certificate": tls.certificate, "key": tls.key}


def test_an_approved_action_is_carried_out(secured: Secured) -> None:
    """Discovered, observed, ordered, approved, sent once, healthy: all of it over TLS, as a user with the example's rights."""
    product = secured.product
    seen = product.replictl("wait", CLUSTER, "--observed", "--timeout", "60")
    ordered = product.replictl("apply", "-f", "-", stdin=INIT)
    (action,) = product.rows("actions", CLUSTER)
    approved = product.replictl("approve", action["action_id"], "--comment", "a set of one")
    healthy = product.replictl("wait", CLUSTER, "--health", "HEALTHY", "--timeout", "80")
    (done,) = product.rows("actions", CLUSTER, "--all")

    outputs = (seen, ordered, approved, healthy)
    assert (0, 0, 0, 0) == tuple(output.returncode for output in outputs), [output.stderr for output in outputs]
    assert ("PENDING_APPROVE", "DONE") == (action["state"], done["state"])


def test_it_is_told_on_the_bus(secured: Secured) -> None:
    """What happened to the cluster is read from Kafka with the product's own rights, as it is in history."""
    told = {event["id"] for event in secured.product.rows("events", "--cluster", CLUSTER, "--limit", "1000")}
    types = asyncio.run(_types(secured.settings, told))

    assert told == types.keys()
    wanted = {"cluster.discovered.v1", "node.added.v1", "action.created.v1", "action.finished.v1"}
    assert {T + name for name in wanted} <= set(types.values())


async def _types(settings: Fleet, wanted: set[str]) -> dict[str, str]:
    """By id, the types of events, once all that are wanted came from the bus."""
    found: dict[str, str] = {}
    async with asyncio.timeout(60), KafkaEventBus(settings.kafka, settings.event_bus) as bus:
        async for event in bus.follow(datetime.now(UTC) - timedelta(hours=1)):
            if event.event_id in wanted:
                found[event.event_id] = event.type
            if wanted <= found.keys():
                break
    return found


def test_the_rights_are_enough(secured: Secured) -> None:
    """Settings, indexes, topics, znodes, deployments and all that is stored can be held against what this version needs, and be brought there."""
    validated = secured.product.replictl("admin", "validate")
    asyncio.run(_prepare(secured.settings.mongodb.model_copy(update={"events_keep_days": 15})))
    login = rights.secured(secured.product.stack).product
    with rights.mongodb(secured.product.stack, login) as client:
        own = list(client.admin.aggregate([{"$currentOp": {"idleSessions": True}}, {"$limit": 1}]))
        kept = client.replicore.events.index_information()["keep"]["expireAfterSeconds"]

    assert (0, "") == (validated.returncode, validated.stderr), validated.stdout
    assert (True, 15 * 86_400) == (len(own) <= 1, kept)


async def _prepare(settings: MongoDb) -> None:
    async with MongoStore(settings) as store:
        await store.prepare()


def test_zookeeper_gives_nothing_outside_our_folder(secured: Secured) -> None:
    """The product's user cannot make, read or list anything beside its folder, nor change who may use the folder."""
    stack = secured.product.stack
    client = rights.zookeeper(stack, rights.secured(stack).product)
    client.start(rights.WITHIN_S)
    ours = [make_acl("sasl", "replicore", all=True)]
    attempts: dict[str, Callable[[], Any]] = {
        "create": lambda: client.create("/elsewhere", acl=ours),
        "list": lambda: client.get_children("/"),
        "give": lambda: client.set_acls("/replicore", ours),
        "change": lambda: client.set("/replicore", b""),
        "delete": lambda: client.delete("/replicore/locks"),
    }
    try:
        refused = {name for name, attempt in attempts.items() if refused_by(attempt, NoAuthError)}
    finally:
        client.stop()
        client.close()

    assert attempts.keys() == refused


def test_kafka_gives_nothing_but_our_topics_and_our_group(secured: Secured) -> None:
    """The product's user cannot make, write or read other topics, delete its own, or join other groups."""
    stack = secured.product.stack
    config = rights.kafka(stack, rights.secured(stack).product)
    ours, administrator = AdminClient(config), AdminClient(rights.kafka(stack, rights.administrator(stack)))
    administrator.create_topics([NewTopic("elsewhere", 1, 1)])["elsewhere"].result(rights.WITHIN_S)

    attempts: dict[str, Callable[[], Any]] = {
        "create": lambda: ours.create_topics([NewTopic("other", 1, 1)])["other"].result(rights.WITHIN_S),
        "delete": lambda: ours.delete_topics(["replicore.events"])["replicore.events"].result(rights.WITHIN_S),
        "write": lambda: written(config, "elsewhere"),
        "read": lambda: joined(config, "replicore-workers", "elsewhere"),
        "join": lambda: joined(config, "others", "replicore.work"),
    }
    because = ("TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED")
    refused = {name for name, attempt in attempts.items() if refused_by(attempt, KafkaException, *because)}

    assert attempts.keys() == refused


def test_mongodb_gives_nothing_but_our_database(secured: Secured) -> None:
    """The product's user cannot read or write other databases, drop anything, or make users."""
    stack = secured.product.stack
    with rights.mongodb(stack, rights.secured(stack).product) as client:
        attempts: dict[str, Callable[[], Any]] = {
            "write": lambda: client.elsewhere.things.insert_one({"_id": 1}),
            "read": client.local["oplog.rs"].find_one,
            "users": client.admin["system.users"].find_one,
            "drop": client.replicore.events.drop,
            "drop database": lambda: client.drop_database("replicore"),
            "grant": lambda: client.admin.command("grantRolesToUser", "replicore", roles=["root"]),
        }
        refused = {name for name, attempt in attempts.items() if refused_by(attempt, OperationFailure)}

    assert attempts.keys() == refused


def test_prefect_and_agents_answer_nobody_else(secured: Secured) -> None:
    """The API wants its user, and an agent a certificate; neither speaks plain HTTP."""
    environment, tls = secured.product.stack.environment, rights.secured(secured.product.stack).tls
    context = ssl.create_default_context(cafile=tls.ca)
    flows, agent = f"{environment['PREFECT_API_URL']}/flows/filter", f"{secured.agent.api}/info/node"
    with httpx.Client(verify=context, timeout=rights.WITHIN_S) as nobody:
        unknown = nobody.post(flows, json={})
        wrong = nobody.post(flows, json={}, auth=("replicore", "guess"))
        for request in (agent, agent.replace("https://", "http://"), flows.replace("https://", "http://")):
            with pytest.raises(httpx.TransportError):
                nobody.get(request)
    context.load_cert_chain(tls.certificate, tls.key)
    known = httpx.get(agent, verify=context, timeout=rights.WITHIN_S)

    assert (401, 401, 200) == (unknown.status_code, wrong.status_code, known.status_code)


def test_the_block_in_prefect_is_enough(secured: Secured) -> None:
    """Who has the password of Prefect needs no other settings: the servers' passwords are in the `Fleet` block, and not shown."""
    whole = secured.product.environment
    little = {name: value for name, value in whole.items() if not name.startswith("REPLICORE_")}
    shown = secured.product.replictl("status", "-o", "json", environment=little)

    assert (0, "") == (shown.returncode, shown.stderr)
    assert [True] * 4 == [part["ok"] for part in json.loads(shown.stdout)["components"].values()]
    assert [] == [name for name, value in whole.items() if "PASSWORD" in name and value in shown.stdout]


def test_no_password_is_written_anywhere(secured: Secured) -> None:
    """After all that, no password is in a log, Prefect's database, Kafka, the store, or a `repr`."""
    product, security = secured.product, rights.secured(secured.product.stack)
    passwords = (security.password, security.product.password, security.prefect.password)
    files = {path for secret in passwords for path in holding_files(product.stack.layout.root, secret)}
    with rights.mongodb(product.stack, rights.administrator(product.stack)) as client:
        stored = [place for secret in passwords for place in holding_collections(client, secret)]

    assert set() == files - MAY_HOLD
    assert [] == stored
    assert [] == [secret for secret in passwords if secret in f"{security!r} {secured.settings!r}"]
