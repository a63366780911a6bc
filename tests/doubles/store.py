"""A store in memory, as strict as the real one; what it keeps is lost with it.

`down = True` makes every call fail before it does anything. A name in `lost_answers` makes the next call of that method
fail after it has done everything.
"""

# ruff: noqa: D102 - its methods are those of the Protocol

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from copy import deepcopy
from datetime import datetime
from functools import partial
from typing import Any, Self, TypeVar
from uuid import uuid4

from blocks.errors import ConflictError, FencedError, RecordError
from blocks.models.action import Action
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.event import Event, EventDraft
from blocks.models.gate import Gate
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace
from blocks.models.node import Node
from blocks.models.record import Change, Fence, Record, Seen
from blocks.models.rolling import Rolling
from blocks.models.view import ClusterView, in_front_of
from blocks.store.protocol import EventQuery, Store, Where
from blocks.store.timetable import to_utc_ms
from doubles.store_work import MemoryWork

R = TypeVar("R", bound=Record)
T = TypeVar("T")
PAGE = 100
"""So many records come at once where all are asked for."""


class MemoryStore(MemoryWork, Store):
    """The fake `Store`. Every call lets others run first, then happens in one piece."""

    def __init__(self) -> None:
        super().__init__()
        self.unreadable_events: set[str] = set()
        """Ids of events that cannot be read, as if a newer version had written them."""
        self.broken: set[str | tuple[type[Any], str]] = set()
        """Keys of records that cannot be read, of every type, or of one: whoever finds one among others fails."""
        self.wrong: list[str] = []
        """What is wrong with what is stored."""
        self.records: dict[type[Any], dict[str, Any]] = {}
        self.fences: dict[str, tuple[int, int]] = {}
        self.log: list[Event] = []
        self.streams: dict[str, tuple[int, datetime]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def ready(self) -> None:
        await self._call("ready", lambda: None)

    async def prepare(self) -> None:
        await self._call("prepare", lambda: None)

    async def faults(self, most: int = 100) -> list[str]:
        return await self._call("faults", lambda: self.wrong[:most])

    # -- records ------------------------------------------------------------------------------------------------------

    def _all(self, type_: type[R]) -> list[R]:
        return [record for _, record in sorted(self.records.get(type_, {}).items())]

    async def get(self, type_: type[R], key: str) -> R | None:
        found = await self._call("get", lambda: self.records.get(type_, {}).get(key))
        return found and self._whole([found])[0]

    async def find(self, type_: type[R], where: Where | None = None, *, limit: int = 10_000) -> list[R]:
        return await self._call("find", lambda: self._whole(self._find(type_, where or Where(), limit)))

    def _whole(self, records: list[R]) -> list[R]:
        for record in records:
            if self._is_broken(record):
                message = f"the stored {type(record).__name__} {record.key!r} cannot be read"
                raise RecordError(message)
        return records

    def _is_broken(self, record: Any) -> bool:
        return record.key in self.broken or (type(record), record.key) in self.broken

    def _apart(self, records: list[R]) -> tuple[list[R], list[str]]:
        good = [record for record in records if not self._is_broken(record)]
        return good, [record.key for record in records if self._is_broken(record)]

    async def readable(
        self, type_: type[R], where: Where | None = None, *, limit: int = 10_000
    ) -> tuple[list[R], list[str]]:
        return await self._call("readable", lambda: self._apart(self._find(type_, where or Where(), limit)))

    def _find(self, type_: type[R], where: Where, limit: int) -> list[R]:
        found = [record for record in self._all(type_) if _fits(record, where)]
        if issubclass(type_, Action | Rolling):
            found.sort(key=lambda one: one.created_at, reverse=True)  # type: ignore[union-attr]
        return found[: max(0, limit)]

    async def pages(self, type_: type[R], where: Where | None = None) -> AsyncIterator[tuple[list[R], list[str]]]:
        after = ""
        while page := await self._call("pages", partial(self._page, type_, where or Where(), after)):
            after = page[-1].key
            yield self._apart(page)

    def _page(self, type_: type[R], where: Where, after: str) -> list[R]:
        return [record for record in self._all(type_) if record.key > after and _fits(record, where)][:PAGE]

    async def get_many(self, type_: type[R], keys: Collection[str]) -> dict[str, R]:
        found = await self._call("get_many", lambda: self._whole(self._these(type_, keys)))
        return {record.key: record for record in found}

    async def readable_many(self, type_: type[R], keys: Collection[str]) -> tuple[dict[str, R], list[str]]:
        good, bad = await self._call("readable_many", lambda: self._apart(self._these(type_, keys)))
        return {record.key: record for record in good}, bad

    def _these(self, type_: type[R], keys: Collection[str]) -> list[R]:
        records = self.records.get(type_, {})
        return [records[key] for key in sorted(keys) if key in records]

    async def existing(self, type_: type[R], keys: Collection[str]) -> set[str]:
        return await self._call("existing", lambda: self._existing(type_, set(keys)))

    def _existing(self, type_: type[R], keys: set[str]) -> set[str]:
        return self.records.get(type_, {}).keys() & keys

    async def versions(self, type_: type[R], *, limit: int = 10_000) -> dict[str, int]:
        records = self.records.get(type_, {})
        versions = {key: getattr(record, "version", 0) for key, record in sorted(records.items())[:limit]}
        return await self._call("versions", lambda: versions)

    async def views(self, clusters: Sequence[ClusterRef]) -> dict[str, ClusterView]:
        return await self._call("views", lambda: {k: v for ref in clusters for k, v in self._view(ref.key)})

    def _view(self, key: str) -> Iterable[tuple[str, ClusterView]]:
        spec: ClusterSpec | None = self.records.get(ClusterSpec, {}).get(key)
        namespace: Namespace | None = self.records.get(Namespace, {}).get(spec.namespace) if spec else None
        if spec is None or namespace is None:
            return
        self._whole([spec])
        actions = [a for a in self._all(Action) if a.cluster.key == key and (a.left_running or not a.state.final)]
        yield (
            key,
            ClusterView(
                namespace=namespace,
                spec=spec,
                discovery=self.records.get(Discovery, {}).get(key),
                state=self.records.get(ClusterState, {}).get(key),
                nodes={node.node_id: node for node in self._all(Node) if node.cluster.key == key},
                actions={a.action_id: a for a in sorted(actions, key=lambda action: action.created_at)},
                rollings={r.rolling_id: r for r in self._rollings(key, {a.rolling_id for a in actions})},
                gates=in_front_of(tuple(self._all(Gate)), spec, self.records.get(Discovery, {}).get(key)),
            ),
        )

    def _rollings(self, key: str, made: set[str | None]) -> list[Rolling]:
        found = [r for r in self._all(Rolling) if r.cluster.key == key and (not r.state.final or r.rolling_id in made)]
        return sorted(found, key=lambda rolling: rolling.created_at)

    async def claim(self, fences: Sequence[Fence]) -> set[str]:
        return await self._call("claim", lambda: {fence.subject for fence in fences if not self._pass(fence)})

    async def newest_fence(self) -> Fence | None:
        return await self._call("newest_fence", self._newest_fence)

    def _newest_fence(self) -> Fence | None:
        newest = max(
            ((generation, token, subject) for subject, (generation, token) in self.fences.items()), default=None
        )
        return newest and Fence(subject=newest[2], generation=newest[0], token=newest[1])

    def _pass(self, fence: Fence) -> bool:
        newest = max(self.fences.get(fence.subject, (0, 0)), (fence.generation, fence.token))
        self.fences[fence.subject] = newest
        return newest == (fence.generation, fence.token)

    async def commit(self, change: Change, *, now: datetime, fence: Fence | None = None) -> tuple[Event, ...]:
        return await self._call("commit", lambda: self._commit(deepcopy(change), to_utc_ms(now), fence))

    def _commit(self, change: Change, now: datetime, fence: Fence | None) -> tuple[Event, ...]:
        if fence is not None and self.fences.get(fence.subject, (0, 0)) > (fence.generation, fence.token):
            message = f"{fence.subject} has a newer holder than {fence.generation}:{fence.token}; nothing was written"
            raise FencedError(message)
        swapped: dict[tuple[type[Record], str], int] = {}
        for record in change.swaps:
            there = self.records.get(type(record), {}).get(record.key)
            version = swapped.get((type(record), record.key), there.version if there else 0)
            if version != record.version - 1 or (there is None and record.version != 1):
                message = f"{type(record).__name__} {record.key} has changed since it was read; nothing was written"
                raise ConflictError(message)
            swapped[type(record), record.key] = record.version
        if fence is not None:
            self._pass(fence)
        for record in (*change.swaps, *change.puts):
            self.records.setdefault(type(record), {})[record.key] = record
        for one in change.deletes:
            self.records.get(one.record_type, {}).pop(one.key, None)
        for item in change.work:
            self.work.setdefault(item.key, item.evolve(version=1))
        return self._append(change.drafts, now)

    def _append(self, drafts: Sequence[EventDraft], now: datetime) -> tuple[Event, ...]:
        events = [self._event(draft, now) for draft in drafts]
        self.log += events
        return tuple(events)

    def _event(self, draft: EventDraft, now: datetime) -> Event:
        sequence, time = self.streams.get(draft.stream, (0, now))
        self.streams[draft.stream] = (sequence + 1, max(now, time))
        return Event(
            event_id=str(uuid4()),
            type=draft.type.value,
            stream=draft.stream,
            subject=draft.subject,
            sequence=sequence + 1,
            time=max(now, time),
            data=draft.data,
        )

    async def seen(self, seen: Sequence[Seen]) -> set[str]:
        return await self._call("seen", lambda: {one.fence.subject for one in deepcopy(seen) if not self._seen(one)})

    def _seen(self, one: Seen) -> bool:
        if not self._pass(one.fence):
            return False
        records: tuple[Record, ...] = (one.state, *one.nodes)
        for record in records:
            if record.key in self.records.get(type(record), {}):
                self.records[type(record)][record.key] = record
        return True

    # -- events -------------------------------------------------------------------------------------------------------

    async def events(self, query: EventQuery) -> list[Event]:
        return await self._call("events", lambda: self._events(query))

    def _events(self, query: EventQuery) -> list[Event]:
        found = [
            event
            for event in sorted(self.log, key=lambda event: (event.time, event.stream, event.sequence))
            if query.stream in {None, event.stream}
            and (query.namespace is None or event.stream.partition("/")[0] == query.namespace)
            and (query.since is None or event.time >= query.since)
            and (query.until is None or event.time < query.until)
            and (query.types is None or event.type in query.types)
        ]
        return found[-query.newest :] if query.newest > 0 else []

    def _unpublished(self) -> list[Event]:
        waiting = (event for event in self.log if not event.published)
        return sorted(waiting, key=lambda event: (event.time, event.stream, event.sequence))

    async def unpublished(self, limit: int, *, per_stream: int = 100, skip: Collection[str] = ()) -> list[Event]:
        return await self._call("unpublished", lambda: self._turn(per_stream, set(skip))[: max(0, limit)])

    def _turn(self, per_stream: int, stuck: set[str]) -> list[Event]:
        turn: dict[str, list[Event]] = {}
        for event in self._unpublished():
            if event.event_id in self.unreadable_events:
                stuck.add(event.stream)
            if event.stream not in stuck and len(turn.setdefault(event.stream, [])) < per_stream:
                turn[event.stream].append(event)
        return [event for events in turn.values() for event in events]

    async def mark_published(self, event_ids: Sequence[str]) -> None:
        await self._call("mark_published", lambda: self._mark_published(set(event_ids)))

    def _mark_published(self, ids: set[str]) -> None:
        self.log = [event.evolve(published=True) if event.event_id in ids else event for event in self.log]

    async def published_since(self, since: datetime, *, limit: int) -> int:
        found = await self._call("published_since", lambda: self._published(since))
        return len(found[:limit])

    async def republish(self, since: datetime, *, limit: int) -> int:
        return await self._call("republish", lambda: self._republish(set(self._published(since)[:limit])))

    def _published(self, since: datetime) -> list[str]:
        there = sorted(self.log, key=lambda event: (event.time, event.stream, event.sequence))
        return [event.event_id for event in there if event.published and event.time >= since]

    def _republish(self, ids: set[str]) -> int:
        self.log = [event.evolve(published=False) if event.event_id in ids else event for event in self.log]
        return len(ids)

    async def read_back(self, events: Sequence[Event]) -> int:
        return await self._call("read_back", lambda: self._read_back(events))

    def _read_back(self, events: Sequence[Event]) -> int:
        for event in events:
            sequence, time = self.streams.get(event.stream, (0, event.time))
            self.streams[event.stream] = (max(sequence, event.sequence), max(time, event.time))
        ids, places = {e.event_id for e in self.log}, {(e.stream, e.sequence) for e in self.log}
        lost = [e for e in events if e.event_id not in ids and (e.stream, e.sequence) not in places]
        self.log += [event.evolve(published=True) for event in lost]
        self._mark_published({event.event_id for event in events})
        return len(lost)

    async def outbox_size(self) -> tuple[int, datetime | None]:
        waiting = await self._call("outbox_size", self._unpublished)
        return len(waiting), waiting[0].time if waiting else None


def _fits(record: Any, where: Where) -> bool:
    namespace = record.name if isinstance(record, Namespace) else record.namespace
    return (
        where.namespace in {None, namespace}
        and where.cluster_id in {None, getattr(record, "cluster_id", None)}
        and where.node_id in {None, getattr(record, "node_id", None)}
        and where.source in {None, getattr(record, "source", None)}
        and (not where.files or getattr(record, "file", None) is not None)
        and (where.action_states is None or getattr(record, "state", None) in where.action_states)
        and (not where.left_running or getattr(record, "left_running", False))
        and (where.rolling_states is None or getattr(record, "state", None) in where.rolling_states)
    )
