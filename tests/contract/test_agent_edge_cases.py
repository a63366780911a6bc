"""The 32 edge cases of the wire (`agent-protocol.md` 6) over a real socket, in both protocols; a name begins with its row.

Rows that a cycle judges rather than the adapter go on to the judgement, here, in
`test_agent_edge_cases_actions.py`, `test_agent_edge_cases_clusters.py` or in `tests/unit/test_edge_cases_judged.py`.
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from blocks.agents.client import HttpAgents
from blocks.agents.protocol import Target
from blocks.agents.settings import AgentsSettings
from blocks.files import LOOK_EVERY_S
from blocks.models.action import ActionState
from blocks.models.event import EventType
from blocks.models.look import ActionsInfo, AgentAction, Failure, NodeInfo, ShardsInfo, StoreInfo
from blocks.models.node import NodeStatus, Offset, Protocol, ShardRole
from blocks.models.tls import Tls
from blocks.tls.contexts import TlsContexts
from doubles.actions import action_id, make_action
from doubles.certificates import LONG_AGO, Authority, in_file
from doubles.clock import Clock
from doubles.fleets import WIRES
from doubles.scripted_agent import NOT_FOUND, Manner, Reply, ScriptedAgent
from doubles.strict_server import strict_server
from doubles.views import later
from doubles.wired import CAP, FENCE, Wired, cycle, new_view, wired

NOT_JSON = [b'{"a": [1,', b"<html>Welcome", b'\xef\xbb\xbf{"shards": []}', b'{"shards": [], "x": NaN}', b"", b"7"]
S = ActionState


@pytest.fixture(params=list(Protocol))
async def one(request: pytest.FixtureRequest) -> AsyncIterator[Wired]:
    """A healthy node."""
    async with wired(request.param) as one:
        yield one


async def test_row_01_no_answer_is_told_once(one: Wired) -> None:
    """Refused: UNREACHABLE with the reason, one event; what was known stays, and is marked stale from the first miss on."""
    good = cycle(new_view(), await one.look())
    await one.agent.stop()
    first = cycle(good.view, await one.look(), at=10)
    second = cycle(first.view, await one.look(), at=20)

    node = second.view.nodes["n1"]
    assert (NodeStatus.UNREACHABLE, "connection refused") == (node.status, node.status_text)
    assert [1, 0] == [
        sum(draft.type is EventType.NODE_STATUS_CHANGED for draft in settled.change.drafts)
        for settled in (first, second)
    ]
    assert good.view.nodes["n1"].shards == node.shards
    assert node.info_stale_since == node.status_since


@pytest.mark.parametrize("body", NOT_JSON)
@pytest.mark.parametrize("part", ["store", "shards"])
async def test_row_02_what_is_no_json_is_one_failure(one: Wired, part: str, body: bytes) -> None:
    """Cut-off JSON, pages, byte order marks, NaN, nothing: that part fails with an excerpt, and nothing of it is kept."""
    one.on(getattr(one.path, part), Reply(body))

    look = await one.look()

    failed, other = (look.store, look.shards) if part == "store" else (look.shards, look.store)
    assert isinstance(failed, Failure)
    assert isinstance(other, StoreInfo | ShardsInfo)
    assert isinstance(look.info, NodeInfo)
    assert 0 < len(failed.reason) < 500


async def test_row_02_the_last_of_repeated_keys_counts(one: Wired) -> None:
    """A repeated key is no error."""
    one.on(one.path.shards, Reply(b'{"shards": 7, "shards": []}'))

    assert ShardsInfo() == (await one.look()).shards


@pytest.mark.parametrize("value", [None, 7, [], {}])
async def test_row_03_a_missing_field_costs_its_object_only(one: Wired, value: object) -> None:
    """A store without a usable cluster id is refused; shards are still read; the node is well and INCOMPLETE."""
    one.on(one.path.store, Reply.json({**one.natural(one.path.store), "cluster_id": value}))

    look = await one.look()

    assert Failure(reason="the answer has no usable cluster_id", status=200) == look.store
    assert isinstance(look.shards, ShardsInfo)
    assert NodeStatus.INCOMPLETE is cycle(new_view(), look).view.nodes["n1"].status


async def test_row_03_offsets_may_be_missing(one: Wired) -> None:
    """A shard without offset and lag is whole."""
    one.on(one.path.shards, Reply.json({"shards": [{"id": "rs0", "role": "primary"}]}))

    shards = (await one.look()).shards

    assert isinstance(shards, ShardsInfo)
    assert ((), [None]) == (shards.notes, [shard.commit_offset for shard in shards.shards])


async def test_row_04_unknown_fields_are_ignored(one: Wired) -> None:
    """An agent of tomorrow says more than we know of."""
    plain = await one.look()
    for path in (one.path.info, one.path.store, one.path.shards):
        one.on(path, Reply.json({**one.natural(path), "tomorrow": {"x": [1]}, "id2": 7}))

    assert plain == await one.look()


async def test_row_05_unknown_words_are_kept_as_text(one: Wired) -> None:
    """A role or a unit that we have no word for stays as it is; an action in an unknown state is not over and not lost."""
    shard = {"id": "rs0", "role": "WITNESS", "lag": {"unit": "Furlongs", "value": 3}}
    one.on(one.path.shards, Reply.json({"shards": [shard]}))
    await one.agents.send(one.target, make_action(), FENCE, 5.0)
    told = orjson.dumps(one.natural(f"{one.path.action}{action_id(1)}")).replace(b'"NEW"', b'"PAUSED"')
    one.on(f"{one.path.action}{action_id(1)}", Reply(told.replace(b'"CORE_API"', b'"MARTIAN"')))

    look = await one.look()

    assert isinstance(look.shards, ShardsInfo)
    [read] = look.shards.shards
    assert (ShardRole.OTHER, "WITNESS", Offset(unit="Furlongs", value=3)) == (read.role, read.role_text, read.lag)
    word = look.details[action_id(1)]
    assert isinstance(word, AgentAction)
    assert (S.RUNNING, "the agent says its state is PAUSED") == (word.state, word.error)


async def test_row_06_a_bad_shard_is_dropped_with_a_note(one: Wired) -> None:
    """The good ones stay, and the node is not failed for it: it is well and INCOMPLETE."""
    one.on(one.path.shards, Reply.json({"shards": [{"id": "a", "role": "primary"}, {"id": 7, "role": "primary"}]}))

    look = await one.look()
    node = cycle(new_view(), look).view.nodes["n1"]

    assert (NodeStatus.INCOMPLETE, ["a"]) == (node.status, [shard.shard_id for shard in node.shards])
    assert ("shards: shard number 2 has no usable id",) == node.notes


@pytest.mark.parametrize(
    ("bad", "kept", "text"),
    [
        ({"id": "rs0", "role": 7}, ["a", "rs0"], "shards: shard rs0 has no role"),
        ({"id": "other", "role": 7}, ["a"], "shards: shard other has no role"),
        ({"id": 7, "role": "primary"}, ["a", "rs0"], "shards: shard number 2 has no usable id"),
        ("rs0", ["a", "rs0"], "shards: shard number 2 is not an object"),
    ],
)
async def test_row_06_a_known_shard_that_cannot_be_read_is_kept(
    one: Wired, bad: object, kept: list[str], text: str
) -> None:
    """Its last good copy stays, stale, without an event; only what vanished for certain is removed, with an event."""
    good = cycle(new_view(), await one.look())
    one.on(one.path.shards, Reply.json({"shards": [{"id": "a", "role": "secondary"}, bad]}))
    broken = cycle(good.view, await one.look(), at=10)
    again = cycle(broken.view, await one.look(), at=20)
    one.on(one.path.shards, Reply.json({"shards": [{"id": "a", "role": "secondary"}]}))
    whole = cycle(again.view, await one.look(), at=30)

    node = broken.view.nodes["n1"]
    assert (NodeStatus.INCOMPLETE, text) == (node.status, node.status_text)
    assert kept == [shard.shard_id for shard in node.shards]
    assert [later(10)] * (len(kept) - 1) == [shard.stale_since for shard in node.shards[1:]]
    assert (node.shards, 1) == (again.view.nodes["n1"].shards, len(node.notes))
    assert ["a"] == [shard.shard_id for shard in whole.view.nodes["n1"].shards]
    assert [len(kept) == 1, False, len(kept) == 2] == [
        EventType.SHARD_REMOVED in {draft.type for draft in settled.change.drafts} for settled in (broken, again, whole)
    ]


@pytest.mark.parametrize("packed", [True, False])
async def test_row_07_a_huge_answer_is_not_read(one: Wired, packed: bool) -> None:
    """The cap counts what comes out of the compression; only that part fails."""
    body = b" " * 10_000_000
    reply = Reply(gzip.compress(body), headers=(("Content-Encoding", "gzip"),)) if packed else Reply(body)
    one.on(one.path.shards, reply)

    look = await one.look()

    assert Failure(reason=f"the answer is larger than {CAP} bytes") == look.shards
    assert isinstance(look.store, StoreInfo)


@pytest.mark.parametrize("manner", [Manner.HANG_WITHIN, Manner.HANG])
async def test_row_08_a_slow_body_ends_at_the_deadline(one: Wired, manner: Manner) -> None:
    """The deadline covers the body; a node that hangs does not delay another."""
    async with ScriptedAgent(answer=WIRES[one.protocol](one.node)) as healthy:
        one.on(one.path.info, Reply(b'{"node_status":', manner=manner))
        hanging = asyncio.create_task(one.look(timeout_s=0.3))
        other = await one.agents.look(one.target.evolve(agent_address=healthy.url))
        over = hanging.done()

        assert isinstance(other.info, NodeInfo)
        assert not over
        assert Failure(reason="no complete answer within 0.3 s") == (await hanging).info


async def test_row_08_an_endless_answer_ends(one: Wired) -> None:
    """Chunks without end are cut at the cap."""
    one.on(one.path.shards, Reply(manner=Manner.ENDLESS))

    assert Failure(reason=f"the answer is larger than {CAP} bytes") == (await one.look()).shards


async def test_row_09_a_stale_connection_costs_nothing(one: Wired) -> None:
    """A GET on a connection that the agent closed just then is repeated once; a POST never is."""
    await one.look()
    natural = Reply.json(one.natural(one.path.info))
    one.on(one.path.info, Reply(manner=Manner.CLOSE_BEFORE), natural)
    one.agent.on("POST", one.path.post, Reply(manner=Manner.CLOSE_BEFORE))

    look = await one.look()
    sent = await one.agents.send(one.target, make_action(), FENCE, 5.0)

    assert isinstance(look.info, NodeInfo)
    assert (False, True) == (sent.accepted, sent.maybe_sent)
    assert 1 == one.agent.paths().count(one.path.post)


async def test_row_10_a_store_that_is_down_is_not_the_agents_fault(one: Wired) -> None:
    """The agent is up: A's node is UNAVAILABLE, B's is what B says or INCOMPLETE; the old shards stay, marked stale."""
    good = cycle(new_view(), await one.look())
    one.node.store_error = "cannot connect"
    node = cycle(good.view, await one.look(), at=10).view.nodes["n1"]

    expected = NodeStatus.UNAVAILABLE if one.protocol is Protocol.A else NodeStatus.INCOMPLETE
    assert expected is node.status
    assert "HTTP 500: cannot connect" in str(node.status_text)
    assert good.view.nodes["n1"].shards == node.shards
    assert ("n1", one.node.store_id, "6.0.0") == (node.reported_node_id, node.store_id, str(node.store_version))
    assert node.shards_stale_since is not None
    assert node.info_stale_since is None


async def test_row_11_not_found_means_three_things(one: Wired) -> None:
    """On an info path: another protocol, or no agent. On the lists: actions are switched off. On an id: it is not there."""
    gone = await one.agents.action(one.target, action_id(1))
    one.node.actions_on = False
    off = (await one.look()).actions
    one.on(one.path.info, NOT_FOUND)
    stranger = (await one.look()).info

    assert gone is None
    assert ActionsInfo(enabled=False) == off
    assert Failure(reason="not an agent: it knows neither /info/node nor /info/agent", status=404) == stranger


async def test_row_11_switched_off_is_not_gone() -> None:
    """In protocol A nothing is concluded about an action while actions are switched off, or that is not known."""
    async with wired(Protocol.A) as one:
        one.node.actions_on = False
        asked = await one.agents.action(one.target, action_id(1))
        looked = (await one.look(action_id(1))).details
        one.on(one.path.queue, one.failure("database is locked"))
        unclear = (await one.look(action_id(1))).details[action_id(1)]

    off = Failure(reason="the agent has its actions switched off")
    assert (off, {action_id(1): off}) == (asked, looked)
    assert isinstance(unclear, Failure)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(b"no such tree\r\n", 403), "HTTP 403: no such tree"),
        (Reply(b"", 500), "HTTP 500: an empty body"),
        (Reply(b'{"detail": "no"}', 500), "HTTP 500: no"),
        (Reply(b'{"type": "about:blank", "title": "Down", "detail": "no disk"}', 500), "HTTP 500: Down: no disk"),
        (Reply(b'{"error_msg": "' + b"y" * 900 + b'"}', 500), f"HTTP 500: {'y' * 299}\N{HORIZONTAL ELLIPSIS}"),
        (Reply(b"a\x1b[2J\nb", 500), "HTTP 500: a\N{REPLACEMENT CHARACTER}[2J b"),
        (Reply(b"<html>Bad gateway", 502), "HTTP 502: a web page"),
        (Reply(b'{"error": "wrong count", "kind": "InvalidArgs"}', 400), "HTTP 400: wrong count"),
        (Reply(b"x" * 9_000, 500), f"HTTP 500: {'x' * 299}\N{HORIZONTAL ELLIPSIS}"),
    ],
    ids=str,
)
async def test_row_12_an_error_in_any_shape_is_its_status_and_text(one: Wired, reply: Reply, reason: str) -> None:
    """The cause is never hidden behind "cannot decode"."""
    one.on(one.path.shards, reply)

    assert Failure(reason=reason, status=reply.status) == (await one.look()).shards


async def test_row_13_redirects_are_not_followed(one: Wired) -> None:
    """A redirect is reported, without what it may carry; nobody else is asked."""
    async with ScriptedAgent() as other:
        one.on(one.path.info, Reply(status=302, headers=(("Location", f"{other.url}/x?token=secret"),)))
        info = (await one.look()).info

        assert isinstance(info, Failure)
        assert (302, [], False) == (info.status, other.received, "secret" in info.reason)
        assert "redirects are not followed" in info.reason


@pytest.mark.parametrize("status", [429, 503])
async def test_row_14_a_busy_agent_is_asked_once_more(one: Wired, status: int) -> None:
    """A single "not now" flips nothing when the next try in the same look succeeds."""
    one.on(one.path.info, Reply(b"slow down", status), Reply.json(one.natural(one.path.info)))

    look = await one.look()

    assert isinstance(look.info, NodeInfo)
    assert 2 == one.agent.paths().count(one.path.info)


async def test_row_14_one_that_wants_a_long_rest_is_left_alone(one: Wired) -> None:
    """What asks for more patience than a look has is a failure at once; a busy answer to an action is not repeated."""
    busy = Reply(b"full", 503, headers=(("Retry-After", "120"),))
    one.on(one.path.info, busy)
    one.agent.on("POST", one.path.post, busy)

    look = await one.look()
    sent = await one.agents.send(one.target, make_action(), FENCE, 5.0)

    assert Failure(reason="HTTP 503: full", status=503) == look.info
    assert (False, "HTTP 503: full", True) == (sent.accepted, sent.failed, sent.maybe_sent)
    assert [one.path.info, one.path.post] == one.agent.paths()


async def test_row_15_a_wrong_cluster_id_is_a_problem(one: Wired) -> None:
    """What the node says stays under discovery's cluster, and the mismatch is a problem with an event."""
    one.node.cluster_id = "billing"
    settled = cycle(new_view(), await one.look())

    assert {"orders"} == {node.cluster_id for node in settled.view.nodes.values()}
    assert settled.view.state is not None
    assert [("n1", "its store says cluster 'billing'")] == [
        (problem.node_id, problem.evidence)
        for problem in settled.view.state.problems
        if problem.code == "IDENTITY_MISMATCH"
    ]
    assert ["IDENTITY_MISMATCH"] == [
        draft.data["code"] for draft in settled.change.drafts if draft.type is EventType.PROBLEM_RAISED
    ]


