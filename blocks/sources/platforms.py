"""What platforms are asked to do, over HTTP: `POST provision` and `POST deprovision` below the base URL.

Guarantees: every call ends at its deadline with a result or an error of one sentence, which says whether the request may have
had effect; nothing is sent twice (provisioning is not idempotent); a node counts as gone only when the platform does not tell
of it any more.
Failure modes: the platform refuses = `PlatformRefusedError`; it cannot be reached, fails or answers nonsense = `PlatformError`.
"""

from __future__ import annotations

import asyncio

from blocks.connected import Connected
from blocks.errors import InvalidInputError, SourceError
from blocks.models.platform import COUNT_MAX, ClusterDefinition, Provisioned
from blocks.models.source import PlatformApi, Source
from blocks.sources.exchange import Answer, Exchange, ExchangeError
from blocks.sources.platform import discovered, endpoint_of
from blocks.sources.platform_answers import Call, refusal, says_gone, tells_of
from blocks.sources.protocol import Found
from blocks.sources.settings import SourcesSettings
from blocks.tls.contexts import TlsContexts


class HttpPlatforms(Connected):
    """The live `Platforms`; `async with` it, or `connect` and `close`. Connections live as long as one call."""

    def __init__(self, settings: SourcesSettings, contexts: TlsContexts | None = None) -> None:
        self._settings = settings
        self._own_contexts = TlsContexts() if contexts is None else None
        self._exchange = Exchange(contexts or self._own_contexts or TlsContexts(), settings.body_bytes_max)

    async def connect(self) -> None:
        """Nothing: platforms are connected to when they are asked."""

    async def close(self) -> None:
        """Stop loading certificates."""
        if self._own_contexts is not None:
            await self._own_contexts.close()

    async def provision(
        self, source: Source, definition: ClusterDefinition, group: str, count: int, deadline_s: float | None = None
    ) -> Provisioned:
        """See `Platforms.provision`."""
        platform, ends = _platform(source), _ends(source, deadline_s)
        if not 1 <= count <= COUNT_MAX:
            message = f"from 1 to {COUNT_MAX} nodes can be asked for at once, not {count}"
            raise InvalidInputError(message)
        call = Call(source, f"make {count} node(s) of group {group!r} for cluster {definition.cluster_id!r}")
        content = {
            "cluster": definition.model_dump(mode="json", exclude_none=True),
            "provision": {"node_group_id": group, "count": count},
        }
        answer = await self._answer(call, platform, "provision", content, ends)
        if not answer.ok:
            raise call.refused(answer)
        return call.provisioned(answer)

    async def deprovision(self, source: Source, cluster_id: str, node_id: str, deadline_s: float | None = None) -> None:
        """See `Platforms.deprovision`."""
        platform, ends = _platform(source), _ends(source, deadline_s)
        call = Call(source, f"remove node {node_id!r} of cluster {cluster_id!r}")
        content = {"cluster_id": cluster_id, "node_id": node_id}
        answer = await self._answer(call, platform, "deprovision", content, ends)
        if answer.ok:
            return
        # Whatever it says: what it does not tell of is gone. A 404 alone means little, a wrong base URL is one, too.
        gone = says_gone(answer)
        try:
            found = await self._found(platform, ends)
        except (SourceError, ExchangeError) as error:
            if not gone:
                raise call.refused(answer) from error
            reason = f"{refusal(answer)}, and whether the node is gone cannot be told: {error}"
            raise call.failed(reason, maybe_done=True) from error
        elsewhere = any(node.node_id == node_id for cluster in found.clusters for node in cluster.nodes)
        if tells_of(found, cluster_id, node_id) or (elsewhere and not gone):
            if not gone:
                raise call.refused(answer)
            reason = f"{refusal(answer)}, and it still tells of the node"
            raise call.failed(reason, maybe_done=True)

    async def _answer(self, call: Call, platform: PlatformApi, path: str, content: object, ends: float) -> Answer:
        try:
            async with self._exchange.session(endpoint_of(platform, _left_ms(ends))) as session:
                return await session.send("POST", content, below=path, read_success=path == "provision")
        except ExchangeError as error:
            raise call.failed(str(error), maybe_done=error.sent) from error.__cause__

    async def _found(self, platform: PlatformApi, ends: float) -> Found:
        async with self._exchange.session(endpoint_of(platform, _left_ms(ends))) as session:
            return await discovered(session, self._settings)


def _platform(source: Source) -> PlatformApi:
    if source.platform is None:
        message = f"the source {source.ref} at {source.where} is no platform: it can only be asked what there is"
        raise InvalidInputError(message)
    return source.platform


def _ends(source: Source, deadline_s: float | None) -> float:
    timeout_s = _platform(source).timeout / 1_000
    timeout_s = timeout_s if deadline_s is None else min(timeout_s, deadline_s)
    return asyncio.get_running_loop().time() + timeout_s


def _left_ms(ends: float) -> int:
    return max(1, round((ends - asyncio.get_running_loop().time()) * 1_000))
