"""Commands of the product that ``up`` runs, each a process of its own: this package imports none of it."""

import subprocess
import sys
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
JOB = Step("job", "the main job is done", "infra.stack.job", 180, shown=True)


def run(step: Step, settings: StackSettings) -> None:
    """Run a step.

    Raises:
        ServiceFailedError: it failed or took too long; with the last lines of its log.
    """
    log = settings.layout.log(step.name)
    command = (sys.executable, "-m", step.module)
    environment = {**clean_environment(), **settings.as_environment(), **endpoints.environment(settings)}
    try:
        with log.open("wb") as file:
            done = subprocess.run(
                command,
                cwd=PROJECT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=None if step.shown else file,
                stderr=None if step.shown else subprocess.STDOUT,
                timeout=step.within_seconds,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise ServiceFailedError(_sentence(step, f"not done within {step.within_seconds:.0f} s", log)) from error
    if done.returncode != 0:
        raise ServiceFailedError(_sentence(step, f"failed with status {done.returncode}", log))


def _sentence(step: Step, why: str, log: Path) -> str:
    lines = [] if step.shown else tail(log)
    said = "".join(f"\n    {line}" for line in lines)
    return f"the step {step.name!r} ({step.module}) {why}" + (f". The last lines of {log}:{said}" if said else "")
