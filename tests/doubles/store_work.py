"""The work of a store in memory."""
# ruff: noqa: D102 - its methods are those of the Protocol

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from copy import deepcopy
from datetime import datetime, timedelta
from typing import TypeVar

from blocks.errors import DependencyUnavailableError, RecordError
from blocks.models.event import Event, EventDraft
from blocks.models.request import Ended, Priority, Request, WorkState, work_key
from blocks.store import timetable
from blocks.store.mapping import NEVER
from blocks.store.protocol import RetryPolicy, Told, WorkCounts
from blocks.store.timetable import to_utc_ms

T = TypeVar("T")


class Faulty:
    """Something that can be down, or lose the answer to a call that it has carried out."""

    def __init__(self) -> None:
        self.down = False
        self.lost_answers: set[str] = set()

    async def _call(self, name: str, call: Callable[[], T]) -> T:
        await asyncio.sleep(0)
        if self.down:
            raise _unavailable()
        answer = deepcopy(call())
        if name in self.lost_answers:
            self.lost_answers.remove(name)
            raise _unavailable()
        return answer


class MemoryWork(Faulty):
    """Timetable and queue, as strict as the real one."""

    def __init__(self) -> None:
        super().__init__()
        self.work: dict[str, Request] = {}
        self.unreadable: set[str] = set()
        """Keys of items that cannot be read, as if a newer version had written them."""

    def _append(self, drafts: Sequence[EventDraft], now: datetime) -> tuple[Event, ...]:
        raise NotImplementedError

    def _change(self, keys: Iterable[str], rule: Callable[[str, Request | None], Request | None]) -> list[Request]:
        changed = []
        for key in dict.fromkeys(keys):
            item = None if key in self.unreadable else rule(key, self.work.get(key))
            if item is not None:
                self.work[key] = item.evolve(version=item.version + 1)
                changed.append(self.work[key])
        return changed

    def _tell(
        self,
        changed: Sequence[Request],
        before: dict[str, Request],
        now: datetime,
        told: Told | None,
        *,
        tell_all: bool = False,
    ) -> None:
        """Tell of what became dead, or of all that changed, or undo it."""
        if told is None:
            return
        try:
            self._append([told(item) for item in changed if tell_all or item.state is WorkState.DEAD], now)
        except BaseException:
            self.work = before
            raise

    def _matching(self, fits: Callable[[Request], bool], *, by_priority: bool = False) -> list[Request]:
        def order(item: Request) -> tuple[int, datetime, str]:
            return (item.priority if by_priority else 0, item.wanted_at or item.next_at or NEVER, item.key)

        return sorted(
            (item for item in self.work.values() if item.key not in self.unreadable and fits(item)), key=order
        )

    async def ensure_work(self, items: Sequence[Request], now: datetime) -> int:
        given, moment = {item.key: item for item in items}, to_utc_ms(now)
        return await self._call(
            "ensure_work",
            lambda: len(self._change(given, lambda key, item: timetable.placed(item, given[key], moment))),
        )

    async def drop_work(self, keys: Sequence[str], *, spare_claimed: bool = False) -> int:
        return await self._call("drop_work", lambda: self._drop(keys, spare_claimed=spare_claimed))

    def _drop(self, keys: Sequence[str], *, spare_claimed: bool) -> int:
        there = {key for key in keys if key in self.work}
        if spare_claimed:
            there = {key for key in there if self.work[key].state is not WorkState.CLAIMED}
        for key in there:
            del self.work[key]
        return len(there)

    async def on_timetable(self, kinds: Sequence[str]) -> set[str]:
        return await self._call(
            "on_timetable",
            lambda: {
                item.key
                for item in self.work.values()
                if item.kind in kinds and item.interval is not None and item.state is not WorkState.CLAIMED
            },
        )

    async def pause_work(
        self,
        key: str,
        until: datetime | None,
        by: str | None,
        why: str | None,
        now: datetime,
        told: Told | None = None,
    ) -> Request | None:
        ends, moment = None if until is None else to_utc_ms(until), to_utc_ms(now)
        return await self._call("pause_work", lambda: self._pause(key, ends, by, why, moment, told))

    def _pause(
        self, key: str, until: datetime | None, by: str | None, why: str | None, now: datetime, told: Told | None
    ) -> Request | None:
        self._readable(key)
        before = dict(self.work)
        changed = self._change([key], lambda _, item: item and timetable.pausing(item, until, by, why, now))
        self._tell(changed, before, now, told, tell_all=True)
        return self.work.get(key)

    async def paused(self, now: datetime) -> set[str]:
        moment = to_utc_ms(now)
        return await self._call("paused", lambda: {i.key for i in self.work.values() if timetable.paused(i, moment)})

    async def ask(self, kind: str, subject: str, priority: Priority, now: datetime) -> Request:
        key, moment = work_key(kind, subject), to_utc_ms(now)
        return await self._call("ask", lambda: self._ask(key, kind, subject, priority, moment))

    def _ask(self, key: str, kind: str, subject: str, priority: Priority, now: datetime) -> Request:
        self._readable(key)
        self._change([key], lambda _, item: timetable.asked(item, kind, subject, priority, now))
        return self.work[key]

    def _readable(self, key: str) -> None:
        if key in self.unreadable:
            message = f"the work item {key!r} cannot be asked for or paused: this version cannot read it"
            raise RecordError(message)

    async def ask_many(self, kind: str, subjects: Collection[str], priority: Priority, now: datetime) -> int:
        by_key, moment = {work_key(kind, subject): subject for subject in subjects}, to_utc_ms(now)
        return await self._call(
            "ask_many",
            lambda: len(
                self._change(by_key, lambda key, item: timetable.asked(item, kind, by_key[key], priority, moment))
            ),
        )

    async def queue_due(self, now: datetime, limit: int) -> int:
        moment = to_utc_ms(now)
        return await self._call("queue_due", lambda: self._queue_due(moment, limit))

    def _queue_due(self, now: datetime, limit: int) -> int:
        keys = [item.key for item in self._matching(lambda item: timetable.due(item, now) is not None)]
        return len(self._change(keys[: max(0, limit)], lambda _, item: item and timetable.due(item, now)))

    async def unsent(self, now: datetime, resend_after_s: float, limit: int) -> list[Request]:
        moment = to_utc_ms(now)
        lost = moment - timedelta(seconds=resend_after_s)
        return await self._call(
            "unsent",
            lambda: self._matching(
                lambda i: timetable.claimable(i, moment) and (i.sent_at is None or i.sent_at < lost), by_priority=True
            )[: max(0, limit)],
        )

    async def mark_sent(self, keys: Sequence[str], now: datetime) -> None:
        await self._call("mark_sent", lambda: self._mark_sent(keys, to_utc_ms(now)))

    def _mark_sent(self, keys: Sequence[str], now: datetime) -> None:
        for key in keys:
            if key in self.work and self.work[key].state is WorkState.QUEUED:
                self.work[key] = self.work[key].evolve(sent_at=now)

    async def claim_work(self, keys: Sequence[str], owner: str, now: datetime) -> list[Request]:
        return await self._call("claim_work", lambda: self._claim(keys, owner, to_utc_ms(now)))

    def _claim(self, keys: Iterable[str], owner: str, now: datetime) -> list[Request]:
        claimed = {
            item.key for item in self._change(keys, lambda _, item: item and timetable.claimed(item, owner, now))
        }
        return self._matching(lambda item: item.key in claimed, by_priority=True)

    async def claim_any(self, kinds: Sequence[str], owner: str, now: datetime, limit: int) -> list[Request]:
        return await self._call("claim_any", lambda: self._claim_any(kinds, owner, to_utc_ms(now), limit))

    def _claim_any(self, kinds: Sequence[str], owner: str, now: datetime, limit: int) -> list[Request]:
        ripe = self._matching(lambda i: i.kind in kinds and timetable.claimable(i, now), by_priority=True)
        return self._claim([item.key for item in ripe[: max(0, limit)]], owner, now)

    async def finish_work(
        self, ended: Sequence[Ended], owner: str, now: datetime, policy: RetryPolicy, told: Told | None = None
    ) -> list[Request]:
        ends, moment = {end.key: end for end in ended}, to_utc_ms(now)
        return await self._call("finish_work", lambda: self._finish(ends, owner, moment, policy, told))

    def _finish(
        self, ends: dict[str, Ended], owner: str, now: datetime, policy: RetryPolicy, told: Told | None
    ) -> list[Request]:
        before = dict(self.work)
        changed = self._change(ends, lambda key, item: item and timetable.ended(item, ends[key], owner, now, policy))
        self._tell(changed, before, now, told)
        return [item for item in changed if item.state is WorkState.DEAD]

    async def release_work(self, owner: str, now: datetime) -> int:
        moment = to_utc_ms(now)
        return await self._call(
            "release_work", lambda: len(self._take_back({owner}, lambda item: timetable.given_back(item, moment)))
        )

    async def claimed_by(self) -> set[str]:
        return await self._call("claimed_by", lambda: {i.owner for i in self.work.values() if i.owner is not None})

    async def requeue_of(
        self, owners: Collection[str], now: datetime, *, orphaned_max: int = 5, told: Told | None = None
    ) -> int:
        moment = to_utc_ms(now)
        return await self._call("requeue_of", lambda: self._requeue_of(set(owners), moment, orphaned_max, told))

    def _requeue_of(self, owners: set[str], now: datetime, orphaned_max: int, told: Told | None) -> int:
        before = dict(self.work)
        changed = self._take_back(owners, lambda item: timetable.orphaned(item, now, orphaned_max))
        self._tell(changed, before, now, told)
        return len(changed)

    def _take_back(self, owners: set[str], back: Callable[[Request], Request | None]) -> list[Request]:
        return self._change(list(self.work), lambda _, item: back(item) if item and item.owner in owners else None)

    async def retry_work(self, keys: Sequence[str], now: datetime) -> int:
        return await self._call(
            "retry_work",
            lambda: len(self._change(keys, lambda _, item: item and timetable.retried(item, to_utc_ms(now)))),
        )

    async def list_work(self, states: Sequence[WorkState] | None = None, *, limit: int = 1_000) -> list[Request]:
        return await self._call(
            "list_work", lambda: self._matching(lambda item: states is None or item.state in states)[: max(0, limit)]
        )

    async def count_work(self, now: datetime) -> WorkCounts:
        return await self._call("count_work", lambda: self._counts(to_utc_ms(now)))

    def _counts(self, now: datetime) -> WorkCounts:
        queued = [item for item in self.work.values() if item.state is WorkState.QUEUED]
        latest = [(now - item.wanted_at).total_seconds() for item in queued if item.wanted_at is not None]
        return WorkCounts(
            **{state.value: sum(item.state is state for item in self.work.values()) for state in WorkState},
            retrying=sum(not timetable.claimable(item, now) for item in queued),
            late_worst_s=max(0.0, *latest, 0.0),
        )


def _unavailable() -> DependencyUnavailableError:
    return DependencyUnavailableError("MongoDB", "memory", "it is down by order of the test", "Check the test.")
