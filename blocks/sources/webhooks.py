"""One POST to an HTTP endpoint of somebody else, with the limits of `exchange`."""

from __future__ import annotations

from pydantic import AnyHttpUrl, SecretStr

from blocks.connected import Connected
from blocks.models.base import clean_text
from blocks.models.tls import Sensitive, Tls
from blocks.sources.exchange import Endpoint, Exchange, ExchangeError
from blocks.sources.settings import SourcesSettings
from blocks.sources.webhooks_protocol import Answered, Call
from blocks.tls.contexts import TlsContexts

_WHERE_CHARS = 200


class HttpWebhooks(Connected):
    """The live `Webhooks`; `async with` it, or `connect` and `close`. Connections live as long as one call."""

    def __init__(self, settings: SourcesSettings, contexts: TlsContexts | None = None) -> None:
        self._own_contexts = TlsContexts() if contexts is None else None
        self._exchange = Exchange(contexts or self._own_contexts or TlsContexts(), settings.body_bytes_max)

    async def connect(self) -> None:
        """Nothing: endpoints are connected to when they are asked."""

    async def close(self) -> None:
        """Stop loading certificates."""
        if self._own_contexts is not None:
            await self._own_contexts.close()

    async def post(self, call: Call) -> Answered:
        """See `Webhooks.post`."""
        endpoint = Endpoint(
            url=call.url,
            headers=call.headers,
            timeout_ms=max(1, int(call.within_s * 1_000)),
            tls=Tls(ca_bundle=Sensitive(text=SecretStr(call.ca))) if call.ca is not None else None,
        )
        own = {"Idempotency-Key": call.idempotency_key, "Replicore-Fence": call.fence}
        try:
            async with self._exchange.session(endpoint) as session:
                answer = await session.send("POST", call.body, more=own)
        except ExchangeError as error:
            if error.status is not None:
                return Answered(error.status, unusable=str(error))
            return Answered(unreachable=f"{_where(call.url)}: {error}")
        return Answered(answer.status, answer.without_secrets(answer.body.decode("utf-8", "replace")))


def _where(url: AnyHttpUrl) -> str:
    """An endpoint without what may be secret of its URL."""
    port = f":{url.port}" if url.port is not None else ""
    return clean_text(f"{url.scheme}://{url.host}{port}{url.path or ''}", _WHERE_CHARS)
