"""A worker looks for garbage seldom, and only while it works."""

from __future__ import annotations

import gc

from flows.garbage import OLDER, seldom_collected


def test_within_the_block() -> None:
    """What is there is set aside and thresholds are those asked for; after it all is as before."""
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with seldom_collected(20_000):
        within = (gc.get_threshold(), gc.get_freeze_count() > frozen)

    assert ((20_000, OLDER, OLDER), True) == within
    assert before == gc.get_threshold()


def test_zero_changes_nothing() -> None:
    """Whoever does not want it has Python as it comes."""
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with seldom_collected(0):
        within = (gc.get_threshold(), gc.get_freeze_count())

    assert (before, frozen) == within
