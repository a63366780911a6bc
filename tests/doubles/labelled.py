"""A world for `replictl` in which clusters, nodes and a source have labels."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.models.action import ActionState
from blocks.models.cluster import Discovery, Health
from blocks.models.event import EventDraft, EventType
from blocks.models.namespace import Namespace, NamespaceSettings
from blocks.models.node import NodeStatus
from blocks.models.problem import Problem, Severity
from blocks.models.record import Change
from blocks.models.request import Request, WorkKind
from blocks.models.source import DiscoveredNode
from doubles.cli import Outside
from doubles.store_samples import KEY, NOW, action, draft, item, node, source, spec, state

ORDERS = {"env": "prod", "team": "told"}
"""The labels of `orders`."""


def problem(node_id: str | None) -> Problem:
    """Something wrong with a node or with the cluster."""
    return Problem(code=f"OF_{node_id}", severity=Severity.WARNING, node_id=node_id, description="bad", since=NOW)


async def labelled() -> Outside:
    """Cluster `orders` with labels from its manifest and its source, cluster `other` without, and a labelled source."""
    outside = Outside()
    found = (DiscoveredNode(node_id="n1", agent_address="http://a", labels={"zone": "a"}),)
    await outside.put(
        Namespace(name="prod", settings=NamespaceSettings(discovery_interval=900)),
        spec().evolve(labels={"env": "prod"}, node_labels={"n2": {"zone": "b"}}),
        spec(cluster_id="other"),
        Discovery(namespace="prod", cluster_id="orders", source="prod/inventory", labels={"team": "told"}, nodes=found),
        state().evolve(health=Health.CRITICAL, problems=(problem(None), problem("n1"))),
        state(cluster_id="other").evolve(health=Health.HEALTHY, problems=(problem("n1"),)),
        node(1),
        node(2).evolve(status=NodeStatus.UNHEALTHY),
        node(1, cluster_id="other", shards=3),
        action(1, ActionState.RUNNING),
        action(2, ActionState.RUNNING, cluster_id="other"),
        source().evolve(labels={"env": "inventory"}),
    )
    work = [item(KEY), item("prod/other"), Request(kind=WorkKind.DISCOVER, subject="prod/inventory", interval=9)]
    await outside.store_.ensure_work(work, NOW)
    for lock in (KEY, "prod/other", "source:prod/inventory"):
        await outside.coordinator_.take(ClaimKind.LOCK, lock, "works")
    drafts = (
        draft(1),
        draft(2, "prod/other"),
        EventDraft(type=EventType.NODE_CHANGED, stream=KEY, subject="prod/orders/n1", data={"node_id": "n1"}),
        EventDraft(type=EventType.SOURCE_FAILED, stream="prod", subject="prod/inventory", data={}),
        EventDraft(type=EventType.WORK_DEAD, stream="replicore", subject=f"orchestrate:{KEY}", data={}),
    )
    await outside.store_.commit(Change(drafts=drafts), now=NOW)
    return outside


async def listed(outside: Outside, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What a listing says to a machine."""
    assert 0 == await asyncio.to_thread(outside.replictl, *arguments, "-o", "json")
    return json.loads(capsys.readouterr().out)
