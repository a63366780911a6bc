"""The composition root: one `Fleet` block with the settings of every part, and connections made when first used.

The settings come from the Prefect block of the given name, each field overridden by `REPLICORE_*` variables. A process
whose environment names the servers needs no Prefect to read the fleet. Whoever needs one part pays for one part.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from prefect.settings import get_current_settings
from pydantic import Field, ValidationError

from blocks.agents.protocol import Agents
from blocks.agents.settings import AgentsSettings
from blocks.coordinator.protocol import Coordinator
from blocks.coordinator.settings import ZooKeeper
from blocks.errors import DependencyUnavailableError, Fault, InvalidInputError
from blocks.event_bus.protocol import EventBus
from blocks.event_bus.settings import EventBusSettings
from blocks.kafka.settings import Kafka
from blocks.metrics.protocol import Metrics, NoMetrics
from blocks.metrics.settings import MetricsSettings, folder_of
from blocks.runs.protocol import Runs
from blocks.secrets.protocol import Secrets
from blocks.settings import Settings
from blocks.sources.platforms_protocol import Platforms
from blocks.sources.protocol import Sources
from blocks.sources.settings import SourcesSettings
from blocks.sources.webhooks_protocol import Webhooks
from blocks.store.protocol import Store
from blocks.store.settings import MongoDb
from blocks.work_queue.protocol import WorkQueue
from blocks.work_queue.settings import WorkQueueSettings

if TYPE_CHECKING:
    from blocks.tls.contexts import TlsContexts

DEFAULT_FLEET = "replicore"
PREFECT_WITHIN_S = 15.0
"""How long reading the block may take, in seconds."""

T = TypeVar("T")


class Workers(Settings):
    """How shifts work. Environment: `REPLICORE_WORKERS_<FIELD>`."""

    _block_type_name = "Replicore Workers"
    _block_type_slug = "replicore-workers"
    part: ClassVar[str] = "WORKERS"

    seats: int = Field(default=2, ge=1, le=1_000, description="How many shifts work at once, on all machines together")
    shift_s: float = Field(default=600.0, ge=5, le=86_400, description="How long a shift lasts, in seconds")
    batch_max: int = Field(default=100, ge=1, le=1_000, description="Most clusters in one batch")
    batches_parallel: int = Field(default=2, ge=1, le=64, description="Batches that a worker runs at once")
    drain_s: float = Field(
        default=15.0, ge=0, le=600, description="How long running batches may take to end at the end of a shift"
    )
    collect_after: int = Field(
        default=20_000,
        ge=0,
        le=10_000_000,
        description="New objects after which Python looks for garbage; 0 leaves it as Python has it (700, twice the CPU)",
    )
    attempts_max: int = Field(
        default=8, ge=1, le=1_000, description="Failures in a row after which a work item is dead"
    )


class Fleet(Settings):
    """Everything that Replicante Core needs to know about its surroundings."""

    _block_type_name = "Replicore Fleet"
    _block_type_slug = "replicore-fleet"
    _description = "Where ZooKeeper, MongoDB, Kafka and the agents of a fleet are, and how shifts work."
    part: ClassVar[str] = "FLEET"

    zookeeper: ZooKeeper = Field(default_factory=ZooKeeper)
    mongodb: MongoDb = Field(default_factory=MongoDb)
    kafka: Kafka = Field(default_factory=Kafka)
    work_queue: WorkQueueSettings = Field(default_factory=WorkQueueSettings)
    event_bus: EventBusSettings = Field(default_factory=EventBusSettings)
    agents: AgentsSettings = Field(default_factory=AgentsSettings)
    sources: SourcesSettings = Field(default_factory=SourcesSettings)
    workers: Workers = Field(default_factory=Workers)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)

    def with_environment(self, environ: Mapping[str, str] | None = None) -> Fleet:
        """These settings with what `REPLICORE_*` variables say instead.

        Raises:
            InvalidInputError: a variable's value does not fit.
        """
        parts = {name: getattr(self, name) for name in PARTS}
        return Fleet(**{name: part.overlaid(environ) for name, part in parts.items()})


PARTS = ("zookeeper", "mongodb", "kafka", "work_queue", "event_bus", "agents", "sources", "workers", "metrics")


class NoFleetError(InvalidInputError):
    """There is no `Fleet` block of that name."""


async def settings_of(name: str, environ: Mapping[str, str] | None = None) -> Fleet:
    """The settings of a fleet.

    Raises:
        InvalidInputError: there is no such block, or a variable's value does not fit.
        DependencyUnavailableError: Prefect is needed for them and does not answer.
    """
    environ = os.environ if environ is None else environ
    servers = (ZooKeeper.variable("hosts"), MongoDb.variable("uri"), Kafka.variable("bootstrap"))
    if name == DEFAULT_FLEET and all(variable in environ for variable in servers):
        return Fleet().with_environment(environ)
    block = await load_fleet(name, f"Start it, or set {', '.join(servers)} to do without it.")
    return block.with_environment(environ)


async def load_fleet(name: str, hint: str) -> Fleet:
    """The `Fleet` block of a name as Prefect has it.

    Raises:
        NoFleetError: there is none.
        InvalidInputError: it cannot be read.
        DependencyUnavailableError: Prefect does not answer; `hint` says what to do.
    """
    url = get_current_settings().api.url
    if not url:  # Prefect would start a server of its own
        raise DependencyUnavailableError("Prefect", "no address", "PREFECT_API_URL is not set", hint)
    try:
        async with asyncio.timeout(PREFECT_WITHIN_S):
            return await cast("Awaitable[Fleet]", Fleet.aload(name))
    except ValidationError as error:
        faults = tuple(
            Fault(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors(include_input=False)
        )
        message = f"the Fleet block {name!r} in Prefect cannot be read by this version"
        raise InvalidInputError(message, faults) from None
    except ValueError as error:
        message = (
            f"there is no Fleet block named {name!r} in Prefect; register it with `python -m deployments.register`"
        )
        raise NoFleetError(message) from error
    except Exception as error:
        raise DependencyUnavailableError("Prefect", str(url), type(error).__name__, hint) from error


class Connections:
    """The live parts of a fleet, each connected (and its client library imported) when it is first asked for."""

    def __init__(self, settings: Fleet, *, flow_run_id: str | None, stack: AsyncExitStack) -> None:
        self.settings = settings
        self._flow_run_id = flow_run_id
        self._stack = stack
        self._parts: dict[str, Any] = {}
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def events_keep_days(self) -> int:
        """For how many days events are kept at least."""
        return self.settings.mongodb.events_keep_days

    async def coordinator(self) -> Coordinator:
        """Claims across processes."""
        from blocks.coordinator.zookeeper import ZooKeeperCoordinator  # noqa: PLC0415 - paid for when used

        return await self._part(
            "coordinator", lambda: ZooKeeperCoordinator(self.settings.zookeeper, flow_run=self._flow_run_id)
        )

    async def store(self) -> Store:
        """The truth."""
        from blocks.store.mongodb import MongoStore  # noqa: PLC0415 - paid for when used

        return await self._part("store", lambda: MongoStore(self.settings.mongodb))

    async def work_queue(self) -> WorkQueue:
        """Pointers to work."""
        from blocks.work_queue.kafka import KafkaWorkQueue  # noqa: PLC0415 - paid for when used

        return await self._part("work_queue", lambda: KafkaWorkQueue(self.settings.kafka, self.settings.work_queue))

    async def event_bus(self) -> EventBus:
        """What changed, for everybody."""
        from blocks.event_bus.kafka import KafkaEventBus  # noqa: PLC0415 - paid for when used

        return await self._part("event_bus", lambda: KafkaEventBus(self.settings.kafka, self.settings.event_bus))

    async def agents(self) -> Agents:
        """The agents of the fleet."""
        from blocks.agents.client import HttpAgents  # noqa: PLC0415 - paid for when used

        contexts = await self._contexts()
        return await self._part("agents", lambda: HttpAgents(self.settings.agents, contexts))

    async def sources(self) -> Sources:
        """The discovery sources."""
        from blocks.sources.live import LiveSources  # noqa: PLC0415 - paid for when used

        contexts = await self._contexts()
        return await self._part("sources", lambda: LiveSources(self.settings.sources, contexts))

    async def webhooks(self) -> Webhooks:
        """HTTP endpoints of others."""
        from blocks.sources.webhooks import HttpWebhooks  # noqa: PLC0415 - paid for when used

        contexts = await self._contexts()
        return await self._part("webhooks", lambda: HttpWebhooks(self.settings.sources, contexts))

    async def platforms(self) -> Platforms:
        """The platforms among the sources."""
        from blocks.sources.platforms import HttpPlatforms  # noqa: PLC0415 - paid for when used

        contexts = await self._contexts()
        return await self._part("platforms", lambda: HttpPlatforms(self.settings.sources, contexts))

    async def secrets(self) -> Secrets:
        """What must not be shown."""
        from blocks.secrets.prefect import PrefectSecrets  # noqa: PLC0415 - paid for when used

        return PrefectSecrets()

    async def runs(self) -> Runs:
        """Prefect's flow runs."""
        from blocks.runs.prefect import PrefectRuns  # noqa: PLC0415 - paid for when used

        return PrefectRuns()

    async def metrics(self) -> Metrics:
        """Where this process counts: nowhere, unless it was started by one that serves metrics."""
        if folder_of(os.environ) is None:
            return NoMetrics()
        from blocks.metrics.prometheus import PrometheusMetrics  # noqa: PLC0415 - paid for when used

        return PrometheusMetrics()

    async def _contexts(self) -> TlsContexts:
        """Certificates and other sensitive texts, read once for all parts."""
        from blocks.tls.contexts import TlsContexts  # noqa: PLC0415 - paid for when used

        return await self._part("contexts", TlsContexts)

    async def _part(self, name: str, make: Callable[[], AbstractAsyncContextManager[T]]) -> T:
        async with self._locks[name]:
            if name not in self._parts:
                self._parts[name] = await self._stack.enter_async_context(make())
            return cast("T", self._parts[name])


@asynccontextmanager
async def connect(fleet: str | Fleet = DEFAULT_FLEET, *, flow_run_id: str | None = None) -> AsyncIterator[Connections]:
    """Connections to a fleet; all that were made are closed at the end, the last one first.

    Args:
        fleet: the name of a `Fleet` block, or settings.
        flow_run_id: the flow run that others shall see as the holder of what is claimed.
    """
    settings = fleet if isinstance(fleet, Fleet) else await settings_of(fleet)
    async with AsyncExitStack() as stack:
        yield Connections(settings, flow_run_id=flow_run_id, stack=stack)
