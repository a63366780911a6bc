"""From what a person says to the gate that is meant."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from blocks.errors import InvalidInputError
from blocks.models.base import Json
from blocks.models.event import SYSTEM_STREAM, EventDraft, EventType
from blocks.models.gate import Gate, GateKind, Weekly
from blocks.models.ids import NAME, ClusterRef

EVERYTHING = "everything"
FREEZE = "freeze"
"""With it the names of freezes begin, and of nothing else."""
_NAME_MAX = 63
_DIGEST_CHARS = 12
GATES_MAX = 10_000
"""So many freezes and windows at most."""


def freeze_of(target: str, reason: str, until: datetime | None, by: str, now: datetime) -> Gate:
    """A freeze; there is one for each target, and none has the name of another's.

    Raises:
        InvalidInputError: the target is none, or it ends before it begins.
    """
    place = _place(target)
    return _gate(
        name=_freeze_name(tuple(place.values())), kind=GateKind.FREEZE, reason=reason, owner=by, expires_at=until,
        created_at=now, created_by=by, **place,
    )  # fmt: skip


def also_frozen(before: Gate, gate: Gate, now: datetime) -> Gate:
    """A freeze where there is one: it says why there were both, and ends when the later of the two would have."""
    if gate.kind is not GateKind.FREEZE or before.expired(now):
        return gate
    ends = None if before.expires_at is None or gate.expires_at is None else max(before.expires_at, gate.expires_at)
    known = before.created_by == gate.created_by and before.reason.startswith(gate.reason)
    reason = before.reason if known else f"{gate.reason} (and before that {before.created_by}: {before.reason})"
    return gate.evolve(reason=reason, expires_at=ends, created_at=before.created_at)


def _freeze_name(place: Sequence[str]) -> str:
    """Plain words are the name; what has to be folded or cut would be equal to others: a digest tells them apart."""
    plain = "-".join((FREEZE, *place))
    if len(plain) <= _NAME_MAX and all(re.fullmatch(r"[a-z0-9]+", word) for word in place):
        return plain
    folded = re.sub(r"[^a-z0-9]+", "-", plain.lower())
    digest = hashlib.sha256("/".join(place).encode()).hexdigest()[:_DIGEST_CHARS]
    return f"{folded[: _NAME_MAX - _DIGEST_CHARS - 1].strip('-')}-{digest}"


def window_of(
    name: str,
    kind: str,
    reason: str,
    owner: str,
    expires_at: datetime,
    target: str,
    labels: Mapping[str, str],
    starts_at: datetime | None,
    weekly: Weekly | None,
    by: str,
    now: datetime,
) -> Gate:
    """A maintenance window or a blackout.

    Raises:
        InvalidInputError: something in it cannot be; everything that is wrong is said.
    """
    if name == FREEZE or name.startswith(f"{FREEZE}-"):
        message = f"{name!r}: names that begin with {FREEZE!r} are those of freezes"
        raise InvalidInputError(message)
    if not reason.strip() or not owner.strip():
        message = "a window needs a reason and an owner: somebody will ask"
        raise InvalidInputError(message)
    if expires_at <= now:
        message = f"it would have ended already ({expires_at:%Y-%m-%dT%H:%M:%SZ})"
        raise InvalidInputError(message)
    return _gate(
        name=name, kind=kind, reason=reason, owner=owner, expires_at=expires_at, labels=dict(labels), starts_at=starts_at,
        weekly=weekly, created_at=now, created_by=by, **_place(target),
    )  # fmt: skip


def _place(target: str) -> dict[str, str]:
    if target == EVERYTHING:
        return {}
    if "/" in target:
        ref = ClusterRef.parse(target)
        return {"namespace": ref.namespace, "cluster_id": ref.cluster_id}
    try:
        return {"namespace": NAME.validate_python(target)}
    except ValidationError:
        message = f"{target[:80]!r} is neither `{EVERYTHING}`, nor a namespace, nor namespace/cluster"
        raise InvalidInputError(message) from None


def _gate(**fields: Any) -> Gate:
    try:
        return Gate.model_validate(fields)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ").replace("Value error, ", "")
            for fault in error.errors(include_input=False, include_url=False)
        )
        raise InvalidInputError(wrong) from None


def gate_told(type_: EventType, gate: Gate, *, who: str, why: str, **more: Json) -> EventDraft:
    """That a gate was placed or lifted, in the stream of the cluster, of the namespace, or of the system."""
    stream = gate.namespace or SYSTEM_STREAM
    if gate.namespace is not None and gate.cluster_id is not None:
        stream = ClusterRef(namespace=gate.namespace, cluster_id=gate.cluster_id).key
    data: dict[str, Json] = {
        "name": gate.name, "kind": gate.kind.value, "where": gate.where, "owner": gate.owner, "who": who, "why": why or None, **more,
    }  # fmt: skip
    return EventDraft(type=type_, stream=stream, subject=gate.name, data=data)
