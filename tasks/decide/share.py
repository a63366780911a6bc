"""Which worker watches which node: rendezvous hashing, so that a worker's coming or going moves only its own share."""

from __future__ import annotations

import hashlib
from collections.abc import Collection


def weight(worker: str, key: str) -> int:
    """How much a worker wants a key: always the same, evenly spread."""
    digest = hashlib.blake2b(f"{worker}\0{key}".encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def owner(key: str, workers: Collection[str]) -> str | None:
    """The worker that owns a key; None when there are no workers."""
    return max(workers, key=lambda worker: (weight(worker, key), worker), default=None)


def spread(key: str) -> float:
    """A number in [0, 1) by which turns are spread over an interval, always the same for the same key."""
    return weight("spread", key) / 2**64
