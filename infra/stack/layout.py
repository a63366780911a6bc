"""Where everything of one stack lives: a single folder, ignored by git."""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
"""The root of the repository; every Python module of the product is run from here."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below the state folder of one stack."""

    root: Path

    @property
    def run(self) -> Path:
        """Pid files, the plan and the locks."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """One log file per service, with what it wrote to stdout and stderr."""
        return self.root / "logs"

    @property
    def status(self) -> Path:
        """What the supervisor knows of its processes, as JSON."""
        return self.root / "status.json"

    @property
    def env(self) -> Path:
        """KEY=VALUE lines with the addresses of the servers."""
        return self.root / "env"

    @property
    def plan(self) -> Path:
        """The services that the supervisor keeps alive."""
        return self.run / "plan.json"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the living supervisor; released by the kernel when it dies."""
        return self.run / "supervisor.lock"

    @property
    def stopping(self) -> Path:
        """Present while the stack is being stopped: the keeper then restarts nothing."""
        return self.run / "stopping"

    def pid_file(self, name: str) -> Path:
        """The pid file of the process ``name``."""
        return self.run / f"{name}.pid"

    def log(self, name: str) -> Path:
        """The log file of the process ``name``."""
        return self.logs / f"{name}.log"

    def data(self, name: str) -> Path:
        """The data folder of the service ``name``, made on demand."""
        folder = self.root / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def scratch(self, name: str) -> Path:
        """The folder for temporary files of the service ``name``; emptied when it is started."""
        return self.root / "tmp" / name

    def create(self) -> None:
        """Make the folders."""
        for folder in (self.root, self.run, self.logs):
            folder.mkdir(parents=True, exist_ok=True)


def write_atomic(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace ``path`` by ``text`` so that a reader sees the old or the new content, never a part."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> Any:
    """Return the JSON in ``path``, or ``None`` when there is no such file or no JSON in it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
