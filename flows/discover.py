"""Discovery: ask a source which clusters exist, compare, save and tell."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from prefect import flow

from blocks.coordinator.protocol import Coordinator
from blocks.errors import BusyError, FencedError, RecordError, SourceError
from blocks.fleet import Connections
from blocks.models.ids import SourceRef
from blocks.models.source import SourceReport
from blocks.sources.protocol import Sources
from blocks.store.protocol import Store
from flows.artifacts import show_source
from flows.entry import FLEET, run, utc_now, who
from flows.steps import Steps
from tasks.ask import ask_source, save_discovery, save_failure
from tasks.decide.audit import Command
from tasks.hold import hold_source, let_go, source_lock


@flow(name="discover", flow_run_name="discover {source}")
def discover(source: str, wait_s: float = 30.0, fleet: str = FLEET) -> SourceReport:
    """Ask a discovery source what exists; new and changed clusters are saved, missing ones marked, nothing is deleted.

    Args:
        source: `namespace/name` of the source.
        wait_s: how many seconds to wait for the source's lock.
        fleet: name of the Fleet block.

    Raises:
        SourceError: the source gave no good answer; its report is kept, nothing was concluded.
    """

    async def sentence(connections: Connections) -> SourceReport:
        report = await discover_source(
            await connections.coordinator(),
            await connections.store(),
            await connections.sources(),
            SourceRef.parse(source),
            utc_now,
            Steps(watched=True),
            wait_s=wait_s,
        )
        await show_source(report)
        if report.error is not None:
            raise SourceError(report.error)
        return report

    command = Command(name="discover", subject=source, by=who(None))
    return run(sentence, fleet, command=command)


async def discover_source(
    coordinator: Coordinator,
    store: Store,
    sources: Sources,
    ref: SourceRef,
    clock: Callable[[], datetime],
    steps: Steps,
    *,
    wait_s: float = 0.0,
) -> SourceReport:
    """Ask one source, under its lock.

    Raises:
        BusyError: somebody else is asking it.
        NotFoundError: there is no such source.
        DependencyUnavailableError: the store or the coordinator is gone. A source that fails is in the report instead, and so
            is a stored record that cannot be read and keeps it from being asked.
    """
    held = await steps("lock", hold_source, coordinator, store, ref, "discover", wait_s)
    name = source_lock(ref)
    if name in held.superseded:
        raise FencedError(held.why_superseded(name))
    if name not in held.claims:
        raise BusyError("lock", f"source {ref}", "another worker (see `replictl locks`)")
    try:
        asked = await steps("ask", ask_source, store, sources, ref.key)
        return await steps("save", save_discovery, store, asked, held.claims[name], clock)
    except RecordError as error:
        return await steps("report", save_failure, store, ref, error, held.claims[name], clock)
    finally:
        await steps("unlock", let_go, coordinator, [held.claims[name]])
