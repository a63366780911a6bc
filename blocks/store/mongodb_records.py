"""Records: read by key, by place or as views; changed in fenced transactions, together with the events that tell of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from pymongo import ASCENDING, DESCENDING, DeleteOne, InsertOne, ReplaceOne, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import BulkWriteError

from blocks.errors import ConflictError, FencedError, RecordError
from blocks.models.action import Action, ActionState
from blocks.models.base import Fact
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.event import Event
from blocks.models.gate import Gate
from blocks.models.ids import ClusterRef, quoted
from blocks.models.namespace import Namespace
from blocks.models.node import Node
from blocks.models.record import Change, Fence, Record, Seen
from blocks.models.rolling import UNFINISHED, Rolling
from blocks.models.view import ClusterView, in_front_of
from blocks.store.mapping import Document, from_document, to_document
from blocks.store.mongodb_calls import whole
from blocks.store.mongodb_connection import chunked, insert_if_absent, is_duplicate
from blocks.store.mongodb_events import Events
from blocks.store.mongodb_fences import Fences
from blocks.store.mongodb_schema import COLLECTIONS, WORK
from blocks.store.protocol import Where
from blocks.store.timetable import to_utc_ms

R = TypeVar("R", bound=Record)
Operation = DeleteOne | InsertOne[Document] | ReplaceOne[Document] | UpdateOne

_KEYS_MAX: Final = 1_000
"""Keys that one query names."""
_BATCH: Final = 500
_PAGE: Final = 1_000
_NEWEST_FIRST: Final = (Action, Rolling)
_UNFINISHED: Final = [state.value for state in ActionState if not state.final]


class Records(Events, Fences):
    """Reads and changes records."""

    @whole
    async def get(self, type_: type[R], key: str) -> R | None:
        """See `Store.get`."""
        with self.call():
            document = await self.collection(COLLECTIONS[type_]).find_one({"_id": key})
        return None if document is None else from_document(type_, document)

    @whole
    async def find(self, type_: type[R], where: Where | None = None, *, limit: int = 10_000) -> list[R]:
        """See `Store.find`."""
        if limit < 1:
            return []
        order = (
            [("created_at", DESCENDING), ("_id", ASCENDING)]
            if issubclass(type_, _NEWEST_FIRST)
            else [("_id", ASCENDING)]
        )
        with self.call():
            cursor = self.collection(COLLECTIONS[type_]).find(_filter(type_, where or Where())).sort(order).limit(limit)
            # Piece by piece: to read them all at once would hold up the event loop for too long.
            return [from_document(type_, document) async for document in cursor.batch_size(_BATCH)]

    @whole
    async def readable(
        self, type_: type[R], where: Where | None = None, *, limit: int = 10_000
    ) -> tuple[list[R], list[str]]:
        """See `Store.readable`."""
        if limit < 1:
            return [], []
        found: list[R] = []
        broken: list[str] = []
        with self.call():
            cursor = self.collection(COLLECTIONS[type_]).find(_filter(type_, where or Where())).sort("_id").limit(limit)
            async for document in cursor.batch_size(_BATCH):
                one, bad = _apart(type_, [document])
                found += one
                broken += bad
        return found, broken

    async def pages(self, type_: type[R], where: Where | None = None) -> AsyncIterator[tuple[list[R], list[str]]]:
        """See `Store.pages`. A piece is what the server gives in one batch: a thousand records, or 16 MB of them."""
        query, after = _filter(type_, where or Where()), ""
        while True:
            documents = await self._page(type_, {"$and": [query, {"_id": {"$gt": after}}]})
            if not documents:
                return
            after = documents[-1]["_id"]
            yield _apart(type_, documents)

    async def get_many(self, type_: type[R], keys: Collection[str]) -> dict[str, R]:
        """See `Store.get_many`. Each thousand has a deadline of its own."""
        found: dict[str, R] = {}
        for piece in chunked(sorted(keys), _KEYS_MAX):
            found |= await self._of(type_, piece)
        return found

    async def readable_many(self, type_: type[R], keys: Collection[str]) -> tuple[dict[str, R], list[str]]:
        """See `Store.readable_many`. Each thousand has a deadline of its own."""
        found: dict[str, R] = {}
        broken: list[str] = []
        for piece in chunked(sorted(keys), _KEYS_MAX):
            good, bad = _apart(type_, await self._documents(type_, piece))
            found |= {record.key: record for record in good}
            broken += bad
        return found, broken

    @whole
    async def _documents(self, type_: type[R], keys: Sequence[str]) -> list[Document]:
        with self.call():
            return await self.collection(COLLECTIONS[type_]).find({"_id": {"$in": keys}}).sort("_id").to_list()

    async def existing(self, type_: type[R], keys: Collection[str]) -> set[str]:
        """See `Store.existing`. Each thousand has a deadline of its own."""
        found: set[str] = set()
        for piece in chunked(sorted(keys), _KEYS_MAX):
            found |= await self._existing(type_, piece)
        return found

    @whole
    async def versions(self, type_: type[R], *, limit: int = 10_000) -> dict[str, int]:
        """See `Store.versions`."""
        with self.call():
            documents = self.collection(COLLECTIONS[type_]).find({}, {"version": 1}).limit(limit)
            return {document["_id"]: document.get("version", 0) for document in await documents.to_list()}

    @whole
    async def views(self, clusters: Sequence[ClusterRef]) -> dict[str, ClusterView]:
        """See `Store.views`."""
        keys = list({ref.key: ref for ref in clusters})
        by_key = {"_id": {"$in": keys}}
        of_cluster = {"cluster_key": {"$in": keys}}
        with self.call():
            namespaces = await self._all(Namespace, {"_id": {"$in": list({ref.namespace for ref in clusters})}})
            specs = await self._all(ClusterSpec, by_key)
            discoveries = await self._all(Discovery, by_key)
            states = await self._all(ClusterState, by_key)
            nodes = await self._all(Node, of_cluster)
            unfinished = ({"state": {"$in": _UNFINISHED}}, {"left_running": True})
            actions = await self._all(Action, {"$or": [of_cluster | one for one in unfinished]}, by="created_at")
            of_place = {"namespace": {"$in": [None, *{ref.namespace for ref in clusters}]}}
            gates = tuple((await self._all(Gate, of_place)).values())
            rollings = await self._all(Rolling, _rollings_of(keys, actions.values()), by="created_at")
        nodes_of: dict[str, dict[str, Node]] = defaultdict(dict)
        for node in nodes.values():
            nodes_of[node.cluster.key][node.node_id] = node
        actions_of: dict[str, dict[str, Action]] = defaultdict(dict)
        for action in actions.values():
            actions_of[action.cluster.key][action.action_id] = action
        rollings_of: dict[str, dict[str, Rolling]] = defaultdict(dict)
        for rolling in rollings.values():
            rollings_of[rolling.cluster.key][rolling.rolling_id] = rolling
        return {
            key: ClusterView(
                namespace=namespaces[specs[key].namespace],
                spec=specs[key],
                discovery=discoveries.get(key),
                state=states.get(key),
                nodes=nodes_of.get(key, {}),
                actions=actions_of.get(key, {}),
                rollings=rollings_of.get(key, {}),
                gates=in_front_of(gates, specs[key], discoveries.get(key)),
            )
            for key in keys
            if key in specs and specs[key].namespace in namespaces
        }

    @whole
    async def commit(self, change: Change, *, now: datetime, fence: Fence | None = None) -> tuple[Event, ...]:
        """See `Store.commit`."""
        if change.empty and fence is None:
            return ()
        moment = to_utc_ms(now)
        swaps = _swaps(change, moment)
        rest = _others(change, moment)

        async def write(session: AsyncClientSession) -> tuple[Event, ...]:
            if fence is not None and await self.superseded(session, [fence]):
                message = (
                    f"{fence.subject} has a newer holder than {fence.generation}:{fence.token}; nothing was written"
                )
                raise FencedError(message)
            for name, operations in swaps.items():
                await self._swap(session, name, operations)
            for name, others in rest.items():
                await self._bulk(session, name, others)
            return await self.append(session, change.drafts, moment)

        with self.call():
            return await self.transact(write)

    @whole
    async def seen(self, seen: Sequence[Seen]) -> set[str]:
        """See `Store.seen`."""
        if not seen:
            return set()
        replaces = {one.fence.subject: _replaces(one) for one in seen}

        async def write(session: AsyncClientSession) -> set[str]:
            left_out = await self.superseded(session, [one.fence for one in seen])
            written = [replaces[one.fence.subject] for one in seen if one.fence.subject not in left_out]
            for name in (COLLECTIONS[ClusterState], COLLECTIONS[Node]):
                await self._bulk(session, name, [replace for by_name in written for replace in by_name[name]])
            return left_out

        with self.call():
            return await self.transact(write)

    @whole
    async def _page(self, type_: type[Fact], query: Mapping[str, Any]) -> list[Document]:
        with self.call():
            return await self.collection(COLLECTIONS[type_]).find(query).sort("_id").limit(-_PAGE).to_list()

    @whole
    async def _of(self, type_: type[R], keys: Sequence[str]) -> dict[str, R]:
        with self.call():
            return await self._all(type_, {"_id": {"$in": keys}})

    @whole
    async def _existing(self, type_: type[Fact], keys: Sequence[str]) -> set[str]:
        with self.call():
            documents = self.collection(COLLECTIONS[type_]).find({"_id": {"$in": keys}}, {"_id": 1})
            return {document["_id"] async for document in documents}

    async def _all(self, type_: type[R], query: Mapping[str, Any], by: str = "_id") -> dict[str, R]:
        cursor = self.collection(COLLECTIONS[type_]).find(query).sort([(by, ASCENDING), ("_id", ASCENDING)])
        return {document["_id"]: from_document(type_, document) async for document in cursor}

    async def _bulk(self, session: AsyncClientSession, name: str, operations: Sequence[Operation]) -> None:
        for piece in chunked(operations):
            await self.collection(name).bulk_write(piece, ordered=True, session=session)

    async def _swap(self, session: AsyncClientSession, name: str, operations: Sequence[Operation]) -> None:
        """Compare-and-set: every one or none.

        Raises:
            ConflictError: another version was there.
        """
        message = f"a record of {name} has changed since it was read; nothing was written"
        for piece in chunked(operations):
            try:
                result = await self.collection(name).bulk_write(piece, ordered=True, session=session)
            except BulkWriteError as error:
                if is_duplicate(error):
                    raise ConflictError(message) from None  # its text may hold the record
                raise
            if result.matched_count + result.inserted_count != len(piece):
                raise ConflictError(message)


def _apart(type_: type[R], documents: Iterable[Document]) -> tuple[list[R], list[str]]:
    """Records, and the keys of those that cannot be read."""
    found: list[R] = []
    broken: list[str] = []
    for document in documents:
        try:
            found.append(from_document(type_, document))
        except RecordError:
            broken.append(str(document["_id"]))
    return found, broken


def _filter(type_: type[Fact], where: Where) -> dict[str, Any]:
    query: dict[str, Any] = {}
    if where.namespace is not None:
        query["name" if type_ is Namespace else "namespace"] = where.namespace
    if where.cluster_id is not None:
        query["cluster_id"] = where.cluster_id
    if where.node_id is not None:
        query["node_id"] = where.node_id
    if where.source is not None:
        query["source"] = where.source
    if where.files:
        query["file"] = {"$ne": None}
    if where.action_states is not None:
        query["state"] = {"$in": [state.value for state in where.action_states]}
    if where.left_running:
        query["left_running"] = True  # has an index
    if where.rolling_states is not None:
        query["state"] = {"$in": [state.value for state in where.rolling_states]}
    if type_ in {Node, Action, Rolling} and where.namespace is not None and where.cluster_id is not None:
        query["cluster_key"] = f"{where.namespace}/{quoted(where.cluster_id)}"  # has an index
    return query


def _rollings_of(keys: Sequence[str], actions: Iterable[Action]) -> dict[str, Any]:
    """Unfinished ones of clusters, and those that made unfinished actions."""
    made = sorted({action.rolling_id for action in actions if action.rolling_id is not None})
    unfinished = {"cluster_key": {"$in": keys}, "state": {"$in": [state.value for state in UNFINISHED]}}
    return {"$or": [unfinished, {"_id": {"$in": made}}]} if made else unfinished


def _document(record: Record, moment: datetime) -> Document:
    document = to_document(record)
    if isinstance(record, Action | Rolling) and record.state.final:
        document["ended_at"] = moment  # what removal counts from: `finished_at` is the agent's clock's word
    return document


def _swaps(change: Change, moment: datetime) -> dict[str, list[Operation]]:
    operations: dict[str, list[Operation]] = defaultdict(list)
    for record in change.swaps:
        document = _document(record, moment)
        name = COLLECTIONS[type(record)]
        if record.version == 1:
            operations[name].append(InsertOne(document))
        else:
            operations[name].append(ReplaceOne({"_id": record.key, "version": record.version - 1}, document))
    return operations


def _others(change: Change, moment: datetime) -> dict[str, list[Operation]]:
    operations: dict[str, list[Operation]] = defaultdict(list)
    for record in change.puts:
        replace = ReplaceOne({"_id": record.key}, _document(record, moment), upsert=True)
        operations[COLLECTIONS[type(record)]].append(replace)
    for one in change.deletes:
        operations[COLLECTIONS[one.record_type]].append(DeleteOne({"_id": one.key}))
    for item in change.work:
        operations[WORK].append(insert_if_absent(to_document(item.evolve(version=1))))
    return operations


def _replaces(seen: Seen) -> dict[str, list[Operation]]:
    """What is there is replaced; what is gone stays gone."""
    state: list[Operation] = [ReplaceOne({"_id": seen.state.key}, to_document(seen.state))]
    nodes: list[Operation] = [ReplaceOne({"_id": node.key}, to_document(node)) for node in seen.nodes]
    return {COLLECTIONS[ClusterState]: state, COLLECTIONS[Node]: nodes}
