"""A file of commands with the seconds at which they happen: the same faults at the same moments in every run.

YAML or JSON: a list of ``{at: SECONDS, do: ..., ...}``, or ``{repeat_every_s: SECONDS, steps: [...]}``.
"""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

import yaml

from infra.simulator.commands import Command, parse_command
from infra.simulator.conductor import Conductor
from infra.simulator.errors import CommandError, SimulatorError

log = logging.getLogger(__name__)

STEPS_MAX = 100_000
BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Script:
    """Commands by when they happen, in seconds after the start, and again every so often."""

    steps: tuple[tuple[float, Command], ...] = ()
    repeat_every_s: float | None = None


def read_script(path: Path) -> Script:
    """Read a script.

    Raises:
        SimulatorError: It cannot be read, or a step is wrong; says which.
    """
    try:
        if path.stat().st_size > BYTES_MAX:
            message = f"the script {path} is larger than {BYTES_MAX} bytes"
            raise SimulatorError(message)
        value = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        message = f"cannot read the script {path}: {reason}"
        raise SimulatorError(message) from error
    return parse_script(value, str(path))


def parse_script(value: object, where: str = "the script") -> Script:
    """Read a script's value.

    Raises:
        SimulatorError: It is none; says which step and why.
    """
    repeat = None
    if isinstance(value, dict):
        repeat, value = value.get("repeat_every_s"), value.get("steps")
    if not isinstance(value, list) or len(value) > STEPS_MAX:
        message = f"{where}: it must be a list of at most {STEPS_MAX} steps"
        raise SimulatorError(message)
    if repeat is not None and not (isinstance(repeat, int | float) and repeat > 0):
        message = f"{where}: repeat_every_s must be a number of seconds, not {repeat!r}"
        raise SimulatorError(message)
    return Script(tuple(_step(f"{where}: step {index}", step) for index, step in enumerate(value)), repeat)


class Player:
    """Plays a script."""

    def __init__(self, script: Script, conductor: Conductor) -> None:
        self._script = script
        self._conductor = conductor
        self._timers: list[asyncio.TimerHandle] = []

    def start(self) -> None:
        """Begin at second 0."""
        loop = asyncio.get_running_loop()
        self._timers = [loop.call_later(at, self._do, command) for at, command in self._script.steps]
        if self._script.repeat_every_s is not None:
            self._timers.append(loop.call_later(self._script.repeat_every_s, self.start))

    def close(self) -> None:
        """Stop."""
        for timer in self._timers:
            timer.cancel()

    def _do(self, command: Command) -> None:
        """Carry out a step; what it names may be gone by now."""
        try:
            self._conductor.apply(command)
        except CommandError as error:
            log.warning("a step of the script (%s) was left out: %s", command.do, error)


def _step(where: str, value: object) -> tuple[float, Command]:
    """Read one step."""
    if not isinstance(value, dict):
        message = f"{where} must be an object"
        raise SimulatorError(message)
    at = value.get("at", 0)
    if isinstance(at, bool) or not isinstance(at, int | float) or at < 0:
        message = f"{where}: at must be a number of seconds"
        raise SimulatorError(message)
    try:
        return float(at), parse_command({key: item for key, item in value.items() if key != "at"})
    except CommandError as error:
        message = f"{where}: {error}"
        raise SimulatorError(message) from error
