"""Agents that a source's answer has in several clusters: looked at in each, and said."""

from __future__ import annotations

from blocks.models.source import DiscoveredCluster, Rejected
from doubles.views import NOW, found
from doubles.world import SOURCE
from tasks.decide.discovery import NAMED_MAX, SHARED_TOLD_MAX, discovered


def _told(*clusters: DiscoveredCluster) -> tuple[Rejected, ...]:
    outcome = discovered(SOURCE, clusters, {}, frozenset(), now=NOW, owners=frozenset({SOURCE.key}))

    assert [cluster.cluster_id for cluster in clusters] == [ref.cluster_id for ref in outcome.new]
    return outcome.rejected


def _cluster(number: int, *addresses: str) -> DiscoveredCluster:
    nodes = tuple(found(f"n{at}", agent_address=address) for at, address in enumerate(addresses))
    return DiscoveredCluster(cluster_id=f"c{number}", nodes=nodes)


def test_an_agent_in_two_clusters() -> None:
    """Once, without what may be secret in its address; two nodes of one cluster, or of one id, are another matter."""
    shared, own = "http://ann:secret@db:8000", ["http://a:1", "http://b:1"]
    (warning,) = _told(_cluster(1, shared, shared, own[0]), _cluster(2, own[1], shared))

    assert ("agent http://db:8000", True) == (warning.what, warning.partial)
    assert "it is told of in several clusters and looked at in each: c1, c2" == warning.reason


def test_what_is_said_is_bounded() -> None:
    """However many agents and clusters there are, the first are named and the rest are counted."""
    everywhere = [f"http://a{number:03}:1" for number in range(SHARED_TOLD_MAX + 2)]
    told = _told(*(_cluster(number, *everywhere) for number in range(NAMED_MAX + 3)))

    assert SHARED_TOLD_MAX + 1 == len(told)
    assert told[0].reason.endswith(" and 3 more")
    assert "2 more agents" == told[-1].what
