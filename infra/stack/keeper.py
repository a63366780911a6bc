"""The keeper: restarts the supervisor when it dies. (The supervisor restarts the keeper.)

Small on purpose: it waits in the kernel for the end of one process, and does nothing else.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from infra.stack.layout import PROJECT, Layout
from infra.stack.processes import Process

_SETTLED_AFTER_S = 10.0
_DELAY_MAX_S = 10.0
_WAIT_S = 3600.0


def start_supervisor(layout: Layout) -> subprocess.Popen[bytes]:
    """Start a supervisor that outlives its parent and the terminal."""
    layout.create()
    with layout.log("supervisor").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "infra.stack.supervisor", str(layout.root)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=PROJECT,
            start_new_session=True,
        )


def keep(layout: Layout) -> None:
    """Watch the supervisor until the stack is stopped."""
    child: subprocess.Popen[bytes] | None = None
    delay = 0.0
    while not layout.stopping.exists():
        supervisor = Process.read(layout.pid_file("supervisor"))
        began = time.monotonic()
        if supervisor is not None:
            supervisor.wait(_WAIT_S)
            continue
        if child is not None:
            child.wait()
            delay = 0.0 if time.monotonic() - began >= _SETTLED_AFTER_S else min(2 * delay + 0.1, _DELAY_MAX_S)
            time.sleep(delay)
        child = start_supervisor(layout)
        _wait_for_pid_file(layout, child)


def _wait_for_pid_file(layout: Layout, child: subprocess.Popen[bytes]) -> None:
    """Wait until the new supervisor says who it is, or has given up."""
    while child.poll() is None and Process.read(layout.pid_file("supervisor")) is None:
        time.sleep(0.02)


if __name__ == "__main__":
    keep(Layout(Path(sys.argv[1])))
