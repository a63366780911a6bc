"""The schedule of faults."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from infra.chaos.plan import FaultKind, Rhythm, schedule

SEEDS = st.integers(0, 2**32)


@given(SEEDS)
def test_same_seed_same_schedule(seed: int) -> None:
    """A seed alone decides what happens when."""
    assert schedule(seed, Rhythm(10.0)) == schedule(seed, Rhythm(10.0))


@given(SEEDS, st.floats(1.0, 60.0))
def test_everything_is_over_in_time(seed: int, minutes: float) -> None:
    """The last fault leaves time to recover before the end."""
    rhythm = Rhythm(minutes)
    ends = [fault.at_s + fault.for_s + rhythm.recover_s for fault in schedule(seed, rhythm)]

    assert all(end <= minutes * 60 for end in ends)


@given(SEEDS)
def test_every_kind_comes_once_before_any_comes_again(seed: int) -> None:
    """Half an hour shows every kind, none more than twice as often as another and one more."""
    kinds = [fault.kind for fault in schedule(seed, Rhythm(30.0))]
    counts = {kind: kinds.count(kind) for kind in FaultKind}

    assert min(counts.values()) >= 1
    assert max(counts.values()) <= 2 * min(counts.values()) + 1


@given(SEEDS)
def test_two_at_once_leave_a_majority_of_the_same_servers(seed: int) -> None:
    """Faults that overlap are never about the same kind of servers."""
    faults = schedule(seed, Rhythm(30.0))
    for fault in faults:
        others = [
            o
            for o in faults
            if o is not fault and o.at_s <= fault.at_s + fault.for_s and fault.at_s <= o.at_s + o.for_s
        ]
        families = [o.kind.name.partition("_")[0] for o in (fault, *others)]
        servers = [family for family in families if family in {"ZOOKEEPER", "KAFKA", "MONGODB"}]

        assert len(servers) == len(set(servers))


def test_two_at_once_do_happen() -> None:
    """Some faults overlap."""
    faults = schedule(1, Rhythm(30.0))

    assert any(later.at_s < earlier.at_s + earlier.for_s for earlier, later in itertools.pairwise(faults))


def test_only_wanted_kinds() -> None:
    """A run can be about some kinds alone."""
    kinds = (FaultKind.WORKER_KILL,)

    assert {FaultKind.WORKER_KILL} == {fault.kind for fault in schedule(1, Rhythm(5.0, kinds=kinds))}


def test_a_target_is_one_of_those_there_are() -> None:
    """The number of a fault chooses among whoever is there."""
    fault = schedule(1, Rhythm(5.0))[0]

    assert fault.pick([]) is None
    assert fault.pick(["a"]) == "a"
    assert fault.pick(["a", "b", "c"]) in {"a", "b", "c"}


@given(SEEDS)
def test_kills_alone_are_twenty_in_six_minutes_and_a_half(seed: int) -> None:
    """What docs/chaos.md takes the figures of fail-over from."""
    kills = schedule(seed, Rhythm(6.5, kinds=(FaultKind.WORKER_KILL,)))

    assert len(kills) >= 20
    assert {FaultKind.WORKER_KILL} == {fault.kind for fault in kills}
