"""Apply what a person declared: all of a set of manifests, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.errors import ConflictError, Fault, InvalidInputError
from blocks.models.action import Action
from blocks.models.base import Fact, Json
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.event import EventDraft, EventType
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace
from blocks.models.record import Change
from blocks.models.source import Source
from blocks.store.protocol import Store, Where
from tasks.decide.diff import plain
from tasks.decide.manifests import Wanted
from tasks.decide.sync import tell
from tasks.decide.timetable import timetable


class Effect(StrEnum):
    """What applying an object did."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


class Applied(Fact):
    """One object of a set that was applied."""

    kind: str
    name: str
    effect: Effect
    action_id: str | None = None


@task(name="apply", cache_policy=NO_CACHE)
async def apply_wanted(store: Store, wanted: Sequence[Wanted], who: str, now: datetime) -> tuple[Applied, ...]:
    """Compare each object with what is stored, and save all that differ in one transaction with their events.

    Raises:
        InvalidInputError: something that an object refers to does not exist; each fault is named, nothing was changed.
        ConflictError: somebody changed one of them at the same moment; nothing was changed.
    """
    await _check(store, wanted)
    change, applied = Change(), []
    for record in wanted:
        before = await store.get(type(record), record.key)
        effect, part = _part(before, record, who)
        change += part
        applied.append(_applied(record, effect))
    if not change.empty:
        await store.commit(change, now=now)
    await _schedule(store, wanted, now)
    return tuple(applied)


def _part(before: Wanted | None, wanted: Wanted, who: str) -> tuple[Effect, Change]:
    if isinstance(wanted, Action):
        if before is not None:
            msg = f"there is an action {wanted.action_id} already; an action is never changed by applying it again"
            raise ConflictError(msg)
        return Effect.CREATED, Change(swaps=(wanted,), drafts=tuple(tell(None, wanted)))
    version = before.version if before is not None else 0
    after = wanted.evolve(version=version + 1)
    if before is not None and before == wanted.evolve(version=version):
        return Effect.UNCHANGED, Change()
    effect = Effect.CREATED if before is None else Effect.CHANGED
    return effect, Change(swaps=(after,), drafts=(_told(before, after, who),))


def _told(before: Wanted | None, after: Namespace | Source | ClusterSpec, who: str) -> EventDraft:
    match after:
        case Namespace():
            type_, stream = EventType.NAMESPACE_APPLIED, after.name
        case Source():
            type_, stream = EventType.SOURCE_APPLIED, after.namespace
        case _:
            type_, stream = EventType.CLUSTER_SPEC_APPLIED, after.key
    data: dict[str, Json] = {
        "who": who,
        "before": _shown(before) if before is not None else None,
        "after": _shown(after),
    }
    return EventDraft(type=type_, stream=stream, subject=after.key, data=data)


def _shown(record: Wanted) -> Json:
    """A record as an event may tell of it: of a source's body only the names, of its URL nothing that may be a secret."""
    shown = plain(record)
    if isinstance(record, Source) and isinstance(shown, dict):
        url = record.http.url
        http = {**record.http.model_dump(mode="json", exclude={"url", "body"}), "body": sorted(record.http.body)}
        port = f":{url.port}" if url.port is not None else ""
        shown["http"] = {**http, "url": f"{url.scheme}://{url.host}{port}{url.path or ''}"}
    return shown


def _applied(record: Wanted, effect: Effect) -> Applied:
    match record:
        case Action():
            name = f"{record.cluster}/{record.node_id}" if record.node_id else str(record.cluster)
            return Applied(kind="NodeAction", name=f"{name} {record.kind}", effect=effect, action_id=record.action_id)
        case ClusterSpec():
            return Applied(kind="ClusterSpec", name=str(record.ref), effect=effect)
        case Source():
            return Applied(kind="DiscoverySettings", name=record.key, effect=effect)
        case Namespace():
            return Applied(kind="Namespace", name=record.name, effect=effect)


async def _check(store: Store, wanted: Sequence[Wanted]) -> None:
    namespaces = {record.name for record in wanted if isinstance(record, Namespace)}
    namespaces |= {record.name for record in await store.find(Namespace)}
    faults = [
        Fault(f"document {number}: metadata.namespace", f"namespace {record.namespace!r} does not exist")
        for number, record in enumerate(wanted, start=1)
        if not isinstance(record, Namespace) and record.namespace not in namespaces
    ]
    for number, record in enumerate(wanted, start=1):
        if isinstance(record, Action) and record.namespace in namespaces:
            faults.extend(await _unknown_target(store, record, number))
    if faults:
        message = f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the manifests; nothing was applied"
        raise InvalidInputError(message, tuple(faults))


async def _unknown_target(store: Store, action: Action, number: int) -> list[Fault]:
    ref = ClusterRef(namespace=action.namespace, cluster_id=action.cluster_id)
    discovery = await store.get(Discovery, ref.key)
    if discovery is None:
        where = f"document {number}: metadata.cluster"
        return [Fault(where, f"there is no cluster {ref}; `replictl clusters` lists those that are known")]
    if action.node_id not in {node.node_id for node in discovery.nodes}:
        where = f"document {number}: metadata.node"
        return [Fault(where, f"cluster {ref} has no node {action.node_id!r}; `replictl nodes {ref}` lists them")]
    return []


async def _schedule(store: Store, wanted: Sequence[Wanted], now: datetime) -> None:
    """Bring the timetable in line: at once for what was applied; `sweep` repairs what a crash leaves undone."""
    touched = {record.name for record in wanted if isinstance(record, Namespace)}
    namespaces = await store.find(Namespace)
    sources = [record for record in wanted if isinstance(record, Source)]
    specs = [record for record in wanted if isinstance(record, ClusterSpec)]
    for name in touched:
        sources += await store.find(Source, Where(namespace=name))
        specs += await store.find(ClusterSpec, Where(namespace=name), limit=100_000)
    items = timetable(namespaces, sources, specs)
    if items:
        await store.ensure_work(items, now)
