"""From manifests (`apiVersion: replicante.io/v0`) to the records that they ask for. Every fault is found, not only the first.

Both spellings of the original are read: names in `metadata` (0.7) and everything flat in `spec` (the rewrite).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blocks.errors import Fault, InvalidInputError
from blocks.models.action import Action, ActionKind, ActionState, Approval
from blocks.models.base import JSON_BYTES_MAX, JSON_DEPTH_MAX, Id, Json, Name, Seconds, Text
from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import Namespace, NamespaceSettings, NamespaceStatus, Tls
from blocks.models.source import HttpDiscovery, Source
from tasks.decide.lifecycle import begun

API_VERSION = "replicante.io/v0"
DOCUMENTS_MAX = 1_000
VALUES_MAX = 100_000
"""So many values may be in one document, each counted as often as YAML aliases repeat it."""
DEPTH_MAX = JSON_DEPTH_MAX + 2
"""The document and its spec around the deepest arguments."""

Wanted = Namespace | Source | ClusterSpec | Action


class Manifest(BaseModel):
    """One document as a person writes it."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    api_version: str = Field(alias="apiVersion", description=f"always {API_VERSION}")
    kind: str = Field(min_length=1, max_length=64)
    metadata: dict[str, Json] = Field(default_factory=dict)
    spec: dict[str, Json] = Field(default_factory=dict)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _NamespaceSpec(_Strict):
    name: Name
    status: NamespaceStatus = NamespaceStatus.ACTIVE
    tls: Tls | None = None
    settings: NamespaceSettings = NamespaceSettings()


class _SourceSpec(_Strict):
    namespace: Name
    name: Name
    enabled: bool = True
    interval: Seconds
    backend: str = Field(default="http", pattern="^http$")
    http: HttpDiscovery


class _ClusterSpecSpec(_Strict):
    namespace: Name
    cluster: Id
    active: bool = True
    interval: Seconds | None = None
    probe_interval: float = Field(default=5.0, ge=0, le=3_600)
    lag_limit_s: float = Field(default=30.0, gt=0, allow_inf_nan=False)


