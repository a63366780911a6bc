"""Events: appended to their streams within a transaction, then outbox and history in one collection.

A stream's document counts its events and remembers the time of the last one. Appending changes it, so two transactions
with events of one stream cannot both commit: sequences have no holes, and times never go back within a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from pymongo import ASCENDING, DESCENDING, ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from blocks.models.event import Event, EventDraft
from blocks.store.mapping import SCHEMA, Document, from_document, to_document
from blocks.store.mongodb_connection import Connection, chunked
from blocks.store.mongodb_schema import EVENTS, STREAMS
from blocks.store.protocol import EventQuery
from blocks.store.timetable import to_utc_ms

_PLACE = ("time", "stream", "sequence")
"""Sorted by this, events of one stream are in their order."""


class Events(Connection):
    """History and outbox."""

    async def append(
        self, session: AsyncClientSession, drafts: Sequence[EventDraft], now: datetime
    ) -> tuple[Event, ...]:
        """Within a transaction: give drafts their places in their streams and keep them as unpublished events."""
        if not drafts:
            return ()
        places = {
            stream: await self._reserve(session, stream, drafts, now)
            for stream in dict.fromkeys(d.stream for d in drafts)
        }
        events = []
        for draft in drafts:
            sequence, time = places[draft.stream]
            places[draft.stream] = (sequence + 1, time)
            events.append(_event(draft, sequence, time))
        for piece in chunked(events):
            await self.collection(EVENTS).insert_many([to_document(event) for event in piece], session=session)
        return tuple(events)

    async def _reserve(
        self, session: AsyncClientSession, stream: str, drafts: Sequence[EventDraft], now: datetime
    ) -> tuple[int, datetime]:
        """Take as many places as the stream has drafts; returns the first, and the time of all of them."""
        count = sum(draft.stream == stream for draft in drafts)
        longer = {
            "seq": {"$add": [{"$ifNull": ["$seq", 0]}, count]},
            "time": {"$max": ["$time", now]},
            "schema": SCHEMA,
        }
        document: Document = await self.collection(STREAMS).find_one_and_update(  # type: ignore[assignment] # upsert
            {"_id": stream}, [{"$set": longer}], upsert=True, return_document=ReturnDocument.AFTER, session=session
        )
        return document["seq"] - count + 1, document["time"]

    async def events(self, query: EventQuery) -> list[Event]:
        """See `Store.events`."""
        if query.newest < 1:
            return []
        by = ("sequence",) if query.stream is not None else _PLACE
        with self.call():
            cursor = self.collection(EVENTS).find(_filter(query)).sort([(name, DESCENDING) for name in by])
            documents = await cursor.limit(query.newest).to_list()
        return [from_document(Event, document) for document in reversed(documents)]

    async def unpublished(self, limit: int) -> list[Event]:
        """See `Store.unpublished`."""
        if limit < 1:
            return []
        with self.call():
            cursor = self.collection(EVENTS).find({"published": False}).sort([(name, ASCENDING) for name in _PLACE])
            documents = await cursor.limit(limit).to_list()
        return [from_document(Event, document) for document in documents]

    async def mark_published(self, event_ids: Sequence[str]) -> None:
        """See `Store.mark_published`."""
        with self.call():
            for piece in chunked(event_ids, 1_000):
                await self.collection(EVENTS).update_many({"_id": {"$in": piece}}, {"$set": {"published": True}})

    async def outbox_size(self) -> tuple[int, datetime | None]:
        """See `Store.outbox_size`."""
        waiting = {"published": False}
        with self.call():
            oldest = await self.collection(EVENTS).find_one(waiting, {"time": 1}, sort=[(n, ASCENDING) for n in _PLACE])
            count = await self.collection(EVENTS).count_documents(waiting) if oldest else 0
        return count, oldest["time"] if oldest and count else None


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
    if query.types is not None:
        found["type"] = {"$in": list(query.types)}
    return found | ({"time": time} if time else {})
