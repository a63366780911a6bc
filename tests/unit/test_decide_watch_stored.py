"""First answers against what is stored: what changed while nobody watched."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.models.look import Glimpse, NodeSeen, roles_of
from blocks.models.node import NodeStatus, Protocol, ShardRole, Version
from doubles.views import NOW, make_node, shard
from tasks.decide.watch import Part, differs

UNREAD = Glimpse(protocol=Protocol.B, fingerprint="500:")


def node_glimpse(**fields: Any) -> Glimpse:
    """A probe of the node that `make_node` makes."""
    basics = {
        "status": NodeStatus.HEALTHY,
        "node_id": "n1",
        "agent_version": Version(number="0.1.0"),
        "store_id": "mongo.replica",
        "store_version": Version(number="6.0.0"),
    }
    return Glimpse(protocol=Protocol.B, fingerprint="", node=NodeSeen(**{**basics, **fields}))


def shards_glimpse(role: ShardRole) -> Glimpse:
    """A probe of its shards."""
    return Glimpse(protocol=Protocol.B, fingerprint="", roles=roles_of([shard(role, lag_s=7)]))


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"status": NodeStatus.INCOMPLETE},
        {"status": NodeStatus.UNHEALTHY, "pending_status": NodeStatus.HEALTHY},
        {"foreign_id": "other", "status": NodeStatus.UNKNOWN, "info_stale_since": NOW},
    ],
)
def test_what_is_stored_already_is_no_news(stored: dict[str, Any]) -> None:
    """The same facts differ from nothing: ours beside the agent's word, one not said yet, and a node that is refused."""
    assert not differs(make_node("n1", **stored), Part.NODE, node_glimpse())


def test_what_is_not_said_is_no_news() -> None:
    """A protocol that does not say its version or name differs from none."""
    seen = node_glimpse(agent_version=None, store_version=None, node_id=None, cluster_id="orders")

    assert not differs(make_node("n1"), Part.NODE, seen)


@pytest.mark.parametrize(
    "seen",
    [
        {"status": NodeStatus.UNHEALTHY},
        {"node_id": "n9"},
        {"cluster_id": "other"},
        {"agent_version": Version(number="0.1.0", checkout="abc")},
        {"store_version": Version(number="7.0.0")},
    ],
)
def test_other_facts_are_news(seen: dict[str, Any]) -> None:
    """Another status, identity or version is told."""
    assert differs(make_node("n1"), Part.NODE, node_glimpse(**seen))


def test_answer_of_a_node_that_is_stored_as_silent_is_news() -> None:
    """It answers again."""
    stored = make_node("n1", status=NodeStatus.UNREACHABLE, info_stale_since=NOW)

    assert differs(stored, Part.NODE, node_glimpse())


def test_roles_are_compared_whatever_else_moves() -> None:
    """The same roles are no news, whatever the lag; other roles, and roles of shards that could not be read, are."""
    stored = make_node("n1")

    assert not differs(stored, Part.SHARDS, shards_glimpse(ShardRole.PRIMARY))
    assert differs(stored, Part.SHARDS, shards_glimpse(ShardRole.SECONDARY))
    assert differs(stored.evolve(shards_stale_since=NOW), Part.SHARDS, shards_glimpse(ShardRole.PRIMARY))


def test_unreadable_answer_agrees_with_a_stale_part_only() -> None:
    """An error is news unless the part is stored as not fresh."""
    stored = make_node("n1")

    assert differs(stored, Part.NODE, UNREAD)
    assert not differs(stored.evolve(store_stale_since=NOW), Part.NODE, UNREAD)
    assert differs(stored.evolve(store_stale_since=NOW), Part.SHARDS, UNREAD)
    assert not differs(stored.evolve(shards_stale_since=NOW), Part.SHARDS, UNREAD)
