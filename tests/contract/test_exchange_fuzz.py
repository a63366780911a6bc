"""Arbitrary and mutated answers over real sockets: whatever comes, a result or one of our errors, and the connection closed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.errors import PlatformError, PlatformRefusedError, SourceError
from blocks.models.base import clean_text
from blocks.models.platform import Provisioned
from blocks.sources.platform_answers import tells_of
from blocks.sources.protocol import Found
from blocks.sources.settings import SourcesSettings
from doubles.askers import ASKERS, DEPROVISION, GONE, PLATFORM, Asker, source_of
from doubles.hostile import encode, scalars, statuses
from doubles.scripted_agent import Manner, Reply, ScriptedAgent

WITHIN_MS = 60_000
"""No answer here hangs; a busy machine may."""
LIMITS = SourcesSettings(body_bytes_max=4_096)
BODY = (
    b'{"count": 1, "clusters": [{"cluster_id": "orders", "nodes": '
    b'["http://h:1", {"node_id": "n", "agent_address": "http://h:2"}]}], "cursor": null}'
)
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
words = st.sampled_from(["clusters", "cluster_id", "nodes", "node_id", "agent_address", "labels", "cursor", "count"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4), max_leaves=12
)
mutations = st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.binary(max_size=2)), min_size=1, max_size=4)


def mutated(changes: list[tuple[int, bytes]]) -> bytes:
    """A good answer with some bytes replaced."""
    answer = bytearray(GOOD)
    for place, new in changes:
        answer[place : place + 1] = new
    return bytes(answer)


replies = st.builds(Reply, values.map(encode) | st.binary(max_size=50), statuses) | st.builds(
    Reply, mutations.map(mutated) | st.binary(max_size=80), manner=st.just(Manner.RAW)
)


@pytest.mark.parametrize("asker", ASKERS, ids=str)
@settings(max_examples=200)
@given(reply=replies)
async def test_no_answer_breaks_the_client(asker: Asker, reply: Reply) -> None:
    """A result of the right kind, or an error that names the source and has a reason in one line."""
    async with ScriptedAgent().on(asker.method, asker.path, reply) as server:
        said = await _said(asker, server)

    assert 1 == len(server.received)
    assert isinstance(said, (Found, Provisioned)) or _is_reason(said)


@settings(max_examples=200)
@given(reply=replies, listing=replies)
async def test_no_answer_breaks_the_removal_of_a_node(reply: Reply, listing: Reply) -> None:
    """It is gone, or there is an error with a reason; without a success it is gone only when a good listing is without it."""
    async with ScriptedAgent().on("POST", "/deprovision", reply).on("GET", "/discover", listing) as server:
        said = await _said(DEPROVISION, server)
        told = await _said(PLATFORM, server)

    assert said == GONE or _is_reason(said)
    looked = 2 < len(server.received)
    assert not (looked and said == GONE) or (isinstance(told, Found) and not tells_of(told, "orders", "n"))


async def _said(asker: Asker, server: ScriptedAgent) -> object:
    """The result, or the error's reason."""
    where = f" prod/dc1 at {server.url}"
    try:
        return await asker.ask(LIMITS, source_of(asker.kind, server.url, timeout=WITHIN_MS))
    except (SourceError, PlatformError, PlatformRefusedError) as error:
        text = str(error)
    assert text.startswith((f"the source{where}", f"the platform{where}"))
    return text.partition(": ")[2]


def _is_reason(said: object) -> bool:
    return isinstance(said, str) and bool(said.strip()) and said == clean_text(said)


@pytest.mark.parametrize("asker", [*ASKERS, DEPROVISION], ids=str)
async def test_the_answer_that_is_mutated_is_good(asker: Asker) -> None:
    """Without mutations every client understands it."""
    async with ScriptedAgent().on(asker.method, asker.path, Reply(GOOD, manner=Manner.RAW)) as server:
        result = await asker.ask(LIMITS, source_of(asker.kind, server.url))

    assert ("orders" in str(result)) or ("count=1" in str(result)) or result == GONE
