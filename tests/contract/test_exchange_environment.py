"""Proxies that the environment names are not used: sources and platforms are asked directly, whatever the worker's shell says."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from blocks.models.source import Source
from blocks.sources.exchange import Endpoint, Exchange
from blocks.tls.contexts import TlsContexts
from doubles.askers import source_of
from doubles.scripted_agent import Reply, ScriptedAgent

PROGRAM = """
import asyncio, sys
from blocks.models.source import Source
from blocks.sources.live import LiveSources
from blocks.sources.platforms import HttpPlatforms
from blocks.sources.settings import SourcesSettings

async def main():
    source = Source.model_validate_json(sys.argv[1])
    async with LiveSources(SourcesSettings()) as sources, HttpPlatforms(SourcesSettings()) as platforms:
        await sources.ask(source)
        if source.platform is not None:
            await platforms.deprovision(source, "orders", "n1")

asyncio.run(main())
"""
WITHIN_S = 60.0


@pytest.mark.parametrize(("kind", "asked"), [("http", 1), ("platform", 2)])
async def test_proxies_of_the_environment_are_not_used(kind: str, asked: int) -> None:
    """With every proxy variable set, the source is asked directly and the proxy is never spoken to."""
    async with ScriptedAgent(answer=lambda _: Reply(b'{"clusters": []}')) as server, ScriptedAgent() as proxy:
        assert (0, "") == await _asks(source_of(kind, server.url), proxy.url)

        assert (asked, 0) == (len(server.received), proxy.connections)


async def test_nothing_of_the_environment_is_trusted() -> None:
    """Httpx is told so, too: without a transport of our own it would look for proxies."""
    contexts = TlsContexts()
    http = source_of("http", "http://127.0.0.1:1").http
    assert http is not None
    async with Exchange(contexts, 1_024).session(Endpoint(http.url, {}, 1_000, None)) as session:
        trusted = session._client.trust_env
    await contexts.close()

    assert trusted is False


async def _asks(source: Source, proxy: str) -> tuple[int, str]:
    """Ask a source in a process whose environment names a proxy; its exit code and what it says of errors."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    proxies = {spelled: proxy for name in names for spelled in (name, name.lower())}
    others = {name: value for name, value in os.environ.items() if name.upper() != "NO_PROXY"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, source.model_dump_json()),
        env=others | proxies,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, errors = await asyncio.wait_for(process.communicate(), WITHIN_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, errors.decode()
