"""Small files that people name in settings: read whole or not at all, and never waited for.

Guarantees: only regular files are read (a pipe or a device would block, or never end); no more than was said; a file that
changes while it is read is an error, not half a file. Errors name the file and the reason, never what is in it.
`Files` looks at them in threads of its own: a mount that hangs holds up neither the event loop nor other threads, nor the
end of the process.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from blocks.errors import TransientError
from blocks.threads import BusyThreadsError, Threads

T = TypeVar("T")

LOOK_EVERY_S = 1.0
"""A change of a file is seen so much later at most."""
LOOK_WITHIN_S = 0.5
READ_WITHIN_S = 5.0
THREADS_MAX = 16
"""So many looks that hang at once; then files count as not readable."""
PATHS_MAX = 1_024
"""So many files are remembered."""

Stamp = tuple[int, int, int, int]
"""Of a file: changed at, status changed at, size, inode. Another stamp means that the file should be read again."""
SIZE = 2
"""Where in a stamp the size is, in bytes."""


class FileError(TransientError):
    """A file cannot be read; it may be put right at any time."""


def stamp_of(path: str) -> Stamp | None:
    """The stamp of a file; None when it cannot be looked at."""
    try:
        return _stamp(os.stat(path))  # noqa: PTH116 - once per request: a Path would cost more than the call
    except (OSError, ValueError):
        return None


def read_file(path: str, bytes_max: int) -> tuple[bytes, Stamp]:
    """The content of a file and the stamp that goes with it. It blocks for as long as the disk does: use a thread.

    Raises:
        FileError: there is no such file, it is not a regular one, it is too large, or it is being written.
    """
    try:
        # Without O_NONBLOCK a pipe without a writer would be waited for here.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    try:
        with os.fdopen(number, "rb") as file:
            before = os.fstat(number)
            _check_kind(path, before.st_mode)
            content = file.read(bytes_max + 1)
            after = os.fstat(number)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(content) > bytes_max:
        message = f"{path} is larger than {bytes_max} bytes"
        raise FileError(message)
    if _stamp(before) != _stamp(after):
        message = f"{path} was being written while it was read"
        raise FileError(message)
    return content, _stamp(after)


def _check_kind(path: str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        message = f"cannot read {path}: {'Is a directory' if stat.S_ISDIR(mode) else 'it is not a regular file'}"
        raise FileError(message)


def _stamp(found: os.stat_result) -> Stamp:
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)


def _unreadable(path: str, error: OSError | ValueError) -> FileError:
    reason = error.strerror if isinstance(error, OSError) else "not a file name"
    return FileError(f"cannot read {path}: {reason}")


@dataclass(frozen=True, slots=True)
class _Look:
    stamp: Stamp | None
    at: float


class Files:
    """Files, looked at from an event loop. There is nothing to close."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        stamp: Callable[[str], Stamp | None] = stamp_of,
        read: Callable[[str, int], tuple[bytes, Stamp]] = read_file,
    ) -> None:
        self._clock = clock
        self._stamp = stamp
        self._read = read
        self._looks: dict[str, _Look] = {}
        self._looking: dict[str, asyncio.Future[Stamp | None]] = {}
        self._reading: dict[str, asyncio.Future[tuple[bytes, Stamp]]] = {}
        self._threads = Threads("files", THREADS_MAX)

    async def stamp(self, path: str) -> Stamp | None:
        """The stamp of a file as it was at most a second ago, or longer while its mount hangs; None when it cannot be had."""
        look, now = self._looks.get(path), self._clock()
        if look is not None and now - look.at < LOOK_EVERY_S:
            return look.stamp
        looking = self._looking.get(path)
        if looking is None:
            looking = self._look(path)
        elif look is not None:  # it hangs
            self._remember(path, replace(look, at=now))
            return look.stamp
        await asyncio.wait({looking}, timeout=LOOK_WITHIN_S)
        known = self._looks.get(path)
        if known is None or not looking.done():
            known = _Look(None if known is None else known.stamp, self._clock())
            self._remember(path, known)
        return known.stamp

    async def read(self, path: str, bytes_max: int) -> tuple[bytes, Stamp]:
        """The content of a file and the stamp that goes with it.

        Raises:
            FileError: as `read_file`; or it did not come in time.
        """
        reading = self._reading.get(path)
        if reading is not None and not reading.done():
            message = f"cannot read {path}: it has not come since it was last asked for"
            raise FileError(message)
        reading = self._threaded(lambda: self._read(path, bytes_max))
        self._reading[path] = reading
        reading.add_done_callback(lambda _: self._reading.pop(path, None))
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                content, stamp = await asyncio.shield(reading)
        except TimeoutError as error:
            message = f"cannot read {path}: it did not come within {READ_WITHIN_S:g} s"
            raise FileError(message) from error
        self._remember(path, _Look(stamp, self._clock()))
        return content, stamp

    def _remember(self, path: str, look: _Look) -> None:
        self._looks[path] = look
        while len(self._looks) > PATHS_MAX:
            del self._looks[next(iter(self._looks))]

    def _look(self, path: str) -> asyncio.Future[Stamp | None]:
        looking = self._threaded(lambda: self._stamp(path))
        self._looking[path] = looking

        def done(look: asyncio.Future[Stamp | None]) -> None:
            self._looking.pop(path, None)
            if not look.cancelled():
                self._remember(path, _Look(None if look.exception() else look.result(), self._clock()))

        looking.add_done_callback(done)
        return looking

    def _threaded(self, call: Callable[[], T]) -> asyncio.Future[T]:
        try:
            return self._threads.run(call)
        except BusyThreadsError as error:
            future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            failure = FileError("no file can be looked at: too many that were looked at hang")
            failure.__cause__ = error
            future.set_exception(failure)
            return future