async def test_row_16_the_key_is_discoverys_id(one: Wired) -> None:
    """A node that calls itself something else keeps its name, and the mismatch is a problem."""
    one.node.node_id = "n7"
    settled = cycle(new_view(), await one.look())

    assert [("n1", "n7")] == [(key, node.reported_node_id) for key, node in settled.view.nodes.items()]
    assert settled.view.state is not None
    assert "IDENTITY_MISMATCH" in {problem.code for problem in settled.view.state.problems}


async def test_row_18_an_agent_may_move(one: Wired) -> None:
    """The address of a node may change freely: it stays the same node, without an event of its status."""
    good = cycle(new_view(), await one.look())
    async with ScriptedAgent(answer=WIRES[one.protocol](one.node)) as moved:
        look = await one.agents.look(one.target.evolve(agent_address=moved.url, protocol=None))
    settled = cycle(good.view, look, at=10)

    assert good.view.nodes["n1"] == settled.view.nodes["n1"]
    assert settled.change.empty


VERSIONS = {Protocol.A: ssl.TLSVersion.TLSv1_2, Protocol.B: ssl.TLSVersion.TLSv1_3}
"""The one version that each protocol's agents speak."""


@pytest.mark.parametrize("protocol", list(Protocol))
async def test_row_27_tls_failures_are_exact_and_final(protocol: Protocol, tmp_path: Path) -> None:
    """Unknown CA, expired, wrong name, no client certificate: each is its reason, and nothing is asked in clear; a CA that
    is replaced in its file is used within a second.
    """
    ours, clients, bundle = Authority(), Authority(), tmp_path / "ca.pem"
    bundle.write_text(clients.pem)
    versions = (VERSIONS[protocol],) * 2
    good = ours.server(clients=clients, versions=versions)
    rotated = ours.tls(clients.client()).evolve(ca_bundle=in_file(bundle))
    answer = WIRES[protocol]((await _node(protocol)).node)
    clock = Clock()
    async with HttpAgents(AgentsSettings(), TlsContexts(clock=clock)) as agents:

        async def info(url: str, tls: Tls) -> NodeInfo | Failure:
            return (await agents.look(Target(node_id="n1", agent_address=url, tls=tls, protocol=protocol))).info

        async def reason(context: ssl.SSLContext, tls: Tls) -> str:
            with strict_server(context, answer) as url:
                failure = await info(url, tls)
            assert isinstance(failure, Failure)
            return failure.reason

        told = [
            await reason(good, rotated),
            await reason(ours.server(not_after=LONG_AGO, versions=versions), ours.tls()),
            await reason(ours.server("agent.test", versions=versions), ours.tls()),
            await reason(good, ours.tls()),
        ]
        bundle.write_text(ours.pem)
        clock.now = LOOK_EVERY_S
        async with ScriptedAgent(tls=good, answer=answer) as agent:
            assert isinstance(await info(agent.url, rotated), NodeInfo)

    assert "TLS: the server's certificate comes from an unknown CA" == told[0]
    assert "TLS: the server's certificate has expired" == told[1]
    assert told[2].startswith("TLS: host name mismatch")
    assert "client certificate required" in told[3]


