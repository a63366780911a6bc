"""What probes mean, and who probes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.namespace import NamespaceSettings
from tasks.decide.share import owner, spread
from tasks.decide.watch import (
    MISSES_MAX,
    QUIET_MAX_S,
    SILENT_EVERY_S,
    Memory,
    Part,
    Silence,
    Watched,
    answered,
    kind_of,
    missed,
)
from tasks.targets import probe_timeout_s

TIMEOUT = "no complete answer within 3 s"
REFUSED = "connection refused"


def silent(watched: Watched, *reasons: str, part: Part = Part.NODE) -> tuple[Watched, list[str | None]]:
    """After these misses, one after the other; and what was told of each."""
    told = []
    for reason in reasons:
        verdict = missed(watched, part, reason, on_time=True)
        watched = verdict.watched
        told.append(verdict.escalate)
    return watched, told


def test_first_answer_says_nothing() -> None:
    """The first fingerprint is only remembered."""
    verdict = answered(Watched(), Part.NODE, "a", now_s=0.0)

    assert None is verdict.escalate
    assert (Memory("a", "a"), Memory()) == (verdict.watched.node, verdict.watched.shards)


def test_another_fingerprint_escalates() -> None:
    """A fingerprint that differs from the last of its part escalates; the same one does not."""
    known = Watched(node=Memory("a", "a"), shards=Memory("s", "s"))

    assert "its node changed" == answered(known, Part.NODE, "b", now_s=0.0).escalate
    assert "its shards changed" == answered(known, Part.SHARDS, "t", now_s=0.0).escalate
    assert None is answered(known, Part.NODE, "a", now_s=0.0).escalate


def test_second_miss_escalates_once() -> None:
    """One miss is nothing, the second escalates, later ones are silent."""
    _, told = silent(Watched(), *(5 * ["refused"]))

    assert [None, "it does not answer: refused", None, None, None] == told


def test_another_kind_of_failure_escalates_when_it_lasts() -> None:
    """Of a silent node another kind of failure is told when it came twice in a row; other numbers and details are the same."""
    slow = [TIMEOUT, "no complete answer within 2.98 s", TIMEOUT]
    _, told = silent(Watched(), *slow, REFUSED, TIMEOUT, *(3 * [REFUSED]), "HTTP 502: a", "HTTP 503: b")

    assert [1, 6, 9] == [number for number, why in enumerate(told) if why]
    assert f"it does not answer: {REFUSED}" == told[6]
    assert kind_of("HTTP 502: Bad Gateway") == kind_of("HTTP 503: busy (again)")


def test_hanging_shards_beside_a_good_node_escalate() -> None:
    """Misses of shards are counted for themselves: answers of the node do not hide them; told once, and once when they end."""
    watched, told = Watched(), []
    for number in range(24):
        part = watched.part(2)
        hangs = part is Part.SHARDS and 4 <= number < 20
        one = (
            missed(watched, part, TIMEOUT, on_time=True) if hangs else answered(watched, part, "s", now_s=number * 5.0)
        )
        watched = one.watched
        told.append(one.escalate)

    assert {7: f"it does not answer about its shards: {TIMEOUT}", 21: "it answers about its shards again"} == {
        number: why for number, why in enumerate(told) if why
    }


def every_s(reasons: Iterable[str], interval_s: float) -> list[float]:
    """After each of these misses, the seconds until the next probe."""
    watched, waits = Watched(), []
    for reason in reasons:
        watched = missed(watched, Part.NODE, reason, on_time=True).watched
        waits.append(watched.every_s(interval_s))
    return waits


def test_silent_node_is_probed_more_seldom() -> None:
    """The pauses grow with the silence, up to half a minute; an answer ends them. A longer interval stays."""
    assert [1, 5, 10, 20, 30, 30] == every_s(6 * [REFUSED], 5.0)
    assert SILENT_EVERY_S == every_s(3_000 * [REFUSED], 0.05)[-1]
    assert [1, 60, 60] == every_s(3 * [REFUSED], 60.0)
    watched, _ = silent(Watched(), *(6 * [REFUSED]))
    assert 5 == answered(watched, Part.NODE, "a", now_s=0.0).watched.every_s(5.0)


@pytest.mark.parametrize(
    ("probe", "agent", "interval", "expected"), [(3, 10, 5, 3), (3, 2, 5, 2), (8, 10, 5, 5), (3, 10, 0.05, 1)]
)
def test_deadline_of_a_probe(probe: float, agent: float, interval: float, expected: float) -> None:
    """A namespace's own, but not more than a request gets, nor than the interval, of which a second at least."""
    settings = NamespaceSettings(probe_timeout=probe, agent_timeout=agent)

    assert expected == probe_timeout_s(settings, interval)


