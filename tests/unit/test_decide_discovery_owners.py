"""Whose a cluster is: the first source that told of it, for as long as that source exists."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.event import EventType
from blocks.models.source import DiscoveredCluster, HttpDiscovery, Source
from doubles.views import NOW, discovery, found, later
from tasks.decide.discovery import Outcome, discovered, source_removed

HTTP = HttpDiscovery.model_validate({"url": "http://inventory.test/"})
ONE, TWO = (Source(namespace="prod", name=name, http=HTTP) for name in ("one", "two"))
KEY = "prod/orders"
E = EventType


def _told(*names: str) -> tuple[DiscoveredCluster, ...]:
    return tuple(DiscoveredCluster(cluster_id=name, nodes=(found("n1"),)) for name in names)


def _asked(source: Source, names: Iterable[str], known: dict[str, Discovery], owners: Iterable[Source]) -> Outcome:
    keys = frozenset(owner.key for owner in owners)
    return discovered(source, _told(*names), known, frozenset(known), now=NOW, owners=keys)


def _of(source: Source, **fields: object) -> dict[str, Discovery]:
    return {KEY: discovery(["n1"], source=source.key, **fields)}


def test_the_owner_stays_the_owner_while_it_exists() -> None:
    """The second source is refused, however often it tells of the cluster; nothing changes hands and back."""
    refused = _asked(TWO, ["orders"], _of(ONE), [ONE, TWO])
    missing = _asked(TWO, ["orders"], _of(ONE, missing_since=later(-60)), [ONE, TWO])

    assert [{}, {}] == [refused.changes, missing.changes]
    assert ["orders"] == [rejected.cluster_id for rejected in refused.rejected]


def test_a_cluster_without_an_owner_is_taken_over() -> None:
    """Its source is gone: another that tells of it owns it from now on, which is told with both names."""
    outcome = _asked(TWO, ["orders"], _of(ONE, version=3), [TWO])
    change = outcome.changes[KEY]
    (record,) = change.swaps
    (told,) = change.drafts

    assert (TWO.key, 4, ()) == (record.source, record.version, outcome.rejected)
    assert (E.CLUSTER_DISCOVERY_CHANGED, ONE.key, TWO.key) == (
        told.type,
        told.data["before"]["source"],
        told.data["after"]["source"],
    )


def test_a_missing_cluster_is_taken_over() -> None:
    """It has returned, and from somebody else: both are told."""
    change = _asked(TWO, ["orders"], _of(ONE, missing_since=later(-60)), [TWO]).changes[KEY]

    assert [E.CLUSTER_RETURNED, E.CLUSTER_DISCOVERY_CHANGED] == [told.type for told in change.drafts]
    assert None is change.swaps[0].missing_since


def test_a_deleted_cluster_that_returns_is_new() -> None:
    """A person has deleted the missing cluster: told of again, it is discovered as if never seen."""
    change = discovered(ONE, _told("orders"), {}, frozenset(), now=NOW, owners=frozenset()).changes[KEY]

    assert [E.CLUSTER_SPEC_SYNTHESISED, E.CLUSTER_DISCOVERED] == [told.type for told in change.drafts]
    assert [1, 1] == [record.version for record in change.swaps]


def test_the_clusters_of_a_removed_source_are_missing() -> None:
    """Those that were present, each with its event and the reason; those of others and the missing ones stay as they are."""
    known = [
        discovery(["n1"], source=ONE.key, version=2),
        discovery(["n1"], cluster_id="gone", source=ONE.key, missing_since=later(-60)),
        discovery(["n1"], cluster_id="other", source=TWO.key),
    ]
    changes = source_removed(ONE, known, now=NOW)
    (record,) = changes[KEY].swaps
    (told,) = changes[KEY].drafts

    assert {KEY} == changes.keys()
    assert (NOW, 3) == (record.missing_since, record.version)
    assert (E.CLUSTER_MISSING, "its source was deleted") == (told.type, told.data["reason"])
    assert {} == source_removed(ONE, [record], now=later(1))


ANSWERS = st.lists(
    st.tuples(st.sampled_from([ONE, TWO]), st.sets(st.sampled_from(["a", "b", "c"]), min_size=1)), max_size=8
)


@given(ANSWERS)
def test_two_sources_never_take_a_cluster_from_each_other(answers: list[tuple[Source, set[str]]]) -> None:
    """Both exist and tell of what they like, in any order: every cluster stays with the one that told of it first."""
    known: dict[str, Discovery] = {}
    first: dict[str, str] = {}
    for source, names in answers:
        for name in names:
            first.setdefault(f"prod/{name}", source.key)
        for key, change in _asked(source, sorted(names), known, [ONE, TWO]).changes.items():
            (record,) = (record for record in change.swaps if not isinstance(record, ClusterSpec))
            assert isinstance(record, Discovery)
            known[key] = record

    assert first == {key: record.source for key, record in known.items()}
