"""What one look at one node may cost, whatever its agent does: bounds over a real socket, in both protocols."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from blocks.agents.facts import LISTED_MAX
from blocks.models.look import ActionsInfo, Failure, NodeInfo, ShardsInfo
from blocks.models.node import SHARDS_MAX, Protocol
from doubles.actions import action_id
from doubles.scripted_agent import Manner, Reply
from doubles.wired import PATHS, Wired, cycle, new_view, wired


@pytest.fixture(params=list(Protocol))
async def one(request: pytest.FixtureRequest) -> AsyncIterator[Wired]:
    """A node in each protocol, behind a client with ordinary limits."""
    async with wired(request.param, body_bytes_max=4 * 1024 * 1024) as one:
        yield one


def test_limits_are_worth_testing() -> None:
    """The lists below fit into a body that is read: it is the number of items that ends them."""
    assert (20_000, 1_000) == (SHARDS_MAX, LISTED_MAX)


async def test_more_shards_than_are_kept(one: Wired) -> None:
    """The first ones are kept, the rest is named in a note; the node is not failed for it."""
    shards = [{"id": f"t/{number}", "role": "primary"} for number in range(SHARDS_MAX + 5)]
    one.on(one.path.shards, Reply.json({"shards": shards}))

    found = (await one.look()).shards

    assert isinstance(found, ShardsInfo)
    assert (SHARDS_MAX, ("only the first 20000 of 20005 shards are kept",)) == (len(found.shards), found.notes)


async def test_more_actions_than_are_listed(one: Wired) -> None:
    """Of a list of actions the first thousand count."""
    actions = [{"id": action_id(number), "kind": "k", "phase": "DONE", "state": "DONE"} for number in range(1_100)]
    body = {"actions": actions} if one.protocol is Protocol.B else actions
    one.on(one.path.finished, Reply.json(body))

    found = (await one.look()).actions

    assert isinstance(found, ActionsInfo)
    assert LISTED_MAX == len(found.finished)


async def test_every_endpoint_hangs_within_its_body(one: Wired) -> None:
    """All requests together end at the deadline of the look, and the parts that were not reached say why."""
    for path in (one.path.store, one.path.shards, one.path.queue, one.path.finished):
        one.on(path, Reply(b'{"a":', manner=Manner.HANG_WITHIN))
    begun = time.monotonic()

    look = await one.look(timeout_s=1.5)

    assert isinstance(look.info, NodeInfo)
    assert [Failure, Failure, Failure] == [type(part) for part in (look.store, look.shards, look.actions)]
    assert time.monotonic() - begun < 4.5


@pytest.mark.parametrize("part", ["store", "shards"])
async def test_one_failed_endpoint_keeps_its_last_good_facts(one: Wired, part: str) -> None:
    """They are marked as not fresh since the first failure, over later failures too, and fresh again after an answer."""
    path = getattr(PATHS[one.protocol], part)
    known = cycle(new_view(), await one.look()).view
    one.on(path, one.failure("broken"), one.failure("broken"), Reply.json(one.natural(path)))
    once = cycle(known, await one.look(), at=10).view
    twice = cycle(once, await one.look(), at=20).view
    healed = cycle(twice, await one.look(), at=30).view

    before, after, late, last = (view.nodes["n1"] for view in (known, once, twice, healed))
    since = [getattr(node, f"{part}_stale_since") for node in (before, after, late, last)]
    assert [None, True, True, None] == [None if at is None else at == since[1] for at in since]
    assert before.shards == late.shards
    assert before.store_attributes == late.store_attributes
