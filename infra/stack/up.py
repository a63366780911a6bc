"""``up``: from nothing to a fleet that is looked after; run again, it checks and adds what misses."""

import shutil
from collections.abc import Sequence
from contextlib import nullcontext

from infra.stack import compose, control, endpoints, steps
from infra.stack.console import Progress, table
from infra.stack.context import Context
from infra.stack.errors import StackError
from infra.stack.processes import Process
from infra.stack.service import Service
from infra.stack.settings import StackSettings
from infra.stack.status import Status

_READY_WITHIN_S = 150.0
_DISK_MIN_BYTES = 100_000_000
_SLOWEST = "prefect"
_EVERYTHING = ("servers", "fleet", "product")


def up(settings: StackSettings, only: Sequence[str], progress: Progress) -> None:
    """Start what is asked for and wait until it serves.

    What this call has started is stopped again when it fails; what ran before goes on.

    Raises:
        StackError: something could not be started; the sentence says what and why.
    """
    names = compose.expand(only or _EVERYTHING)
    layout = settings.layout
    with control.exclusive(layout):
        ran_before = control.is_running(layout)
        try:
            _start(settings, names, progress)
        except BaseException:
            if not ran_before and control.is_running(layout):
                progress.line("stopping what was started")
                control.stop(layout)
            raise
        _report(settings, names, progress)


def _start(settings: StackSettings, names: tuple[str, ...], progress: Progress) -> None:
    product = tuple(name for name in names if name in compose.PRODUCT)
    rest = tuple(name for name in names if name not in product)
    control.check_ports(names, settings)
    _check_disk(settings)
    context = Context(settings, progress.now, progress.line)
    endpoints.write(settings)
    with progress.waiting("preparing"):
        for service in compose.services(context, rest):
            control.add([service], settings.layout)
    if not product:
        _wait(rest, settings, progress)
        return
    again = _serves_already(list(compose.services(context, product)), settings)
    if not again:
        _wait([name for name in rest if name != _SLOWEST], settings, progress)
        with steps.started(steps.REGISTER, settings) as register:  # it waits for Prefect by itself
            _wait([_SLOWEST], settings, progress)
            _finish(register, steps.REGISTER, progress)
    control.add(compose.services(context, product), settings.layout)
    _wait((*rest, *product) if again else product, settings, progress)
    with steps.started(steps.JOB, settings) as job:
        _finish(job, steps.JOB, progress)


def _check_disk(settings: StackSettings) -> None:
    settings.layout.root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.layout.root).free
    if free < _DISK_MIN_BYTES:
        wanted = f"the stack needs {_DISK_MIN_BYTES / 1e6:.0f} MB"
        message = f"only {free / 1e6:.0f} MB are free where {settings.layout.root} is, {wanted}"
        raise StackError(message)


def _serves_already(product: Sequence[Service], settings: StackSettings) -> bool:
    """Whether the product runs as described: then all that it needs has been registered."""
    running = [Process.read(settings.layout.pid_file(service.name)) for service in product]
    return all(
        process is not None and process.spec == service.digest
        for process, service in zip(running, product, strict=True)
    )


def _wait(names: Sequence[str], settings: StackSettings, progress: Progress) -> None:
    with progress.waiting(f"waiting for {', '.join(names)}"):
        control.wait_ready(names, settings.layout, _READY_WITHIN_S, progress.ready)


def _finish(running: steps.RunningStep, step: steps.Step, progress: Progress) -> None:
    with progress.waiting(step.title) if not step.shown else nullcontext():
        running.finish()
    progress.line(step.title)


def _report(settings: StackSettings, names: tuple[str, ...], progress: Progress) -> None:
    status = Status.read(settings.layout.status)
    progress.console.print()
    if compose.PRODUCT[0] not in names:  # otherwise the main job has shown what matters
        progress.console.print(table(status))
        progress.console.print()
    if "prefect" in names:
        progress.console.print(f"Prefect    http://{settings.host}:{settings.prefect_port}")
    progress.console.print(f"Addresses  {settings.layout.env}")
    size = f"{len(status.processes)} processes, {status.rss / 1e6:.0f} MB"
    progress.console.print(f"Up in {progress.seconds:.1f} s: {size}. `make down` stops everything.")


def down(settings: StackSettings, progress: Progress) -> None:
    """Stop everything that this stack started, and nothing else.

    Raises:
        StackError: another ``up`` or ``down`` is at work, or a process could not be stopped.
    """
    layout = settings.layout
    with control.exclusive(layout):
        if not control.is_running(layout):
            progress.line("nothing was running")
            return
        with progress.waiting("stopping"):
            control.stop(layout)
        if control.is_running(layout):
            message = f"some processes of {layout.root} could not be stopped: see {layout.log('supervisor')}"
            raise StackError(message)
        progress.line("everything is stopped; the data is kept")
