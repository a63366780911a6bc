"""A fleet with a past for `replictl`: what cycles and sources told, hours ago."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from blocks.models.cluster import ClusterSpec
from blocks.models.event import EventDraft, EventType
from blocks.models.node import Node, NodeStatus, ShardRole
from blocks.models.record import Change, RecordKey
from blocks.models.view import ClusterView
from doubles.cli import Outside
from doubles.views import NODES, NOW, discovery, make_node, make_view, shard
from tasks.decide.aggregate import aggregate
from tasks.decide.diff import diff, draft
from tasks.decide.discovery import told_discovery

E = EventType


def ago(hours: float) -> datetime:
    """So long before now."""
    return NOW - timedelta(hours=hours)


def view_of(nodes: Sequence[Node], cluster_id: str = "orders") -> ClusterView:
    """A cluster that a source told of, with nodes as a cycle saw them."""
    made = make_view(*(node.evolve(cluster_id=cluster_id, reported_cluster_id=cluster_id) for node in nodes))
    spec = ClusterSpec(namespace="prod", cluster_id=cluster_id, synthetic=True, version=1)
    return replace(made, spec=spec, discovery=discovery(cluster_id=cluster_id, labels={"env": "prod"}))


async def seen(outside: Outside, before: ClusterView | None, nodes: Sequence[Node], hours: float) -> ClusterView:
    """A cycle that saw these nodes so long ago, and saved and told what had changed."""
    cluster_id = "orders" if before is None else before.spec.cluster_id
    view = view_of(nodes, cluster_id)
    view = replace(view, state=aggregate(view, now=ago(hours)))
    change = Change(
        puts=(*view.nodes.values(), *([view.state] if view.state else [])),
        deletes=tuple(
            RecordKey(Node, node.key)
            for name, node in (before.nodes if before else {}).items()
            if name not in view.nodes
        ),
        drafts=diff(before or view_of((), cluster_id), view),
    )
    await outside.store_.commit(change, now=ago(hours))
    return view


async def born(outside: Outside, hours: float, cluster_id: str = "orders") -> ClusterView:
    """A source tells of the cluster."""
    view = view_of((), cluster_id)
    assert view.discovery is not None
    drafts = (
        draft(view.ref, E.CLUSTER_SPEC_SYNTHESISED, str(view.ref), source="prod/inventory"),
        EventDraft(
            type=E.CLUSTER_DISCOVERED, stream=view.ref.key, subject=str(view.ref), data=told_discovery(view.discovery)
        ),
    )
    puts = (view.namespace, view.spec, view.discovery)
    await outside.store_.commit(Change(puts=puts, drafts=drafts), now=ago(hours))
    return view


async def with_a_past() -> Outside:
    """Found 5 h ago, seen healthy 4 h ago, degraded since 1 h ago, when n2 took over; it is noon now."""
    outside = Outside(now=NOW)
    view = await born(outside, 5)
    view = await seen(outside, view, [make_node(name) for name in NODES], 4)
    down = make_node(
        "n1", status=NodeStatus.UNREACHABLE, status_text="refused", info_stale_since=ago(1), status_since=ago(1)
    )
    await seen(outside, view, [down, make_node("n2", shards=(shard(ShardRole.PRIMARY),)), make_node("n3")], 1)
    return outside


async def told(outside: Outside, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What a command says to a machine."""
    assert 0 == await asyncio.to_thread(outside.replictl, *arguments, "-o", "json")
    return json.loads(capsys.readouterr().out)


async def said(outside: Outside, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """What a command says to a person: its code, its lines, what it says beside them; runs of blanks are one."""
    code = await asyncio.to_thread(outside.replictl, *arguments)
    out, err = capsys.readouterr()
    return code, "\n".join(" ".join(line.split()) for line in out.splitlines()), err
