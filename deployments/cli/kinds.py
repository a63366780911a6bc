"""Objects of each manifest kind: which there are, which one is meant, and what is told of them beside their manifests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import typer
from rich.text import Text

from blocks.errors import InvalidInputError, NotFoundError
from blocks.models.action import Action
from blocks.models.base import Json
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.ids import NAME, ClusterRef
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.source import Source
from blocks.store.protocol import Store, Where
from deployments.cli import actions, clusters, sources
from deployments.cli.output import Column, Row
from deployments.cli.resolve import known_cluster, known_source
from deployments.cli.select import READ_MAX, SIFTED_MAX, Note, Tags, cut, found
from deployments.cli.words import BAD, MIDDLING, age, coloured, plural
from tasks.decide.conditions import Fields
from tasks.decide.kinds.base import Kind, Wanted
from tasks.decide.manifest_export import manifest_of
from tasks.decide.manifest_kinds import kind_for

_STATUSES = {NamespaceStatus.OBSERVED: MIDDLING, NamespaceStatus.DELETING: BAD, NamespaceStatus.DELETED: BAD}


def _left(row: Row) -> str:
    if row["status"] is NamespaceStatus.DELETED:
        return f"`replictl delete namespace {row['name']}` frees the name"
    if row["status"] is not NamespaceStatus.DELETING:
        return ""
    left = row["clusters"] + row["sources"]
    return f"going, {left} left in it" if left else "going, nothing left in it"


NAMESPACE_COLUMNS = (
    Column("NAMESPACE", lambda row: row["name"]),
    Column("STATUS", lambda row: coloured(row["status"], _STATUSES.get(row["status"], ""))),
    Column("CLUSTERS", lambda row: row["clusters"], right=True),
    Column("SOURCES", lambda row: row["sources"], right=True),
    Column("ACTIONS", lambda row: row["actions_unfinished"], right=True),
    Column("NOTE", _left),
)
NAMESPACE_FIELDS: Fields = {
    "name": str,
    "status": NamespaceStatus,
    "labels": dict,
    "clusters": int,
    "sources": int,
    "actions_unfinished": int,
}
CLUSTER_COLUMNS = (
    Column("NAMESPACE", lambda row: row["namespace"]),
    Column("CLUSTER", lambda row: row["cluster"]),
    Column("DECLARED BY", lambda row: "source" if row["synthetic"] else "person"),
    Column("EVERY", lambda row: age(row["interval_s"]), right=True),
    Column("PLATFORM", lambda row: row["platform"]),
    Column("HEALTH", lambda row: coloured(row["health"])),
    Column("NODES", lambda row: f"{row['nodes_healthy']}/{row['nodes_total']}", right=True),
    Column("NOTE", clusters.CLUSTER_COLUMNS[-1].cell),
)
CLUSTER_FIELDS: Fields = {**clusters.CLUSTER_FIELDS, "synthetic": bool, "interval_s": float, "platform": str}


@dataclass(frozen=True, slots=True)
class Listed:
    """An object and its row."""

    record: Wanted
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """How a kind is listed."""

    columns: Sequence[Column]
    fields: Fields
    identity: frozenset[str]
    """Fields that its manifest tells already."""


def shape_of(kind: Kind) -> Shape:
    """How objects of this kind are listed."""
    if kind.record is Namespace:
        return Shape(NAMESPACE_COLUMNS, NAMESPACE_FIELDS, frozenset({"name", "labels"}))
    if kind.record is ClusterSpec:
        return Shape(CLUSTER_COLUMNS, CLUSTER_FIELDS, frozenset({"namespace", "cluster", "active", "platform"}))
    if kind.record is Source:
        return Shape(sources.COLUMNS, sources.FIELDS, frozenset({"namespace", "source", "kind", "labels", "enabled"}))
    return Shape(actions.COLUMNS, actions.FIELDS, frozenset({"namespace", "cluster", "node", "action_id", "kind"}))


async def all_of(store: Store, kind: Kind, namespace: str | None, note: Note, *, every: bool = True) -> list[Wanted]:
    """All objects of a kind; of actions the newest, without `every` only unfinished ones."""
    where = Where(namespace=namespace)
    if kind.record is not Action:
        return [record for record in await found(store, kind.record, where, note) if kind.holds(record)]
    where = where.evolve(action_states=None if every else actions.UNFINISHED)
    records = await store.find(Action, where, limit=SIFTED_MAX + 1)
    records = cut(records, SIFTED_MAX, note, f"only the newest {SIFTED_MAX} actions were read")
    return [record for record in records if kind.holds(record)]


async def one_of(store: Store, kind: Kind, text: str, namespace: str | None) -> Wanted:
    """The object that is meant.

    Raises:
        NotFoundError: there is none of that name, or it is of another kind.
        InvalidInputError: there are several.
        typer.BadParameter: this is no name of such an object.
    """
    record: Wanted | None
    match kind.record.__name__:
        case "Namespace":
            record = await store.get(Namespace, namespace_name(text))
        case "Source":
            record = await store.get(Source, (await known_source(store, text, namespace)).key)
        case "ClusterSpec":
            ref = await known_cluster(store, text, namespace)
            record = await store.get(ClusterSpec, ref.key)
            if record is None:
                message = (
                    f"nobody has declared cluster {ref}, it was only discovered: `replictl describe cluster {ref}`"
                )
                raise NotFoundError(message)
        case _:
            record = await store.get(Action, str(_action_id(text)))
    if record is None:
        message = f"there is no {kind.name} {text}; `replictl get {kind.name}` lists those that are known"
        raise NotFoundError(message)
    if not kind.holds(record):
        message = f"{text} is of kind {kind_for(record).name}, not {kind.name}"
        raise NotFoundError(message)
    return record


def namespace_name(text: str) -> str:
    """The name of a namespace, known or not.

    Raises:
        typer.BadParameter: this is none.
    """
    try:
        return NAME.validate_python(text)
    except ValueError:
        message = f"{text!r} is not the name of a namespace"
        raise typer.BadParameter(message) from None


def _action_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        message = f"{text!r} is not the id of an action; `replictl actions` shows them"
        raise typer.BadParameter(message) from None


async def listed(
    store: Store, kind: Kind, records: Sequence[Wanted], namespace: str | None, now: datetime, note: Note
) -> list[Listed]:
    """Objects of one kind with their rows, in their order."""
    if kind.record is Namespace:
        rows = await _namespace_rows(store, records, note)
    elif kind.record is ClusterSpec:
        rows = await _cluster_rows(store, records, namespace, now, note)
    elif kind.record is Source:
        rows = {
            f"{row['namespace']}/{row['source']}": row for row in await sources.source_rows(store, namespace, now, note)
        }
    else:
        tags = await Tags.load(store, Where(namespace=namespace), note)
        rows = {
            action.key: actions.action_row(action, now, tags.of_node(action.cluster.key, action.node_id))
            for action in records
            if isinstance(action, Action)
        }
    return [Listed(record, rows[record.key]) for record in records if record.key in rows]


async def _namespace_rows(store: Store, records: Sequence[Wanted], note: Note) -> dict[str, dict[str, Any]]:
    inside: dict[str, Counter[str]] = {}
    cluster_keys = {told.key for told in await found(store, Discovery, None, note)}
    cluster_keys |= {spec.key for spec in await found(store, ClusterSpec, None, note)}
    inside["clusters"] = Counter(key.partition("/")[0] for key in cluster_keys)
    inside["sources"] = Counter(source.namespace for source in await found(store, Source, None, note))
    unfinished = await store.find(Action, Where(action_states=actions.UNFINISHED), limit=READ_MAX)
    inside["actions_unfinished"] = Counter(action.namespace for action in unfinished)
    return {
        record.name: {
            "name": record.name,
            "status": record.status,
            "labels": record.labels,
            **{what: counted[record.name] for what, counted in inside.items()},
        }
        for record in records
        if isinstance(record, Namespace)
    }


async def _cluster_rows(
    store: Store, records: Sequence[Wanted], namespace: str | None, now: datetime, note: Note
) -> dict[str, dict[str, Any]]:
    settings = {space.name: space.settings for space in await found(store, Namespace, None, note)}
    rows = {
        ClusterRef(namespace=row["namespace"], cluster_id=row["cluster"]).key: row
        for row in await clusters.cluster_rows(store, namespace, now, note)
    }
    return {
        spec.key: {**rows[spec.key], **spec_facts(spec, settings)} for spec in records if isinstance(spec, ClusterSpec)
    }


def spec_facts(spec: ClusterSpec, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What listings tell of a spec, given by namespace the settings."""
    interval = spec.interval
    if interval is None and spec.namespace in settings:
        interval = settings[spec.namespace].orchestrate_interval
    platform = f"{spec.platform.ns_id or spec.namespace}/{spec.platform.name}" if spec.platform is not None else None
    return {"synthetic": spec.synthetic, "interval_s": interval, "platform": platform}


def manifest(one: Listed, kind: Kind) -> dict[str, Any]:
    """An object as its manifest, with a `status`. Where that would show a secret, `status` says so and `spec` is left out."""
    status = {name: value for name, value in one.row.items() if name not in shape_of(kind).identity}
    try:
        return {**manifest_of(one.record), "status": status}
    except InvalidInputError as error:
        metadata: dict[str, Json] = {"name": one.record.key}
        return {
            "apiVersion": "replicante.io/v0",
            "kind": kind.name,
            "metadata": metadata,
            "status": {**status, "hidden": error.message},
        }


def allowed(namespace: Namespace) -> Text:
    """What a namespace's status allows, for people."""
    parts = {"discover and observe": namespace.may_look, "act": namespace.may_act, "apply": not namespace.going}
    return Text("  ").join(
        Text(f"{'+' if may else '-'} {what}", style="" if may else "dim") for what, may in parts.items()
    )


def said(count: int, kind: Kind) -> str:
    """`3 ClusterSpecs`."""
    return plural(count, kind.name)
