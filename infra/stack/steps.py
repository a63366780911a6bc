"""Commands of the product that ``up`` runs, each a process of its own: this package imports none of it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.stack import endpoints
from infra.stack.errors import ServiceFailedError
from infra.stack.keeper import clean_environment
from infra.stack.layout import PROJECT
from infra.stack.logs import tail
from infra.stack.settings import StackSettings


@dataclass(frozen=True, slots=True)
class Step:
    """One command, run to its end."""

    name: str
    title: str
    module: str
    within_seconds: float
    shown: bool = False
    """Whether people see what it prints; otherwise it goes to a log file."""


REGISTER = Step("register", "blocks, topics, indexes and deployments registered", "deployments.register", 90)
JOB = Step("job", "the main job is done", "infra.stack.job", 420, shown=True)
"""Half a minute on two free cores; a machine that does much else takes minutes."""


class RunningStep:
    """A step that has been started."""

    def __init__(self, step: Step, settings: StackSettings) -> None:
        self._step = step
        self._log = settings.layout.log(step.name)
        self._ends = time.monotonic() + step.within_seconds
        environment = {**clean_environment(), **settings.as_environment(), **endpoints.environment(settings)}
        with self._log.open("wb") as file:
            self._process = subprocess.Popen(
                (sys.executable, "-m", step.module),
                cwd=PROJECT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=None if step.shown else file,
                stderr=None if step.shown else subprocess.STDOUT,
            )

    def finish(self) -> None:
        """Wait for its end.

        Raises:
            ServiceFailedError: it failed or took too long; with the last lines of its log.
        """
        try:
            status = self._process.wait(max(0.0, self._ends - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            why = (
                f"was not done within {self._step.within_seconds:.0f} s: the same command again goes on where it stood"
            )
            raise ServiceFailedError(_sentence(self._step, why, self._log)) from error
        if status != 0:
            raise ServiceFailedError(_sentence(self._step, f"failed with status {status}", self._log))

    def abandon(self) -> None:
        """End it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@contextmanager
def started(step: Step, settings: StackSettings) -> Iterator[RunningStep]:
    """Start a step beside other things; it does not outlive the block."""
    running = RunningStep(step, settings)
    try:
        yield running
    finally:
        running.abandon()


def _sentence(step: Step, why: str, log: Path) -> str:
    lines = [] if step.shown else tail(log)
    said = "".join(f"\n    {line}" for line in lines)
    return f"the step {step.name!r} ({step.module}) {why}" + (f". The last lines of {log}:{said}" if said else "")
