"""Wire models of protocol B (agent-protocol.md 2): frozen values with a ``wire()`` each, times in UTC.

Dataclasses rather than pydantic: one process per node runs on the store's own machine and should weigh little.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Attributes: TypeAlias = Mapping[str, str | int | float | bool | None]

AGENT_VERSION = {"number": "0.1.0", "checkout": "replicante-core", "taint": "clean"}
UNKNOWN_VERSION = "unknown"


class Status(StrEnum):
    """What the agent says of its node."""

    UNAVAILABLE = "UNAVAILABLE"
    NOT_IN_CLUSTER = "NOT_IN_CLUSTER"
    JOINING_CLUSTER = "JOINING_CLUSTER"
    LEAVING_CLUSTER = "LEAVING_CLUSTER"
    UNHEALTHY = "UNHEALTHY"
    HEALTHY = "HEALTHY"


class Role(StrEnum):
    """What a node is to a shard."""

    PRIMARY = "Primary"
    SECONDARY = "Secondary"
    RECOVERING = "Recovering"


@dataclass(frozen=True, slots=True)
class Unknown:
    """A node status with no word of its own: ``{"UNKNOWN": reason}``."""

    reason: str


@dataclass(frozen=True, slots=True)
class Other:
    """A shard role with no word of its own: ``{"Other": text}``."""

    text: str


class Phase(StrEnum):
    """Where an action is; DONE and FAILED never change."""

    NEW = "NEW"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"

    @property
    def final(self) -> bool:
        """Say whether the action is over."""
        return self in {Phase.DONE, Phase.FAILED}


@dataclass(frozen=True, slots=True)
class Offset:
    """A position in a store's log: signed 64 bit, in ``milliseconds``, ``seconds`` or a named unit."""

    value: int
    unit: str

    def wire(self) -> dict[str, Json]:
        """Return the JSON form; a unit that protocol B does not know is wrapped."""
        known = self.unit in {"milliseconds", "seconds"}
        return {"unit": self.unit if known else {"unit": self.unit}, "value": self.value}


@dataclass(frozen=True, slots=True)
class Shard:
    """A node's copy of one shard."""

    id: str
    role: Role | Other
    commit_offset: Offset | None = None
    lag: Offset | None = None

    def wire(self) -> dict[str, Json]:
        """Return the JSON form."""
        return {
            "id": self.id,
            "role": {"Other": self.role.text} if isinstance(self.role, Other) else self.role.value,
            "commit_offset": self.commit_offset.wire() if self.commit_offset else None,
            "lag": self.lag.wire() if self.lag else None,
        }


@dataclass(frozen=True, slots=True)
class Version:
    """A store's release."""

    number: str
    checkout: str | None = None
    extra: str | None = None

    def wire(self) -> dict[str, Json]:
        """Return the JSON form."""
        return {"number": self.number, "checkout": self.checkout, "extra": self.extra}


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a store's adapter finds out about its node; `version` is None when the store did not say."""

    status: Status | Unknown
    version: Version | None = None
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What a store's adapter finds out about its cluster."""

    cluster_id: str
    attributes: Attributes = field(default_factory=dict)

    def wire(self) -> dict[str, Json]:
        """Return the body of ``/info/store``."""
        return {"cluster_id": self.cluster_id, "attributes": dict(self.attributes)}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this agent speaks for; given on the command line, never asked from the store."""

    node_id: str
    store_id: str
    client: str | None = None
    member: str | None = None

    def wire(self, report: NodeReport) -> dict[str, Json]:
        """Return the body of ``/info/node``."""
        status = report.status
        return {
            "address": {"client": self.client, "member": self.member},
            "agent_version": dict(AGENT_VERSION),
            "attributes": dict(report.attributes),
            "node_id": self.node_id,
            "node_status": {"UNKNOWN": status.reason} if isinstance(status, Unknown) else status.value,
            "store_id": self.store_id,
            "store_version": (report.version or Version(UNKNOWN_VERSION)).wire(),
        }


@dataclass(frozen=True, slots=True)
class Action:
    """One action as the agent keeps it; times are microseconds since 1970, UTC."""

    id: str
    kind: str
    args: Json
    metadata: dict[str, str]
    created_us: int
    scheduled_us: int
    finished_us: int | None = None
    phase: Phase = Phase.NEW
    payload: Json = None
    error: Json = None

    def wire(self) -> dict[str, Json]:
        """Return the body of ``/action/{id}``."""
        return {
            "id": self.id,
            "kind": self.kind,
            "args": self.args,
            "metadata": dict(self.metadata),
            "created_time": rfc3339(self.created_us),
            "scheduled_time": rfc3339(self.scheduled_us),
            "finished_time": None if self.finished_us is None else rfc3339(self.finished_us),
            "state": {"phase": self.phase.value, "payload": self.payload, "error": self.error},
        }

    def summary(self) -> dict[str, Json]:
        """Return one item of the lists of actions."""
        return {"id": self.id, "kind": self.kind, "phase": self.phase.value}


def rfc3339(microseconds: int) -> str:
    """Return the wire form of a moment: UTC, microseconds, ``Z``."""
    seconds, rest = divmod(microseconds, 1_000_000)
    moment = datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=rest)
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def microseconds(moment: datetime) -> int:
    """Return a moment as microseconds since 1970, exactly."""
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
