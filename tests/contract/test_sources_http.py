"""What is peculiar to sources over HTTP: pages, caps, a deadline for all pages, and the real discovery endpoint.

What any endpoint may do to us is in `test_exchange_faults.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from blocks.errors import SourceError
from blocks.models.source import DiscoveredCluster, DiscoveredNode, Source
from blocks.sources.live import LiveSources
from blocks.sources.settings import SourcesSettings
from doubles.certificates import Authority
from doubles.scripted_agent import Manner, Reply, ScriptedAgent
from infra.agents.testing import running

PATH = "/discover"
CAP = 4_096


@pytest.fixture
async def server() -> AsyncIterator[ScriptedAgent]:
    """A source."""
    async with ScriptedAgent() as server:
        yield server


@pytest.fixture
async def sources() -> AsyncIterator[LiveSources]:
    """The real client, with small limits."""
    settings = SourcesSettings(
        body_bytes_max=CAP, pages_max=5, clusters_max=4, nodes_max=8, rejected_max=3, total_s=5.0
    )
    async with LiveSources(settings) as sources:
        yield sources


def source_at(url: str, **http: Any) -> Source:
    """A source at an address."""
    return Source.model_validate({"namespace": "prod", "name": "dc1", "http": {"url": f"{url}{PATH}", **http}})


def page(*names: str, cursor: object = None) -> Reply:
    """A page of clusters without nodes."""
    return Reply.json({"clusters": [{"cluster_id": name, "nodes": []} for name in names], "cursor": cursor})


async def failure(sources: LiveSources, source: Source) -> str:
    """Why the source gives no complete answer."""
    with pytest.raises(SourceError) as error:
        await sources.ask(source)
    prefix, _, reason = str(error.value).partition(" gave no complete answer: ")
    assert prefix.startswith("the source prod/dc1 at http")
    return reason


class TestPages:
    async def test_are_asked_for_until_there_is_no_cursor(self, sources: LiveSources, server: ScriptedAgent) -> None:
        """The body is the configured one with the cursor; an empty page with a cursor goes on; one connection serves all."""
        server.on("POST", PATH, page("a", cursor="1"), page(cursor="2"), page("b"))

        found = await sources.ask(source_at(server.url, body={"region": "eu", "cursor": "mine"}))

        bodies = [orjson.loads(request.body) for request in server.received]
        assert ["a", "b"] == [cluster.cluster_id for cluster in found.clusters]
        assert [{"region": "eu", "cursor": cursor} for cursor in (None, "1", "2")] == bodies
        assert 1 == server.connections

    async def test_get_has_one_page(self, sources: LiveSources, server: ScriptedAgent) -> None:
        """GET sends no body, and its answer is complete without a cursor."""
        server.on("GET", PATH, page("a"))

        found = await sources.ask(source_at(server.url, method="GET"))

        assert (["a"], b"") == ([cluster.cluster_id for cluster in found.clusters], server.received[0].body)

    async def test_a_cursor_with_get_is_an_error(self, sources: LiveSources, server: ScriptedAgent) -> None:
        """GET cannot ask for the next page, so an answer with a cursor is never complete."""
        server.on("GET", PATH, page("a", cursor="1"))

        reason = await failure(sources, source_at(server.url, method="GET"))

        assert "it answers with a cursor, and GET has no paging: use POST" == reason

    @pytest.mark.parametrize(
        ("replies", "reason"),
        [
            (
                [page(cursor="1"), page(cursor="2"), page(cursor="1")],
                "it repeats a cursor: its pages never come to an end",
            ),
            ([page(cursor=str(number)) for number in range(9)], "it has more than 5 pages"),
            ([page(cursor=7)], "the cursor is neither null nor a text of at most 8192 characters"),
            ([page(*"abcde")], "it tells of more than 4 clusters"),
            ([page("a", cursor="1"), Reply(b"oops", 503)], "HTTP 503: oops"),
        ],
    )
    async def test_that_do_not_end_are_no_answer(
        self, sources: LiveSources, server: ScriptedAgent, replies: list[Reply], reason: str
    ) -> None:
        """Loops, floods and a failure on a later page end the question: nothing of the earlier pages counts."""
        server.on("POST", PATH, *replies)

        assert (await failure(sources, source_at(server.url))).startswith(reason)

    async def test_are_not_too_large_together(self, server: ScriptedAgent) -> None:
        """Pages that are small enough each are no answer when all of them are too much."""
        first = [page(str(number) * 200, cursor=str(number)) for number in range(1, 9)]
        server.on("POST", PATH, *first, page("a"))

        async with LiveSources(SourcesSettings(total_bytes_max=1_024)) as small:
            reason = await failure(small, source_at(server.url))

        assert "its pages together are larger than 1024 bytes" == reason
        assert len(server.received) < len(first)


class TestBadAnswers:
    @pytest.mark.parametrize(
        ("reply", "reason"),
        [
            (Reply(b"<html>hello"), "the answer is not JSON: <html>hello"),
            (Reply(b""), "the answer is not JSON: an empty body"),
            (Reply(b"[]"), "the answer has no list of clusters: []"),
            (Reply(b'{"clusters": {}}'), 'the answer has no list of clusters: {"clusters": {}}'),
        ],
        ids=range(4),
    )
    async def test_are_said(self, sources: LiveSources, server: ScriptedAgent, reply: Reply, reason: str) -> None:
        """What is no page is recognised, and shown."""
        server.on("POST", PATH, reply)

        assert reason == await failure(sources, source_at(server.url))

    async def test_all_pages_have_a_deadline(self, server: ScriptedAgent) -> None:
        """The whole answer has a deadline, however patient the source's own is."""
        server.on("POST", PATH, page("a", cursor="1"), Reply(manner=Manner.HANG))
        async with LiveSources(SourcesSettings(total_s=0.3)) as sources:
            reason = await failure(sources, source_at(server.url, timeout=60_000))

        assert "not everything came within 0.3 s" == reason

    async def test_a_body_beyond_json_is_said(self, sources: LiveSources, server: ScriptedAgent) -> None:
        """A configured body with a number that JSON's writer does not know is an error of this source, and not sent."""
        reason = await failure(sources, source_at(server.url, body={"since": 2**70}))

        assert ("what should be sent cannot be written as JSON", []) == (reason, server.received)