class _NodeActionSpec(_Strict):
    namespace: Name
    cluster: Id
    node: Id
    approval: Approval = Approval.REQUIRED
    action: ActionKind
    action_id: UUID | None = None
    args: Json = None
    metadata: dict[str, Text] = Field(default_factory=dict, max_length=50)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks, when, and where new ids come from."""

    who: str
    now: datetime
    new_id: Callable[[], UUID]


def parse(documents: Iterable[object], asked: Asked) -> tuple[Wanted, ...]:
    """Read all documents, or say everything that is wrong with them.

    Raises:
        InvalidInputError: with one fault per wrong field, each with its document, path and reason.
    """
    faults: list[Fault] = []
    wanted: list[Wanted] = []
    listed = list(documents)
    if len(listed) > DOCUMENTS_MAX:
        message = f"{len(listed)} documents are more than the {DOCUMENTS_MAX} that can be applied at once; nothing was applied"
        raise InvalidInputError(message)
    for number, document in enumerate(listed, start=1):
        try:
            wanted.append(_one(document, asked, number))
        except ValidationError as error:
            faults.extend(_faults(number, document, error))
        except InvalidInputError as error:
            faults.append(Fault(f"document {number}", error.message))
    if not listed:
        faults.append(Fault("input", "there is no document in it"))
    faults.extend(_twice(wanted))
    if faults:
        message = f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the manifests; nothing was applied"
        raise InvalidInputError(message, tuple(faults))
    return tuple(wanted)


def _one(document: object, asked: Asked, number: int) -> Wanted:
    if not isinstance(document, Mapping):
        message = f"a manifest is a mapping with apiVersion, kind, metadata and spec, not {type(document).__name__}"
        raise InvalidInputError(message)
    _check_size(document)
    manifest = Manifest.model_validate(dict(document))
    _json_bytes(manifest.model_dump())
    if manifest.api_version != API_VERSION:
        message = f"apiVersion is {manifest.api_version!r}; this version reads {API_VERSION!r}"
        raise InvalidInputError(message)
    reader = READERS.get(manifest.kind.lower())
    if reader is None:
        message = f"unknown kind {manifest.kind!r}; known kinds are {', '.join(KINDS)}"
        raise InvalidInputError(message)
    return reader(manifest, asked, number)


INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1


def _check_size(document: Mapping[Any, Any]) -> None:
    """Refuse what is nested too deeply, or is far bigger than its text (YAML aliases), before anything else walks through it."""
    left = VALUES_MAX
    todo: list[tuple[Any, int]] = [(document, 1)]
    while todo:
        value, depth = todo.pop()
        if isinstance(value, int) and not INTEGER_MIN <= value <= INTEGER_MAX:
            message = f"the number {str(value)[:24]}... does not fit into 64 bits"
            raise InvalidInputError(message)
        inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
        left -= 1 + len(inside)
        if left < 0:
            message = f"there are more than {VALUES_MAX} values in it"
            raise InvalidInputError(message)
        if inside and depth > DEPTH_MAX:
            message = f"it is nested deeper than {DEPTH_MAX} levels"
            raise InvalidInputError(message)
        todo.extend((one, depth + 1) for one in inside)


def _flat(manifest: Manifest) -> dict[str, Any]:
    """Names from metadata and spec in one mapping, old spellings renamed."""
    renamed = RENAMED[manifest.kind.lower()]
    flat: dict[str, Any] = {}
    for part in (manifest.spec, manifest.metadata):
        flat |= {renamed.get(name, name): value for name, value in part.items()}
    return flat


def _namespace(manifest: Manifest, _: Asked, __: int) -> Namespace:
    spec = _NamespaceSpec.model_validate(_flat(manifest))
    return Namespace(name=spec.name, status=spec.status, tls=spec.tls, settings=spec.settings)


def _source(manifest: Manifest, _: Asked, __: int) -> Source:
    flat = _flat(manifest)
    if "http" not in flat:
        flat["http"] = {name: flat.pop(name) for name in HttpDiscovery.model_fields if name in flat}
    spec = _SourceSpec.model_validate(flat)
    return Source(
        namespace=spec.namespace, name=spec.name, enabled=spec.enabled, interval=spec.interval, http=spec.http
    )


def _cluster_spec(manifest: Manifest, _: Asked, __: int) -> ClusterSpec:
    spec = _ClusterSpecSpec.model_validate(_flat(manifest))
    return ClusterSpec(
        namespace=spec.namespace,
        cluster_id=spec.cluster,
        active=spec.active,
        interval=spec.interval,
        probe_interval=spec.probe_interval,
        lag_limit_s=spec.lag_limit_s,
    )


def _node_action(manifest: Manifest, asked: Asked, number: int) -> Action:
    spec = _NodeActionSpec.model_validate(_flat(manifest))
    granted = spec.approval is Approval.GRANTED
    action = Action(
        action_id=str(spec.action_id or asked.new_id()),
        namespace=spec.namespace,
        cluster_id=spec.cluster,
        node_id=spec.node,
        kind=spec.action,
        args=_bounded(spec.args),
        metadata=spec.metadata,
        state=ActionState.PENDING_SCHEDULE if granted else ActionState.PENDING_APPROVE,
        created_at=asked.now + timedelta(milliseconds=number),
        created_by=asked.who,
        approved_by=asked.who if granted else None,
    )
    return begun(
        action, now=asked.now, who=asked.who, why="applied" + (", approval granted in the manifest" if granted else "")
    )


def _json_bytes(value: object) -> int:
    try:
        return len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except ValueError as error:
        message = (
            "there is something in it that JSON has no form for: NaN, an infinite number, or half of a Unicode pair"
        )
        raise InvalidInputError(message) from error


def _bounded(args: Json) -> Json:
    size = _json_bytes(args)
    if size > JSON_BYTES_MAX:
        message = f"args are larger than {JSON_BYTES_MAX} bytes"
        raise InvalidInputError(message)
    return args


READERS: dict[str, Callable[[Manifest, Asked, int], Wanted]] = {
    "namespace": _namespace,
    "discoverysettings": _source,
    "clusterspec": _cluster_spec,
    "nodeaction": _node_action,
    "naction": _node_action,
    "agentaction": _node_action,
}
"""By kind in lower case, what reads it. A new kind is one function and one line."""

_NODE_ACTION = {"ns_id": "namespace", "cluster_id": "cluster", "node_id": "node", "kind": "action"}
RENAMED: dict[str, Mapping[str, str]] = {
    "namespace": {"id": "name", "ns_id": "name"},
    "discoverysettings": {"ns_id": "namespace"},
    "clusterspec": {"ns_id": "namespace", "cluster_id": "cluster", "name": "cluster"},
    "nodeaction": _NODE_ACTION,
    "naction": _NODE_ACTION,
    "agentaction": _NODE_ACTION,
}
"""By kind in lower case, the other spellings of its fields."""

KINDS = ("Namespace", "DiscoverySettings", "ClusterSpec", "NodeAction (NAction, AgentAction)")


IN_METADATA = frozenset({"namespace", "cluster", "node", "name", "approval"})
"""Where a missing field is expected, when neither part has it."""


def _faults(number: int, document: object, error: ValidationError) -> Iterable[Fault]:
    for fault in error.errors(include_input=False, include_url=False):
        path = ".".join(str(part) for part in _located(document, fault["loc"]))
        reason = "unknown field" if fault["type"] == "extra_forbidden" else fault["msg"].removeprefix("Value error, ")
        yield Fault(f"document {number}: {path}" if path else f"document {number}", reason)


def _located(document: object, loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Where in the document as written a field is, given its place in the flattened one."""
    if (
        not loc
        or not isinstance(document, Mapping)
        or loc[0] in {"apiVersion", "kind", "metadata", "spec"}
        or loc[0] in document
    ):
        return loc
    renamed = RENAMED.get(str(document.get("kind")).lower(), {})
    for part in ("metadata", "spec"):
        written = document.get(part)
        for name in (loc[0], *(old for old, new in renamed.items() if new == loc[0])):
            if isinstance(written, Mapping) and name in written:
                return (part, name, *loc[1:])
    if loc[0] == "http":
        return ("spec", *loc[1:])
    return ("metadata" if loc[0] in IN_METADATA else "spec", *loc)


def _twice(wanted: Iterable[Wanted]) -> Iterable[Fault]:
    seen: set[tuple[str, str]] = set()
    for record in wanted:
        identity = (type(record).__name__, record.key)
        if identity in seen:
            yield Fault(f"{identity[0]} {identity[1]}", "is given more than once")
        seen.add(identity)
