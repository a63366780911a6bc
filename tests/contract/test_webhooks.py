"""The HTTP side of `core.replicante.io/http` over real sockets: what is sent, what is kept of an answer, and what ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from pydantic import AnyHttpUrl

from blocks.models.tls import Sensitive
from blocks.sources.settings import SourcesSettings
from blocks.sources.webhooks import HttpWebhooks
from blocks.sources.webhooks_protocol import Answered, Call
from doubles.certificates import Authority
from doubles.scripted_agent import Manner, Reply, ScriptedAgent

PATH = "/do"
CAP = 4_096


@pytest.fixture
async def webhooks() -> AsyncIterator[HttpWebhooks]:
    """The real client, with a small limit."""
    async with HttpWebhooks(SourcesSettings(body_bytes_max=CAP)) as webhooks:
        yield webhooks


@pytest.fixture
async def remote() -> AsyncIterator[ScriptedAgent]:
    """Somebody else's endpoint."""
    async with ScriptedAgent() as remote:
        yield remote


def call(url: str, query: str = "", **fields: Any) -> Call:
    """A request."""
    basics: dict[str, Any] = {"body": {"action_id": "a"}, "idempotency_key": "a:0", "fence": "1:7", "within_s": 5.0}
    return Call(url=AnyHttpUrl(f"{url}{PATH}{query}"), **{**basics, **fields})


async def test_what_is_sent(webhooks: HttpWebhooks, remote: ScriptedAgent) -> None:
    """The record as JSON, with the key of the step and the fence; the answer comes back as it was."""
    remote.on("POST", PATH, Reply.json({"state": "DONE"}))
    answer = await webhooks.post(call(remote.url))
    (request,) = remote.received

    assert Answered(200, '{"state":"DONE"}') == answer
    assert {"action_id": "a"} == orjson.loads(request.body)
    assert ("a:0", "1:7", "application/json") == tuple(
        request.headers[name] for name in ("idempotency-key", "replicore-fence", "content-type")
    )


@pytest.mark.parametrize("status", [204, 400, 404, 409, 500, 503])
async def test_every_answer_is_one(webhooks: HttpWebhooks, remote: ScriptedAgent, status: int) -> None:
    """What it means is not for the adapter to say."""
    remote.on("POST", PATH, Reply(b"" if status == 204 else b"no", status))

    assert Answered(status, "" if status == 204 else "no") == await webhooks.post(call(remote.url))


async def test_what_is_no_answer(webhooks: HttpWebhooks, remote: ScriptedAgent) -> None:
    """None in time: with the reason, and where it was asked for; what may be secret of the URL is not told."""
    remote.on("POST", f"{PATH}?key=hunter2", Reply(b"", manner=Manner.HANG))
    answer = await webhooks.post(call(remote.url, within_s=0.5, query="?key=hunter2"))

    assert f"{remote.url}{PATH}: no complete answer within 500 ms" == answer.unreachable


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(b"x" * (CAP + 1)), "larger than 4096 bytes"),
        (Reply(b"{}", headers=(("Content-Encoding", "gzip"),)), "it compresses its answer"),
    ],
    ids=["huge", "compressed"],
)
async def test_an_answer_that_is_no_use(
    webhooks: HttpWebhooks, remote: ScriptedAgent, reply: Reply, reason: str
) -> None:
    """It was given: nobody asks for it again."""
    remote.on("POST", PATH, reply)
    answer = await webhooks.post(call(remote.url))

    assert (200, None) == (answer.status, answer.unreachable)
    assert reason in str(answer.unusable)


async def test_redirects_are_not_followed(webhooks: HttpWebhooks, remote: ScriptedAgent) -> None:
    """One is an answer like any other."""
    remote.on("POST", PATH, Reply(b"gone", 302, headers=(("Location", f"{remote.url}/elsewhere"),)))

    assert Answered(302, "gone") == await webhooks.post(call(remote.url))
    assert [PATH] == [request.path for request in remote.received]


async def test_nobody_there(webhooks: HttpWebhooks) -> None:
    """Said, and to be tried again."""
    assert "refused" in str((await webhooks.post(call("http://127.0.0.1:1"))).unreachable)


async def test_its_own_certificates(webhooks: HttpWebhooks) -> None:
    """A CA in the arguments is trusted for this request, and nothing else is."""
    ours, stranger = Authority(), Authority()
    async with ScriptedAgent(tls=ours.server()) as remote:
        remote.on("POST", PATH, Reply(b"", 204), Reply(b"", 204))
        good = await webhooks.post(call(remote.url, ca=ours.pem))
        bad = await webhooks.post(call(remote.url, ca=stranger.pem))

    assert 204 == good.status
    assert "TLS" in str(bad.unreachable)


async def test_a_secret_header_that_cannot_be_had(webhooks: HttpWebhooks, remote: ScriptedAgent) -> None:
    """It names the header and never its value; nothing is sent."""
    answer = await webhooks.post(call(remote.url, headers={"Authorization": Sensitive(secret="absent")}))

    assert "the header 'Authorization' cannot be had" in str(answer.unreachable)
    assert [] == remote.received
