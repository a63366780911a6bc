"""How a flow of plain values becomes an async function of connected services, and what a signal means to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

import uvloop
from prefect.context import AsyncClientContext
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run

from blocks.fleet import DEFAULT_FLEET, Connections, connect
from flows.audit import audited
from tasks.decide.audit import Command
from tasks.decide.people import NOBODY

T = TypeVar("T")

_logger = logging.getLogger("replicore.entry")

FLEET = DEFAULT_FLEET
"""Name of the `Fleet` block that flows use unless told otherwise."""


def utc_now() -> datetime:
    """The present: read here and in entry points, passed down as an argument everywhere else."""
    return datetime.now(UTC)


def who(by: str | None) -> str:
    """Who a change is attributed to: the name given, or the flow run that makes it."""
    return by or f"{NOBODY}{flow_run.name or 'outside Prefect'}"


def run(
    sentence: Callable[[Connections], Awaitable[T]],
    fleet: str,
    *,
    command: Command | None = None,
    on_sigterm: Callable[[], None] | None = None,
) -> T:
    """Connect lazily, run the async part of a flow to its end, and close everything in order.

    Works from a plain program and from one with a running event loop (a notebook): then in a thread of its own.

    Args:
        sentence: the flow's async function of connections.
        fleet: name of the `Fleet` block with the settings.
        command: what a person told us to do by it, for the audit.
        on_sigterm: what SIGTERM does, instead of cancelling the sentence (its `finally` blocks run) and ending the run.
    """

    async def main() -> T:
        async with _one_client(), connect(fleet, flow_run_id=flow_run.id) as connections:
            if command is None:
                return await sentence(connections)
            async with audited(await connections.store(), command, utc_now):
                return await sentence(connections)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(main, on_sigterm)
    return _in_thread(main)


@contextlib.asynccontextmanager
async def _one_client() -> AsyncIterator[None]:
    """One client of Prefect for all task runs of this run: each would make its own otherwise, which holds up the event loop
    for 20 ms (the certificates are read anew). Without Prefect nothing is shared, and nothing fails for it.
    """
    async with contextlib.AsyncExitStack() as stack:
        if flow_run.id is not None:
            try:
                await stack.enter_async_context(AsyncClientContext.get_or_create())
            except Exception as error:  # noqa: BLE001 - whatever it is, task runs can do without
                _logger.warning("Prefect does not answer, task runs ask it one by one: %s", type(error).__name__)
        yield


def _run(main: Callable[[], Coroutine[Any, Any, T]], on_sigterm: Callable[[], None] | None) -> T:
    terminated: list[int] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loop = runner.get_loop()
        task = loop.create_task(main())

        def terminate() -> None:
            if on_sigterm is not None:
                on_sigterm()
            else:
                terminated.append(signal.SIGTERM)
                task.cancel()

        async def wait() -> T:
            return await task

        with _sigterm(loop, terminate):
            try:
                return runner.run(wait())
            except asyncio.CancelledError:
                if terminated:
                    raise TerminationSignal(signal.SIGTERM) from None
                raise


@contextlib.contextmanager
def _sigterm(loop: asyncio.AbstractEventLoop, handler: Callable[[], None]) -> Any:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    loop.add_signal_handler(signal.SIGTERM, handler)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)


def _in_thread(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only notebooks come here
    from contextvars import copy_context  # noqa: PLC0415 - the same

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(copy_context().run, _run, main, None).result()