@pytest.mark.real
async def test_the_real_discovery_endpoint(tmp_path: Path) -> None:
    """Our own endpoint, in a process of its own with TLS, is asked page by page; then its file breaks."""
    authority = Authority()
    certificate, key, _ = authority.files(tmp_path)
    fleet = tmp_path / "fleet.json"
    nodes = [
        {"agent_address": "http://127.0.0.1:8000", "node_id": "n1", "node_class": "mongo"},
        "http://127.0.0.1:8001",
    ]
    clusters = [{"cluster_id": f"c{number}", "nodes": nodes} for number in range(5)]
    fleet.write_bytes(orjson.dumps({"clusters": clusters}))
    options = ["--file", str(fleet), "--page-size", "2", "--tls-cert", str(certificate), "--tls-key", str(key)]
    with running("discovery", tmp_path, *options) as endpoint:
        source = source_at(endpoint.url, tls=authority.tls())
        async with LiveSources(SourcesSettings()) as sources:
            found = await sources.ask(source)
            fleet.write_text("{")
            broken = await failure(sources, source)

    expected = (
        DiscoveredNode(node_id="n1", agent_address="http://127.0.0.1:8000", node_class="mongo"),
        DiscoveredNode(node_id="http://127.0.0.1:8001", agent_address="http://127.0.0.1:8001"),
    )
    assert tuple(DiscoveredCluster(cluster_id=f"c{number}", nodes=expected) for number in range(5)) == found.clusters
    assert broken.startswith("HTTP 500: ")
