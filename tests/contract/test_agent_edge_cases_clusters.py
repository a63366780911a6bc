"""Those of the 32 edge cases (`agent-protocol.md` 6) that are about several nodes or a source, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from blocks.errors import SourceError
from blocks.models.action import ActionState
from blocks.models.cluster import Discovery, Health
from blocks.models.event import EventType
from blocks.models.node import NodeStatus, Offset, Protocol, Shard, ShardRole
from blocks.models.problem import Problem
from blocks.models.source import Source
from blocks.models.view import ClusterView
from blocks.sources.live import LiveSources
from blocks.sources.protocol import Found
from blocks.sources.settings import SourcesSettings
from doubles.actions import action_id, make_action
from doubles.scripted_agent import Reply, ScriptedAgent
from doubles.views import NOW, discovery, good_looks, intent, later, make_view
from doubles.wired import FENCE, Wired, cycle, new_view, wired
from tasks.decide.discovery import Outcome, discovered
from tasks.decide.settle import Settled, settle

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


@pytest.fixture(params=list(Protocol))
async def one(request: pytest.FixtureRequest) -> AsyncIterator[Wired]:
    """A healthy node."""
    async with wired(request.param) as one:
        yield one


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


async def test_row_16_two_agents_with_one_node_id(two: tuple[Wired, Wired]) -> None:
    """Discovery's ids are the keys: both stay, the one that is called otherwise is a problem, and nothing flaps."""
    two[1].node.shards = (Shard(shard_id="rs0", role=ShardRole.SECONDARY),)
    view = replace(make_view(), discovery=discovery(["n1", "n2"]))
    for at in (0, 10):
        looks = {name: await one.look() for one, name in zip(two, ("n1", "n2"), strict=True)}
        settled = settle(view, looks, now=later(at))
        view = settled.view

    assert ["n1", "n1"] == [view.nodes[name].reported_node_id for name in ("n1", "n2")]
    assert [("n2", None)] == [(one.node_id, one.cause) for one in problems(view, "DUPLICATE_NODE_ID")]
    assert [("n2", "DUPLICATE_NODE_ID")] == [(one.node_id, one.cause) for one in problems(view, "IDENTITY_MISMATCH")]
    assert settled.change.empty


async def test_row_18_another_id_is_another_node(one: Wired) -> None:
    """The same agent under another id: the old node goes with its unfinished action, the new one comes."""
    await one.agents.send(one.target, make_action(), FENCE, 5.0)
    action = make_action(state=ActionState.RUNNING)
    good = cycle(replace(new_view(), actions={action.action_id: action}), await one.look(action.action_id))
    renamed = replace(good.view, discovery=discovery(["n9"]))
    moved = await one.agents.look(one.target.evolve(node_id="n9"))
    settled = settle(renamed, {"n9": moved}, now=later(10))

    assert ["n9"] == list(settled.view.nodes)
    assert ActionState.CANCELLED is settled.view.actions[action.action_id].state
    assert {EventType.NODE_REMOVED, EventType.NODE_ADDED, EventType.ACTION_FINISHED} <= {
        draft.type for draft in settled.change.drafts
    }


async def test_row_20_a_clock_that_differs_is_a_problem(one: Wired) -> None:
    """An agent that received before we sent: its times are kept as told, and the disagreement is said, once."""
    await one.agents.send(one.target, make_action(), FENCE, 5.0)
    one.node.actions[action_id(1)] = one.node.actions[action_id(1)].evolve(
        scheduled_at=later(-600), state=ActionState.RUNNING
    )
    action = make_action(state=ActionState.RUNNING, intent=intent(NOW))
    first = cycle(replace(new_view(), actions={action.action_id: action}), await one.look(action.action_id), at=10)
    second = cycle(first.view, await one.look(action.action_id), at=20)

    assert later(-600) == first.view.actions[action.action_id].scheduled_at
    assert [f"at least 600 s behind ours, by the times of action {action.action_id}"] == [
        problem.evidence for problem in problems(first.view, "CLOCK_SKEW")
    ]
    assert second.change.empty


