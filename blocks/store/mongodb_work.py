"""Work: the timetable and the queue in one collection, by the rules of `timetable` (see `mongodb_changes`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from pymongo import ASCENDING, DeleteOne

from blocks.errors import RecordError
from blocks.models.request import Ended, Priority, Request, WorkState, work_key
from blocks.store import timetable
from blocks.store.mongodb_calls import whole
from blocks.store.mongodb_changes import Changes
from blocks.store.mongodb_connection import chunked
from blocks.store.mongodb_schema import WORK
from blocks.store.protocol import RetryPolicy, Told, WorkCounts
from blocks.store.timetable import to_utc_ms

_ORPHANS_MAX: Final = 10_000
_QUEUE_ORDER: Final = [("priority", ASCENDING), ("due_at", ASCENDING), ("_id", ASCENDING)]
_DUE_ORDER: Final = [("due_at", ASCENDING), ("_id", ASCENDING)]


class Work(Changes):
    """The timetable and the queue."""

    @whole
    async def ensure_work(self, items: Sequence[Request], now: datetime) -> int:
        """See `Store.ensure_work`. Reads little and writes nothing where nothing changes."""
        moment = to_utc_ms(now)
        given = {item.key: item for item in items}
        with self.call():
            stored: dict[str, tuple[float | None, bool | None]] = {}
            for piece in chunked(list(given), 1_000):
                cursor = self.collection(WORK).find({"_id": {"$in": piece}}, {"interval": 1, "active": 1})
                stored |= {found["_id"]: (found.get("interval"), found.get("active")) async for found in cursor}
            keys = [key for key, item in given.items() if stored.get(key) != (item.interval, item.active)]
            changed = await self.change(keys, lambda key, item: timetable.placed(item, given[key], moment), moment)
        return len(changed.items)

    @whole
    async def drop_work(self, keys: Sequence[str], *, spare_claimed: bool = False) -> int:
        """See `Store.drop_work`."""
        dropped = 0
        spared: dict[str, Any] = {"state": {"$ne": WorkState.CLAIMED.value}} if spare_claimed else {}
        with self.call():
            for piece in chunked(keys):
                deletes = [DeleteOne({"_id": key, **spared}) for key in piece]
                dropped += (await self.collection(WORK).bulk_write(deletes, ordered=False)).deleted_count
        return dropped

    @whole
    async def on_timetable(self, kinds: Sequence[str]) -> set[str]:
        """See `Store.on_timetable`."""
        periodic = {"kind": {"$in": list(kinds)}, "interval": {"$ne": None}, "state": {"$ne": WorkState.CLAIMED.value}}
        with self.call():
            return {document["_id"] async for document in self.collection(WORK).find(periodic, {"_id": 1})}

    @whole
    async def pause_work(
        self,
        key: str,
        until: datetime | None,
        by: str | None,
        why: str | None,
        now: datetime,
        told: Told | None = None,
    ) -> Request | None:
        """See `Store.pause_work`."""
        moment = to_utc_ms(now)
        ends = None if until is None else to_utc_ms(until)
        items = await self._change_one(
            key, lambda item: item and timetable.pausing(item, ends, by, why, moment), moment, told
        )
        return items[-1] if items else None

    @whole
    async def paused(self, now: datetime) -> set[str]:
        """See `Store.paused`."""
        query = {"paused_until": {"$gt": to_utc_ms(now), "$type": "date"}}
        with self.call():
            return {document["_id"] async for document in self.collection(WORK).find(query, {"_id": 1})}

    @whole
    async def ask(self, kind: str, subject: str, priority: Priority, now: datetime) -> Request:
        """See `Store.ask`."""
        moment = to_utc_ms(now)
        items = await self._change_one(
            work_key(kind, subject), lambda item: timetable.asked(item, kind, subject, priority, moment), moment
        )
        return items[-1]

    @whole
    async def ask_many(self, kind: str, subjects: Collection[str], priority: Priority, now: datetime) -> int:
        """See `Store.ask_many`."""
        moment = to_utc_ms(now)
        by_key = {work_key(kind, subject): subject for subject in subjects}

        def rule(key: str, item: Request | None) -> Request | None:
            return timetable.asked(item, kind, by_key[key], priority, moment)

        with self.call():
            return len((await self.change(list(by_key), rule, moment)).items)

    @whole
    async def queue_due(self, now: datetime, limit: int) -> int:
        """See `Store.queue_due`."""
        moment = to_utc_ms(now)
        unpaused = [{"paused_until": None}, {"paused_until": {"$lte": moment}}]
        due = {"state": WorkState.IDLE.value, "active": True, "due_at": {"$lte": moment}, "$or": unpaused}
        with self.call():
            return len(
                await self.change_found(
                    due, _DUE_ORDER, limit, lambda _, item: item and timetable.due(item, moment), moment
                )
            )

    @whole
    async def unsent(self, now: datetime, resend_after_s: float, limit: int) -> list[Request]:
        """See `Store.unsent`."""
        moment = to_utc_ms(now)
        lost = moment - timedelta(seconds=resend_after_s)
        query = {"$and": [_claimable(moment), {"$or": [{"sent_at": None}, {"sent_at": {"$lt": lost}}]}]}
        with self.call():
            return await self.found(query, _QUEUE_ORDER, limit)

    @whole
    async def mark_sent(self, keys: Sequence[str], now: datetime) -> None:
        """See `Store.mark_sent`. Keeps the version: a claim that comes at the same moment matters more."""
        sent = {"$set": {"sent_at": to_utc_ms(now)}}
        with self.call():
            for piece in chunked(keys, 1_000):
                query = {"_id": {"$in": piece}, "state": WorkState.QUEUED.value}
                await self.collection(WORK).update_many(query, sent)

    @whole
    async def claim_work(self, keys: Sequence[str], owner: str, now: datetime) -> list[Request]:
        """See `Store.claim_work`."""
        moment = to_utc_ms(now)
        with self.call():
            changed = await self.change(keys, lambda _, item: item and timetable.claimed(item, owner, moment), moment)
        return _in_queue_order(changed.items)

    @whole
    async def claim_any(self, kinds: Sequence[str], owner: str, now: datetime, limit: int) -> list[Request]:
        """See `Store.claim_any`."""
        moment = to_utc_ms(now)
        query = _claimable(moment) | {"kind": {"$in": list(kinds)}}
        with self.call():
            claimed = await self.change_found(
                query, _QUEUE_ORDER, limit, lambda _, item: item and timetable.claimed(item, owner, moment), moment
            )
        return _in_queue_order(claimed)

    @whole
    async def finish_work(
        self, ended: Sequence[Ended], owner: str, now: datetime, policy: RetryPolicy, told: Told | None = None
    ) -> list[Request]:
        """See `Store.finish_work`."""
        moment = to_utc_ms(now)
        ends = {end.key: end for end in ended}

        def rule(key: str, item: Request | None) -> Request | None:
            return item and timetable.ended(item, ends[key], owner, moment, policy)

        with self.call():
            changed = await self.change(list(ends), rule, moment, told)
        return [item for item in changed.items if item.state is WorkState.DEAD]

    @whole
    async def release_work(self, owner: str, now: datetime) -> int:
        """See `Store.release_work`. A claim that its caller gave up would else come after it."""
        moment = to_utc_ms(now)
        with self.call():
            await self._calls.settled(self._settings.timeout_s)
            return await self._take_back([owner], lambda item: timetable.given_back(item, moment), moment)

    @whole
    async def claimed_by(self) -> set[str]:
        """See `Store.claimed_by`."""
        with self.call():
            owners = await self.collection(WORK).distinct("owner", {"state": WorkState.CLAIMED.value})
        return {owner for owner in owners if isinstance(owner, str)}

    @whole
    async def requeue_of(
        self, owners: Collection[str], now: datetime, *, orphaned_max: int = 5, told: Told | None = None
    ) -> int:
        """See `Store.requeue_of`. What the dead had begun to write would be in the way."""
        moment = to_utc_ms(now)
        if not owners:
            return 0
        with self.call():
            await self.end_abandoned()
        return await self._take_back(owners, lambda item: timetable.orphaned(item, moment, orphaned_max), moment, told)

    @whole
    async def retry_work(self, keys: Sequence[str], now: datetime) -> int:
        """See `Store.retry_work`."""
        moment = to_utc_ms(now)
        with self.call():
            return len(
                (await self.change(keys, lambda _, item: item and timetable.retried(item, moment), moment)).items
            )

    @whole
    async def list_work(self, states: Sequence[WorkState] | None = None, *, limit: int = 1_000) -> list[Request]:
        """See `Store.list_work`."""
        query = {} if states is None else {"state": {"$in": [state.value for state in states]}}
        with self.call():
            return await self.found(query, _DUE_ORDER, limit)

    @whole
    async def count_work(self, now: datetime) -> WorkCounts:
        """See `Store.count_work`."""
        moment = to_utc_ms(now)
        waits = {"$cond": [{"$gt": ["$not_before", moment]}, 1, 0]}
        due_at = {"$cond": [{"$eq": [{"$type": "$due_at"}, "date"]}, "$due_at", None]}
        group = {"_id": "$state", "count": {"$sum": 1}, "waiting": {"$sum": waits}, "due_at": {"$min": due_at}}
        with self.call():
            groups = {group["_id"]: group async for group in await self.collection(WORK).aggregate([{"$group": group}])}
        queued = groups.get(WorkState.QUEUED.value)
        return WorkCounts(
            **{state.value: groups[state.value]["count"] for state in WorkState if state.value in groups},
            retrying=queued["waiting"] if queued else 0,
            late_worst_s=max(0.0, (moment - queued["due_at"]).total_seconds()) if queued and queued["due_at"] else 0.0,
        )

    async def _change_one(
        self, key: str, rule: Callable[[Request | None], Request | None], moment: datetime, told: Told | None = None
    ) -> list[Request]:
        """The item as it was and, after a change that is `told`, as it is; nothing when there is none.

        Raises:
            RecordError: it is there, and this version cannot read it.
        """
        found: list[Request] = []

        def seen(_key: str, item: Request | None) -> Request | None:
            found[:] = [] if item is None else [item]
            return rule(item)

        with self.call():
            changed = await self.change([key], seen, moment, told, tell_all=True)
        if changed.unreadable:
            message = f"the work item {key!r} cannot be asked for or paused: this version cannot read it"
            raise RecordError(message)
        return [*found, *changed.items]

    async def _take_back(
        self,
        owners: Collection[str],
        back: Callable[[Request], Request | None],
        moment: datetime,
        told: Told | None = None,
    ) -> int:
        theirs = set(owners)
        query: Mapping[str, Any] = {"state": WorkState.CLAIMED.value, "owner": {"$in": sorted(theirs)}}

        def rule(_key: str, item: Request | None) -> Request | None:
            return back(item) if item is not None and item.owner in theirs else None

        with self.call():
            return len(await self.change_found(query, _DUE_ORDER, _ORPHANS_MAX, rule, moment, told))


def _claimable(moment: datetime) -> dict[str, Any]:
    """The query for `timetable.claimable`."""
    return {"state": WorkState.QUEUED.value, "$or": [{"not_before": None}, {"not_before": {"$lte": moment}}]}


def _in_queue_order(items: Sequence[Request]) -> list[Request]:
    return sorted(items, key=lambda item: (item.priority, item.wanted_at or item.claimed_at, item.key))
