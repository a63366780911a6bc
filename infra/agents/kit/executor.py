"""The executor: one action at a time, one step per execute interval, every step under a deadline.

An action is stored as RUNNING before its first step, so that a crash leaves it RUNNING and the next process goes on
with the payload last stored. A step that raises, hangs or returns what is not JSON ends its action FAILED; a failure of
our own file leaves it as it is and is tried again.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import orjson

from infra.agents.kit.actions import ActionStore
from infra.agents.kit.errors import ActionError, AgentError, error_details
from infra.agents.kit.handlers import Handlers, Step, StepContext
from infra.agents.kit.models import Action, Json, Phase, microseconds

log = logging.getLogger(__name__)

PAYLOAD_BYTES_MAX = 256 * 1024
PRUNE_INTERVAL = 10.0
STOP_GRACE = 2.0


class Executor:
    """Runs the actions of one agent until it is stopped."""

    def __init__(
        self, store: ActionStore, handlers: Handlers, clock: Callable[[], datetime], interval: float, deadline: float
    ) -> None:
        """Take the `interval` between steps and the `deadline` of one step, both in seconds."""
        self._store = store
        self._handlers = handlers
        self._clock = clock
        self._interval = interval
        self._deadline = deadline
        self._nudge = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work in the background."""
        self._task = asyncio.create_task(self._run(), name="executor")

    def nudge(self) -> None:
        """Say that there is something to do: a step may start before the idle wait is over."""
        self._nudge.set()

    async def stop(self, grace: float = STOP_GRACE) -> None:
        """Let the step under way end, briefly; an unfinished action stays RUNNING for the next process."""
        self._stopping.set()
        self._nudge.set()
        if self._task is None:
            return
        await asyncio.wait({self._task}, timeout=grace)
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def knows(self, kind: str) -> bool:
        """Say whether this agent has actions of a kind."""
        return kind in self._handlers

    async def turn(self) -> bool:
        """Do one step of the action whose turn it is; false when there is none."""
        action = await self._store.next()
        if action is None:
            return False
        if action.phase is Phase.NEW:
            action = await self._store.save(action, Phase.RUNNING, None, None, self._now_us())
        step = await self._step(action)
        await self._store.save(action, step.phase, step.payload, step.error, self._now_us())
        if step.phase.final:
            log.info("action %s (%s) is %s", action.id, action.kind, step.phase.value)
        return True

    async def _run(self) -> None:
        """Work, then wait: the interval after a step, a nudge when idle."""
        prune_at = 0.0
        monotonic = asyncio.get_running_loop().time
        while not self._stopping.is_set():
            try:
                self._nudge.clear()
                worked = await self.turn()
                if monotonic() >= prune_at:
                    await self._store.prune(self._now_us())
                    prune_at = monotonic() + PRUNE_INTERVAL
            except (sqlite3.Error, ValueError):
                log.exception("the actions' file failed; trying again")
                worked = True
            wait = max(self._interval, 0.0) if worked else PRUNE_INTERVAL
            event = self._stopping if worked else self._nudge
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), wait)

    async def _step(self, action: Action) -> Step:
        """Run one step; whatever goes wrong becomes a FAILED step that keeps the last payload."""
        try:
            return _checked(await self._bounded(action))
        except AgentError as error:
            failure: Exception = error
        except Exception as error:
            log.warning("action %s (%s) raised", action.id, action.kind, exc_info=error)
            failure = error
        details: dict[str, Json] = {}
        for key, value in error_details(failure).items():
            details[key] = list(value) if isinstance(value, list) else str(value)
        return Step(Phase.FAILED, action.payload, details)

    async def _bounded(self, action: Action) -> Step:
        """Run the handler's step, but never longer than the deadline, even when it ignores being cancelled."""
        handler = self._handlers.get(action.kind)
        if handler is None:
            message = f"this agent no longer knows actions of kind {action.kind}"
            raise ActionError(message)
        context = StepContext(action.id, self._clock())
        task = asyncio.ensure_future(handler.step(action.args, action.payload, context))
        try:
            finished, _ = await asyncio.wait({task}, timeout=self._deadline)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if finished and task.cancelled():
            message = "the step cancelled itself"
            raise ActionError(message)
        if finished:
            return task.result()
        task.cancel()
        task.add_done_callback(_forget)
        message = f"the step took longer than {self._deadline:g} s; whether it had an effect is not known"
        raise ActionError(message)

    def _now_us(self) -> int:
        """Return the agent's clock."""
        return microseconds(self._clock())


def _checked(step: Step) -> Step:
    """Refuse a step whose payload cannot be stored."""
    if step.phase is Phase.NEW:
        message = "the step set its action back to NEW"
        raise ActionError(message)
    try:
        size = len(orjson.dumps([step.payload, step.error]))
    except TypeError as error:
        message = "the step's payload is not JSON"
        raise ActionError(message) from error
    if size > PAYLOAD_BYTES_MAX:
        message = f"the step's payload is {size} bytes; the limit is {PAYLOAD_BYTES_MAX}"
        raise ActionError(message)
    return step


def _forget(task: asyncio.Future[Step]) -> None:
    """Look at an abandoned step's outcome, so that it is not reported as never retrieved."""
    if not task.cancelled():
        task.exception()
