"""Work items read and changed: by compare-and-set on their version, many at once.

Every change goes one way: read the items, ask a rule of `timetable` what each shall be, write all of them in one bulk
that takes effect only where the version is still the one read, and do it again for those that somebody else was quicker
to change. Writes carry a stamp, by which one sees afterwards which of them took effect. Items whose death (or pause) is to
be told are written in a transaction of their own, with the events.

An item that this version cannot read - a newer one's, or a broken one - is left as it is and mentioned once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import uuid4

from pymongo import ReplaceOne, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession

from blocks.errors import ConflictError, RecordError
from blocks.models.request import Request, WorkState
from blocks.store.mapping import Document, from_document, to_document
from blocks.store.mongodb_connection import chunked, insert_if_absent
from blocks.store.mongodb_events import Events
from blocks.store.mongodb_schema import WORK
from blocks.store.mongodb_transactions import Transactions
from blocks.store.protocol import Told
from blocks.store.settings import MongoDb

Rule = Callable[[str, Request | None], Request | None]
"""By key and item (None: there is none) what the item shall be, or None to leave it alone."""
Order = list[tuple[str, int]]

_TRIES_MAX: Final = 10
_PAUSE_S: Final = 0.02
_MENTIONED_MAX: Final = 1_000

_logger = logging.getLogger("replicore.store")


class Changed(NamedTuple):
    """What became of items that were to be changed."""

    items: list[Request]
    """Those that changed, as they now are."""
    unreadable: list[str]
    """The keys of those that cannot be read."""


class Changes(Events, Transactions):
    """Reads and changes work items."""

    def __init__(self, settings: MongoDb) -> None:
        super().__init__(settings)
        self._mentioned: set[str] = set()

    async def change(
        self, keys: Sequence[str], rule: Rule, now: datetime, told: Told | None = None, *, tell_all: bool = False
    ) -> Changed:
        """Change items as `rule` says, with what is `told` of those that become dead, or of all that change.

        Raises:
            ConflictError: others kept changing the same items.
        """
        changed = Changed([], [])
        for piece in chunked(list(dict.fromkeys(keys))):
            pending = piece
            for tried in range(_TRIES_MAX):
                pending = await self._change_once(pending, rule, now, told, changed, tell_all=tell_all)
                if not pending:
                    break
                await asyncio.sleep(_PAUSE_S * (tried + random.random()))  # noqa: S311 - spread, not secrecy
            else:
                message = f"{len(pending)} work items kept changing while they were to be changed, {pending[0]} first"
                raise ConflictError(message)
        return changed

    async def change_found(
        self,
        query: Mapping[str, Any],
        order: Order,
        limit: int,
        rule: Rule,
        now: datetime,
        told: Told | None = None,
    ) -> list[Request]:
        """Change up to `limit` of the items that a query finds; looks again where others were quicker, or where some
        cannot be read, as long as there is something left.
        """
        done: list[Request] = []
        unreadable: list[str] = []
        for _ in range(_TRIES_MAX):
            wanted = limit - len(done)
            keys = await self._keys(_without(query, unreadable), order, wanted)
            changed = await self.change(keys, rule, now, told)
            done += changed.items
            unreadable += changed.unreadable
            if len(keys) < wanted or len(done) >= limit:
                break
        return done

    async def found(self, query: Mapping[str, Any], order: Order, limit: int) -> list[Request]:
        """Up to `limit` items that a query finds."""
        unreadable: list[str] = []
        items: list[Request] = []
        for _ in range(_TRIES_MAX if limit > 0 else 0):
            cursor = self.collection(WORK).find(_without(query, unreadable)).sort(order).limit(limit)
            documents = await cursor.to_list()
            there, passed_over = self._read(documents)
            items = list(there.values())
            unreadable += passed_over
            if not passed_over or len(documents) < limit:
                break
        return items

    async def _keys(self, query: Mapping[str, Any], order: Order, limit: int) -> list[str]:
        if limit < 1:
            return []
        cursor = self.collection(WORK).find(query, {"_id": 1}).sort(order).limit(limit)
        return [document["_id"] async for document in cursor]

    def _read(self, documents: Iterable[Document]) -> tuple[dict[str, Request], list[str]]:
        """By key the items of documents, and the keys of those that cannot be read."""
        items: dict[str, Request] = {}
        unreadable: list[str] = []
        for document in documents:
            key = document["_id"]
            try:
                items[key] = from_document(Request, document)
            except RecordError as error:
                unreadable.append(key)
                if key not in self._mentioned and len(self._mentioned) < _MENTIONED_MAX:
                    self._mentioned.add(key)
                    _logger.warning("a work item is left alone, by a newer version perhaps: %s", error)
        return items, unreadable

    async def _change_once(
        self,
        keys: list[str],
        rule: Rule,
        now: datetime,
        told: Told | None,
        changed: Changed,
        *,
        tell_all: bool,
    ) -> list[str]:
        """One try: adds what was changed, returns the keys that somebody else was quicker to change."""
        documents = await self.collection(WORK).find({"_id": {"$in": keys}}).to_list()
        there, unreadable = self._read(documents)
        changed.unreadable.extend(unreadable)
        left_alone = set(unreadable)
        proposed = ((key, rule(key, there.get(key))) for key in keys if key not in left_alone)
        wanted = {key: item.evolve(version=item.version + 1) for key, item in proposed if item is not None}
        loud = {
            key: item for key, item in wanted.items() if told is not None and (tell_all or item.state is WorkState.DEAD)
        }
        written = await self._write(there, {key: item for key, item in wanted.items() if key not in loud})
        if loud and told is not None:
            written |= await self._write_and_tell(there, loud, now, told)
        changed.items.extend(item for key, item in wanted.items() if key in written)
        return [key for key in wanted if key not in written]

    async def _write_and_tell(
        self, there: Mapping[str, Request], wanted: Mapping[str, Request], now: datetime, told: Told
    ) -> set[str]:
        """The same as `_write`, with an event for each item that is written, in one transaction."""

        async def write(session: AsyncClientSession) -> set[str]:
            written = await self._write(there, wanted, session)
            await self.append(session, [told(item) for key, item in wanted.items() if key in written], now)
            return written

        return await self.transact(write)

    async def _write(
        self, there: Mapping[str, Request], wanted: Mapping[str, Request], session: AsyncClientSession | None = None
    ) -> set[str]:
        """Write items that have not changed since they were read; returns the keys of those."""
        if not wanted:
            return set()
        collection = self.collection(WORK)
        stamp = uuid4().hex
        writes = [_write_of(there.get(key), {**to_document(item), "stamp": stamp}) for key, item in wanted.items()]
        result = await collection.bulk_write(writes, ordered=False, session=session)
        if result.modified_count + result.upserted_count == len(writes):
            return set(wanted)
        cursor = collection.find({"_id": {"$in": list(wanted)}, "stamp": stamp}, {"_id": 1}, session=session)
        return {document["_id"] async for document in cursor}


def _write_of(before: Request | None, document: Document) -> ReplaceOne[Document] | UpdateOne:
    if before is None:
        return insert_if_absent(document)
    return ReplaceOne({"_id": before.key, "version": before.version}, document)


def _without(query: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {**query, "_id": {"$nin": list(keys)}} if keys else dict(query)
