"""What applying a set of objects means, given what is stored: a change with its events, or everything that is wrong.

Pure, so that a dry run and the real one cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from blocks.errors import Fault, InvalidInputError
from blocks.models.action import Action
from blocks.models.base import Json
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.event import EventDraft, EventType
from blocks.models.namespace import Namespace
from blocks.models.record import Change
from blocks.models.source import Source
from blocks.models.submission import Applied, Effect
from tasks.decide.cluster_kinds import Catalogue
from tasks.decide.differences import alike, differences, shown
from tasks.decide.manifests import Wanted
from tasks.decide.sync import tell

_ORDERED = ("kind", "args", "metadata", "node_id", "cluster_id", "namespace", "timeout_s")
"""What makes an action the same order as another of its id."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What of the store a plan depends on."""

    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)
    specs: Mapping[str, ClusterSpec] = field(default_factory=dict)
    actions: Mapping[str, Action] = field(default_factory=dict)
    discoveries: Mapping[str, Discovery] = field(default_factory=dict)
    """Those of the clusters that the set's actions are for."""

    def before(self, wanted: Wanted) -> Wanted | None:
        """What is stored under the name of a wanted object."""
        match wanted:
            case Namespace():
                return self.namespaces.get(wanted.key)
            case Source():
                return self.sources.get(wanted.key)
            case ClusterSpec():
                return self.specs.get(wanted.key)
            case Action():
                return self.actions.get(wanted.key)


@dataclass(frozen=True, slots=True)
class Plan:
    """What applying a set of objects does."""

    change: Change
    applied: tuple[Applied, ...]
    replaced: tuple[Wanted, ...] = ()
    """What was stored of the objects that it changes."""


def planned(wanted: Sequence[Wanted], stored: Stored, who: str, kinds: Catalogue) -> Plan:
    """Compare a set of objects with what is stored.

    Args:
        wanted: the objects, each name once.
        stored: what the store has of them and of what they refer to.
        who: who applies them.
        kinds: what kinds of actions on clusters there are.

    Raises:
        InvalidInputError: with one fault for each object that cannot be applied; nothing may be.
    """
    faults = list(_faults(wanted, stored, kinds))
    if faults:
        message = f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the manifests; nothing was applied"
        raise InvalidInputError(message, tuple(faults))
    puts: list[Wanted] = []
    drafts: list[EventDraft] = []
    applied, replaced = [], []
    for record in wanted:
        before = stored.before(record)
        effect, after = _effect(before, record)
        applied.append(_applied(before, after, effect))
        if effect is Effect.CHANGED and before is not None:
            replaced.append(before)
        if effect is not Effect.UNCHANGED:
            puts.append(after)
            drafts += [*tell(None, after)] if isinstance(after, Action) else [_told(before, after, who)]
    return Plan(Change(swaps=tuple(puts), drafts=tuple(drafts)), tuple(applied), tuple(replaced))


def kind_name(record: Wanted) -> str:
    """The manifest kind of a record."""
    match record:
        case Namespace():
            return "Namespace"
        case Source():
            return "DiscoverySettings" if record.platform is None else "Platform"
        case ClusterSpec():
            return "ClusterSpec"
        case Action():
            return "OrchestratorAction" if record.node_id is None else "NodeAction"


def named_as(record: Wanted) -> str:
    """The kind of an object and its name; of an action, what it is done to."""
    match record:
        case Action():
            return f"{kind_name(record)} {record.kind} on {record.node if record.node is not None else record.cluster}"
        case ClusterSpec():
            return f"{kind_name(record)} {record.ref}"
        case _:
            return f"{kind_name(record)} {record.key}"


def _effect(before: Wanted | None, wanted: Wanted) -> tuple[Effect, Wanted]:
    if isinstance(wanted, Action):
        return (Effect.CREATED, wanted) if before is None else (Effect.UNCHANGED, before)
    if before is None:
        return Effect.CREATED, wanted.evolve(version=1)
    if isinstance(wanted, Namespace) and isinstance(before, Namespace):  # ours, for moments: nobody declares it
        wanted = wanted.evolve(closing_until=before.closing_until)
    if alike(before, wanted.evolve(version=before.version)):
        return Effect.UNCHANGED, before
    return Effect.CHANGED, wanted.evolve(version=before.version + 1)


def _faults(wanted: Sequence[Wanted], stored: Stored, kinds: Catalogue) -> Iterator[Fault]:
    namespaces = set(stored.namespaces) | {record.name for record in wanted if isinstance(record, Namespace)}
    platforms = {source.key for source in (*stored.sources.values(), *_sources(wanted)) if source.platform is not None}
    specs = set(stored.specs) | {record.key for record in wanted if isinstance(record, ClusterSpec)}
    for number, record in enumerate(wanted, start=1):
        where = f"document {number}"
        if isinstance(record, Namespace):
            yield from _namespace(record, stored.namespaces.get(record.name), where)
            continue
        if record.namespace not in namespaces:
            yield Fault(f"{where}: metadata.namespace", f"namespace {record.namespace!r} does not exist")
            continue
        home = stored.namespaces.get(record.namespace)
        if home is not None and home.going and not _unchanged(stored, record):
            reason = f"namespace {home.name!r} is {home.status}: nothing is added to it or changed in it"
            yield Fault(f"{where}: metadata.namespace", reason)
            continue
        match record:
            case Source():
                yield from _source(record, stored.sources.get(record.key), where)
            case ClusterSpec():
                if not _unchanged(stored, record):  # its platform may have been deleted by force since
                    yield from _cluster_spec(record, platforms, where)
            case Action():
                yield from _action(record, stored, specs, where)
                yield from _self_approved(record, stored, wanted, where)
                if record.node_id is None and record.action_id not in stored.actions:
                    yield from _cluster_action(record, kinds, where)


