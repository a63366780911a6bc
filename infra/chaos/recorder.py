"""Writes down what happens, as JSON lines: what we did, what MongoDB wrote, what an independent reader finds on Kafka.

MongoDB's change stream tells every write in its order, and which of them were one transaction. The reader of Kafka is a plain
consumer that knows nothing of the product's own. Agents keep a record of their own (`agents.jsonl`). All times are seconds of
CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import hashlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import bson
import orjson
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from infra.chaos.records import ends

OWNED = ("states", "nodes", "reports")
"""Collections of what a cluster's holder alone may write."""
WATCHED = (*OWNED, "fences", "actions")
_AGAIN_S = 0.5
_AWAIT_MS = 500
_QUIET_S = 20.0
_POLL_S = 0.2


class Recorder:
    """The history of a run in one file, from any thread."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._file: BinaryIO = path.open("wb")
        self.counts: dict[str, int] = {}

    def note(self, what: str, at: float | None = None, **fields: Any) -> None:
        """Write one line."""
        line = orjson.dumps({"at": time.monotonic() if at is None else at, "what": what, **fields}, default=str)
        with self._lock:
            self.counts[what] = self.counts.get(what, 0) + 1
            if not self._file.closed:
                self._file.write(line + b"\n")

    def close(self) -> None:
        """Everything is on the disk."""
        with self._lock:
            self._file.close()


class Reader(threading.Thread, ABC):
    """A thread that reads something until it is told to stop."""

    def __init__(self, name: str, recorder: Recorder) -> None:
        super().__init__(name=name, daemon=True)
        self._recorder = recorder
        self._over = threading.Event()
        self.failed: str | None = None
        """Why the history has a hole."""

    def run(self) -> None:
        """Read; what fails is tried again."""
        while not self._over.is_set() and self.failed is None:
            self.turn()

    @abstractmethod
    def turn(self) -> None:
        """Read some."""

    def read_up(self, within_s: float) -> bool:
        """Wait until everything that is there now was read; False: it was not in time."""
        asked_at = time.monotonic()
        while time.monotonic() < asked_at + within_s and self.failed is None:
            if self._has_read(asked_at):
                return True
            self._over.wait(_POLL_S)
        return False

    @abstractmethod
    def _has_read(self, asked_at: float) -> bool:
        """Whether everything that was there at a moment was read."""

    def stop(self) -> None:
        """Read no more."""
        self._over.set()
        self.join(_QUIET_S)


class Writes(Reader):
    """What MongoDB wrote, in its order."""

    def __init__(self, uri: str, database: str, recorder: Recorder) -> None:
        super().__init__("writes", recorder)
        self._uri, self._database = uri, database
        self._token: Any = None
        self._caught_up_at = 0.0
        """Since when there was nothing more to read, as the last answer says."""

    def turn(self) -> None:
        """Read on after what was read last."""
        try:
            with MongoClient[dict[str, Any]](self._uri, timeoutMS=15_000) as client:
                self._read(client)
        except OperationFailure as error:
            if error.code in {286, 136}:  # the history was lost: the oplog is too small
                self.failed = f"the change stream has a hole: {error.code}"
            self._over.wait(_AGAIN_S)
        except PyMongoError:
            self._over.wait(_AGAIN_S)

    def _read(self, client: MongoClient[dict[str, Any]]) -> None:
        shown = {"$cond": [{"$in": ["$ns.coll", ["fences", "actions"]]}, "$fullDocument", "$$REMOVE"]}
        kept = ("operationType", "ns", "documentKey", "lsid", "txnNumber", "wallTime", "updateDescription")
        pipeline: list[Mapping[str, Any]] = [
            {"$match": {"ns.coll": {"$in": list(WATCHED)}}},
            {"$project": {**dict.fromkeys(kept, 1), "fullDocument": shown}},
        ]
        with client[self._database].watch(pipeline, resume_after=self._token, max_await_time_ms=_AWAIT_MS) as stream:
            while not self._over.is_set():
                asked_at = time.monotonic()
                change = stream.try_next()
                self._token = stream.resume_token
                if change is None:
                    self._caught_up_at = asked_at
                else:
                    self._tell(change)

    def _has_read(self, asked_at: float) -> bool:
        return self._caught_up_at > asked_at

    def _tell(self, change: dict[str, Any]) -> None:
        collection, fields = change["ns"]["coll"], change.get("updateDescription", {}).get("updatedFields", {})
        told = change.get("fullDocument") or (fields if collection in {"fences", "actions"} else {})
        wanted = _FIELDS.get(collection, ())
        session, number = change.get("lsid"), change.get("txnNumber")
        self._recorder.note(
            "write",
            wall=change["wallTime"].timestamp() if change.get("wallTime") else None,
            collection=collection,
            op=change["operationType"],
            key=str(change["documentKey"]["_id"]),
            transaction=None if number is None else f"{session['id'].hex() if session else ''}:{number}",
            document={name: _plain(told[name]) for name in wanted if name in told},
        )


_FIELDS = {
    "fences": ("generation", "token", "passed"),
    "actions": (
        "namespace", "cluster_id", "node_id", "kind", "args", "state", "version", "intent", "created_by", "requester", "cluster_key",
    ),
}  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, bson.Binary | bytes):
        return value.hex()
    return {key: _plain(one) for key, one in value.items()} if isinstance(value, dict) else value


class Events(Reader):
    """What is on Kafka, in the order of each partition."""

    def __init__(self, bootstrap: str, topic: str, recorder: Recorder) -> None:
        super().__init__("events", recorder)
        self._topic = topic
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "chaos-recorder",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": False,
                "reconnect.backoff.max.ms": 1_000,
            }
        )
        self._assigned = False
        self._brokers = bootstrap
        self._next: dict[int, int] = {}
        """By partition, the offset of the next record."""

    def turn(self) -> None:
        """Read some records."""
        try:
            if not self._assigned:
                self._assign()
            for message in self._consumer.consume(500, timeout=0.5):
                if message.error() is None:
                    self._tell(message)
        except KafkaException:
            self._over.wait(_AGAIN_S)

    def _assign(self) -> None:
        topics = self._consumer.list_topics(self._topic, timeout=10.0).topics
        partitions = [TopicPartition(self._topic, number, 0) for number in topics[self._topic].partitions]
        if not partitions:
            self._over.wait(_AGAIN_S)
            return
        self._consumer.assign(partitions)
        self._assigned = True

    def _tell(self, message: Message) -> None:
        headers = {name: bytes(value or b"").decode("utf-8", "replace") for name, value in _headers(message)}
        value = bytes(message.value() or b"")
        digest = hashlib.sha256(repr(sorted(headers.items())).encode() + b"\n" + value)
        data: Any = None
        with suppress(orjson.JSONDecodeError):
            data = orjson.loads(value)
        self._recorder.note(
            "event",
            partition=message.partition(),
            offset=message.offset(),
            id=headers.get("ce_id", ""),
            type=headers.get("ce_type", ""),
            stream=headers.get("ce_stream", ""),
            sequence=int(headers.get("ce_sequence") or 0),
            time=headers.get("ce_time", ""),
            digest=digest.hexdigest()[:16],
            data=data,
        )
        self._next[message.partition() or 0] = (message.offset() or 0) + 1

    def _has_read(self, asked_at: float) -> bool:
        del asked_at
        try:
            at_end = ends(self._brokers, (self._topic,))
        except KafkaException:
            return False
        return all(self._next.get(number, first) >= last for (_, number), (first, last) in at_end.items())

    def stop(self) -> None:
        """Read no more; what is not closed here closes with the process."""
        super().stop()
        with suppress(KafkaException, RuntimeError):
            self._consumer.close()


def _headers(message: Message) -> list[tuple[str, Any]]:
    found: Any = message.headers()
    return list(found or [])
