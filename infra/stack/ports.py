"""Ports: whether they are free, and who has them when they are not."""

import random
import socket
from pathlib import Path

from infra.stack.errors import PortTakenError, StackError
from infra.stack.processes import family

_LISTEN = "0A"
FOR_PARTS, FOR_PRODUCT = range(12_000, 19_000), range(19_000, 26_000)
"""Ranges for tests: away from the defaults of `make up`, and from the ports of outgoing connections. Tests of the whole product
have one of their own: they kill servers whose ports must still be free when they come back."""


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_block(host: str, count: int, among: range = FOR_PARTS) -> int:
    """Return the first of ``count`` neighbouring free ports."""
    starts = among[: max(0, len(among) - count)]
    for _ in range(1000 if starts else 0):
        first = random.choice(starts)  # noqa: S311  # no secret
        if all(is_free(host, first + offset) for offset in range(count)):
            return first
    message = f"no {count} neighbouring free ports between {among.start} and {among.stop} on {host}"
    raise StackError(message)


def owner(port: int) -> str:
    """Say in words which program listens on the port."""
    import psutil  # noqa: PLC0415  # 10 MB that the supervisor needs only for this sentence

    for connection in psutil.net_connections(kind="tcp"):
        if connection.status != psutil.CONN_LISTEN or not connection.laddr or connection.laddr.port != port:
            continue
        if connection.pid is None:
            return "a process of another user"
        try:
            process = psutil.Process(connection.pid)
            return f"pid {process.pid} ({_short(process.cmdline()) or process.name()})"
        except psutil.Error:
            return f"pid {connection.pid}"
    return "a process that could not be found"


def _short(command: list[str], length_max: int = 100) -> str:
    text = " ".join(command)
    return text if len(text) <= length_max else text[:length_max] + "..."


def require_free(host: str, ports: tuple[int, ...], name: str) -> None:
    """Raise when a port that the service needs is taken.

    Raises:
        PortTakenError: with the pid and the program that has the port.
    """
    for port in ports:
        if not is_free(host, port):
            message = (
                f"{name} needs port {port} on {host}, but {owner(port)} has it: "
                f"stop that program, or choose other ports (REPLICORE_STACK_*_PORT, infra/stack/settings.py)"
            )
            raise PortTakenError(message)


def listens(pid: int, port: int) -> bool:
    """Return whether the process, or one of its children, is the one that listens on the port."""
    inodes = _listening_inodes(port)
    return bool(inodes) and any(inodes & _sockets(member) for member in family(pid))


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            lines = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found


def _sockets(pid: int) -> set[str]:
    found = set()
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                found.add(str(descriptor.readlink()))
            except OSError:
                continue
    except OSError:
        pass
    return found
