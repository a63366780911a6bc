"""Probes over a real socket: an agent that was replaced, and answers that say the same in other bytes."""

from __future__ import annotations

import orjson
import pytest

from blocks.models.look import Failure, Glimpse
from blocks.models.node import NodeStatus, Protocol
from doubles.fleets import WIRES
from doubles.scripted_agent import Reply
from doubles.wired import PATHS, Wired, wired


async def glimpse(one: Wired, remembered: Protocol, *, shards: bool = False) -> Glimpse:
    """A probe with this protocol remembered."""
    answer = await one.agents.probe(one.target.evolve(protocol=remembered), shards=shards)
    assert isinstance(answer, Glimpse), answer
    return answer


@pytest.mark.parametrize("shards", [False, True])
async def test_replaced_agent_is_asked_in_its_new_protocol(shards: bool) -> None:
    """From A to B and back: the probe that finds its path gone asks again what is spoken, and sees what changes then."""
    async with wired(Protocol.A) as one:
        seen = [await glimpse(one, Protocol.A, shards=shards)]
        for new in (Protocol.B, Protocol.A):
            one.agent.answer = WIRES[new](one.node)
            seen.append(await glimpse(one, seen[-1].protocol, shards=shards))
        one.agent.answer = WIRES[Protocol.B](one.node)
        one.node.status = NodeStatus.UNHEALTHY
        other = await glimpse(one, Protocol.A)

    assert [Protocol.A, Protocol.B, Protocol.A] == [answer.protocol for answer in seen]
    assert seen[0] == seen[2]
    assert shards or seen[0].fingerprint != seen[1].fingerprint
    assert other.node is not None
    assert NodeStatus.UNHEALTHY is other.node.status


async def test_replaced_agent_of_a_demanded_protocol_is_a_failure() -> None:
    """Where people demand a protocol, an agent that no longer speaks it does not answer."""
    async with wired(Protocol.A) as one:
        one.agent.answer = WIRES[Protocol.B](one.node)
        answer = await one.agents.probe(one.target.evolve(only=Protocol.A), shards=False)

    assert isinstance(answer, Failure)
    assert "no agent of protocol A, which its namespace demands: no /info/agent" == answer.reason


async def test_path_that_is_missing_in_the_right_protocol_is_an_answer() -> None:
    """Shards that an agent does not have are no reason to doubt what it speaks."""
    async with wired(Protocol.B) as one:
        one.on(one.path.shards, Reply(status=404))
        answer = await glimpse(one, Protocol.B, shards=True)

    assert (Protocol.B, "404:", None) == (answer.protocol, answer.fingerprint, answer.roles)


@pytest.mark.parametrize("protocol", list(Protocol))
async def test_same_facts_in_other_bytes_are_the_same(protocol: Protocol) -> None:
    """Fields that move, and another order, are no difference; another version is one."""
    path = PATHS[protocol].store if protocol is Protocol.A else PATHS[protocol].info
    field = "version" if protocol is Protocol.A else "store_version"
    async with wired(protocol) as one:
        before = await glimpse(one, protocol)
        told = one.natural(path)
        one.on(path, Reply(orjson.dumps({"uptime": 17, **dict(reversed(told.items()))}, option=orjson.OPT_INDENT_2)))
        moved = await glimpse(one, protocol)
        one.on(path, Reply.json({**told, field: "9.9.9"}))
        other = await glimpse(one, protocol)

    assert before == moved
    assert before.fingerprint != other.fingerprint


@pytest.mark.parametrize("protocol", list(Protocol))
async def test_unreadable_answer_is_known_by_its_bytes(protocol: Protocol) -> None:
    """What cannot be read is the same while its bytes are; an error while its status is."""
    path = PATHS[protocol].store if protocol is Protocol.A else PATHS[protocol].info
    replies = (Reply(b"[1]"), Reply(b"[1]"), Reply(b"[2]"), Reply(b"a", status=500), Reply(b"b", status=500))
    async with wired(protocol) as one:
        one.on(path, *replies)
        seen = [(await glimpse(one, protocol)).fingerprint for _ in replies]

    assert seen[0] == seen[1] != seen[2] != seen[3] == seen[4]
