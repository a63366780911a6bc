"""Whose turn it is to be probed."""

from __future__ import annotations

from flows.turns import Lane, Turns


def turns(lively: int = 2, silent: int = 2) -> Turns:
    """With so many places."""
    return Turns({Lane.LIVELY: lively, Lane.SILENT: silent}, patience_s=0.25)


def begun(of: Turns, now: float) -> list[str]:
    """Those that begin now."""
    return [key for key, _ in of.begin(now)]


def test_begins_in_the_order_of_time_as_far_as_there_are_places() -> None:
    """Who was due first begins first; who finds no place begins when one is free."""
    some = turns()
    for key, at in (("c", 3.0), ("a", 1.0), ("b", 2.0), ("later", 9.0)):
        some.plan(key, at, silent=False)

    assert ["a", "b"] == begun(some, 3.0)
    assert [] == begun(some, 3.0)
    some.end("a")
    assert ["c"] == begun(some, 3.0)


def test_never_twice_at_once() -> None:
    """One that is under way does not begin again, even if it was dropped and planned anew meanwhile."""
    some = turns()
    some.plan("a", 0.0, silent=False)
    first = begun(some, 0.0)
    some.drop("a")
    some.plan("a", 0.0, silent=False)
    again = begun(some, 1.0)
    some.end("a")
    some.plan("a", 2.0, silent=False)

    assert (["a"], []) == (first, again)
    assert ["a"] == begun(some, 2.0)


def test_only_the_newest_plan_counts() -> None:
    """A shorter interval takes effect at once, and the old turn is none any more; nor is that of one that is gone."""
    some = turns()
    some.plan("a", 3_600.0, silent=False)
    some.plan("a", 1.0, silent=False)
    some.plan("gone", 1.0, silent=False)
    some.drop("gone")
    early = begun(some, 1.0)
    some.end("a")

    assert ["a"] == early
    assert [] == begun(some, 4_000.0)


def test_silent_ones_keep_no_place_from_others() -> None:
    """A full silent lane does not stop the lively one, and one that lets us wait is moved there when a place is needed."""
    some = turns(lively=1, silent=1)
    some.plan("dead-1", 0.0, silent=True)
    some.plan("dead-2", 0.0, silent=True)
    some.plan("a", 0.1, silent=False)
    some.plan("b", 0.2, silent=False)
    first = begun(some, 0.2)
    full = begun(some, 1.0)
    some.end("dead-1")
    some.drop("dead-2")
    moved = begun(some, 1.0)

    assert (["a", "dead-1"], []) == (sorted(first), full)
    assert ["b"] == moved


def test_late_is_who_has_room_and_does_not_begin() -> None:
    """With a place free and a turn long due it is us who are late; with no place free it is not."""
    some = turns(lively=1)
    some.plan("a", 0.0, silent=False)
    some.plan("b", 0.0, silent=False)
    before = some.late_s(2.0)
    begun(some, 2.0)

    assert (2.0, 0.0) == (before, some.late_s(2.0))