async def test_row_29_a_new_unit_is_a_new_log(one: Wired) -> None:
    """Less than before in one unit is told, in another unit nothing; what is no unit of time makes no lag in time."""

    async def at(seconds: float, view: ClusterView, value: int, unit: str) -> Settled:
        told = {"unit": unit, "value": value}
        shard = {"id": "rs0", "role": "primary", "commit_offset": told, "lag": {"unit": "messages", "value": 10**12}}
        one.on(one.path.shards, Reply.json({"shards": [shard]}))
        return cycle(view, await one.look(), at=seconds)

    first = await at(0, new_view(), 1_000, "seconds")
    other = await at(10, first.view, 5, "offset")
    back = await at(10, first.view, 999, "seconds")

    assert [0, 0, 1] == [len(problems(settled.view, "OFFSET_WENT_BACK")) for settled in (first, other, back)]
    assert [Offset(unit="offset", value=5)] == [shard.commit_offset for shard in other.view.nodes["n1"].shards]
    assert other.view.state is not None
    assert other.view.state.lag_worst_ms is None


async def test_row_30_only_discovery_removes_nodes(one: Wired) -> None:
    """A node that does not answer stays for as long as its source tells of it; then it goes, with its shards, told once."""
    good = cycle(new_view(), await one.look())
    await one.agent.stop()
    silent = cycle(good.view, await one.look(), at=10)
    dropped = settle(replace(silent.view, discovery=discovery([])), {}, now=later(20))

    assert (["n1"], []) == (list(silent.view.nodes), list(dropped.view.nodes))
    assert [0, 1] == [
        sum(draft.type is EventType.NODE_REMOVED for draft in settled.change.drafts) for settled in (silent, dropped)
    ]
    assert dropped.view.state is not None
    assert (0, ()) == (dropped.view.state.shards, dropped.view.state.problems)


async def test_seen_09_an_arbiter_that_is_not_counted(one: Wired) -> None:
    """An agent that does not know what an arbiter is: named in the cluster's spec it is neither a problem nor a lost vote."""
    one.node.node_id, one.node.status, one.node.store_error = "n3", NodeStatus.UNKNOWN, "no replication status"
    looks = {**good_looks("n1", "n2"), "n3": (await one.look()).evolve(node_id="n3")}
    before = settle(replace(make_view(), discovery=discovery()), looks, now=NOW).view
    plain = settle(before, looks, now=later(900)).view
    spec = before.spec.evolve(not_counted=("n3",))
    spared = settle(replace(before, spec=spec), looks, now=later(900)).view

    told = {problem.code for problem in (plain.state.problems if plain.state is not None else ())}
    assert {"MAJORITY_AT_RISK", "STALE_FACTS"} < told
    assert spared.state is not None
    assert ((), Health.HEALTHY) == (spared.state.problems, spared.state.health)


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
    """Within a cluster one word counts, whatever the order, and the other is said; in two clusters it is two nodes, and that is said."""
    clusters = [
        {"cluster_id": "orders", "nodes": [NODE, NODE, {**NODE, "node_class": "b"}]},
        {"cluster_id": "billing", "nodes": [NODE]},
    ]
    source, answer = await asked(server, Reply.json({"clusters": clusters}))

    assert [("orders", ["a"]), ("billing", ["a"])] == [
        (cluster.cluster_id, [node.node_class for node in cluster.nodes]) for cluster in answer.clusters
    ]
    assert ["told of twice and not the same; the one that sorts first counts"] == [
        bad.reason for bad in answer.rejected
    ]
    assert ["orders", "billing"] == [ref.cluster_id for ref in outcome(source, answer).new]
    assert ["it is told of in several clusters and looked at in each: orders, billing"] == [
        bad.reason for bad in outcome(source, answer).rejected if bad.partial
    ]


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
