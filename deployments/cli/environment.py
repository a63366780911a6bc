"""Where `replictl` finds its servers: the environment, else the file of the local stack, else the Fleet block in Prefect.

The file `.stack/env` (KEY=VALUE lines) counts as a whole or not at all: half of the local stack and half of somewhere else
would be worse than either.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

from blocks.errors import InvalidInputError

FILE = Path(".stack") / "env"
SERVERS = ("REPLICORE_ZOOKEEPER_HOSTS", "REPLICORE_MONGODB_URI", "REPLICORE_KAFKA_BOOTSTRAP", "PREFECT_API_URL")
DEADLINES = (
    "REPLICORE_ZOOKEEPER_CONNECT_TIMEOUT_S",
    "REPLICORE_ZOOKEEPER_REQUEST_TIMEOUT_S",
    "REPLICORE_MONGODB_TIMEOUT_S",
    "REPLICORE_KAFKA_REQUEST_TIMEOUT_S",
    "REPLICORE_KAFKA_MESSAGE_TIMEOUT_S",
)
"""Every setting that says how long a call may wait for a server."""
DEADLINE_S_MAX = 120.0
"""What the strictest of them takes."""

_PREFIXES = ("REPLICORE_", "PREFECT_")
_BYTES_MAX = 64 * 1024


def load(environ: MutableMapping[str, str], folder: Path) -> Path | None:
    """Take what the file of the local stack says, unless the environment already names another server.

    Args:
        environ: where the variables go; those that are there are kept.
        folder: where the search begins; it goes on in the folders above.

    Returns:
        The file that was taken, None when there is none or when the environment wins.

    Raises:
        InvalidInputError: there is a file, and it cannot be read or is not ours to trust.
    """
    path = _find(folder)
    if path is None:
        return None
    values = _values(path)
    if any(environ.get(name, values.get(name)) != values.get(name) for name in SERVERS):
        return None
    if path.stat().st_uid not in {0, os.geteuid()}:
        message = f"{path} belongs to another user, so it is not used; set {', '.join(SERVERS)} instead, or remove it"
        raise InvalidInputError(message)
    for name, value in values.items():
        environ.setdefault(name, value)
    return path


def set_deadline(environ: MutableMapping[str, str], seconds: float) -> None:
    """Have every call to a server wait so long at most, in this process."""
    environ.update(dict.fromkeys(DEADLINES, str(min(seconds, DEADLINE_S_MAX))))


def _find(folder: Path) -> Path | None:
    return next((path for above in (folder, *folder.parents) if (path := above / FILE).is_file()), None)


def _values(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_BYTES_MAX)
    except (OSError, UnicodeError) as error:
        message = f"{path} cannot be read: {error}"
        raise InvalidInputError(message) from error
    pairs = (line.strip().partition("=") for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {
        name: value
        for name, equals, value in pairs
        if equals and (name.startswith(_PREFIXES) or name == "DO_NOT_TRACK")
    }
