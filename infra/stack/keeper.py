"""The keeper: restarts the supervisor when it dies, as the supervisor restarts the keeper.

Small on purpose: it waits in the kernel for the end of one process, and does nothing else.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from infra.stack.layout import PROJECT, Layout
from infra.stack.processes import MARK, Process

_FOREIGN_PREFIXES = ("PREFECT_", "REPLICORE_")
_FOREIGN = {
    "PYTHONDONTWRITEBYTECODE",
    "CLASSPATH",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    "PYTHONPATH",
    "PYTHONHOME",
}
_SETTLED_AFTER_S = 10.0
_DELAY_MAX_S = 10.0
_WAIT_S = 3600.0
_START_WITHIN_S = 60.0


def clean_environment() -> dict[str, str]:
    """Return our environment without settings of other Prefect, Java and Replicante Core set-ups."""
    return {
        key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN_PREFIXES) and key not in _FOREIGN
    }


def start_supervisor(layout: Layout) -> None:
    """Start a supervisor that outlives us and the terminal; return when it is there.

    The process started here is only the parent of the daemon; it ends when the daemon takes signals,
    or at once when there is another supervisor.
    """
    layout.create()
    with layout.log("supervisor").open("ab") as log:
        subprocess.run(
            [sys.executable, "-m", "infra.stack.supervisor", str(layout.root)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=PROJECT,
            env={**clean_environment(), "PYTHONUNBUFFERED": "1", MARK: f"{layout.root}:supervisor"},
            start_new_session=True,
            timeout=_START_WITHIN_S,
            check=False,
        )


def keep(layout: Layout) -> None:
    """Watch the supervisor until the stack is stopped."""
    started, delay = time.monotonic(), 0.0
    while not layout.stopping.exists():
        supervisor = Process.read(layout.pid_file("supervisor"))
        if supervisor is not None:
            supervisor.wait(_WAIT_S)
            continue
        time.sleep(delay)
        lived = time.monotonic() - started
        delay = 0.0 if lived >= _SETTLED_AFTER_S else min(2 * delay + 0.1, _DELAY_MAX_S)
        started = time.monotonic()
        start_supervisor(layout)


if __name__ == "__main__":
    keep(Layout(Path(sys.argv[1])))
