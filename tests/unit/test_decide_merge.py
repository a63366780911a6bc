from __future__ import annotations

from typing import Any

import pytest

from blocks.agents.facts import shards
from blocks.models.look import ActionsInfo, Failure, Look, NodeInfo, ShardsInfo, StoreInfo
from blocks.models.node import SHARDS_MAX, Node, NodeStatus, Offset, Protocol, Shard, ShardRole, Version
from doubles.actions import action_id
from doubles.views import NOW, discovery, failed_look, found, good_look, later, make_node
from tasks.decide.merge import NOTES_MAX, merge

BROKEN = Failure(reason="HTTP 500", status=500)


def _merged(known: Node | None, look: Look, at: float = 10) -> Node:
    return merge(known, found("n1"), discovery(), look, now=later(at))


def _stale(node: Node) -> tuple[object, ...]:
    return (node.info_stale_since, node.store_stale_since, node.shards_stale_since, node.actions_stale_since)


def test_a_good_look_at_a_new_node_tells_all() -> None:
    """The first look makes the node, all parts fresh."""
    node = _merged(None, good_look("n1"), at=0)

    assert make_node("n1") == node


def test_the_same_look_again_changes_nothing() -> None:
    """A node that is as it was is the same record, `since` included."""
    node = make_node("n1")

    assert node == _merged(node, good_look("n1"))


def test_a_failed_look_keeps_the_last_good_facts() -> None:
    """Unreachable with the reason; shards, versions and attributes stay, marked stale from the first failure on."""
    once = _merged(make_node("n1"), failed_look("n1"), at=10)
    twice = _merged(once, failed_look("n1"), at=20)

    assert (NodeStatus.UNREACHABLE, "connection refused", later(10)) == (
        twice.status,
        twice.status_text,
        twice.status_since,
    )
    assert (later(10),) * 4 == _stale(twice)
    assert make_node("n1").shards == twice.shards
    assert make_node("n1").store_version == twice.store_version


def test_a_node_that_comes_back_is_fresh_again() -> None:
    """The first good look ends all staleness."""
    node = _merged(_merged(make_node("n1"), failed_look("n1")), good_look("n1"), at=30)

    assert make_node("n1", status_since=later(30)) == node


@pytest.mark.parametrize(("part", "field"), [("store", "store_stale_since"), ("shards", "shards_stale_since")])
def test_a_healthy_node_that_could_not_tell_all_is_incomplete(part: str, field: str) -> None:
    """HEALTHY with a part missing is INCOMPLETE with the reason; that part alone is stale and keeps its facts."""
    node = _merged(make_node("n1"), good_look("n1", **{part: BROKEN}))

    assert NodeStatus.INCOMPLETE is node.status
    assert "HTTP 500" in str(node.status_text)
    assert {field} == {name for name in Node.model_fields if name.endswith("stale_since") and getattr(node, name)}
    assert make_node("n1").shards == node.shards


def test_an_unhealthy_node_stays_what_its_agent_says() -> None:
    """A missing part does not hide the agent's own word."""
    info = NodeInfo(
        protocol=Protocol.B, status=NodeStatus.UNHEALTHY, status_text="slow", agent_version=Version(number="1")
    )
    node = _merged(make_node("n1"), good_look("n1", info=info, shards=BROKEN))

    assert (NodeStatus.UNHEALTHY, "slow") == (node.status, node.status_text)


@pytest.mark.parametrize("status", sorted(set(NodeStatus) - {NodeStatus.HEALTHY}))
def test_no_bad_status_is_without_a_reason(status: NodeStatus) -> None:
    """Where the agent gives none, it is what could not be read of its node; in any case whose word it is."""
    info = NodeInfo(protocol=Protocol.B, status=status, agent_version=Version(number="1"))
    alone = _merged(make_node("n1"), good_look("n1", info=info))
    more = _merged(make_node("n1"), good_look("n1", info=info, store=BROKEN, shards=Failure(reason="no disk")))

    assert (status, f"the agent says {status}") == (alone.status, alone.status_text)
    assert f"the agent says {status}; store details: HTTP 500; shards: no disk" == more.status_text


@pytest.mark.parametrize(
    "parts",
    [
        {"actions": BROKEN},
        {"actions": None},
        {"details": {action_id(1): BROKEN}},
    ],
)
def test_actions_are_stale_when_one_could_not_be_asked(parts: dict[str, Any]) -> None:
    """The list or a single answer missing: what we know of the node's actions is not fresh, and its health is."""
    node = _merged(make_node("n1"), good_look("n1", **parts))

    assert (None, None, None, later(10)) == _stale(node)
    assert NodeStatus.HEALTHY is node.status


def test_actions_switched_off_are_no_failure() -> None:
    """An agent without actions is as fresh as one with."""
    node = _merged(make_node("n1"), good_look("n1", actions=ActionsInfo(enabled=False)))

    assert (None,) * 4 == _stale(node)


def test_address_and_class_are_the_sources_word() -> None:
    """What discovery says of a node replaces what it said before."""
    told = found("n1", agent_address="http://elsewhere.test:1", node_class="hidden", node_group="eu")
    node = merge(make_node("n1"), told, discovery(), good_look("n1"), now=NOW)

    assert ("http://elsewhere.test:1", "hidden", "eu") == (node.agent_address, node.node_class, node.node_group)


def test_a_version_that_is_not_told_this_time_is_kept() -> None:
    """A store that is down has no version to tell: the last one stays."""
    info = NodeInfo(protocol=Protocol.B, status=NodeStatus.UNAVAILABLE, agent_version=Version(number="0.1.0"))
    node = _merged(make_node("n1"), good_look("n1", info=info, store=StoreInfo(), shards=BROKEN))

    assert Version(number="6.0.0") == node.store_version


