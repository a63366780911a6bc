"""What is peculiar to sources over HTTP: pages, deadlines, caps, TLS, secrets, and the real discovery endpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from blocks.errors import SourceError
from blocks.models.source import DiscoveredCluster, DiscoveredNode, Source
from blocks.sources.http import HttpSources
from blocks.sources.settings import SourcesSettings
from doubles.certificates import LONG_AGO, Authority
from doubles.scripted_agent import Manner, Reply, ScriptedAgent
from doubles.strict_server import strict_server
from infra.agents.testing import running

PATH = "/discover"
SECRET = "Bearer tok-12345678"
CAP = 4_096


@pytest.fixture
async def server() -> AsyncIterator[ScriptedAgent]:
    """A source."""
    async with ScriptedAgent() as server:
        yield server


@pytest.fixture
async def sources() -> AsyncIterator[HttpSources]:
    """The real client, with small limits."""
    settings = SourcesSettings(
        body_bytes_max=CAP, pages_max=5, clusters_max=4, nodes_max=8, rejected_max=3, total_s=5.0
    )
    async with HttpSources(settings) as sources:
        yield sources


def source_at(url: str, **http: Any) -> Source:
    """A source at an address."""
    return Source.model_validate({"namespace": "prod", "name": "dc1", "http": {"url": f"{url}{PATH}", **http}})


def page(*names: str, cursor: object = None) -> Reply:
    """A page of clusters without nodes."""
    return Reply.json({"clusters": [{"cluster_id": name, "nodes": []} for name in names], "cursor": cursor})


async def failure(sources: HttpSources, source: Source) -> str:
    """Why the source gives no complete answer."""
    with pytest.raises(SourceError) as error:
        await sources.ask(source)
    prefix, _, reason = str(error.value).partition(" gave no complete answer: ")
    assert prefix.startswith("the source prod/dc1 at http")
    return reason


class TestPages:
    async def test_are_asked_for_until_there_is_no_cursor(self, sources: HttpSources, server: ScriptedAgent) -> None:
        """The body is the configured one with the cursor; an empty page with a cursor goes on; one connection serves all."""
        server.on("POST", PATH, page("a", cursor="1"), page(cursor="2"), page("b"))

        found = await sources.ask(source_at(server.url, body={"region": "eu", "cursor": "mine"}))

        bodies = [orjson.loads(request.body) for request in server.received]
        assert ["a", "b"] == [cluster.cluster_id for cluster in found.clusters]
        assert [{"region": "eu", "cursor": cursor} for cursor in (None, "1", "2")] == bodies
        assert 1 == server.connections

    async def test_get_has_one_page(self, sources: HttpSources, server: ScriptedAgent) -> None:
        """GET sends no body, and its answer is complete without a cursor."""
        server.on("GET", PATH, page("a"))

        found = await sources.ask(source_at(server.url, method="GET"))

        assert (["a"], b"") == ([cluster.cluster_id for cluster in found.clusters], server.received[0].body)

    async def test_a_cursor_with_get_is_an_error(self, sources: HttpSources, server: ScriptedAgent) -> None:
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
        self, sources: HttpSources, server: ScriptedAgent, replies: list[Reply], reason: str
    ) -> None:
        """Loops, floods and a failure on a later page end the question: nothing of the earlier pages counts."""
        server.on("POST", PATH, *replies)

        assert (await failure(sources, source_at(server.url))).startswith(reason)


class TestBadAnswers:
    @pytest.mark.parametrize(
        ("reply", "reason"),
        [
            (Reply(b"<html>hello"), "the answer is not JSON: <html>hello"),
            (Reply(b""), "the answer is not JSON: an empty body"),
            (Reply(b"[]"), "the answer has no list of clusters: []"),
            (Reply(b'{"clusters": {}}'), 'the answer has no list of clusters: {"clusters": {}}'),
            (Reply(b"denied", 401), "HTTP 401: denied"),
            (Reply(status=307, headers=(("Location", "http://other/"),)), "HTTP 307: it redirects"),
            (Reply(b" " * (CAP + 1)), f"a page is larger than {CAP} bytes"),
            (Reply(manner=Manner.ENDLESS), f"a page is larger than {CAP} bytes"),
            (Reply(b"x", headers=(("Content-Encoding", "gzip"),)), "it compresses its answer although"),
            (Reply(manner=Manner.CLOSE_BEFORE), "it does not speak HTTP, or cut its answer off"),
            (Reply(b"{} ", manner=Manner.CLOSE_WITHIN), "it does not speak HTTP, or cut its answer off"),
            (Reply(b"SSH-2.0-x\r\n", manner=Manner.RAW), "it does not speak HTTP, or cut its answer off"),
        ],
        ids=str,
    )
    async def test_are_said(self, sources: HttpSources, server: ScriptedAgent, reply: Reply, reason: str) -> None:
        """Whatever comes instead of clusters, the error says what it was."""
        server.on("POST", PATH, reply)

        assert (await failure(sources, source_at(server.url))).startswith(reason)
        assert 1 == len(server.received)

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("http://127.0.0.1:1", "connection refused"),
            ("http://name.invalid", "the host name cannot be resolved"),
        ],
    )
    async def test_no_connection(self, sources: HttpSources, url: str, reason: str) -> None:
        """Where nothing listens, that is the reason."""
        assert (await failure(sources, source_at(url))).startswith(reason)

    async def test_a_page_has_a_deadline(self, sources: HttpSources, server: ScriptedAgent) -> None:
        """A body that comes too slowly ends at the source's own deadline."""
        server.on("POST", PATH, Reply(b'{"clusters": []}', manner=Manner.HANG_WITHIN))
        started = time.monotonic()

        reason = await failure(sources, source_at(server.url, timeout=200))

        assert "no complete page within 200 ms" == reason
        assert time.monotonic() - started < 2.0

    async def test_all_pages_have_a_deadline(self, server: ScriptedAgent) -> None:
        """The whole answer has a deadline, however patient the source's own is."""
        server.on("POST", PATH, page("a", cursor="1"), Reply(manner=Manner.HANG))
        async with HttpSources(SourcesSettings(total_s=0.3)) as sources:
            reason = await failure(sources, source_at(server.url, timeout=60_000))

        assert "not all pages came within 0.3 s" == reason