@pytest.mark.parametrize("value", [-5, 0, 2**53 + 1, 2**63 - 1, -(2**63)])
async def test_row_29_offsets_are_integers_of_64_bits(one: Wired, value: int) -> None:
    """Negative and huge offsets arrive exactly; a negative lag is unknown."""
    told = {"unit": "seconds", "value": value}
    shard = {"id": "rs0", "role": "primary", "commit_offset": told, "lag": told}
    one.on(one.path.shards, Reply.json({"shards": [shard]}))

    shards = (await one.look()).shards

    assert isinstance(shards, ShardsInfo)
    [read] = shards.shards
    assert Offset(unit="seconds", value=value) == read.commit_offset
    assert (None if value < 0 else read.commit_offset) == read.lag


async def test_row_30_a_shard_goes_with_a_good_answer_only(one: Wired) -> None:
    """A failed question keeps the shards; a good answer without them removes them, with an event."""
    good = cycle(new_view(), await one.look())
    one.on(one.path.shards, one.failure("busy"), Reply.json({"shards": []}))
    kept = cycle(good.view, await one.look(), at=10)
    gone = cycle(kept.view, await one.look(), at=20)

    assert [1, 0] == [len(settled.view.nodes["n1"].shards) for settled in (kept, gone)]
    assert [False, True] == [
        EventType.SHARD_REMOVED in {draft.type for draft in settled.change.drafts} for settled in (kept, gone)
    ]


async def test_row_31_hostile_strings_are_harmless(one: Wired) -> None:
    """Control characters and endless names are bounded or refused, and no id of ours leaves its place in the path."""
    bad = {"id": "x" * 2_000, "role": "primary"}
    told = {"role": {"Other": "\x1b[31m" + "y" * 2_000}}
    one.on(one.path.shards, Reply.json({"shards": [bad, {"id": "../../etc", **told}, {"id": "a\x00b", **told}]}))
    look = await one.look()
    await one.agents.action(one.target, "../../info/node?x#y")

    assert isinstance(look.shards, ShardsInfo)
    assert ["../../etc"] == [shard.shard_id for shard in look.shards.shards]
    [role] = [str(shard.role_text) for shard in look.shards.shards]
    assert (256, False) == (len(role), "\x1b" in role)
    assert all(len(note) < 400 and note.isprintable() for note in look.shards.notes)
    assert f"{one.path.action}..%2F..%2Finfo%2Fnode%3Fx%23y" in one.agent.paths()


async def _node(protocol: Protocol) -> Wired:
    async with wired(protocol) as one:
        return one
