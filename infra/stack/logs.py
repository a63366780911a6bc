"""Log files: bounded in size, and their last lines for error messages."""

import shutil
from pathlib import Path

_BYTES_MAX = 20_000_000
_TAIL_BYTES_MAX = 64_000


def limit(path: Path, bytes_max: int = _BYTES_MAX) -> None:
    """Move a log that grew too large aside; its writers append, so they go on in the emptied file."""
    if path.stat().st_size > bytes_max:
        shutil.copyfile(path, path.with_name(path.name + ".1"))
        with path.open("r+b") as file:
            file.truncate(0)


def tail(path: Path, count: int = 12) -> list[str]:
    """Return the last lines of a log; nothing when there is no log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES_MAX))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return text.splitlines()[-count:]