class TestSecrets:
    async def test_are_sent_and_never_said(
        self, sources: HttpSources, server: ScriptedAgent, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A secret header goes to the source; an error page that repeats it, and every log, show nothing of it."""
        caplog.set_level(logging.DEBUG)
        server.on("POST", PATH, Reply(b"x" * 100 + f"who is {SECRET.split()[1]}?".encode(), 403))
        source = source_at(f"{server.url}", headers={"Authorization": SECRET})

        reason = await failure(sources, source)

        assert SECRET == server.received[0].headers["authorization"]
        assert "tok-" not in reason + caplog.text + repr(source)
        assert "***?" in reason

    @pytest.mark.parametrize(
        ("headers", "reason"),
        [
            ({"X y": "v"}, "the header 'X y' is not one that may be set"),
            ({"Content-Length": "5"}, "the header 'Content-Length' is not one that may be set"),
            ({"X": "tok\r\nHost: evil"}, "the value of the header 'X' is not legal in HTTP"),
            ({"X": "tök"}, "the value of the header 'X' is not legal in HTTP"),
        ],
    )
    async def test_a_header_must_be_legal(
        self, sources: HttpSources, server: ScriptedAgent, headers: dict[str, str], reason: str
    ) -> None:
        """What is no legal header is named, without its value, and nothing is asked."""
        assert reason == await failure(sources, source_at(server.url, headers=headers))
        assert [] == server.received


class TestTls:
    async def test_with_a_client_certificate(self, sources: HttpSources) -> None:
        """A source that wants a client certificate is asked with ours."""
        authority = Authority()
        async with ScriptedAgent(tls=authority.server(clients=authority)).on("POST", PATH, page("a")) as server:
            tls = authority.tls(authority.client())
            found = await sources.ask(source_at(server.url, tls=tls))

        assert ["a"] == [cluster.cluster_id for cluster in found.clusters]

    async def test_a_bad_certificate_is_said(self, sources: HttpSources) -> None:
        """The reason is exact, and nothing is asked in clear instead."""
        authority = Authority()
        async with ScriptedAgent(tls=authority.server(not_after=LONG_AGO)) as server:
            expired = await failure(sources, source_at(server.url, tls=authority.tls()))
            unknown = await failure(sources, source_at(server.url, tls=Authority().tls()))
            missing = await failure(sources, source_at(server.url, tls={"ca_bundle": {"file": "/no"}}))

        assert "TLS: the server's certificate has expired" == expired
        assert "TLS: the server's certificate comes from an unknown CA" == unknown
        assert "TLS: ca_bundle: cannot read /no: No such file or directory" == missing
        assert [] == server.received

    async def test_a_missing_client_certificate_is_said(self, sources: HttpSources) -> None:
        """The reason is exact also where the source says it only after the request was sent."""
        authority = Authority()
        with strict_server(authority.server(clients=authority), lambda _: page("a")) as url:
            reason = await failure(sources, source_at(url, tls=authority.tls()))

        assert "TLS: client certificate required" == reason


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
        async with HttpSources(SourcesSettings()) as sources:
            found = await sources.ask(source)
            fleet.write_text("{")
            broken = await failure(sources, source)

    expected = (
        DiscoveredNode(node_id="n1", agent_address="http://127.0.0.1:8000", node_class="mongo"),
        DiscoveredNode(node_id="http://127.0.0.1:8001", agent_address="http://127.0.0.1:8001"),
    )
    assert tuple(DiscoveredCluster(cluster_id=f"c{number}", nodes=expected) for number in range(5)) == found.clusters
    assert broken.startswith("HTTP 500: ")
