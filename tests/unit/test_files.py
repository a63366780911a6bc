from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.files import LOOK_EVERY_S, LOOK_WITHIN_S, THREADS_MAX, FileError, Files, Stamp, stamp_of
from doubles.clock import Clock


class Mount:
    """A mount that answers, until it is told to hang."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.looks: list[str] = []

    def stamp(self, path: str) -> Stamp | None:
        """Tell a file's stamp."""
        self.looks.append(path)
        self.answers.wait(30)
        return stamp_of(path)

    def read(self, path: str, bytes_max: int) -> tuple[bytes, Stamp]:
        """Read a file."""
        stamp = self.stamp(path)
        assert stamp is not None
        return Path(path).read_bytes()[:bytes_max], stamp


@pytest.fixture
def mount() -> Iterator[Mount]:
    """One that hangs no more when the test is over."""
    made = Mount()
    yield made
    made.answers.set()


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A file."""
    path = tmp_path / "ca.pem"
    path.write_text("one")
    return str(path)


def _write(path: str, text: str) -> None:
    Path(path).write_text(text)


async def test_many_requests_look_once_a_second(mount: Mount, file: str) -> None:
    """Thousands of requests of a moment cost one look."""
    clock = Clock()
    files = Files(clock, mount.stamp, mount.read)
    stamps = {await files.stamp(file) for _ in range(1_000)}
    clock.now = LOOK_EVERY_S
    again = await files.stamp(file)

    assert ({again}, 2) == (stamps, len(mount.looks))


async def test_a_mount_that_hangs_holds_nobody_up(mount: Mount, file: str) -> None:
    """The last stamp counts, the loop goes on, and only one thread hangs for a file, however often it is asked for."""
    clock = Clock()
    files = Files(clock, mount.stamp, mount.read)
    before = await files.stamp(file)
    mount.answers.clear()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for _ in range(50):
        clock.now += LOOK_EVERY_S

        assert before == await files.stamp(file)
    assert (2, True) == (len(mount.looks), loop.time() - begun < 4 * LOOK_WITHIN_S)


async def test_a_mount_that_comes_back_is_seen(mount: Mount, file: str) -> None:
    """What changed while it hung is noticed then."""
    clock = Clock()
    files = Files(clock, mount.stamp, mount.read)
    before = await files.stamp(file)
    mount.answers.clear()
    clock.now += LOOK_EVERY_S
    await files.stamp(file)
    _write(file, "another")
    mount.answers.set()
    async with asyncio.timeout(10):
        while await files.stamp(file) == before:
            clock.now += LOOK_EVERY_S
            await asyncio.sleep(0)


async def test_a_file_that_never_came_is_not_read_twice_at_once(mount: Mount, file: str) -> None:
    """Whoever asks while it hangs is told at once."""
    files = Files(Clock(), mount.stamp, mount.read)
    mount.answers.clear()
    first = asyncio.create_task(files.read(file, 10))
    await asyncio.sleep(0)
    with pytest.raises(FileError, match="it has not come since it was last asked for"):
        await files.read(file, 10)
    mount.answers.set()

    assert b"one" == (await first)[0]


async def test_threads_are_bounded(mount: Mount, tmp_path: Path) -> None:
    """When too many files hang, others count as not readable instead of adding threads."""
    files = Files(Clock(), mount.stamp, mount.read)
    mount.answers.clear()
    hanging = [asyncio.create_task(files.read(str(tmp_path / str(number)), 1)) for number in range(THREADS_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(FileError, match="too many that were looked at hang"):
        await files.read(str(tmp_path / "one-more"), 1)
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)

    assert THREADS_MAX == len(hanging)
