"""The surroundings of a command: servers, flows, clock, environment.

Tests make a `World` of doubles; `World.real` is the only place that knows the live parts, and imports them when needed.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from blocks.account import account
from blocks.coordinator.protocol import Coordinator
from blocks.event_bus.protocol import EventBus
from blocks.secrets.protocol import Secrets
from blocks.store.protocol import Store
from blocks.work_queue.protocol import WorkQueue

if TYPE_CHECKING:
    from blocks.fleet import Fleet


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

    async def secrets(self) -> Secrets:
        """What must not be shown."""

    @property
    def events_keep_days(self) -> int:
        """For how many days events are kept at least."""


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
            clock=lambda: datetime.now(UTC),
            environ=os.environ,
            folder=Path.cwd(),
            user=f"{account()}@{socket.gethostname()}",
        )


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
        "mongodb": ("timeout_s",),
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
