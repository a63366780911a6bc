"""What commands are given: the surroundings (servers, flows, clock, environment) and the global options.

Tests make a `World` of doubles; `World.real` is the only place that knows the live parts, and imports them when needed.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import typer

from blocks.coordinator.protocol import Coordinator
from blocks.errors import DependencyUnavailableError
from blocks.event_bus.protocol import EventBus
from blocks.store.protocol import Store
from blocks.work_queue.protocol import WorkQueue
from deployments.cli.output import Answer, Format, console, drawn, show

if TYPE_CHECKING:
    from blocks.fleet import Fleet

T = TypeVar("T")

PREFECT_WITHIN_S = 5.0


class Parts(Protocol):
    """The live parts of a fleet, each connected when it is first asked for (`blocks.fleet.Connections`)."""

    async def coordinator(self) -> Coordinator:
        """Claims across processes."""

    async def store(self) -> Store:
        """The truth."""

    async def work_queue(self) -> WorkQueue:
        """Pointers to work."""

    async def event_bus(self) -> EventBus:
        """What changed."""


@dataclass(frozen=True, slots=True)
class World:
    """The surroundings of a command."""

    connect: Callable[[str, float | None], AbstractAsyncContextManager[Parts]]
    """By name of a fleet, its parts; with a number, none of their calls waits longer than so many seconds."""
    flow: Callable[[str], Callable[..., Any]]
    """By name, a flow: called with plain values it runs here, as an audited flow run."""
    prefect: Callable[[float], Awaitable[str]]
    """Returns the address of the Prefect API once that answers; raises when it does not within so many seconds."""
    clock: Callable[[], datetime]
    environ: MutableMapping[str, str]
    folder: Path
    """Where the command was given."""
    user: str
    """Who gave it, `user@host`."""

    @classmethod
    def real(cls) -> World:
        """The world outside."""
        return cls(
            connect=_Fleets().connect,
            flow=lambda name: getattr(import_module(f"flows.{name}"), name),
            prefect=_prefect,
            clock=lambda: datetime.now(UTC),  # noqa: TID251 - this is where time comes in
            environ=os.environ,
            folder=Path.cwd(),
            user=f"{getpass.getuser()}@{socket.gethostname()}",
        )


@dataclass(frozen=True, slots=True)
class Cli:
    """What every command works with: its surroundings and the global options."""

    world: World
    form: Format
    namespace: str | None
    fleet: str
    timeout_s: float | None
    verbose: bool

    @classmethod
    def of(cls, context: typer.Context) -> Cli:
        """What the command's context holds."""
        found = context.find_object(cls)
        if found is None:
            message = "a command ran without its global options"
            raise RuntimeError(message)
        return found

    def run(self, job: Callable[[Parts], Coroutine[Any, Any, T]]) -> T:
        """Connect, do something with the parts, let go of them."""

        async def main() -> T:
            async with self.world.connect(self.fleet, None) as parts:
                return await job(parts)

        return asyncio.run(main())

    def answer(self, read: Callable[[Parts], Coroutine[Any, Any, Answer]], watch_s: float | None = None) -> None:
        """Read something and show it, once or again and again.

        Raises:
            typer.Exit: what was read calls for an exit code other than 0.
        """
        if watch_s is not None:
            self.run(lambda parts: self._watch(parts, read, watch_s))
        answer = self.run(read)
        show(answer, self.form)
        if answer.code:
            raise typer.Exit(answer.code)

    async def _watch(self, parts: Parts, read: Callable[[Parts], Awaitable[Answer]], every_s: float) -> None:
        """Until interrupted. An absent server is said, and tried again."""
        terminal = console()
        live = terminal.is_terminal and self.form is Format.TABLE
        with _screen(live=live) as put:
            last: Answer | None = None
            while True:
                try:
                    last = await read(parts)
                    trouble = ""
                except DependencyUnavailableError as error:
                    trouble = str(error)
                put(last, trouble, self.form)
                await asyncio.sleep(every_s)

    def run_flow(self, name: str, **parameters: Any) -> Any:
        """Run a flow in this process."""
        return self.world.flow(name)(**parameters, fleet=self.fleet)

    def need_prefect(self) -> None:
        """Make sure, before a change, that the Prefect API answers: without it Prefect would start a server of its own.

        Raises:
            DependencyUnavailableError: it does not.
        """
        within_s = PREFECT_WITHIN_S if self.timeout_s is None else self.timeout_s

        async def ask() -> None:
            await self.world.prefect(within_s)

        asyncio.run(ask())


class _screen:  # noqa: N801 - used as a function
    """Where watched answers go: the same spot of a terminal, or one below the other."""

    def __init__(self, *, live: bool) -> None:
        self._live: Any = None
        if live:
            from rich.live import Live  # noqa: PLC0415 - only terminals need it

            self._live = Live(console=console(), auto_refresh=False, vertical_overflow="visible")

    def __enter__(self) -> Callable[[Answer | None, str, Format], None]:
        if self._live is not None:
            self._live.start()
        return self._put

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _put(self, answer: Answer | None, trouble: str, form: Format) -> None:
        from rich.text import Text  # noqa: PLC0415 - imported already by then

        from deployments.cli.output import say  # noqa: PLC0415 - the same

        if self._live is not None:
            said = [Text(trouble, style="bold red")] if trouble else []
            self._live.update(drawn([*(answer.blocks if answer is not None else ()), *said]), refresh=True)
        elif trouble:
            say(trouble)
        elif answer is not None:
            show(answer, form, compact=True)


class _Fleets:
    """Live parts of fleets; the settings of each are looked up once."""

    def __init__(self) -> None:
        self._settings: dict[str, Fleet] = {}
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def connect(self, name: str, limit_s: float | None) -> AsyncIterator[Parts]:
        from blocks.fleet import connect, settings_of  # noqa: PLC0415 - imports Prefect and every client library

        async with self._lock:
            if name not in self._settings:
                self._settings[name] = await settings_of(name)
        settings = self._settings[name]
        async with connect(settings if limit_s is None else hurried(settings, limit_s)) as connections:
            yield connections


def hurried(settings: Fleet, limit_s: float) -> Fleet:
    """The same servers, with no call waiting longer than so many seconds."""
    fields = {
        "zookeeper": ("connect_timeout_s", "request_timeout_s"),
        "mongodb": ("timeout_s", "server_selection_timeout_s"),
        "kafka": ("request_timeout_s", "message_timeout_s"),
    }
    parts = {
        name: (part := getattr(settings, name)).model_copy(
            update={field: min(limit_s, getattr(part, field)) for field in names}
        )
        for name, names in fields.items()
    }
    return settings.model_copy(update=parts)


async def _prefect(within_s: float) -> str:
    from prefect.settings import get_current_settings  # noqa: PLC0415 - costs a second

    from deployments.prefect_api import wait_for_prefect  # noqa: PLC0415 - the same

    await wait_for_prefect(within_s)
    return str(get_current_settings().api.url)
