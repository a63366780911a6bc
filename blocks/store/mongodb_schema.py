"""Collections and indexes, and how they come to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pymongo import ASCENDING, DESCENDING, IndexModel, ReplaceOne
from pymongo.errors import OperationFailure

from blocks.models.action import Action
from blocks.models.base import Fact
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.gate import Disruptions, Gate
from blocks.models.namespace import Namespace
from blocks.models.node import Node
from blocks.models.report import Report
from blocks.models.request import Request
from blocks.models.rolling import Rolling
from blocks.models.source import Source, SourceReport
from blocks.models.submission import Submission
from blocks.store.mapping import CURRENT, SCHEMA, Schemas, upgraded
from blocks.store.mongodb_calls import whole
from blocks.store.mongodb_connection import Connection

COLLECTIONS: Final[dict[type[Fact], str]] = {
    Namespace: "namespaces",
    Source: "sources",
    SourceReport: "source_reports",
    ClusterSpec: "specs",
    Discovery: "discoveries",
    ClusterState: "states",
    Node: "nodes",
    Action: "actions",
    Report: "reports",
    Submission: "submissions",
    Gate: "gates",
    Disruptions: "disruptions",
    Rolling: "rollings",
}
EVENTS: Final = "events"
FENCES: Final = "fences"
META: Final = "meta"
STREAMS: Final = "streams"
WORK: Final = "work"

_PREPARE_WITHIN_S: Final = 120.0
_MIGRATED_AT_ONCE: Final = 500
_DAY_S: Final = 86_400
_NAMESPACE_EXISTS: Final = 48


@dataclass(frozen=True, slots=True)
class _Index:
    collection: str
    name: str
    keys: tuple[tuple[str, int], ...]
    unique: bool = False
    partial: dict[str, Any] | None = None
    keep_days: str | None = None
    """The setting that says after how many days what it finds is removed."""


INDEXES: Final = (
    _Index("discoveries", "source", (("source", ASCENDING), ("_id", ASCENDING))),
    _Index("nodes", "cluster", (("cluster_key", ASCENDING),)),
    _Index("actions", "cluster_state", (("cluster_key", ASCENDING), ("state", ASCENDING))),
    _Index("actions", "left_running", (("cluster_key", ASCENDING),), partial={"left_running": True}),
    _Index("actions", "newest", (("created_at", DESCENDING), ("_id", ASCENDING))),
    _Index("actions", "keep", (("ended_at", ASCENDING),), keep_days="actions_keep_days"),
    _Index("rollings", "cluster_state", (("cluster_key", ASCENDING), ("state", ASCENDING))),
    _Index("rollings", "newest", (("created_at", DESCENDING), ("_id", ASCENDING))),
    _Index("rollings", "keep", (("ended_at", ASCENDING),), keep_days="actions_keep_days"),
    _Index("submissions", "keep", (("at", ASCENDING),), keep_days="actions_keep_days"),
    _Index(EVENTS, "place", (("stream", ASCENDING), ("sequence", ASCENDING)), unique=True),
    _Index(EVENTS, "history", (("time", ASCENDING), ("stream", ASCENDING), ("sequence", ASCENDING))),
    _Index(
        EVENTS,
        "outbox",
        (("published", ASCENDING), ("time", ASCENDING), ("stream", ASCENDING), ("sequence", ASCENDING)),
        partial={"published": False},
    ),
    _Index(
        EVENTS,
        "waiting",
        (("published", ASCENDING), ("stream", ASCENDING), ("sequence", ASCENDING), ("time", ASCENDING)),
        partial={"published": False},
    ),
    _Index(EVENTS, "keep", (("time", ASCENDING),), partial={"published": True}, keep_days="events_keep_days"),
    _Index(WORK, "due", (("state", ASCENDING), ("due_at", ASCENDING))),
    _Index(WORK, "queue", (("state", ASCENDING), ("priority", ASCENDING), ("due_at", ASCENDING))),
    _Index(WORK, "paused", (("paused_until", ASCENDING),), partial={"paused_until": {"$type": "date"}}),
    _Index(WORK, "overdue", (("due_at", ASCENDING), ("_id", ASCENDING))),
)


class Schema(Connection):
    """Brings the database up to what this version needs."""

    @whole
    async def prepare(self) -> None:
        """See `Store.prepare`. May take minutes where an index is built over much data."""
        with self.call(_PREPARE_WITHIN_S):
            there = set(await self.database.list_collection_names())
            for name in sorted({*COLLECTIONS.values(), EVENTS, FENCES, META, STREAMS, WORK} - there):
                await self._create(name)
            for name in sorted({index.collection for index in INDEXES}):
                await self._index(name)
        await self.migrate()
        with self.call():
            await self.collection(META).update_one({"_id": "schema"}, {"$max": {"version": SCHEMA}}, upsert=True)

    async def migrate(self, schemas: Schemas = CURRENT) -> int:
        """Write anew what is of an older schema; returns how many documents. May be repeated and broken off at any time: who
        writes at the same moment wins, and what older workers write meanwhile is read all the same, and written anew by the
        next call. Events stay as they were told.
        """
        done = 0
        if schemas.version == 1:
            return done
        kept: dict[type[Fact], str] = {**COLLECTIONS, Request: WORK}
        for type_, name in kept.items():
            after = ""
            while True:
                older = {"schema": {"$lt": schemas.version}, "_id": {"$gt": after}}
                with self.call(_PREPARE_WITHIN_S):
                    documents = await self.collection(name).find(older).sort("_id").limit(_MIGRATED_AT_ONCE).to_list()
                    if not documents:
                        break
                    after = documents[-1]["_id"]
                    writes = [ReplaceOne(one, upgraded(type_, one, schemas)) for one in documents]
                    done += (await self.collection(name).bulk_write(writes, ordered=False)).matched_count
        return done

    async def _create(self, name: str) -> None:
        try:
            await self.database.create_collection(name, check_exists=False)
        except OperationFailure as error:
            if error.code != _NAMESPACE_EXISTS:
                raise

    async def _index(self, name: str) -> None:
        """Create what is missing; change how long things are kept where the setting has changed."""
        collection = self.collection(name)
        there = await collection.index_information()
        missing = []
        for index in INDEXES:
            if index.collection != name:
                continue
            keep_s = None if index.keep_days is None else getattr(self._settings, index.keep_days) * _DAY_S
            if index.name not in there:
                missing.append(_model(index, keep_s))
            elif there[index.name].get("expireAfterSeconds") != keep_s:
                await self.database.command("collMod", name, index={"name": index.name, "expireAfterSeconds": keep_s})
        if missing:
            await collection.create_indexes(missing)


def _model(index: _Index, keep_s: int | None) -> IndexModel:
    options: dict[str, Any] = {"name": index.name}
    if index.unique:
        options["unique"] = True
    if index.partial is not None:
        options["partialFilterExpression"] = index.partial
    if keep_s is not None:
        options["expireAfterSeconds"] = keep_s
    return IndexModel(list(index.keys), **options)
