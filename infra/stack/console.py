"""What people see of ``up`` and ``status``: colours and a spinner on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console
from rich.table import Table

from infra.stack.status import ProcessStatus, State, Status, now

_COLOURS = {
    State.READY: "green",
    State.STARTING: "yellow",
    State.WAITING: "yellow",
    State.BACKOFF: "red",
    State.FAILED: "red",
    State.STOPPED: "dim",
}


class Progress:
    """Lines with the time since the beginning; the last words of a long step on a spinner."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._began = time.monotonic()
        self._spinner = self.console.status("")

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show what is being waited for."""
        if not self.console.is_terminal:
            yield
            return
        self._spinner.update(what)
        with self._spinner:
            yield

    def now(self, what: str) -> None:
        """Say what a wait is about at this moment; only a terminal shows it."""
        self._spinner.update(what)

    def line(self, text: str) -> None:
        """Print one step."""
        self.console.print(f"[dim]{self.seconds:6.1f} s[/dim]  {text}")

    def ready(self, process: ProcessStatus) -> None:
        """Print that a process is ready."""
        where = f" on port {process.port}" if process.port else ""
        self.line(f"[green]ready[/green]  {process.name}{where}")


def _age(since: str) -> str:
    seconds = int((datetime.fromisoformat(now()) - datetime.fromisoformat(since)).total_seconds())
    minutes, hours = seconds // 60, seconds // 3600
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min" if minutes else f"{seconds} s"


def table(status: Status) -> Table:
    """Return all processes as a table."""
    made = Table("process", "state", "pid", "port", "restarts", "last exit", "MB", "for", box=None, pad_edge=False)
    for process in status.processes:
        colour = _COLOURS[process.state]
        made.add_row(
            process.name,
            f"[{colour}]{process.state}[/{colour}]",
            str(process.pid or "-"),
            str(process.port or "-"),
            str(process.restarts),
            "-" if process.last_exit is None else str(process.last_exit),
            f"{process.rss / 1e6:.0f}" if process.rss else "-",
            _age(process.since),
        )
    return made
