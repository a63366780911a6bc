from __future__ import annotations

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.node import Node, Offset, Shard, ShardRole
from blocks.store.mapping import to_document
from doubles.views import NOW, later, make_node, make_view
from tasks.decide.aggregate import aggregate
from tasks.decide.lag import Lag, lags, worst
from tasks.decide.rules.base import scene_of
from tasks.decide.settle import settle

P, R = ShardRole.PRIMARY, ShardRole.SECONDARY
EPOCH = 2**32


def _copy(role: ShardRole, value: int | None, unit: str = "seconds", lag: int | None = None) -> Shard:
    return Shard(
        shard_id="rs0",
        role=role,
        commit_offset=None if value is None else Offset(unit=unit, value=value),
        lag=None if lag is None else Offset(unit=unit, value=lag),
    )


def _lags(*copies: Shard, **fields: object) -> list[Lag]:
    nodes = [make_node(f"n{number}", shards=(one,)) for number, one in enumerate(copies, start=1)]
    nodes[0] = nodes[0].evolve(**fields)
    scene = scene_of(make_view(*nodes), now=NOW)
    return list(lags(scene.fresh, scene.primaries))


def test_a_lag_that_is_not_told_is_the_difference_of_offsets() -> None:
    """One primary, one unit: the difference, marked as ours."""
    assert [Lag("n2", "rs0", "seconds", 7, synthesised=True)] == _lags(_copy(P, 100), _copy(R, 93))


def test_the_agents_word_counts_before_ours() -> None:
    """A lag that was told is kept as it was told."""
    assert [Lag("n2", "rs0", "seconds", 3, synthesised=False)] == _lags(_copy(P, 100), _copy(R, 93, lag=3))


@pytest.mark.parametrize(
    "copies",
    [
        (_copy(R, 100), _copy(R, 93)),
        (_copy(P, 100), _copy(P, 99), _copy(R, 93)),
        (_copy(P, 100), _copy(R, 93, "milliseconds")),
        (_copy(P, None), _copy(R, 93)),
        (_copy(P, 100), _copy(R, None)),
        (_copy(P, 100), _copy(R, 101)),
        (_copy(P, 100), _copy(R, 0)),
        (_copy(P, 100), _copy(ShardRole.OTHER, 93)),
        (_copy(P, 100), _copy(R, 93, lag=-1)),
        (_copy(P, 2 * EPOCH, "zxid"), _copy(R, EPOCH + 2, "zxid")),
    ],
    ids=[
        "no primary", "two primaries", "other unit", "no offset of the primary", "no offset", "ahead", "moment zero",
        "arbiter", "negative lag told", "zxids of two epochs",
    ],
)  # fmt: skip
def test_what_is_unknown(copies: tuple[Shard, ...]) -> None:
    """Where a difference means nothing there is none; a negative lag is unknown."""
    assert [] == _lags(*copies)


def test_zxids_count_within_an_epoch() -> None:
    """Same upper 32 bits: so many transactions behind."""
    assert [5] == [one.value for one in _lags(_copy(P, EPOCH + 9, "zxid"), _copy(R, EPOCH + 4, "zxid"))]


def test_an_offset_of_nothing_is_an_offset() -> None:
    """An empty partition has offset 0 on every broker, and no lag."""
    assert [0] == [one.value for one in _lags(_copy(P, 0, "offset"), _copy(R, 0, "offset"))]


def test_stale_offsets_make_no_lag() -> None:
    """A primary whose shards could not be read has no offset to compare with."""
    assert [] == _lags(_copy(P, 100), _copy(R, 93), shards_stale_since=NOW)


def test_ours_is_shown_and_no_more() -> None:
    """It is in the cluster's numbers; nodes do not have it, it makes no problem, and no event."""
    nodes: list[Node] = [make_node("n1", shards=(_copy(P, 1_000),)), make_node("n2", shards=(_copy(R, 10),))]
    state = aggregate(make_view(*nodes), now=NOW)
    settled = settle(make_view(*nodes, state=state), {}, now=later(60))

    assert ({"seconds": 990}, 990_000, 1, ()) == (
        state.lag_worst,
        state.lag_worst_ms,
        state.lags_synthesised,
        state.problems,
    )
    assert None is settled.view.nodes["n2"].shards[0].lag
    assert settled.change.empty


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1), st.sampled_from(["zxid", "seconds", "x"]))
def test_no_lag_is_negative(head: int, own: int, unit: str) -> None:
    """Whatever offsets are told."""
    assert all(0 <= one.value == head - own for one in _lags(_copy(P, head, unit), _copy(R, own, unit)))


ANY = st.integers(-(2**63), 2**63 - 1) | st.sampled_from(
    [2**63 - 1, -(2**63), -1, 9_223_372_036_854_775, 9_223_372_036_854_776]
)
OFFSETS = st.none() | st.builds(Offset, unit=st.sampled_from(["seconds", "milliseconds", "zxid", "offset"]), value=ANY)
COPIES = st.builds(
    lambda role, offset, lag: Shard(shard_id="rs0", role=role, commit_offset=offset, lag=lag),
    st.sampled_from(ShardRole),
    OFFSETS,
    OFFSETS,
)


@given(COPIES, COPIES)
def test_whatever_agents_tell_can_be_judged_and_stored(one: Shard, other: Shard) -> None:
    """Offsets and lags from one end of 64 bits to the other: what has no sense is unknown, and the state still fits the store."""
    state = aggregate(make_view(make_node("n1", shards=(one,)), make_node("n2", shards=(other,))), now=NOW)

    assert bson.encode(to_document(state))


def test_what_does_not_fit_is_unknown() -> None:
    """The difference of two extremes, and seconds that are too many milliseconds."""
    assert [] == _lags(_copy(P, 2**63 - 1, "offset"), _copy(R, -1, "offset"))
    assert None is Offset(unit="seconds", value=2**62).milliseconds


def test_a_primary_is_never_late() -> None:
    """Whatever its agent says of itself."""
    late = _copy(P, 100, lag=1_000)

    assert 0 == worst([late])
    assert 1_000_000 == worst([late, _copy(R, 1, lag=1_000)])


def test_units_are_bounded() -> None:
    """An agent that invents one for each shard: some are kept, those of time first."""
    lags_ = [Offset(unit=f"u{number}", value=1) for number in range(500)]
    copies = tuple(Shard(shard_id=lag.unit, role=R, lag=lag) for lag in [*lags_, Offset(unit="seconds", value=7)])
    state = aggregate(make_view(make_node("n1", shards=copies)), now=NOW)

    assert (20, 7_000) == (len(state.lag_worst), state.lag_worst_ms)
