"""The command line of the local stack: ``python -m infra.stack up|down|status|logs``."""

import json
import signal
import time
from dataclasses import asdict
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from infra.stack import console, up
from infra.stack.errors import StackError
from infra.stack.logs import tail
from infra.stack.settings import StackSettings
from infra.stack.status import State, Status

app = typer.Typer(
    help="Real servers, the demo fleet and the product on this machine.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_FOLLOW_S = 0.2

Only = Annotated[list[str] | None, typer.Option(help="Service or group (servers, fleet, product); repeatable.")]


@app.command("up")
def command_up(only: Only = None) -> None:
    """Start everything, wait until it serves and the main job is done."""
    up.up(_settings(), only or [], console.Progress())


@app.command("down")
def command_down() -> None:
    """Stop everything that was started; the data is kept."""
    up.down(_settings(), console.Progress())


@app.command("status")
def command_status(*, as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """Show every process; the exit status is 0 when all of them are ready."""
    status = Status.read(_settings().layout.status)
    if as_json:
        print(json.dumps(asdict(status), indent=1))  # noqa: T201  # this is the command line
    else:
        Console(highlight=False).print(console.table(status))
        print(f"{status.rss / 1e6:.0f} MB in all")  # noqa: T201
    wanted = [process for process in status.processes if process.state is not State.STOPPED]
    if not wanted or not status.supervised or not all(process.is_ready for process in wanted):
        raise typer.Exit(1)


@app.command("logs")
def command_logs(
    name: Annotated[str, typer.Argument(help="Process, e.g. kafka, serve, supervisor.")],
    lines: Annotated[int, typer.Option("--lines", "-n", min=0)] = 50,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f")] = False,
) -> None:
    """Print the last lines of the log of a process."""
    path = _settings().layout.log(name)
    if not path.exists():
        known = ", ".join(sorted(log.stem for log in path.parent.glob("*.log"))) or "none yet"
        message = f"no log of {name!r}: there are {known}"
        raise StackError(message)
    for line in tail(path, lines):
        print(line)  # noqa: T201
    if follow:
        with path.open(encoding="utf-8", errors="replace") as file:
            file.seek(0, 2)
            while True:
                print(file.read(), end="", flush=True)  # noqa: T201
                time.sleep(_FOLLOW_S)


def _settings() -> StackSettings:
    try:
        return StackSettings()
    except ValidationError as error:
        first = error.errors()[0]
        field = "_".join(str(part) for part in first["loc"]).upper()
        named = f"REPLICORE_STACK_{field}={first['input']!r}" if field else "the REPLICORE_STACK_* settings"
        message = f"{named}: {first['msg'].removeprefix('Value error, ')}"
        raise StackError(message) from error


def _fail(sentence: str) -> NoReturn:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {sentence}", markup=False)
    raise SystemExit(1)


def main() -> NoReturn:
    """Run a command; an error is one sentence on stderr and exit status 1."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except StackError as error:
        _fail(str(error))
    except OSError as error:  # disk full, no permission: the system's words say it
        _fail(f"{error.filename or 'the system'}: {error.strerror or error}")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    raise SystemExit(0)
