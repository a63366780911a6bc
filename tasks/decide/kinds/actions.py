"""Manifest kinds `NodeAction` and `OrchestratorAction`: things to do once."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, Field, WithJsonSchema

from blocks.models.action import Action, ActionKind, ActionState, Approval, Metadata
from blocks.models.base import Id, Json, Name, Seconds, Text
from tasks.decide.kinds.base import NAMESPACED, Asked, Document, Kind, Part, Spelling, Strict, renamed
from tasks.decide.kinds.told import part
from tasks.decide.lifecycle import begun
from tasks.decide.manifest_size import bounded

_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}
_DURATION = r"^(?:\d{1,9}(?:\.\d{1,9})?[dhms])+$"
_WHAT = "seconds, a text such as 10m or 1h30m, or {secs: N, nanos: N}"


def _seconds(value: Any) -> Any:
    """Seconds, however they are written."""
    if isinstance(value, dict) and value.keys() <= {"secs", "nanos"} and _whole(value.get("secs")):
        nanos = value.get("nanos", 0)
        if _whole(nanos):
            return value["secs"] + nanos / 1e9
    if isinstance(value, str) and re.fullmatch(_DURATION, value):
        return sum(float(text[:-1]) * _UNITS[text[-1]] for text in re.findall(r"[\d.]+[dhms]", value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    msg = f"give {_WHAT}"
    raise ValueError(msg)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


Timeout = Annotated[
    Seconds,
    BeforeValidator(_seconds),
    WithJsonSchema(
        {
            "description": f"It is FAILED when it takes longer: {_WHAT}.",
            "anyOf": [
                {"type": "number", "minimum": 0.1, "maximum": 31 * 86_400},
                {"type": "string", "pattern": _DURATION},
                {
                    "type": "object",
                    "properties": {
                        "secs": {"type": "integer", "minimum": 0},
                        "nanos": {"type": "integer", "minimum": 0},
                    },
                    "required": ["secs"],
                    "additionalProperties": False,
                },
            ],
        }
    ),
]


class OrchestratorActionMetadata(Strict):
    """Which cluster it is for, and whether a person must approve it."""

    namespace: Name
    cluster: Id
    approval: Approval = Approval.REQUIRED


class NodeActionMetadata(OrchestratorActionMetadata):
    """Which node it is for, and whether a person must approve it."""

    node: Id


class ActionSpec(Strict):
    """What is to be done."""

    action: ActionKind
    action_id: UUID | None = None
    """An id of one's own: the same action applied twice is then done once."""
    args: Json = None
    metadata: Metadata = Field(default_factory=dict)
    force: Annotated[Text, Field(min_length=1)] | None = None
    """Why it may go beyond budgets and risk the cluster's health."""


class OrchestratorActionSpec(ActionSpec):
    """What is to be done, and how long it may take."""

    timeout: Timeout | None = None


class NodeActionManifest(Document):
    """An action that an agent does on its node, at most once."""

    metadata: NodeActionMetadata
    spec: ActionSpec


class OrchestratorActionManifest(Document):
    """An action that is done on a whole cluster, at most once."""

    metadata: OrchestratorActionMetadata
    spec: OrchestratorActionSpec


def _record(manifest: NodeActionManifest | OrchestratorActionManifest, asked: Asked, number: int) -> Action:
    metadata, spec = manifest.metadata, manifest.spec
    granted = metadata.approval is Approval.GRANTED
    action = Action(
        action_id=str(spec.action_id or asked.new_id()),
        namespace=metadata.namespace,
        cluster_id=metadata.cluster,
        node_id=metadata.node if isinstance(metadata, NodeActionMetadata) else None,
        kind=spec.action,
        args=bounded(spec.args),
        metadata=spec.metadata,
        state=ActionState.PENDING_SCHEDULE if granted else ActionState.PENDING_APPROVE,
        created_at=asked.now + timedelta(milliseconds=number),
        created_by=asked.who,
        timeout_s=spec.timeout if isinstance(spec, OrchestratorActionSpec) else None,
        approved_by=asked.who if granted else None,
        forced=spec.force,
    )
    return begun(
        action, now=asked.now, who=asked.who, why="applied" + (", approval granted in the manifest" if granted else "")
    )


def _parts(record: Action) -> tuple[Part, Part]:
    metadata = part(
        namespace=record.namespace,
        cluster=record.cluster_id,
        node=record.node_id,
        approval=None if record.approved_by is None else Approval.GRANTED,
    )
    spec = part(
        action=record.kind,
        action_id=record.action_id,
        metadata=record.metadata,
        timeout=record.timeout_s,
        force=record.forced,
    )
    if record.args is not None:
        spec["args"] = record.args
    return metadata, spec


_SPELLINGS = (
    *NAMESPACED,
    *renamed(("metadata", "cluster"), ("metadata", "cluster_id"), ("spec", "cluster"), ("spec", "cluster_id")),
    Spelling(("spec", "approval"), ("metadata", "approval")),
    Spelling(("spec", "kind"), ("spec", "action")),
)

NODE_ACTION = Kind(
    name="NodeAction",
    record=Action,
    model=NodeActionManifest,
    to_record=_record,
    to_parts=_parts,
    holds=lambda record: isinstance(record, Action) and record.node_id is not None,
    aliases=("NAction", "AgentAction"),
    words=("na", "action"),
    spellings=(
        *_SPELLINGS,
        *renamed(("metadata", "node"), ("metadata", "node_id"), ("spec", "node"), ("spec", "node_id")),
    ),
    needed=((("spec", "action"),),),
)

ORCHESTRATOR_ACTION = Kind(
    name="OrchestratorAction",
    record=Action,
    model=OrchestratorActionManifest,
    to_record=_record,
    to_parts=_parts,
    holds=lambda record: isinstance(record, Action) and record.node_id is None,
    aliases=("OAction",),
    words=("oa",),
    spellings=_SPELLINGS,
    needed=((("spec", "action"),),),
)