def _sources(wanted: Sequence[Wanted]) -> Iterator[Source]:
    return (record for record in wanted if isinstance(record, Source))


def _unchanged(stored: Stored, record: Wanted) -> bool:
    before = stored.before(record)
    return before is not None and _effect(before, record)[0] is Effect.UNCHANGED


def _namespace(record: Namespace, before: Namespace | None, where: str) -> Iterator[Fault]:
    if before is not None and before.going and record.evolve(version=before.version) != before:
        reason = f"it is {before.status} and never comes back; once Deleted, `replictl delete namespace` frees the name"
        yield Fault(f"{where}: spec.status", reason)
    elif record.going and (before is None or not before.going):
        reason = f"a namespace becomes {record.status} by `replictl delete namespace {record.name}`, not by a manifest"
        yield Fault(f"{where}: spec.status", reason)


def _source(record: Source, before: Source | None, where: str) -> Iterator[Fault]:
    if before is not None and (before.platform is None) != (record.platform is None):
        reason = f"there is a {kind_name(before)} of that name already; a namespace's sources and platforms share their names"
        yield Fault(f"{where}: metadata.name", reason)


def _cluster_spec(record: ClusterSpec, platforms: set[str], where: str) -> Iterator[Fault]:
    if record.platform is None:
        return
    key = f"{record.platform.ns_id or record.namespace}/{record.platform.name}"
    if key not in platforms:
        yield Fault(f"{where}: spec.platform", f"there is no Platform {key}; `replictl get platforms` lists them")


def _action(record: Action, stored: Stored, specs: set[str], where: str) -> Iterator[Fault]:
    before = stored.actions.get(record.action_id)
    if before is not None:
        if any(getattr(before, name) != getattr(record, name) for name in _ORDERED):
            reason = "there is another action of that id already; an action is never changed by applying it again"
            yield Fault(f"{where}: spec.action_id", reason)
        return
    discovery = stored.discoveries.get(record.cluster.key)
    if discovery is None and (record.node_id is not None or record.cluster.key not in specs):
        reason = f"there is no cluster {record.cluster}; `replictl clusters` lists those that are known"
        yield Fault(f"{where}: metadata.cluster", reason)
    elif discovery is not None and record.node_id not in {None, *(node.node_id for node in discovery.nodes)}:
        reason = (
            f"cluster {record.cluster} has no node {record.node_id!r}; `replictl nodes {record.cluster}` lists them"
        )
        yield Fault(f"{where}: metadata.node", reason)


def _self_approved(record: Action, stored: Stored, wanted: Sequence[Wanted], where: str) -> Iterator[Fault]:
    if record.approved_by is None or record.action_id in stored.actions:
        return
    declared = {one.name: one for one in wanted if isinstance(one, Namespace)}
    home = declared.get(record.namespace) or stored.namespaces.get(record.namespace)
    if home is not None and home.settings.approver_must_differ:
        reason = f"namespace {home.name} wants somebody else than who orders an action to approve it"
        yield Fault(f"{where}: metadata.approval", reason)


def _cluster_action(record: Action, kinds: Catalogue, where: str) -> Iterator[Fault]:
    kind = kinds.get(record.kind)
    if kind is None:
        yield Fault(f"{where}: spec.action", f"there is no kind {record.kind!r}; `replictl catalogue` lists them")
        return
    try:
        kind.read(record.args)
    except InvalidInputError as error:
        yield Fault(f"{where}: spec.args", str(error))


def _told(before: Wanted | None, after: Wanted, who: str) -> EventDraft:
    match after:
        case Namespace():
            type_, stream = EventType.NAMESPACE_APPLIED, after.name
        case Source():
            type_, stream = EventType.SOURCE_APPLIED, after.namespace
        case _:
            type_, stream = EventType.CLUSTER_SPEC_APPLIED, after.key
    data: dict[str, Json] = {
        "who": who,
        "kind": kind_name(after),
        "before": shown(before) if before is not None else None,
        "after": shown(after),
    }
    return EventDraft(type=type_, stream=stream, subject=after.key, data=data)


def _applied(before: Wanted | None, after: Wanted, effect: Effect) -> Applied:
    match after:
        case Action():
            target = str(after.node) if after.node is not None else str(after.cluster)
            name = f"{target} {after.kind}"
        case ClusterSpec():
            name = str(after.ref)
        case _:
            name = after.key
    told, more = differences(before, after) if effect is Effect.CHANGED and before is not None else ((), 0)
    return Applied(
        kind=kind_name(after),
        name=name,
        effect=effect,
        action_id=after.action_id if isinstance(after, Action) else None,
        differences=told,
        more=more,
    )
