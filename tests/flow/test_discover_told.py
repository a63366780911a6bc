"""What is told of a source that fails, or that tells of clusters of others: once per change."""

from __future__ import annotations

import pytest
from pydantic import AnyHttpUrl

from blocks.models.cluster import Discovery
from blocks.models.event import EventType
from blocks.models.namespace import Namespace
from blocks.models.source import HttpDiscovery, Rejected, Source, SourceReport
from blocks.sources.live import LiveSources
from blocks.sources.protocol import Sources
from blocks.sources.settings import SourcesSettings
from doubles.scripted_agent import Reply, ScriptedAgent
from doubles.views import discovery
from doubles.world import SOURCE, World
from flows.discover import discover_source
from flows.steps import Steps


@pytest.fixture
async def told(world: World) -> World:
    """A source that tells of one cluster."""
    await world.save(Namespace(name="prod", version=1), SOURCE)
    world.tell(orders=["n1", "n2"])
    return world


async def _discover(world: World, sources: Sources | None = None) -> SourceReport:
    coordinator = await world.worker()
    return await discover_source(coordinator, world.store, sources or world.sources, SOURCE.ref, world.clock, Steps())


@pytest.mark.parametrize("status", [200, 503])
async def test_a_failure_is_told_of_once_whatever_the_answer_holds(told: World, status: int) -> None:
    """An answer with the time in it is the same failure in every turn; the report has the newest words; another one is told."""
    times = iter(range(1, 10))
    async with (
        ScriptedAgent(answer=lambda _: Reply(b"it is %d" % next(times), status)) as server,
        LiveSources(SourcesSettings()) as sources,
    ):
        await told.save(SOURCE.evolve(http=HttpDiscovery(url=AnyHttpUrl(server.url)), version=2))
        first = await _discover(told, sources=sources)
        second = await _discover(told, sources=sources)
        server.answer = lambda _: Reply(b"", 401)
        third = await _discover(told, sources=sources)

    assert ("it is 1", "it is 2", "HTTP 401: an empty body") == tuple(
        str(report.error).rpartition(part)[1]
        for report, part in ((first, "it is 1"), (second, "it is 2"), (third, "HTTP 401: an empty body"))
    )
    assert [EventType.SOURCE_FAILED] * 2 == told.types()


async def test_a_conflict_is_told_of_once_and_comes_first(told: World) -> None:
    """Clusters of another source lead the report, whatever else is refused; an event says when they change, failures aside."""
    other = Source(namespace="prod", name="other", http=SOURCE.http)
    await told.save(other, discovery(["n1"], source=other.key), discovery(["n1"], cluster_id="zoo", source=other.key))
    bad = [Rejected(what=f"a record {number}", reason="bad") for number in range(150)]
    (orders,) = (await told.sources.ask(SOURCE)).clusters
    told.sources.tell(SOURCE, [orders], bad)
    first = await _discover(told)
    await _discover(told)
    told.sources.fail(SOURCE, "connection refused")
    await _discover(told)
    told.sources.tell(SOURCE, [orders], bad)
    await _discover(told)
    told.sources.tell(SOURCE, [orders, orders.evolve(cluster_id="zoo")])
    await _discover(told)
    told.tell(mine=["n1"])
    await _discover(told)

    events = [event for event in told.events if event.type == EventType.SOURCE_CONFLICT_CHANGED]
    assert ("prod/orders", 151) == (first.rejected[0].what, first.rejected_total)
    assert [
        {"source": SOURCE.key, "conflicts": 1, "owners": {"orders": other.key}},
        {"source": SOURCE.key, "conflicts": 2, "owners": {"orders": other.key, "zoo": other.key}},
        {"source": SOURCE.key, "conflicts": 0, "owners": {}},
    ] == [event.data for event in events]


async def test_an_empty_answer_after_clusters_of_others_is_not_believed(told: World) -> None:
    """All that the source told of belongs to another one: that it knows nothing now is told, until it knows something."""
    other = Source(namespace="prod", name="other", http=SOURCE.http)
    await told.save(other, discovery(["n1"], source=other.key))
    await _discover(told)
    events = len(told.events)
    told.tell()
    reports = [await _discover(told), await _discover(told)]
    told.tell(mine=["n1"])
    good = await _discover(told)

    assert [("an empty answer after one with 1 clusters", 1)] * 2 == [
        (str(report.error).partition(",")[0], report.clusters) for report in reports
    ]
    assert None is good.error
    assert [EventType.SOURCE_FAILED, EventType.SOURCE_RECOVERED] == [
        type_ for type_ in told.types(events) if type_ in {EventType.SOURCE_FAILED, EventType.SOURCE_RECOVERED}
    ]


async def test_a_source_whose_clusters_were_deleted_may_know_none(told: World) -> None:
    """A person has seen to that: nothing is left that an empty answer could be wrong about."""
    await _discover(told)
    told.store.records[Discovery].clear()
    told.tell()

    assert None is (await _discover(told)).error
