"""Small files that people name in settings: read whole or not at all, and never waited for.

Guarantees: only regular files are read (a pipe or a device would block, or never end); no more than was said; a file that
changes while it is read is an error, not half a file. Errors name the file and the reason, never what is in it.
"""

from __future__ import annotations

import os
import stat

from blocks.errors import TransientError

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
