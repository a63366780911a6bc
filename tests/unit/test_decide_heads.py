"""A new primary is compared with the primaries before it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.look import Look, ShardsInfo
from blocks.models.node import Offset, Shard, ShardRole
from blocks.models.view import ClusterView
from doubles.views import failed_look, good_look, later, make_node, make_view
from tasks.decide.settle import settle

P, S = ShardRole.PRIMARY, ShardRole.SECONDARY
Word = tuple[ShardRole, int] | None
"""What a node is and how far its log goes; None: its agent does not answer."""


def _look(node_id: str, word: Word, unit: str = "offset") -> Look:
    if word is None:
        return failed_look(node_id)
    role, value = word
    copy = Shard(shard_id="rs0", role=role, commit_offset=Offset(unit=unit, value=value))
    return good_look(node_id, shards=ShardsInfo(shards=(copy,)))


def _seen(*steps: tuple[int, Word, Word], unit: str = "offset") -> ClusterView:
    """What is known of two nodes after looks, each so many seconds after the first."""
    view = make_view(make_node("n1", shards=()), make_node("n2", shards=()))
    for at, one, other in steps:
        looks = {"n1": _look("n1", one, unit), "n2": _look("n2", other, unit)}
        view = settle(view, looks, now=later(at)).view
    return view


def _back(view: ClusterView) -> list[tuple[str | None, str]]:
    problems = view.state.problems if view.state is not None else ()
    return [(one.node_id, one.evidence.partition(" at ")[0]) for one in problems if one.code == "OFFSET_WENT_BACK"]


LOST = "rs0 went from 1000 back to 500 offset"


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([(10, (S, 500), (P, 500)), (50, (S, 500), (P, 500))], [("n2", LOST)], id="a follower that lacks writes"),
        pytest.param([(10, None, (P, 500)), (50, None, (P, 500))], [("n2", LOST)], id="and the old one is dead"),
        pytest.param([(10, (S, 500), (P, 500)), (19, (S, 500), (P, 500))], [], id="it may catch up"),
        pytest.param([(10, (S, 500), (P, 900)), (50, (S, 500), (P, 1_000))], [], id="it has caught up"),
        pytest.param([(10, (S, 1_000), (P, 1_001)), (50, (S, 1_001), (P, 1_001))], [], id="an ordinary failover"),
        pytest.param([(10, (P, 1_000), (P, 500)), (50, (P, 1_000), (P, 500))], [], id="two primaries"),
        pytest.param([(10, (S, 3), (S, 3)), (20, (P, 500), (S, 3)), (60, (P, 500), (S, 3))], [("n1", LOST)], id="restored"),
        pytest.param([(10, None, (S, 500)), (20, (P, 1_000), (S, 500)), (60, (P, 1_001), (S, 500))], [], id="away for a while"),
    ],
)  # fmt: skip
def test_a_new_primary_that_has_less(steps: list[tuple[int, Word, Word]], expected: list[tuple[str, str]]) -> None:
    """Than the furthest primary before it, for longer than an election takes: writes are lost, with both offsets."""
    assert expected == _back(_seen((0, (P, 1_000), (S, 990)), *steps))


def test_another_unit_is_another_log() -> None:
    """Nothing is compared across units."""
    view = _seen((0, (P, 1_000), (S, 990)))
    for at in (10, 50):
        looks = {"n1": _look("n1", (S, 5), "seconds"), "n2": _look("n2", (P, 5), "seconds")}
        view = settle(view, looks, now=later(at)).view

    assert [] == _back(view)


def test_what_was_lost_is_said_once() -> None:
    """The next primary is compared with what is left, and the problem is over after an hour."""
    lost = [(0, (P, 1_000), (S, 990)), (10, (S, 500), (P, 500)), (50, (S, 500), (P, 500))]
    again = _seen(*lost, (60, (P, 501), (S, 500)), (120, (P, 501), (S, 500)))
    hour_later = _seen(*lost, (4_000, (S, 501), (P, 501)), (4_010, (P, 501), (S, 501)), (4_100, (P, 501), (S, 501)))

    assert ([("n2", LOST)], []) == (_back(again), _back(hour_later))


def test_a_zookeeper_goes_on_in_another_epoch() -> None:
    """A new leader's numbers are greater, however few it has counted in its epoch."""
    first, second = (7 << 32) + 400, (8 << 32) + 1
    steps = [(0, (P, first), (S, first)), (10, (S, second), (P, second)), (60, (S, second), (P, second))]

    assert [] == _back(_seen(*steps, unit="zxid"))


def test_a_quiet_cluster_is_not_saved_again() -> None:
    """What is remembered changes with the roles, and not by itself."""
    view = _seen((0, (P, 9), (S, 9)), (10, (S, 9), (P, 9)), (50, (S, 9), (P, 9)))
    looks = {"n1": _look("n1", (S, 9)), "n2": _look("n2", (P, 9))}

    assert settle(view, looks, now=later(60)).change.empty


WORDS = st.none() | st.tuples(st.sampled_from([P, S]), st.integers(0, 3))


@given(st.lists(st.tuples(WORDS, WORDS), max_size=8))
def test_logs_that_only_grow_never_went_back(steps: list[tuple[Word, Word]]) -> None:
    """Whoever is primary when: as long as each primary has at least what was seen before, nothing is said."""
    grown = [
        (60 * at, *(None if word is None else (word[0], word[1] + 10 * at) for word in words))
        for at, words in enumerate(steps)
    ]

    assert [] == _back(_seen(*grown))  # type: ignore[arg-type]
