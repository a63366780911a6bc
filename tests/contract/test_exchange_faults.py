"""Endpoints that are slow, endless, huge, broken or wrong: asked for discovery over HTTP and as platforms, each ends at its
deadline with the precise reason.
"""

from __future__ import annotations

import gzip
import logging
import re
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from blocks.sources.settings import SourcesSettings
from doubles.askers import ASKERS, HTTP, PLATFORM, Asker, source_of
from doubles.certificates import LONG_AGO, Authority
from doubles.scripted_agent import Manner, Reply, ScriptedAgent
from doubles.strict_server import strict_server

SECRET = "Bearer tok-12345678"
CAP = 4_096
LIMITS = SourcesSettings(body_bytes_max=CAP, total_s=5.0)
BOMB = gzip.compress(bytes(10 * 1024 * 1024))
LATE = re.compile(r"no complete answer within (200|1\d\d) ms")
"""Of a call of several requests, the last has what is left."""
CUT_OFF = "it does not speak HTTP, or cut its answer off"


@pytest.fixture(params=ASKERS, ids=str)
def asker(request: pytest.FixtureRequest) -> Asker:
    """A way to ask."""
    way: Asker = request.param
    return way


@pytest.fixture
async def server() -> AsyncIterator[ScriptedAgent]:
    """An endpoint."""
    async with ScriptedAgent() as server:
        yield server


@pytest.fixture(scope="module")
def authority() -> Authority:
    """A CA."""
    return Authority()


class TestAnswers:
    @pytest.mark.parametrize(
        ("reply", "reason"),
        [
            (Reply(b"denied", 401), "HTTP 401: denied"),
            (Reply(b"oops", 503), "HTTP 503: oops"),
            (Reply(status=307, headers=(("Location", "http://other/"),)), "HTTP 307: it redirects, and redirects are"),
            (Reply(b" " * (CAP + 1)), f"the answer is larger than {CAP} bytes"),
            (Reply(manner=Manner.ENDLESS), f"the answer is larger than {CAP} bytes"),
            (Reply(BOMB, headers=(("Content-Encoding", "gzip"),)), "it compresses its answer although it was asked"),
            (Reply(manner=Manner.CLOSE_BEFORE), CUT_OFF),
            (Reply(b"{} ", manner=Manner.CLOSE_WITHIN), CUT_OFF),
            (Reply(b"SSH-2.0-x\r\n", manner=Manner.RAW), CUT_OFF),
            (Reply(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, manner=Manner.RAW), CUT_OFF),
        ],
        ids=range(10),
    )
    async def test_are_said(self, asker: Asker, server: ScriptedAgent, reply: Reply, reason: str) -> None:
        """Whatever comes instead of an answer, the error says what it was; nothing is asked twice."""
        server.on(asker.method, asker.path, reply)

        assert (await asker.failure(server.url, LIMITS)).startswith(reason)
        assert 1 == len(server.received)

    @pytest.mark.parametrize("manner", [Manner.HANG, Manner.HANG_WITHIN, Manner.DRIP])
    async def test_have_a_deadline(self, asker: Asker, server: ScriptedAgent, manner: Manner) -> None:
        """One that never comes, stops in the middle, or comes byte by byte ends at the deadline."""
        server.on(asker.method, asker.path, Reply(b'{"clusters": []}', manner=manner))
        started = time.monotonic()

        assert LATE.fullmatch(await asker.failure(server.url, LIMITS, timeout=200))
        assert time.monotonic() - started < 2.0

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("http://127.0.0.1:1", "connection refused"),
            ("http://name.invalid", "the host name cannot be resolved"),
        ],
    )
    async def test_no_connection(self, asker: Asker, url: str, reason: str) -> None:
        """Where nothing listens, that is the reason."""
        assert (await asker.failure(url, LIMITS)).startswith(reason)

    async def test_cookies_are_not_kept(self, asker: Asker, server: ScriptedAgent) -> None:
        """What an answer sets is not sent with the next question."""
        reply = Reply(b"{}", 500, headers=(("Set-Cookie", "spy=1; Path=/"),))
        server.on(asker.method, asker.path, reply)
        await asker.failure(server.url, LIMITS)
        await asker.failure(server.url, LIMITS)

        assert [False, False] == ["cookie" in request.headers for request in server.received]


