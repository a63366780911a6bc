"""What answers to probes meant, by their bytes: most answers are what they were, and need not be read again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from blocks.agents.answers import Answer
from blocks.models.look import Glimpse
from blocks.models.node import Protocol

Read = Callable[[Answer], Glimpse]


class Glimpses:
    """The newest meanings, at most `size` of them. Meanings are functions of the bytes alone: it never matters whose they were."""

    def __init__(self, size: int) -> None:
        """Remember `size` of them; 0 remembers none."""
        self._size = size
        self._known: dict[tuple[Protocol, bool, int, bytes], Glimpse] = {}

    def of(self, protocol: Protocol, answer: Answer, *, shards: bool, read: Read) -> Glimpse:
        """The meaning of an answer, remembered or read now."""
        key = (protocol, shards, answer.status, hashlib.blake2b(answer.body, digest_size=16).digest())
        found = self._known.pop(key, None) or read(answer)
        if self._size > 0:
            self._known[key] = found  # the newest is the last
            if len(self._known) > self._size:
                del self._known[next(iter(self._known))]
        return found
