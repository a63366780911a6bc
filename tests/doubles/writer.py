"""An application that writes to a replica set all the time, and remembers when each write was acknowledged."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

EVERY_S = 0.005
WRITE_WITHIN_MS = 20_000
JOIN_WITHIN_S = 30.0


@dataclass
class Writer:
    """What it did so far."""

    acknowledged: list[float] = field(default_factory=list)
    """When, on the monotonic clock."""
    refused: list[str] = field(default_factory=list)
    """Writes that were not acknowledged, although the driver tries each once more."""

    @property
    def longest_gap_s(self) -> float:
        """The longest time without an acknowledged write."""
        return max((after - before for before, after in pairwise(self.acknowledged)), default=0.0)


@contextmanager
def writing(addresses: str, replica_set: str = "orders") -> Iterator[Writer]:
    """Write one document after the other, each acknowledged by the majority, until the block ends."""
    over, writer = threading.Event(), Writer()
    uri = f"mongodb://{addresses}/?replicaSet={replica_set}&w=majority&retryWrites=true"

    def write() -> None:
        with MongoClient[dict[str, Any]](uri, heartbeatFrequencyMS=500, timeoutMS=WRITE_WITHIN_MS) as client:
            while not over.wait(EVERY_S):
                try:
                    client.load.writes.insert_one({"number": len(writer.acknowledged)})
                except PyMongoError as error:
                    writer.refused.append(type(error).__name__)
                else:
                    writer.acknowledged.append(time.monotonic())

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield writer
    finally:
        over.set()
        thread.join(JOIN_WITHIN_S)
