"""What an agent is told on its command line."""

from dataclasses import dataclass
from pathlib import Path

from infra.agents.kit.errors import StartError
from infra.agents.kit.process import Tls

PORT_MAX = 65_535
ID_MAX = 256


@dataclass(frozen=True, slots=True)
class Options:
    """One agent's settings; `store` may hold a password and is never logged."""

    kind: str
    listen: tuple[str, int]
    node_id: str
    cluster_id: str
    store: str
    data: Path
    client: str | None = None
    member: str | None = None
    store_version: str | None = None
    tls: Tls | None = None
    execute_interval: float = 1.0
    step_deadline: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what could never work."""
        for name, value in (("--node-id", self.node_id), ("--cluster-id", self.cluster_id)):
            if not value.isprintable() or not 0 < len(value) <= ID_MAX:
                message = f"{name} must be 1 to {ID_MAX} printable characters"
                raise StartError(message)
        if not 0 <= self.execute_interval <= 3600 or not 0 < self.step_deadline <= 3600:  # noqa: PLR2004 - an hour
            message = "--execute-interval and --step-deadline are seconds, at most 3600"
            raise StartError(message)


def parse_address(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``, ``[IPV6]:PORT`` or ``:PORT``.

    Raises:
        StartError: It is something else. The text is not repeated: it may hold a password.
    """
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not separator or not port.isdecimal() or int(port[:6]) > PORT_MAX or "/" in host or "@" in host:
        message = "an address must be HOST:PORT"
        raise StartError(message)
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """Return ``HOST:PORT``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
