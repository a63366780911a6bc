"""What `make up` promises: the fleet is discovered, made whole by approved actions, and all of it is told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from blocks.event_bus.kafka import KafkaEventBus
from blocks.event_bus.settings import EventBusSettings
from blocks.kafka.settings import Kafka
from blocks.models.event import Event
from doubles.product import Product

pytestmark = pytest.mark.real

T = "io.replicante."


def test_all_clusters_are_healthy(product: Product) -> None:
    """The three clusters of the demo are discovered and HEALTHY, with the columns that machines rely on."""
    rows = {row["cluster"]: row for row in product.rows("clusters", "-n", "demo")}

    assert {"orders", "coordination", "queue"} == rows.keys()
    assert {"HEALTHY"} == {row["health"] for row in rows.values()}
    wanted = {"namespace", "cluster", "health", "nodes_total", "nodes_healthy", "problems", "observed_at"}
    assert wanted <= rows["orders"].keys()
    assert (3, 3) == (rows["orders"]["nodes_total"], rows["orders"]["nodes_healthy"])


def test_orders_is_a_replica_set(product: Product) -> None:
    """`orders` has one primary and two secondaries, and each secondary says how far it lags."""
    rows = product.rows("nodes", "demo/orders")
    roles = sorted(role for row in rows for role in row["roles"])

    assert ["primary", "secondary", "secondary"] == roles
    assert {"namespace", "cluster", "node", "status", "store", "version", "agent", "shards"} <= rows[0].keys()
    assert all(row["lag_ms"] is not None for row in rows if "secondary" in row["roles"])


def test_actions_were_approved_and_done(product: Product) -> None:
    """One init and two adds were approved by a person, sent once, and are DONE."""
    rows = [row for row in product.rows("actions", "demo/orders", "--all") if "cluster." in row["kind"]]

    kinds = sorted(row["kind"] for row in rows)
    assert ["agent.replicante.io/cluster.add"] * 2 + ["agent.replicante.io/cluster.init"] == kinds
    assert {"DONE"} == {row["state"] for row in rows}
    assert all(row["approved_by"] for row in rows)


def test_every_step_is_in_history_and_on_the_bus(product: Product) -> None:
    """Discovery, NOT_IN_CLUSTER, approval, effect and health are events, the same in history and on Kafka, in order."""
    told = product.rows("events", "--cluster", "demo/orders", "--limit", "1000")
    on_bus = {event.event_id: event for event in asyncio.run(_from_bus(product, {event["id"] for event in told}))}

    types = [event["type"] for event in told]
    for wanted in ("cluster.discovered.v1", "node.added.v1", "action.created.v1", "action.finished.v1"):
        assert T + wanted in types
    added = next(event for event in told if event["type"] == T + "node.added.v1")
    assert "NOT_IN_CLUSTER" == added["data"]["status"]
    moves = [event["data"]["state"] for event in told if event["type"] == T + "action.changed.v1"]
    assert moves.index("PENDING_SCHEDULE") < moves.index("NEW")
    health = [event["data"]["after"] for event in told if event["type"] == T + "cluster.health-changed.v1"]
    assert "HEALTHY" in health
    sequences = [int(event["sequence"]) for event in told]
    assert all(later == earlier + 1 for earlier, later in pairwise(sequences))
    assert {event["id"] for event in told} == on_bus.keys()
    assert all(event["data"] == on_bus[event["id"]].data for event in told)


async def _from_bus(product: Product, wanted: set[str]) -> list[Event]:
    """An independent consumer reads the bus from an hour ago until it has seen all that is wanted."""
    found: list[Event] = []
    kafka = Kafka(bootstrap=product.stack.kafka_bootstrap)
    async with asyncio.timeout(30), KafkaEventBus(kafka, EventBusSettings()) as bus:
        async for event in bus.follow(datetime.now(UTC) - timedelta(hours=1)):
            if event.event_id in wanted:
                wanted = wanted - {event.event_id}
                found.append(event)
            if not wanted:
                return found
    return found