def test_who_a_node_is_does_not_change_with_its_store() -> None:
    """An agent that cannot reach its store may not know the node's id and kind (protocol A): the last ones stay."""
    info = NodeInfo(protocol=Protocol.A, status=NodeStatus.UNAVAILABLE, agent_version=Version(number="0.5.0"))
    node = _merged(make_node("n1"), good_look("n1", info=info, store=BROKEN, shards=BROKEN))

    assert ("n1", "mongo.replica") == (node.reported_node_id, node.store_id)


def test_notes_are_bounded() -> None:
    """However much is wrong with an answer, so many notes are kept."""
    shards = ShardsInfo(notes=tuple(f"shard {number} is odd" for number in range(100)))

    assert NOTES_MAX == len(_merged(None, good_look("n1", shards=shards)).notes)


def test_a_list_that_was_cut_removes_nothing() -> None:
    """Of more shards than are kept the known ones stay, whatever the order of the list; only what is new gives way."""
    names = [f"s{number}" for number in range(SHARDS_MAX + 1)]
    known = make_node("n1", shards=shards([{"id": name, "role": "primary"} for name in names[:-1]]).shards)
    told = shards([{"id": name, "role": "primary"} for name in reversed(names)])
    node = _merged(known, good_look("n1", shards=told))

    assert (True, (), names[-1]) == (told.partial, told.unread, told.shards[0].shard_id)
    assert set(names[:-1]) == {one.shard_id for one in node.shards}
    assert [("s0", later(10))] == [
        (one.shard_id, one.stale_since) for one in node.shards if one.stale_since is not None
    ]
    assert (NodeStatus.INCOMPLETE, "shards: only the first 20000 of 20001 shards are kept") == (
        node.status,
        node.status_text,
    )


def test_a_shard_that_can_be_read_again_is_fresh() -> None:
    """It was stale from the first miss on."""
    bad = ShardsInfo(unread=("rs0",))
    once = _merged(make_node("n1"), good_look("n1", shards=bad), at=10)
    twice = _merged(once, good_look("n1", shards=bad), at=20)
    back = _merged(twice, good_look("n1"), at=30)

    assert [later(10)] == [one.stale_since for one in twice.shards]
    assert make_node("n1").shards == back.shards


def _leading(value: int, unit: str = "seconds", role: ShardRole = ShardRole.PRIMARY) -> Look:
    one = Shard(shard_id="rs0", role=role, commit_offset=Offset(unit=unit, value=value))
    return good_look("n1").evolve(shards=ShardsInfo(shards=(one,)))


def test_a_primary_whose_offset_goes_back_is_remembered_for_an_hour() -> None:
    """From where to where and when; seen again it is one; after an hour it is forgotten."""
    ahead = _merged(None, _leading(9), at=1)
    back = _merged(ahead, _leading(7), at=2)
    again = _merged(back, _leading(7), at=3)
    later_on = _merged(again, _leading(8), at=3_602)

    assert [("rs0", 9, 7, later(2))] == [
        (one.shard_id, one.before.value, one.after.value, one.at) for one in back.rewinds
    ]
    assert (back.rewinds, ()) == (again.rewinds, later_on.rewinds)


def test_what_went_back_is_forgotten_of_a_node_that_is_silent_since() -> None:
    """A primary that lost its end and then died is told of for an hour, like any other."""
    back = _merged(_merged(None, _leading(9), at=1), _leading(7), at=2)
    silent = _merged(back, failed_look("n1"), at=3_601)

    assert (back.rewinds, ()) == (silent.rewinds, _merged(silent, failed_look("n1"), at=3_602).rewinds)


@pytest.mark.parametrize(
    "after", [_leading(9), _leading(7, "milliseconds"), _leading(7, role=ShardRole.SECONDARY), failed_look("n1")]
)
def test_what_is_no_step_back(after: Look) -> None:
    """The same offset, another unit, another role or no answer: nothing was lost."""
    assert () == _merged(_merged(None, _leading(9)), after).rewinds


def test_what_is_not_told_while_the_store_is_down_is_kept() -> None:
    """Attributes and addresses are as they were; what is told is taken; when it is up again only what it tells counts."""
    known = make_node("n1", attributes={"state": "SECONDARY", "zone": "a"}, addresses={"member": "db1:27017"})

    def told(status: NodeStatus, **attributes: str) -> Node:
        look = good_look(
            "n1",
            info=NodeInfo(
                protocol=Protocol.B, status=status, agent_version=Version(number="0.1.0"), attributes=attributes
            ),
        )
        return merge(known, found("n1"), discovery(["n1"]), look, now=later(10))

    down, up = told(NodeStatus.UNAVAILABLE, zone="b"), told(NodeStatus.HEALTHY, zone="b")

    assert ({"state": "SECONDARY", "zone": "b"}, {"member": "db1:27017"}) == (down.attributes, down.addresses)
    assert ({"zone": "b"}, {}) == (up.attributes, up.addresses)


def test_shards_do_not_vanish_with_their_store() -> None:
    """An agent whose store is down and that lists no shards: they are kept as last known, and nothing is told of a removal."""
    known = make_node("n1", shards=(Shard(shard_id="rs0", role=ShardRole.PRIMARY),))
    look = good_look("n1")
    info = look.info.evolve(status=NodeStatus.UNAVAILABLE)
    merged = merge(known, found("n1"), discovery(["n1"]), look.evolve(info=info, shards=ShardsInfo(shards=())), now=NOW)
    (kept,) = merged.shards

    assert (known.shards[0].shard_id, NOW) == (kept.shard_id, kept.stale_since)
