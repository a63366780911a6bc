"""`replictl`: the command line, its global options, and what an error means for the exit code.

0: done. 1: it failed, and stderr says why in a sentence. 2: wrong usage. 130: interrupted. Commands import flows and client
libraries only when they need them, so that help and wrong usage cost nothing and reading needs no Prefect server.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from blocks.errors import ReplicoreError
from deployments.cli import (
    acknowledge,
    actions,
    admin,
    apply,
    approvals,
    audit,
    catalogue,
    cluster_page,
    clusters,
    cycles,
    describe,
    doctor,
    environment,
    events,
    export,
    gates,
    history,
    locks,
    nodes,
    objects,
    problems,
    rolling,
    schedule,
    schema,
    sources,
    status,
    topology,
    wait,
    why,
    work,
)
from deployments.cli.arguments import arranged
from deployments.cli.output import Format, say
from deployments.cli.session import Cli
from deployments.cli.world import World

DEFAULT_FLEET = "replicore"
FAILED, USAGE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="replictl",
    help="See and change a fleet of data stores. Global options may stand before or behind the command.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def root(
    context: typer.Context,
    output: Annotated[
        Format, typer.Option("--output", "-o", case_sensitive=False, help="For people or for machines.")
    ] = Format.TABLE,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace", "-n", envvar="REPLICTL_NAMESPACE", help="List only what is in it; of names without one."
        ),
    ] = None,
    fleet: Annotated[
        str, typer.Option(envvar="REPLICTL_FLEET", help="Name of the Fleet block in Prefect.")
    ] = DEFAULT_FLEET,
    timeout: Annotated[
        float | None, typer.Option(min=0.1, max=600, metavar="SECONDS", help="How long a server may take to answer.")
    ] = None,
    *,
    verbose: Annotated[bool, typer.Option("--verbose", help="Logs and tracebacks.")] = False,
) -> None:
    """Take the global options, and find the servers before anything is imported that looks for them."""
    world: World = context.obj
    world.environ.setdefault("DO_NOT_TRACK", "1")  # Prefect would show a notice and report this as its first use
    quiet(world, verbose=verbose)
    environment.load(world.environ, world.folder)
    if timeout is not None:
        environment.set_deadline(world.environ, timeout)
    source = context.get_parameter_source("namespace")
    given = source is not None and source.name == "COMMANDLINE"
    context.obj = Cli(world, output, namespace or None, fleet, timeout, verbose, namespace_given=given)


def quiet(world: World, *, verbose: bool) -> None:
    """Keep logs off the screen of whoever wants an answer. Prefect's go to its server all the same."""
    if verbose:
        logging.basicConfig(level=logging.INFO)
        return
    logging.basicConfig(handlers=[logging.NullHandler()])
    world.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    world.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")


for command in (
    status.status, clusters.clusters, nodes.nodes, topology.topology, problems.problems,
    actions.actions, actions.action, events.events,
    apply.apply, actions.approve, actions.reject, actions.cancel, actions.retry,
    cycles.orchestrate, cycles.observe, cycles.act, cycles.discover,
    wait.wait, sources.sources,
):  # fmt: skip
    app.command()(command)
app.command()(objects.get)
app.command()(describe.describe)
app.command()(cluster_page.cluster)
app.command()(approvals.approvals)
app.command()(audit.audit)
app.command()(doctor.doctor)
app.command()(history.history)
app.command()(history.diff)
app.command()(export.export)
app.command()(objects.delete)
app.command()(acknowledge.acknowledge)
app.command()(schedule.pause)
app.command()(schedule.resume)
app.command()(gates.windows)
app.command()(gates.freeze)
app.command()(gates.unfreeze)
app.command()(rolling.roll)
app.command()(rolling.rolling)
app.command()(why.why)
app.command()(catalogue.catalogue)
app.command()(schema.schema)
app.add_typer(locks.locks_app, name="locks")
app.add_typer(work.work_app, name="work")
app.add_typer(gates.window_app, name="window")
app.add_typer(admin.admin_app, name="admin")


def run(arguments: Sequence[str] | None = None, world: World | None = None) -> int:
    """Run a command.

    Args:
        arguments: what follows the program's name; None means those of this process.
        world: its surroundings; None means the real ones.

    Returns:
        The exit code.
    """
    words = arranged(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(words, prog_name="replictl", standalone_mode=False, obj=world or World.real())
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        _close_stdout()
        return FAILED
    except Exception as error:  # noqa: BLE001 - whatever it is, a person reads it
        return _failed(error, verbose="--verbose" in words)
    return code if isinstance(code, int) else 0


def _failed(error: Exception, *, verbose: bool) -> int:
    """Say it on stderr; returns the exit code."""
    if isinstance(error, TyperException):
        if not error.format_message():  # the help was asked for by saying nothing, and has been shown
            return error.exit_code
        say(f"error: {error.format_message()}\nTry `replictl --help`, or `replictl COMMAND --help`.")
        return error.exit_code
    if verbose:
        traceback.print_exception(error)
    if isinstance(error, ReplicoreError):
        say(f"error: {error}")
    else:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        say(f"error: this is a bug in replictl, please report it: {what}{'' if verbose else '; --verbose shows where'}")
    return FAILED


def _close_stdout() -> None:
    """Whoever read our output has left: write the rest nowhere, so that the interpreter ends without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(run())
