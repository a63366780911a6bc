"""Events: appended to their streams within a transaction, then outbox and history in one collection.

A stream's document counts its events and remembers the time of the last one. Appending changes it, so two transactions
with events of one stream cannot both commit: sequences have no holes, and times never go back within a stream.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from pymongo import ASCENDING, DESCENDING, ReturnDocument, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import BulkWriteError

from blocks.errors import RecordError
from blocks.models.event import Event, EventDraft
from blocks.store.mapping import SCHEMA, Document, from_document, to_document
from blocks.store.mongodb_calls import whole
from blocks.store.mongodb_connection import Connection, chunked, is_duplicate
from blocks.store.mongodb_schema import EVENTS, STREAMS
from blocks.store.protocol import EventQuery
from blocks.store.settings import MongoDb
from blocks.store.timetable import to_utc_ms

_HELD_UP_MAX: Final = 1_000
_ROUNDS_MAX: Final = 5
_REPUBLISH_WITHIN_S: Final = 600.0
_REPUBLISHED_AT_ONCE: Final = 1_000
_PLACE = ("time", "stream", "sequence")
"""Sorted by this, events of one stream are in their order."""

_logger = logging.getLogger("replicore.store")


class Events(Connection):
    """History and outbox."""

    def __init__(self, settings: MongoDb) -> None:
        super().__init__(settings)
        self._held_up: set[str] = set()
        """Streams of which it has been said that they are."""

    async def append(
        self, session: AsyncClientSession, drafts: Sequence[EventDraft], now: datetime
    ) -> tuple[Event, ...]:
        """Within a transaction: give drafts their places in their streams and keep them as unpublished events."""
        if not drafts:
            return ()
        places = await self._reserve(session, Counter(draft.stream for draft in drafts), now)
        events = []
        for draft in drafts:
            sequence, time = places[draft.stream]
            places[draft.stream] = (sequence + 1, time)
            events.append(_event(draft, sequence, time))
        for piece in chunked(events):
            await self.collection(EVENTS).insert_many([to_document(event) for event in piece], session=session)
        return tuple(events)

    async def _reserve(
        self, session: AsyncClientSession, counts: Mapping[str, int], now: datetime
    ) -> dict[str, tuple[int, datetime]]:
        """Take so many places in each stream; returns the first of each, and the time of all of them.

        Those of many streams take two requests for each piece of them, not one for each.
        """
        collection = self.collection(STREAMS)
        documents: list[Document] = []
        if len(counts) == 1:
            (stream,) = counts
            document: Document = await collection.find_one_and_update(  # type: ignore[assignment] # upsert
                {"_id": stream},
                _longer(counts[stream], now),
                upsert=True,
                return_document=ReturnDocument.AFTER,
                session=session,
            )
            documents = [document]
        else:
            for piece in chunked(list(counts)):
                longer = [UpdateOne({"_id": stream}, _longer(counts[stream], now), upsert=True) for stream in piece]
                await collection.bulk_write(longer, ordered=False, session=session)
                documents += await collection.find({"_id": {"$in": piece}}, session=session).to_list()
        return {found["_id"]: (found["seq"] - counts[found["_id"]] + 1, found["time"]) for found in documents}

    @whole
    async def events(self, query: EventQuery) -> list[Event]:
        """See `Store.events`."""
        if query.newest < 1:
            return []
        by = ("sequence",) if query.stream is not None else _PLACE
        with self.call():
            cursor = self.collection(EVENTS).find(_filter(query)).sort([(name, DESCENDING) for name in by])
            documents = await cursor.limit(query.newest).to_list()
        return [from_document(Event, document) for document in reversed(documents)]

    @whole
    async def unpublished(self, limit: int, *, per_stream: int = 100, skip: Collection[str] = ()) -> list[Event]:
        """See `Store.unpublished`. Where the oldest events are of few streams, goes from stream to stream instead."""
        if limit < 1:
            return []
        skipped = set(skip)
        with self.call():
            cursor = self.collection(EVENTS).find({"published": False}).sort([(name, ASCENDING) for name in _PLACE])
            documents = await cursor.limit(limit).to_list()
            turn = self._turn(documents, per_stream, skipped)
            for _ in range(_ROUNDS_MAX):
                if len(turn) == len(documents) or len(documents) < limit:
                    break
                pipeline = _stream_by_stream(limit, per_stream, sorted(skipped))
                documents = await (await self.collection(EVENTS).aggregate(pipeline)).to_list()
                turn = self._turn(documents, per_stream, skipped)
        return turn

    def _turn(self, documents: Sequence[Document], per_stream: int, skip: set[str]) -> list[Event]:
        """The events of documents that go to the bus in one turn; an unreadable one holds up its stream, and where it is
        the stream's first one, adds it to `skip`.
        """
        counts: Counter[str] = Counter()
        stuck: set[str] = set()
        events = []
        for document in documents:
            stream = document["stream"]
            if stream in skip or stream in stuck or counts[stream] >= per_stream:
                continue
            try:
                events.append(from_document(Event, document))
                counts[stream] += 1
            except RecordError as error:
                (stuck if counts[stream] else skip).add(stream)
                if stream not in self._held_up and len(self._held_up) < _HELD_UP_MAX:
                    self._held_up.add(stream)
                    _logger.warning("the events of %r cannot go to the bus: %s", stream, error)
        return events

    @whole
    async def mark_published(self, event_ids: Sequence[str]) -> None:
        """See `Store.mark_published`."""
        with self.call():
            for piece in chunked(event_ids, 1_000):
                await self.collection(EVENTS).update_many({"_id": {"$in": piece}}, {"$set": {"published": True}})

    @whole
    async def published_since(self, since: datetime, *, limit: int) -> int:
        """See `Store.published_since`."""
        with self.call(_REPUBLISH_WITHIN_S):
            return await self.collection(EVENTS).count_documents(_published(since), limit=limit)

    @whole
    async def republish(self, since: datetime, *, limit: int) -> int:
        """See `Store.republish`. Goes forward only: what the relay publishes meanwhile is not taken back again."""
        ids: list[str] = []
        done = 0
        with self.call(_REPUBLISH_WITHIN_S):
            cursor = self.collection(EVENTS).find(_published(since), {"_id": 1})
            async for document in cursor.sort([(name, ASCENDING) for name in _PLACE]).limit(limit):
                ids.append(document["_id"])
                if len(ids) == _REPUBLISHED_AT_ONCE:
                    done += await self._unpublish(ids)
                    ids = []
            return done + (await self._unpublish(ids) if ids else 0)

    async def _unpublish(self, ids: Sequence[str]) -> int:
        query = {"_id": {"$in": list(ids)}, "published": True}
        return (await self.collection(EVENTS).update_many(query, {"$set": {"published": False}})).modified_count

    @whole
    async def read_back(self, events: Sequence[Event]) -> int:
        """See `Store.read_back`. Streams first: whatever fails afterwards, no place is given twice."""
        last: dict[str, Event] = {}
        for event in events:
            if event.stream not in last or event.sequence > last[event.stream].sequence:
                last[event.stream] = event
        new = 0
        with self.call():
            for streams in chunked(list(last.values())):
                longer = [UpdateOne({"_id": one.stream}, _behind(one), upsert=True) for one in streams]
                await self.collection(STREAMS).bulk_write(longer, ordered=False)
            for piece in chunked(events):
                try:
                    await self.collection(EVENTS).insert_many([to_document(event) for event in piece], ordered=False)
                    new += len(piece)
                except BulkWriteError as error:
                    if not is_duplicate(error):
                        raise
                    new += (error.details or {}).get("nInserted", 0)
        await self.mark_published([event.event_id for event in events])
        return new

    @whole
    async def outbox_size(self) -> tuple[int, datetime | None]:
        """See `Store.outbox_size`."""
        waiting = {"published": False}
        with self.call():
            oldest = await self.collection(EVENTS).find_one(waiting, {"time": 1}, sort=[(n, ASCENDING) for n in _PLACE])
            count = await self.collection(EVENTS).count_documents(waiting) if oldest else 0
        return count, oldest["time"] if oldest and count else None


def _published(since: datetime) -> dict[str, Any]:
    return {"time": {"$gte": to_utc_ms(since)}, "published": True}


def _longer(count: int, now: datetime) -> list[dict[str, Any]]:
    """The change of a stream that gets so many events."""
    longer = {
        "seq": {"$add": [{"$ifNull": ["$seq", 0]}, count]},
        "time": {"$max": ["$time", now]},
        "schema": SCHEMA,
    }
    return [{"$set": longer}]


def _behind(event: Event) -> list[dict[str, Any]]:
    """The change of a stream in which an event was told that it does not know of."""
    place = {"seq": {"$max": ["$seq", event.sequence]}, "time": {"$max": ["$time", event.time]}, "schema": SCHEMA}
    return [{"$set": place}]


def _stream_by_stream(limit: int, per_stream: int, skip: Sequence[str]) -> list[dict[str, Any]]:
    """Of each stream its first waiting event, by the index and without reading the others; of the streams that wait
    longest some more events, as far as they are needed.
    """
    more = [{"$match": {"published": False}}, {"$sort": {"sequence": ASCENDING}}, {"$limit": per_stream}]
    joined = {"from": EVENTS, "localField": "_id", "foreignField": "stream", "pipeline": more, "as": "event"}
    return [
        {"$match": {"published": False}},
        {"$sort": {"stream": ASCENDING, "sequence": ASCENDING}},
        {"$group": {"_id": "$stream", "time": {"$first": "$time"}}},
        {"$match": {"_id": {"$nin": list(skip)}}},
        {"$sort": {"time": ASCENDING, "_id": ASCENDING}},
        {"$limit": limit},
        {"$lookup": joined},
        {"$unwind": "$event"},
        {"$limit": limit},
        {"$replaceRoot": {"newRoot": "$event"}},
    ]


def _event(draft: EventDraft, sequence: int, time: datetime) -> Event:
    return Event(
        event_id=str(uuid4()),
        type=draft.type.value,
        stream=draft.stream,
        subject=draft.subject,
        sequence=sequence,
        time=time,
        data=draft.data,
    )


def _filter(query: EventQuery) -> dict[str, Any]:
    time: dict[str, datetime] = {}
    if query.since is not None:
        time["$gte"] = to_utc_ms(query.since)
    if query.until is not None:
        time["$lt"] = to_utc_ms(query.until)
    found: dict[str, Any] = {}
    if query.stream is not None:
        found["stream"] = query.stream
    if query.namespace is not None:
        below = {"$gte": f"{query.namespace}/", "$lt": f"{query.namespace}0"}  # "0" is what follows "/"
        found["$or"] = [{"stream": query.namespace}, {"stream": below}]
    if query.types is not None:
        found["type"] = {"$in": list(query.types)}
    return found | ({"time": time} if time else {})