class TestSecrets:
    async def test_are_sent_and_never_said(
        self, asker: Asker, server: ScriptedAgent, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        """Sensitive headers, from a file too, go out; error pages that repeat them, and every log, show nothing of them."""
        caplog.set_level(logging.DEBUG)
        file = tmp_path / "token"
        file.write_text('"quoted-tok-9"\n')
        body = b'{"error_msg": "who is ' + SECRET.split()[1].encode() + b' with \\"quoted-tok-9\\"?"}'
        server.on(asker.method, asker.path, Reply(body, 403))

        reason = await asker.failure(
            server.url, LIMITS, headers={"Authorization": SECRET, "X-Token": {"file": str(file)}}
        )

        headers = server.received[0].headers
        assert (SECRET, '"quoted-tok-9"') == (headers["authorization"], headers["x-token"])
        assert "tok-" not in reason + caplog.text
        assert "who is *** with ***?" in reason

    @pytest.mark.parametrize("way", [HTTP, PLATFORM], ids=str)
    async def test_are_not_repeated_from_good_answers(self, way: Asker, server: ScriptedAgent) -> None:
        """Records that repeat what we sent are refused without showing it, not even the half that an excerpt has room for."""
        token = SECRET.split()[1]
        records = [SECRET, "x" * 112 + token, {"cluster_id": token, "nodes": 7}, {"cluster_id": "c", "nodes": [token]}]
        labelled = {"cluster_id": "d", "nodes": [], "labels": {"#" * 72 + token: "x"}}
        server.on(way.method, way.path, Reply.json({"clusters": [*records, labelled]}))
        source = source_of(way.kind, server.url, headers={"Authorization": SECRET})

        found = await way.ask(LIMITS, source)

        assert "tok-" not in str(found)
        assert "a cluster record: ***" in str(found)

    @pytest.mark.parametrize(
        ("headers", "reason"),
        [
            ({"X y": "v"}, "the header 'X y' is not one that may be set"),
            ({"Content-Length": "5"}, "the header 'Content-Length' is not one that may be set"),
            ({"X": "tok\r\nHost: evil"}, "the value of the header 'X' is not legal in HTTP"),
            ({"X": "tök"}, "the value of the header 'X' is not legal in HTTP"),
            ({"X": "x" * 20_000}, "the header 'X' cannot be had: the text is larger than 16384 bytes"),
            ({"X": {"file": "/no"}}, "the header 'X' cannot be had: cannot read /no: No such file or directory"),
        ],
        ids=range(6),
    )
    async def test_a_header_must_be_had_and_legal(
        self, asker: Asker, server: ScriptedAgent, headers: dict[str, object], reason: str
    ) -> None:
        """What is no legal header is named, without its value, and nothing is asked."""
        assert reason == await asker.failure(server.url, LIMITS, headers=headers)
        assert [] == server.received


class TestTls:
    async def test_a_bad_certificate_is_said(self, asker: Asker, authority: Authority) -> None:
        """The reason is exact, and nothing is asked in clear instead."""
        async with (
            ScriptedAgent(tls=authority.server(not_after=LONG_AGO)) as old,
            ScriptedAgent(tls=authority.server("other.test")) as other,
        ):
            expired = await asker.failure(old.url, LIMITS, tls=authority.tls())
            unknown = await asker.failure(old.url, LIMITS, tls=Authority().tls())
            wrong_host = await asker.failure(other.url, LIMITS, tls=authority.tls())
            missing = await asker.failure(old.url, LIMITS, tls={"ca_bundle": {"file": "/no"}})
            in_clear = await asker.failure(old.url.replace("https", "http"), LIMITS)
            received = [*old.received, *other.received]

        assert "TLS: the server's certificate has expired" == expired
        assert "TLS: the server's certificate comes from an unknown CA" == unknown
        assert wrong_host.startswith("TLS: host name mismatch")
        assert "TLS: ca_bundle: cannot read /no: No such file or directory" == missing
        assert in_clear in {CUT_OFF, "the connection was closed without a complete answer"}
        assert [] == received

    async def test_a_server_without_tls_is_said(self, asker: Asker, server: ScriptedAgent) -> None:
        """HTTPS on a port that speaks HTTP is recognised."""
        reason = await asker.failure(server.url.replace("http", "https"), LIMITS)

        assert "TLS: the other side does not speak TLS: should its address begin with http://?" == reason

    async def test_a_missing_client_certificate_is_said(self, asker: Asker, authority: Authority) -> None:
        """The reason is exact also where the server says it only after the request was sent."""
        with strict_server(authority.server(clients=authority), lambda _: Reply(b"{}")) as url:
            reason = await asker.failure(url, LIMITS, tls=authority.tls())

        assert "TLS: client certificate required" == reason

    async def test_a_client_certificate_is_shown(self, asker: Asker, authority: Authority) -> None:
        """An endpoint that wants a client certificate is asked with ours."""
        context: ssl.SSLContext = authority.server(clients=authority)
        async with ScriptedAgent(tls=context).on(asker.method, asker.path, Reply(b"no", 400)) as server:
            reason = await asker.failure(server.url, LIMITS, tls=authority.tls(authority.client()))

        assert "HTTP 400: no" == reason
