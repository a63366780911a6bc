"""What was seen on real agents (`agent-protocol.md` 7), replayed over a real socket; a name begins with its row."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace

import orjson
import pytest

from blocks.agents.answers import ERROR_CHARS
from blocks.agents.client import HttpAgents
from blocks.agents.protocol import Target
from blocks.agents.settings import AgentsSettings
from blocks.models.action import ActionState
from blocks.models.look import ActionsInfo, AgentAction, Failure, NodeInfo
from blocks.models.namespace import NamespaceSettings
from blocks.models.node import NodeStatus, Protocol, Shard, ShardRole
from blocks.models.sent import Sent
from doubles.actions import action_id, make_action
from doubles.certificates import Authority
from doubles.fleets import WIRES
from doubles.scripted_agent import Manner, Reply, ScriptedAgent
from doubles.strict_server import strict_server
from doubles.wired import FENCE, PATHS, Wired, cycle, new_view, wired

S = ActionState


@pytest.fixture
async def a() -> AsyncIterator[Wired]:
    """A node whose agent speaks A."""
    async with wired(Protocol.A) as one:
        yield one


@pytest.fixture
async def b() -> AsyncIterator[Wired]:
    """A node whose agent speaks B."""
    async with wired(Protocol.B) as one:
        yield one


async def test_seen_01_a_small_oplog_makes_a_node_incomplete(b: Wired) -> None:
    """B cannot read its store's details on a healthy MongoDB: INCOMPLETE with that reason, and it counts as serving."""
    b.on(b.path.store, b.failure("oplog size is not an i64"))
    settled = cycle(new_view(), await b.look())

    node = settled.view.nodes["n1"]
    assert NodeStatus.INCOMPLETE is node.status
    assert "store details: HTTP 500: oplog size is not an i64" == node.status_text
    assert settled.view.state is not None
    assert ["NODE_INCOMPLETE"] == [problem.code for problem in settled.view.state.problems]


async def test_seen_02_backtraces_are_never_kept(a: Wired) -> None:
    """A's 3 kB of backtrace stay out of reasons and payloads, in composed actions too."""
    a.node.store_error = "cannot connect"
    await a.agents.send(a.target, make_action(), FENCE, 5.0)
    path = f"{a.path.action}{action_id(1)}"
    trace = {"error": "pid is gone", "layers": ["pid is gone"], "trace": "0: main\n" * 400, "variant": None}
    action = a.natural(path)["action"]
    assert isinstance(action, dict)
    failed = {**action, "state": "FAILED", "state_payload": {"stage": 1, "state": "FAILED", "payload": trace}}
    a.on(path, Reply.json({"action": failed, "history": []}))

    look = await a.look()

    assert Failure(reason="HTTP 500: cannot connect", status=500) == look.store
    assert b"main" not in look.model_dump_json().encode()
    word = look.details[action_id(1)]
    assert isinstance(word, AgentAction)
    assert (S.FAILED, "stage 1: pid is gone") == (word.state, word.error)


async def test_seen_03_bad_arguments_are_refused_at_once_or_fail_later(a: Wired, b: Wired) -> None:
    """A's composed kinds refuse in a shape of their own, which is final; B takes anything and the action fails there."""
    a.agent.on("POST", a.path.post, Reply.json({"error": "stage is not an object", "kind": "InvalidArgs"}, 400))
    refused = await a.agents.send(a.target, make_action(args="nonsense"), FENCE, 5.0)
    taken = await b.agents.send(b.target, make_action(args="nonsense"), FENCE, 5.0)
    b.node.move(action_id(1), S.FAILED, error="missing field host")
    word = (await b.look(action_id(1))).details[action_id(1)]

    assert Sent(accepted=False, refused="HTTP 400: stage is not an object") == refused
    assert taken.accepted
    assert isinstance(word, AgentAction)
    assert (S.FAILED, "missing field host") == (word.state, word.error)


async def test_seen_04_done_is_no_proof_of_membership(b: Wired) -> None:
    """`cluster.add` that ended DONE changes nothing about the node: the next observation says what it is."""
    b.node.status = NodeStatus.NOT_IN_CLUSTER
    action = make_action(kind="agent.replicante.io/cluster.add", state=S.RUNNING)
    await b.agents.send(b.target, action, FENCE, 5.0)
    b.node.move(action.action_id, S.DONE)
    view = replace(new_view(), actions={action.action_id: action})

    settled = cycle(view, await b.look(action.action_id))

    assert S.DONE is settled.view.actions[action.action_id].state
    assert NodeStatus.NOT_IN_CLUSTER is settled.view.nodes["n1"].status


