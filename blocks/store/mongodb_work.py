"""Work: items changed by compare-and-set on their version, many at once.

Every change goes one way: read the items, ask a rule of `timetable` what each shall be, write all of them in one bulk
that takes effect only where the version is still the one read, and do it again for those that somebody else was quicker
to change. Writes carry a stamp, by which one sees afterwards which of them took effect.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from pymongo import ASCENDING, DeleteOne, ReplaceOne, UpdateOne

from blocks.errors import ConflictError
from blocks.models.request import Ended, Priority, Request, WorkState, work_key
from blocks.store import timetable
from blocks.store.mapping import Document, from_document, to_document
from blocks.store.mongodb_connection import Connection, chunked
from blocks.store.mongodb_schema import WORK
from blocks.store.protocol import RetryPolicy, WorkCounts
from blocks.store.timetable import to_utc_ms

Rule = Callable[[str, Request | None], Request | None]
"""By key and item (None: there is none) what the item shall be, or None to leave it alone."""

_TRIES_MAX: Final = 10
_PAUSE_S: Final = 0.02
_ORPHANS_MAX: Final = 10_000
_QUEUE_ORDER: Final = [("priority", ASCENDING), ("due_at", ASCENDING), ("_id", ASCENDING)]
_DUE_ORDER: Final = [("due_at", ASCENDING), ("_id", ASCENDING)]


class Work(Connection):
    """The timetable and the queue."""

    async def ensure_work(self, items: Sequence[Request], now: datetime) -> int:
        """See `Store.ensure_work`. Reads little and writes nothing where nothing changes."""
        moment = to_utc_ms(now)
        given = {item.key: item for item in items}
        with self.call():
            stored: dict[str, tuple[float | None, bool]] = {}
            for piece in chunked(list(given), 1_000):
                cursor = self.collection(WORK).find({"_id": {"$in": piece}}, {"interval": 1, "active": 1})
                stored |= {document["_id"]: (document["interval"], document["active"]) async for document in cursor}
            changed = [key for key, item in given.items() if stored.get(key) != (item.interval, item.active)]
            return len(await self._change(changed, lambda key, item: timetable.placed(item, given[key], moment)))

    async def drop_work(self, keys: Sequence[str]) -> int:
        """See `Store.drop_work`."""
        dropped = 0
        with self.call():
            for piece in chunked(keys):
                deletes = [DeleteOne({"_id": key}) for key in piece]
                dropped += (await self.collection(WORK).bulk_write(deletes, ordered=False)).deleted_count
        return dropped

    async def ask(self, kind: str, subject: str, priority: Priority, now: datetime) -> Request:
        """See `Store.ask`."""
        moment = to_utc_ms(now)
        found: list[Request] = []

        def rule(_key: str, item: Request | None) -> Request | None:
            found[:] = [] if item is None else [item]
            return timetable.asked(item, kind, subject, priority, moment)

        with self.call():
            changed = await self._change([work_key(kind, subject)], rule)
        return [*found, *changed][-1]

    async def queue_due(self, now: datetime, limit: int) -> int:
        """See `Store.queue_due`."""
        moment = to_utc_ms(now)
        due = {"state": WorkState.IDLE.value, "active": True, "due_at": {"$lte": moment}}
        with self.call():
            keys = await self._keys(due, _DUE_ORDER, limit)
            return len(await self._change(keys, lambda _, item: item and timetable.due(item, moment)))

    async def unsent(self, now: datetime, resend_after_s: float, limit: int) -> list[Request]:
        """See `Store.unsent`."""
        moment = to_utc_ms(now)
        lost = moment - timedelta(seconds=resend_after_s)
        query = {"$and": [_claimable(moment), {"$or": [{"sent_at": None}, {"sent_at": {"$lt": lost}}]}]}
        return await self._list(query, _QUEUE_ORDER, limit)

    async def mark_sent(self, keys: Sequence[str], now: datetime) -> None:
        """See `Store.mark_sent`. Keeps the version: a claim that comes at the same moment matters more."""
        sent = {"$set": {"sent_at": to_utc_ms(now)}}
        with self.call():
            for piece in chunked(keys, 1_000):
                query = {"_id": {"$in": piece}, "state": WorkState.QUEUED.value}
                await self.collection(WORK).update_many(query, sent)

    async def claim_work(self, keys: Sequence[str], owner: str, now: datetime) -> list[Request]:
        """See `Store.claim_work`."""
        moment = to_utc_ms(now)
        with self.call():
            return _in_queue_order(await self._claim(keys, owner, moment))

    async def claim_any(self, kinds: Sequence[str], owner: str, now: datetime, limit: int) -> list[Request]:
        """See `Store.claim_any`. Tries again where others were quicker, as long as there is something left."""
        moment = to_utc_ms(now)
        query = _claimable(moment) | {"kind": {"$in": list(kinds)}}
        claimed: list[Request] = []
        with self.call():
            for _ in range(_TRIES_MAX):
                wanted = limit - len(claimed)
                keys = await self._keys(query, _QUEUE_ORDER, wanted)
                claimed += await self._claim(keys, owner, moment)
                if len(keys) < wanted or len(claimed) >= limit:
                    break
        return _in_queue_order(claimed)

    async def finish_work(
        self, ended: Sequence[Ended], owner: str, now: datetime, policy: RetryPolicy
    ) -> list[Request]:
        """See `Store.finish_work`."""
        moment = to_utc_ms(now)
        ends = {end.key: end for end in ended}

        def rule(key: str, item: Request | None) -> Request | None:
            return item and timetable.ended(item, ends[key], owner, moment, policy)

        with self.call():
            return [item for item in await self._change(list(ends), rule) if item.state is WorkState.DEAD]

    async def release_work(self, owner: str, now: datetime) -> int:
        """See `Store.release_work`."""
        return await self._give_back({"owner": owner}, lambda item: item.owner == owner, now)

    async def requeue_orphans(self, alive: Iterable[str], now: datetime) -> int:
        """See `Store.requeue_orphans`."""
        living = set(alive)
        return await self._give_back({"owner": {"$nin": sorted(living)}}, lambda item: item.owner not in living, now)

    async def retry_work(self, keys: Sequence[str], now: datetime) -> int:
        """See `Store.retry_work`."""
        moment = to_utc_ms(now)
        with self.call():
            return len(await self._change(keys, lambda _, item: item and timetable.retried(item, moment)))

    async def list_work(self, states: Sequence[WorkState] | None = None, *, limit: int = 1_000) -> list[Request]:
        """See `Store.list_work`."""
        query = {} if states is None else {"state": {"$in": [state.value for state in states]}}
        return await self._list(query, _DUE_ORDER, limit)

    async def count_work(self, now: datetime) -> WorkCounts:
        """See `Store.count_work`."""
        moment = to_utc_ms(now)
        waits = {"$cond": [{"$gt": ["$not_before", moment]}, 1, 0]}
        group = {"_id": "$state", "count": {"$sum": 1}, "waiting": {"$sum": waits}, "due_at": {"$min": "$due_at"}}
        with self.call():
            groups = {group["_id"]: group async for group in await self.collection(WORK).aggregate([{"$group": group}])}
        queued = groups.get(WorkState.QUEUED.value)
        return WorkCounts(
            **{state.value: groups[state.value]["count"] for state in WorkState if state.value in groups},
            retrying=queued["waiting"] if queued else 0,
            late_worst_s=max(0.0, (moment - queued["due_at"]).total_seconds()) if queued else 0.0,
        )

    async def _claim(self, keys: Sequence[str], owner: str, moment: datetime) -> list[Request]:
        return await self._change(keys, lambda _, item: item and timetable.claimed(item, owner, moment))

    async def _give_back(self, query: Mapping[str, Any], mine: Callable[[Request], bool], now: datetime) -> int:
        moment = to_utc_ms(now)

        def rule(_key: str, item: Request | None) -> Request | None:
            return timetable.given_back(item, moment) if item is not None and mine(item) else None

        with self.call():
            keys = await self._keys({"state": WorkState.CLAIMED.value, **query}, _DUE_ORDER, _ORPHANS_MAX)
            return len(await self._change(keys, rule))

    async def _keys(self, query: Mapping[str, Any], order: list[tuple[str, int]], limit: int) -> list[str]:
        if limit < 1:
            return []
        cursor = self.collection(WORK).find(query, {"_id": 1}).sort(order).limit(limit)
        return [document["_id"] async for document in cursor]

    async def _list(self, query: Mapping[str, Any], order: list[tuple[str, int]], limit: int) -> list[Request]:
        if limit < 1:
            return []
        with self.call():
            documents = await self.collection(WORK).find(query).sort(order).limit(limit).to_list()
        return [from_document(Request, document) for document in documents]

    async def _change(self, keys: Sequence[str], rule: Rule) -> list[Request]:
        """Change items as `rule` says; returns those that changed, as they now are.

        Raises:
            ConflictError: others kept changing the same items.
        """
        changed: list[Request] = []
        for piece in chunked(list(dict.fromkeys(keys))):
            pending = piece
            for tried in range(_TRIES_MAX):
                done, pending = await self._change_once(pending, rule)
                changed += done
                if not pending:
                    break
                await asyncio.sleep(_PAUSE_S * (tried + random.random()))  # noqa: S311 - spread, not secrecy
            else:
                message = f"{len(pending)} work items kept changing while they were to be changed, {pending[0]} first"
                raise ConflictError(message)
        return changed

    async def _change_once(self, keys: list[str], rule: Rule) -> tuple[list[Request], list[str]]:
        """One try: what was changed, and the keys that somebody else was quicker to change."""
        collection = self.collection(WORK)
        cursor = collection.find({"_id": {"$in": keys}})
        there = {document["_id"]: from_document(Request, document) async for document in cursor}
        proposed = ((key, rule(key, there.get(key))) for key in keys)
        wanted = {key: item.evolve(version=item.version + 1) for key, item in proposed if item is not None}
        if not wanted:
            return [], []
        stamp = uuid4().hex
        writes = [_write(there.get(key), {**to_document(item), "stamp": stamp}) for key, item in wanted.items()]
        result = await collection.bulk_write(writes, ordered=False)
        if result.modified_count + result.upserted_count == len(writes):
            return list(wanted.values()), []
        cursor = collection.find({"_id": {"$in": list(wanted)}, "stamp": stamp}, {"_id": 1})
        written = {document["_id"] async for document in cursor}
        return [item for key, item in wanted.items() if key in written], [key for key in wanted if key not in written]


def _write(before: Request | None, document: Document) -> ReplaceOne[Document] | UpdateOne:
    if before is None:
        return UpdateOne({"_id": document["_id"]}, {"$setOnInsert": document}, upsert=True)
    return ReplaceOne({"_id": before.key, "version": before.version}, document)


def _claimable(moment: datetime) -> dict[str, Any]:
    """The query for `timetable.claimable`."""
    return {"state": WorkState.QUEUED.value, "$or": [{"not_before": None}, {"not_before": {"$lte": moment}}]}


def _in_queue_order(items: Sequence[Request]) -> list[Request]:
    return sorted(items, key=lambda item: (item.priority, item.wanted_at or item.claimed_at, item.key))
