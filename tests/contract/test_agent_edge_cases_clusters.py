"""Those of the 32 edge cases (`agent-protocol.md` 6) that are about several nodes or a source, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from blocks.errors import SourceError
from blocks.models.cluster import Discovery
from blocks.models.event import EventType
from blocks.models.node import Protocol, Shard, ShardRole
from blocks.models.problem import Problem
from blocks.models.source import Source
from blocks.models.view import ClusterView
from blocks.sources.live import LiveSources
from blocks.sources.protocol import Found
from blocks.sources.settings import SourcesSettings
from doubles.scripted_agent import Reply, ScriptedAgent
from doubles.views import NOW, discovery, later, make_view
from doubles.wired import Wired, cycle, new_view, wired
from tasks.decide.discovery import Outcome, discovered
from tasks.decide.settle import settle

PATH = "/discover"
NODE = {"agent_address": "http://n1.test:8000", "node_id": "n1", "node_class": "a", "node_group": None}


def problems(view: ClusterView, code: str) -> list[Problem]:
    """Those of a kind that are said."""
    return [problem for problem in (view.state.problems if view.state is not None else ()) if problem.code == code]


# -- nodes ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=list(Protocol))
async def two(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Wired, Wired]]:
    """Two healthy nodes of one shard."""
    async with AsyncExitStack() as stack:
        yield (
            await stack.enter_async_context(wired(request.param)),
            await stack.enter_async_context(wired(request.param)),
        )


async def test_row_15_another_clusters_data_are_refused() -> None:
    """Once a store has said our id, an answer that says another is refused: the last good facts stay, stale, and it is told."""
    async with wired(Protocol.B) as one:
        good = cycle(new_view(), await one.look())
        one.node.cluster_id, one.node.shards = "billing", (Shard(shard_id="theirs", role=ShardRole.PRIMARY),)
        refused = cycle(good.view, await one.look(), at=10)
        again = cycle(refused.view, await one.look(), at=20)

    node = refused.view.nodes["n1"]
    assert (["rs0"], later(10)) == ([shard.shard_id for shard in node.shards], node.shards_stale_since)
    assert ["n1"] == [problem.node_id for problem in problems(refused.view, "FOREIGN_NODE")]
    assert again.change.empty


@pytest.mark.parametrize(
    ("roles", "code"),
    [
        ((ShardRole.PRIMARY, ShardRole.PRIMARY), "SEVERAL_PRIMARIES"),
        ((ShardRole.SECONDARY, ShardRole.SECONDARY), "NO_PRIMARY"),
    ],
)
async def test_row_28_primaries_are_stored_as_seen(
    two: tuple[Wired, Wired], roles: tuple[ShardRole, ShardRole], code: str
) -> None:
    """Two primaries or none: roles are as told, no lag is made up, and only when it lasts the shard is a problem."""
    for one, name, role in zip(two, ("n1", "n2"), roles, strict=True):
        one.node.node_id, one.node.shards = name, (Shard(shard_id="rs0", role=role),)
    looks = {name: await one.look() for one, name in zip(two, ("n1", "n2"), strict=True)}
    first = settle(replace(make_view(), discovery=discovery(["n1", "n2"])), looks, now=NOW)
    last = settle(first.view, looks, now=later(60))

    shards = [node.shards[0] for node in last.view.nodes.values()]
    assert [(role, None) for role in roles] == [(shard.role, shard.lag) for shard in shards]
    assert (0, 1) == (len(problems(first.view, code)), len(problems(last.view, code)))


# -- sources --------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def server() -> AsyncIterator[ScriptedAgent]:
    """A source."""
    async with ScriptedAgent() as server:
        yield server


async def asked(server: ScriptedAgent, reply: Reply) -> tuple[Source, Found]:
    """What the real client makes of an answer."""
    source = Source.model_validate({"namespace": "prod", "name": "inventory", "http": {"url": f"{server.url}{PATH}"}})
    server.on("POST", PATH, reply)
    async with LiveSources(SourcesSettings()) as sources:
        return source, await sources.ask(source)


def outcome(source: Source, answer: Found, *known: Discovery) -> Outcome:
    """What discovery makes of it."""
    records = {record.key: record for record in known}
    return discovered(source, answer.clusters, records, frozenset(), owners=frozenset({source.key}), now=NOW)


async def test_row_17_a_node_told_of_twice(server: ScriptedAgent) -> None:
    """Within a cluster the first word counts and the other is said; in two clusters a node is two nodes."""
    clusters = [
        {"cluster_id": "orders", "nodes": [NODE, NODE, {**NODE, "node_class": "b"}]},
        {"cluster_id": "billing", "nodes": [NODE]},
    ]
    source, answer = await asked(server, Reply.json({"clusters": clusters}))

    assert [("orders", ["a"]), ("billing", ["a"])] == [
        (cluster.cluster_id, [node.node_class for node in cluster.nodes]) for cluster in answer.clusters
    ]
    assert ["told of twice and not the same; the first counts"] == [bad.reason for bad in answer.rejected]
    assert ["orders", "billing"] == [ref.cluster_id for ref in outcome(source, answer).new]


async def test_row_19_an_empty_answer_after_a_full_one_removes_nothing(server: ScriptedAgent) -> None:
    """It is suspicious, and said so; a cluster is missing, and not removed, only when the answer tells of others."""
    known = (discovery(), discovery().evolve(cluster_id="billing"))
    source, answer = await asked(server, Reply.json({"clusters": []}))
    empty = outcome(source, answer, *known)
    _, answer = await asked(server, Reply.json({"clusters": [{"cluster_id": "orders", "nodes": [NODE]}]}))
    partly = outcome(source, answer, *known)

    assert ({}, ()) == (empty.changes, empty.missing)
    assert "nothing was changed" in str(empty.suspicious)
    assert ["billing"] == [ref.cluster_id for ref in partly.missing]
    assert [()] == list({change.deletes for change in partly.changes.values()})
    assert EventType.CLUSTER_MISSING in {draft.type for change in partly.changes.values() for draft in change.drafts}


async def test_row_19_a_failure_is_no_answer(server: ScriptedAgent) -> None:
    """A source that fails tells nothing, with the reason."""
    with pytest.raises(SourceError, match="500"):
        await asked(server, Reply(b"out of order", status=500))
