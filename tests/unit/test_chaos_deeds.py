"""What a saboteur did, in a file between two processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from infra.chaos.deeds import Deeds, Mark


def test_no_deed_before_the_first(tmp_path: Path) -> None:
    """A saboteur that did nothing has no file."""
    assert 0 == Deeds(tmp_path / "deeds").since(0.0)


def test_only_deeds_after_a_moment_count(tmp_path: Path) -> None:
    """What was done before does not prove anything."""
    path = tmp_path / "deeds"
    path.write_text("10.5\n20.5\n30.5\n", encoding="ascii")

    assert 2 == Deeds(path).since(15.0)


def test_half_a_line_does_not_count(tmp_path: Path) -> None:
    """The other process may be writing."""
    path = tmp_path / "deeds"
    path.write_text("10.5\n2", encoding="ascii")

    assert 1 == Deeds(path).since(0.0)


def test_each_deed_is_kept(tmp_path: Path) -> None:
    """One line more for each."""
    deeds = Deeds(tmp_path / "deeds")
    deeds.add()
    deeds.add()

    assert 2 == deeds.since(0.0)


async def test_a_mark_is_seen_by_the_other_process(tmp_path: Path) -> None:
    """One waits until the other is so far."""
    waiting = asyncio.create_task(Deeds(tmp_path / "deeds").until(Mark.ENOUGH))
    Deeds(tmp_path / "deeds").mark(Mark.ENOUGH)
    async with asyncio.timeout(10.0):
        await waiting

    assert 0 == Deeds(tmp_path / "deeds").since(0.0)


async def test_nobody_waits_for_a_mark_when_everything_stops(tmp_path: Path) -> None:
    """Nor for a mark of another kind."""
    deeds, stop = Deeds(tmp_path / "deeds"), asyncio.Event()
    deeds.mark(Mark.BEGIN)
    waiting = asyncio.create_task(deeds.until(Mark.GONE, stop))
    await asyncio.sleep(0)
    waited = not waiting.done()
    stop.set()
    async with asyncio.timeout(10.0):
        await waiting

    assert waited
