"""What the supervisor needs to know of a process: data only, written to the plan file as JSON.

Vocabulary: a *service* is the description of one process; the *plan* is the list of services that
should be running now; a *probe* asks a server, in its own protocol, whether it is ready.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from infra.stack.layout import read_json, write_atomic

ProbeKind = Literal["zookeeper", "kafka", "mongodb", "mongodb-primary", "http", "file", "none"]


@dataclass(frozen=True, slots=True)
class Tls:
    """Files with which a probe speaks TLS."""

    ca: str
    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class Probe:
    """How to ask a service whether it is ready."""

    kind: ProbeKind
    host: str = ""
    port: int = 0
    expect: str = ""
    """http: the path; kafka: the cluster id; mongodb: the replica set; file: the file's path."""
    tls: Tls | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """One process that the supervisor keeps alive."""

    name: str
    command: tuple[str, ...]
    probe: Probe
    ports: tuple[int, ...] = ()
    """All ports it listens on; the first is the one shown to people."""
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = ""
    after: tuple[str, ...] = ()
    """Services that are started before and stopped after this one."""
    ready_within: float = 60.0
    """Seconds; a process that is not ready by then is killed and started again."""
    stop_within: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""
    restart_after: float = 0.0
    """Seconds that a process that died stays down at least, before the backoff: long enough for people to see what that
    does. One that ended cleanly, as when its agent restarts it, is started at once."""

    @property
    def digest(self) -> str:
        """Changes when the process would have to be started anew to follow the description."""
        text = json.dumps([self.command, self.env, self.cwd, self.ports], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """Read one service of a plan file."""
        probe = dict(raw["probe"])
        tls = probe.get("tls")
        probe["tls"] = Tls(**tls) if tls else None
        lists = {key: tuple(raw[key]) for key in ("command", "ports", "after")}
        return cls(**{**raw, **lists, "probe": Probe(**probe)})


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that should be running."""

    services: tuple[Service, ...] = ()
    parent_pid: int = 0
    """Stop everything when this process is gone; 0: run until told to stop."""
    parent_identity: str = ""
    held: tuple[str, ...] = ()
    """Services of the plan that are to stay down for now (fault tests)."""
    graceful: bool = True
    """Whether services get SIGTERM first; data that is thrown away needs no clean stop."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the services, in start order."""
        return tuple(service.name for service in self.services)

    def get(self, name: str) -> Service | None:
        """Return the service of this name."""
        return next((service for service in self.services if service.name == name), None)

    def with_services(self, *services: Service) -> Self:
        """Return a plan with these services added, or replaced where the name is known."""
        merged = {service.name: service for service in (*self.services, *services)}
        return replace(self, services=tuple(merged.values()))

    def levels(self) -> list[list[Service]]:
        """Return the services in start order: each list needs only the lists before it."""
        depth: dict[str, int] = {}
        for service in self.services:  # a service can only follow services named before it
            depth[service.name] = 1 + max((depth.get(name, -1) for name in service.after), default=-1)
        count = max(depth.values(), default=-1) + 1
        return [[s for s in self.services if depth[s.name] == level] for level in range(count)]

    def write(self, path: Path) -> None:
        """Write the plan file; only its owner may read it."""
        write_atomic(path, json.dumps(asdict(self), indent=1) + "\n", mode=0o600)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the plan file; an absent or unreadable one is an empty plan."""
        raw = read_json(path)
        if not isinstance(raw, dict):
            return cls()
        services = tuple(Service.from_json(service) for service in raw["services"])
        return cls(**{**raw, "services": services, "held": tuple(raw["held"])})