@pytest.mark.parametrize("protocol", list(Protocol))
async def test_seen_05_nothing_but_get_and_post_is_used(protocol: Protocol) -> None:
    """Never HEAD; the slash in A's kind goes as it is; a 405 on the other protocol's probe means "not this one"."""
    async with wired(protocol) as one:
        if protocol is Protocol.A:
            one.on(PATHS[Protocol.B].info, Reply(status=405))
        look = await one.agents.look(one.target.evolve(protocol=None))
        sent = await one.agents.send(one.target, make_action(), FENCE, 5.0)

        assert isinstance(look.info, NodeInfo)
        assert sent.accepted
        assert {"GET", "POST"} == {request.method for request in one.agent.received}
        assert one.path.post == one.agent.paths()[-1]


async def test_seen_06_the_newest_may_never_be_listed(b: Wired) -> None:
    """With the 50 oldest in the list, a finished action is found by its id."""
    await b.agents.send(b.target, make_action(77), FENCE, 5.0)
    b.node.move(action_id(77), S.DONE)
    b.on(b.path.finished, Reply.json({"actions": [{"id": action_id(number)} for number in range(50)]}))

    look = await b.look(action_id(77))

    assert isinstance(look.actions, ActionsInfo)
    assert action_id(77) not in look.actions.finished
    word = look.details[action_id(77)]
    assert isinstance(word, AgentAction)
    assert S.DONE is word.state


async def test_seen_06_an_agent_is_sent_one_thing_at_a_time(b: Wired) -> None:
    """Its check for duplicates is too late for two requests at once: the second waits, and says so when it cannot."""
    b.agent.on("POST", b.path.post, Reply(manner=Manner.HANG))
    first = asyncio.create_task(b.agents.send(b.target, make_action(), FENCE, 0.5))
    await b.agent.arrived(1)

    others = await asyncio.gather(*(b.agents.send(b.target, make_action(), FENCE, 0.1) for _ in range(3)))

    assert {(False, False)} == {(sent.accepted, sent.maybe_sent) for sent in others}
    assert 1 == len(b.agent.received)
    assert (await first).maybe_sent


async def test_seen_07_a_missing_client_certificate_shows_up_late() -> None:
    """Over TLS 1.3 the handshake succeeds and reading fails: the reason is the same. Plain HTTP to TLS is a hang-up."""
    ours, clients = Authority(), Authority()
    context = ours.server(clients=clients, versions=(ssl.TLSVersion.TLSv1_3,) * 2)
    async with wired(Protocol.B) as one:
        with strict_server(context, WIRES[Protocol.B](one.node)) as url:
            late = (await one.agents.look(Target(node_id="n1", agent_address=url, tls=ours.tls()))).info
        async with ScriptedAgent(tls=context) as agent:
            plain = agent.url.replace("https:", "http:")
            hung_up = (await one.agents.look(Target(node_id="n1", agent_address=plain))).info

    assert Failure(reason="TLS: client certificate required") == late
    assert Failure(reason="the connection was closed without an answer; does it expect https?") == hung_up


async def test_seen_08_a_store_that_hangs_is_not_an_agent_that_is_gone(a: Wired) -> None:
    """An agent that waits for its store: the node is UNAVAILABLE, not UNREACHABLE; the default deadline is long enough."""
    for path in (a.path.store, a.path.shards):
        a.on(path, Reply(manner=Manner.HANG))

    look = await a.look(timeout_s=0.2)

    node = cycle(new_view(), look).view.nodes["n1"]
    assert NodeStatus.UNAVAILABLE is node.status
    assert "its agent answers, but not about the store: no complete answer within 0.2 s" == node.status_text
    assert NamespaceSettings().agent_timeout >= 10


async def test_seen_08_why_a_store_is_unavailable(a: Wired, b: Wired) -> None:
    """It is evidence of the problem, whichever protocol tells it, and no longer than it needs to be."""
    b.node.status = NodeStatus.UNAVAILABLE
    for one in (a, b):
        one.on(one.path.store, Reply.json({"title": "Down", "detail": "no disk\x1b[2J" + "x" * 900}, 500))
    of_a, of_b = [cycle(new_view(), await one.look()).view for one in (a, b)]

    body = "Down: no disk\N{REPLACEMENT CHARACTER}[2J"
    told = f"HTTP 500: {body}{'x' * (ERROR_CHARS - len(body) - 1)}\N{HORIZONTAL ELLIPSIS}"
    assert [told, f"the agent says UNAVAILABLE; store details: {told}"] == [
        problem.evidence
        for view in (of_a, of_b)
        for problem in (view.state.problems if view.state is not None else ())
        if problem.code == "STORE_UNAVAILABLE"
    ]


