"""What a consumer of the event bus sees, and when: a thread that follows the bus while others hurt the fleet."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass

from blocks.fleet import Fleet, connect
from blocks.models.event import Event
from flows.entry import utc_now
from infra.bench.errors import BenchError

STATUS = "io.replicante.node.status-changed.v1"
READY_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Received:
    """An event as a consumer got it."""

    event: Event
    at: float
    """On the monotonic clock of this machine."""
    age_s: float
    """Since the time that the event says, when its cycle saved it."""

    @property
    def node(self) -> str | None:
        """Which node it is about."""
        return str(self.event.data.get("node_id")) if "node_id" in self.event.data else None

    @property
    def after(self) -> str | None:
        """The status after it, of a status that changed."""
        after = self.event.data.get("after")
        return after if isinstance(after, str) else None


class Follower(threading.Thread):
    """Follows the bus until it is stopped."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(name="follower", daemon=True)
        self._environment = environment
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self.ready = threading.Event()
        self.received: list[Received] = []
        self.failed: Exception | None = None

    def run(self) -> None:
        """Follow."""
        try:
            asyncio.run(self._follow())
        except asyncio.CancelledError:
            return
        except Exception as error:  # noqa: BLE001 - told to who waits
            self.failed = error
        finally:
            self.ready.set()

    def stop(self) -> None:
        """Follow no more."""
        if self._loop is not None and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        self.join(READY_WITHIN_S)

    def died(self, since: float) -> dict[str, float]:
        """By node, when it was first told as not healthy after a moment."""
        found: dict[str, float] = {}
        for one in tuple(self.received):
            if one.event.type == STATUS and one.at >= since and one.after != "HEALTHY" and one.node is not None:
                found.setdefault(one.node, one.at)
        return found

    def ages_s(self, since: float) -> list[float]:
        """How old events were when they arrived."""
        return [one.age_s for one in tuple(self.received) if one.at >= since]

    async def _follow(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        settings = Fleet().with_environment(self._environment)
        async with connect(settings) as connections:
            bus = await connections.event_bus()
            await bus.ready()
            self.ready.set()
            async with aclosing(bus.follow()) as events:
                async for event in events:
                    age_s = (utc_now() - event.time).total_seconds()
                    self.received.append(Received(event, time.monotonic(), age_s))


@contextmanager
def following(environment: Mapping[str, str]) -> Iterator[Follower]:
    """Follow the bus of a stack for the time of the block.

    Raises:
        BenchError: the bus cannot be followed.
    """
    follower = Follower(environment)
    follower.start()
    try:
        if not follower.ready.wait(READY_WITHIN_S) or follower.failed is not None:
            message = f"the event bus cannot be followed: {follower.failed}"
            raise BenchError(message)
        yield follower
    finally:
        follower.stop()
