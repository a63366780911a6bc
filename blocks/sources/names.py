"""Host names of sources and platforms, resolved in threads of their own: a resolver that hangs stops nobody else."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable

import httpx

from blocks.threads import BusyThreadsError, Threads

THREADS_MAX = 16
"""So many names are being looked for at once; who asks for one more is told so."""

Resolve = Callable[[str, int], list[str]]


def resolved(host: str, port: int) -> list[str]:
    """The addresses of a host as the system knows them, each once.

    Raises:
        OSError: there is none.
    """
    found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Names:
    """Resolves names; a name that many ask for at once is looked for once."""

    def __init__(self, resolve: Resolve = resolved) -> None:
        """Take what resolves a name; it may hang."""
        self._resolve = resolve
        self._threads = Threads("source-names", THREADS_MAX)
        self._looking: dict[tuple[str, int], asyncio.Future[list[str]]] = {}

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host; of one that is an address already, itself.

        Raises:
            OSError: there is none, or too many names are being looked for.
        """
        if _is_address(host):
            return [host]
        looking = self._looking.get((host, port))
        if looking is None:
            try:
                looking = self._threads.run(lambda: self._resolve(host, port))
            except BusyThreadsError as error:
                message = "too many names are being looked for"
                raise OSError(message) from error
            self._looking[host, port] = looking
            looking.add_done_callback(lambda done: self._done((host, port), done))
        return await asyncio.shield(looking)

    def _done(self, key: tuple[str, int], looking: asyncio.Future[list[str]]) -> None:
        self._looking.pop(key, None)
        if not looking.cancelled():
            looking.exception()  # whoever waited for it may have gone


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


class ResolvingTransport(httpx.AsyncBaseTransport):
    """Connects to addresses that `Names` found; certificates are checked against the name."""

    def __init__(self, inner: httpx.AsyncBaseTransport, names: Names) -> None:
        """Take what connects."""
        self._inner = inner
        self._names = names

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx. The addresses of a host are tried in turn, as long as nothing was sent."""
        host = request.url.host
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        try:
            addresses = await self._names.addresses(host, port)
        except OSError as error:
            raise httpx.ConnectError(str(error), request=request) from error
        if addresses == [host]:
            return await self._inner.handle_async_request(request)
        extensions = {**request.extensions, "sni_hostname": host}
        for address in addresses[:-1]:
            try:
                return await self._inner.handle_async_request(_at(request, address, extensions))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._inner.handle_async_request(_at(request, addresses[-1], extensions))

    async def aclose(self) -> None:
        """Close what connects."""
        await self._inner.aclose()


def _at(request: httpx.Request, address: str, extensions: dict[str, object]) -> httpx.Request:
    """The same request to one address: its headers, and so its Host, stay."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions=extensions,
    )