async def test_seen_09_arbiters(a: Wired, b: Wired) -> None:
    """B's arbiter is UNKNOWN with its words; every A member of such a set is UNAVAILABLE. Other parts are as they are."""
    b.node.status, b.node.status_text, b.node.store_error = NodeStatus.UNKNOWN, "arbiter", "no optime"
    a.node.store_error = "no field optime"
    of_b = cycle(new_view(), await b.look()).view.nodes["n1"]
    of_a = cycle(new_view(), await a.look()).view.nodes["n1"]

    assert (NodeStatus.UNKNOWN, "arbiter") == (of_b.status, of_b.status_text)
    assert (NodeStatus.UNAVAILABLE, "HTTP 500: no field optime") == (of_a.status, of_a.status_text)


async def test_seen_09_no_primary_is_for_us_to_see(b: Wired) -> None:
    """A lone secondary is HEALTHY for its agent, without a lag: the problem is ours to raise."""
    b.node.shards = (Shard(shard_id="rs0", role=ShardRole.SECONDARY),)
    settled = cycle(cycle(new_view(), await b.look()).view, await b.look(), at=60)

    assert NodeStatus.HEALTHY is settled.view.nodes["n1"].status
    assert settled.view.state is not None
    assert "NO_PRIMARY" in {problem.code for problem in settled.view.state.problems}
    assert settled.view.state.lag_worst_ms is None


async def test_seen_10_a_zookeeper_that_answers_one_command(a: Wired) -> None:
    """Only the datastore is 500: UNAVAILABLE with that reason, the shards are fresh; who stands alone is the primary."""
    a.on(a.path.store, a.failure("Field missing from response: serverId"))
    a.on(a.path.shards, Reply.json({"shards": [{"id": "zoo", "role": {"unknown": "standalone"}}]}))

    node = cycle(new_view(), await a.look()).view.nodes["n1"]

    assert (NodeStatus.UNAVAILABLE, None) == (node.status, node.shards_stale_since)
    assert "HTTP 500: Field missing from response: serverId" == node.status_text
    assert [(ShardRole.PRIMARY, "standalone")] == [(shard.role, shard.role_text) for shard in node.shards]


async def test_seen_10_a_template_is_no_version(a: Wired) -> None:
    """The build that Debian forgot to fill in is left out."""
    a.node.store_version = "3.8.0+${mvngit.commit.id}"

    info = (await a.look()).info

    assert isinstance(info, NodeInfo)
    assert ("3.8.0", None, None) == (str(info.store_version), *_build(info))


async def test_seen_11_addresses_and_errors_of_b(b: Wired) -> None:
    """The client's address defaults to the member's; a backtrace that an agent sends all the same is not kept."""
    b.node.addresses = {"client": "m:1", "member": "m:1"}
    await b.agents.send(b.target, make_action(), FENCE, 5.0)
    b.node.move(action_id(1), S.FAILED, error="it broke")

    look = await b.look(action_id(1))

    assert isinstance(look.info, NodeInfo)
    assert {"client": "m:1", "member": "m:1"} == look.info.addresses
    told = orjson.dumps(b.natural(f"{b.path.action}{action_id(1)}"))
    assert b"error_backtrace" in told
    assert b"0: main" not in look.model_dump_json().encode()


@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize(
    ("host", "name", "reason"),
    [
        ("127.0.0.1", "agent.test", "TLS: host name mismatch (IP address): IP address mismatch"),
        ("localhost", "127.0.0.1", "TLS: host name mismatch: Hostname mismatch"),
    ],
)
async def test_seen_12_names_and_addresses(protocol: Protocol, host: str, name: str, reason: str) -> None:
    """A certificate for a name at an IP address, and the other way round: the reason is exact."""
    ours = Authority()
    async with wired(protocol) as one, HttpAgents(AgentsSettings()) as agents:
        answer = WIRES[protocol](one.node)
        async with ScriptedAgent(tls=ours.server(name), answer=answer) as agent:
            url = agent.url.replace("127.0.0.1", host)
            info = (await agents.look(Target(node_id="n1", agent_address=url, tls=ours.tls(), protocol=protocol))).info

    assert isinstance(info, Failure)
    assert info.reason.startswith(reason)


def _build(info: NodeInfo) -> tuple[str | None, str | None]:
    assert info.store_version is not None
    return info.store_version.checkout, info.store_version.extra