def test_miss_of_a_late_loop_does_not_count() -> None:
    """A worker that was paused or starved never counts a miss of that time."""
    watched = Watched(silence=Silence(misses=MISSES_MAX - 1))
    verdict = missed(watched, Part.NODE, "timeout", on_time=False)

    assert None is verdict.escalate
    assert watched == verdict.watched


def test_answer_after_misses_escalates() -> None:
    """A node that was told of as silent and answers again is told of."""
    watched, _ = silent(Watched(node=Memory("a", "a")), REFUSED, REFUSED)
    verdict = answered(watched, Part.NODE, "a", now_s=0.0)

    assert "it answers again" == verdict.escalate
    assert 0 == verdict.watched.misses


def test_node_that_always_differs_is_told_of_ever_more_seldom() -> None:
    """A body with something volatile in it does not make a storm."""
    watched, told = Watched(node=Memory("", "")), 0
    for second in range(0, 3_600, 10):
        verdict = answered(watched, Part.NODE, str(second), now_s=float(second))
        watched = answered(verdict.watched, Part.SHARDS, "steady", now_s=second + 5.0).watched
        told += verdict.escalate is not None

    assert 3_600 / QUIET_MAX_S <= told <= 25


def told_of(fingerprints: str, every_s: float) -> list[bool]:
    """For each of these answers, one after the other, whether it was told."""
    watched, told = Watched(), []
    for number, fingerprint in enumerate(fingerprints):
        verdict = answered(watched, Part.SHARDS, fingerprint, now_s=number * every_s)
        watched = verdict.watched
        told.append(verdict.escalate is not None)
    return told


def test_changes_with_calm_between_are_all_told_at_once() -> None:
    """One fail-over after the other, within minutes: none is news that waits."""
    fingerprints = "pp" + "sspp" * 3 + "ss"

    assert [False, False, *([True, False] * 7)] == told_of(fingerprints, 5.0)


@given(st.text("abc", min_size=1, max_size=40), st.sampled_from("abc"))
def test_what_lasts_is_told(fingerprints: str, last: str) -> None:
    """However it flapped before: what is there three times in a row is what was told last, or was there at first."""
    watched, known = Watched(), ""
    for number, fingerprint in enumerate(fingerprints + 3 * last):
        verdict = answered(watched, Part.NODE, fingerprint, now_s=number * 1.0)
        watched = verdict.watched
        known = fingerprint if verdict.escalate is not None or number == 0 else known

    assert last == known


def test_every_other_probe_asks_for_shards() -> None:
    """Every k-th probe asks for the shards; a silent node is asked only for itself."""
    parts = [Watched(probes=number).part(2) for number in range(4)]

    assert [Part.NODE, Part.SHARDS, Part.NODE, Part.SHARDS] == parts
    assert Part.NODE is Watched(probes=1, silence=Silence(misses=1)).part(2)
    assert Part.NODE is Watched(probes=1).part(0)


WORKERS = st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=8)


@given(st.text(max_size=20), WORKERS)
def test_every_node_has_one_owner(key: str, workers: set[str]) -> None:
    """Every key belongs to one of the workers, whatever their order."""
    assert owner(key, sorted(workers)) == owner(key, sorted(workers, reverse=True))
    assert owner(key, workers) in workers


@given(st.text(max_size=20), WORKERS, st.text(min_size=1, max_size=8))
def test_leaving_worker_moves_only_its_own(key: str, workers: set[str], leaver: str) -> None:
    """When a worker leaves, only what it owned changes hands."""
    before = owner(key, workers | {leaver})

    assert leaver == before or before == owner(key, workers | {leaver}) == owner(key, (workers | {leaver}) - {leaver})


def test_shares_are_even() -> None:
    """Ten thousand keys over four workers are spread within a few per cent, and so are their turns."""
    keys = [f"ns/c{number // 3}/n{number % 3}" for number in range(10_000)]
    shares = Counter(owner(key, ["w1", "w2", "w3", "w4"]) for key in keys)
    tenths = Counter(int(spread(key) * 10) for key in keys)

    assert all(2_500 == pytest.approx(count, rel=0.08) for count in shares.values())
    assert all(1_000 == pytest.approx(count, rel=0.15) for count in tenths.values())


def test_nobody_owns_without_workers() -> None:
    """Without workers there is no owner."""
    assert None is owner("key", [])
