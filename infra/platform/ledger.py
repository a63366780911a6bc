"""What the platform was told, in one file: every machine that should be there, and those that should go.

A change is on disk before anything is done about it, and replaces the file as a whole: whoever reads it after a crash
knows the old or the new truth.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from infra.agents.kit.errors import StartError
from infra.stack.layout import write_atomic

_VERSION = 1
_NODE_ID = re.compile(r"machine-[a-z0-9]{1,32}")


@dataclass(frozen=True, slots=True)
class Machine:
    """One node: a server of a store with its agent, on ports of their own."""

    node_id: str
    """Given by us: it is the name of files and folders."""
    cluster_id: str
    node_class: str
    node_group: str
    store_port: int
    agent_port: int
    leaving: bool = False
    """Whether it is being removed, which is never taken back."""

    def __post_init__(self) -> None:
        """Refuse an id that is none of ours: it would be used as a path."""
        if not _NODE_ID.fullmatch(self.node_id):
            message = f"{self.node_id!r} is not an id of a machine"
            raise ValueError(message)

    @property
    def ports(self) -> tuple[int, int]:
        """Both its ports."""
        return self.store_port, self.agent_port


class Ledger:
    """The machines by node id, in the order in which they were made."""

    def __init__(self, path: Path) -> None:
        """Read the file; an absent one is a platform without machines.

        Raises:
            StartError: the file is there and cannot be understood. Nothing is guessed: its machines would be orphans.
        """
        self._path = path
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            self._machines = _read(raw)
        except FileNotFoundError:
            self._machines = {}
        except (OSError, ValueError, TypeError, KeyError) as error:
            message = f"cannot read the machines from {path}: {error}"
            raise StartError(message) from error

    def __iter__(self) -> Iterator[Machine]:
        return iter(tuple(self._machines.values()))

    def __len__(self) -> int:
        return len(self._machines)

    def get(self, node_id: str) -> Machine | None:
        """Return the machine of this id, leaving or not."""
        return self._machines.get(node_id)

    def add(self, machines: Iterable[Machine]) -> None:
        """Note new machines, all or none.

        Raises:
            OSError: it could not be written; nothing has changed.
        """
        self._write({**self._machines, **{machine.node_id: machine for machine in machines}})

    def leave(self, node_id: str) -> None:
        """Note that a machine is to be removed.

        Raises:
            OSError: it could not be written; nothing has changed.
        """
        self._write({**self._machines, node_id: replace(self._machines[node_id], leaving=True)})

    def forget(self, node_id: str) -> None:
        """Note that nothing is left of a machine.

        Raises:
            OSError: it could not be written; nothing has changed.
        """
        self._write({key: machine for key, machine in self._machines.items() if key != node_id})

    def _write(self, machines: dict[str, Machine]) -> None:
        body = {"version": _VERSION, "machines": [asdict(machine) for machine in machines.values()]}
        write_atomic(self._path, json.dumps(body, indent=1) + "\n", mode=0o600)
        self._machines = machines


def _read(raw: Any) -> dict[str, Machine]:
    if not isinstance(raw, dict) or raw.get("version") != _VERSION:
        message = f"it is not a file of version {_VERSION}"
        raise ValueError(message)
    machines = [Machine(**machine) for machine in raw["machines"]]
    return {machine.node_id: machine for machine in machines}
