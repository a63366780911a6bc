"""Why a server hangs up after a TLS handshake that looked good.

In TLS 1.3 a server refuses a client's certificate (or its absence) only after the client believes that it is connected and
has sent its request. The server closes, the unread request makes that a reset, and the alert with the reason is often lost.
So: shake hands once more, say nothing, and listen.
"""

from __future__ import annotations

import asyncio
import ssl

from blocks.tls.reasons import tls_reason

LISTEN_S = 1.0


async def hangup_reason(host: str, port: int, context: ssl.SSLContext, timeout_s: float) -> str | None:
    """What the server says when it is connected to and told nothing; None when it says nothing, within `timeout_s`."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(min(timeout_s, LISTEN_S)):
            reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
            await reader.read(1)
    except (OSError, ValueError) as error:
        return tls_reason(error)
    finally:
        if writer is not None:
            writer.transport.abort()
    return None
