"""TLS for everything that speaks HTTPS: from a `Tls` fact to one shared `ssl.SSLContext`.

Guarantees: TLS 1.2 and 1.3 are both spoken, nothing older; certificates are checked unless the fact says otherwise; equal
material gives the same context, so that connections can be shared; files and secrets are read again as the `Resolver` says;
material that cannot be used is a `TlsError` with a precise reason and nothing secret in it.
Failure modes: while files are being rotated they may not fit each other for a moment, so the last good context is used for
up to a minute more; a failure is remembered for a few seconds, so that thousands of nodes do not ask for it each.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from blocks.errors import TransientError
from blocks.files import Files, Stamp
from blocks.models.tls import Sensitive, Tls
from blocks.secrets.prefect import PrefectSecrets
from blocks.secrets.protocol import Secrets
from blocks.secrets.resolver import Resolver, UnresolvedError

log = logging.getLogger(__name__)

FAILURE_FRESH_S = 5.0
ROTATION_GRACE_S = 60.0
CONTEXTS_MAX = 256

_SYSTEM = Tls()
_PARTS = ("ca_bundle", "client_cert", "client_key")


class TlsError(TransientError):
    """Certificates or keys cannot be had or used; files and secrets may be put right at any time."""


_Stamps = tuple[Stamp | None, ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    """What came of one `Tls`, and until when that is good."""

    context: ssl.SSLContext | None
    reason: str
    stamps: _Stamps
    until: float
    failing_since: float | None = None


class TlsContexts:
    """All contexts in use, each made once; `async with` it, or `close` it."""

    def __init__(
        self,
        secrets: Secrets | None = None,
        clock: Callable[[], float] = time.monotonic,
        files: Files | None = None,
    ) -> None:
        self.texts = Resolver(secrets or PrefectSecrets(), clock, files)
        """Where the material comes from; for whoever needs other sensitive texts as well."""
        self._clock = clock
        self._entries: dict[Tls, _Entry] = {}
        self._by_digest: dict[bytes, ssl.SSLContext] = {}
        self._loading: dict[Tls, asyncio.Task[_Entry]] = {}

    async def get(self, tls: Tls | None) -> ssl.SSLContext:
        """The context for `tls`; None means the system's certificates and none of ours.

        Raises:
            TlsError: the material cannot be had or used.
        """
        tls = _SYSTEM if tls is None else tls
        entry = self._entries.get(tls)
        if entry is None or entry.until <= self._clock() or entry.stamps != await self._stamps(tls):
            entry = await self._loaded(tls)
        if entry.context is None:
            raise TlsError(entry.reason)
        return entry.context

    def trouble(self, tls: Tls | None) -> str | None:
        """Why the material of `tls` cannot be used any more, while the last good one still is; None: it can."""
        entry = self._entries.get(_SYSTEM if tls is None else tls)
        return entry.reason if entry is not None and entry.context is not None and entry.reason else None

    async def close(self) -> None:
        """Stop loading what nobody will need."""
        tasks = list(self._loading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.texts.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _loaded(self, tls: Tls) -> _Entry:
        task = self._loading.get(tls)
        if task is None:
            task = asyncio.create_task(self._load(tls))
            self._loading[tls] = task
            task.add_done_callback(lambda _: self._loading.pop(tls, None))
        return await asyncio.shield(task)

    async def _load(self, tls: Tls) -> _Entry:
        stamps = await self._stamps(tls)
        before = self._entries.get(tls)
        try:
            entry = await self._made(tls, stamps)
        except TlsError as error:
            entry = self._failed(before, str(error), stamps)
        self._entries.pop(tls, None)
        self._entries[tls] = entry
        _trim(self._entries)
        _trim(self._by_digest)
        return entry

    async def _made(self, tls: Tls, stamps: _Stamps) -> _Entry:
        material: dict[str, str] = {}
        until = float("inf")
        for name, pem in _pems(tls):
            try:
                resolved = await self.texts.resolve(pem)
            except UnresolvedError as error:  # the grace of a text is over already
                return _Entry(None, f"{name}: {error}", stamps, self._clock() + FAILURE_FRESH_S)
            material[name] = resolved.text
            until = min(until, resolved.until)
        digest = _digest(tls, material)
        context = self._by_digest.get(digest)
        if context is None:
            context = await asyncio.to_thread(_build, tls, material)
            self._by_digest[digest] = context
        return _Entry(context, "", stamps, until)

    async def _stamps(self, tls: Tls) -> _Stamps:
        return tuple([await self.texts.files.stamp(pem.file) for _, pem in _pems(tls) if pem.file is not None])

    def _failed(self, before: _Entry | None, reason: str, stamps: _Stamps) -> _Entry:
        now = self._clock()
        since = now if before is None or before.failing_since is None else before.failing_since
        kept = None if before is None or now - since >= ROTATION_GRACE_S else before.context
        if kept is not None:
            log.warning("the last good TLS material is still used: %s", reason)
        return _Entry(kept, reason, stamps, now + FAILURE_FRESH_S, since)


def _pems(tls: Tls) -> Iterator[tuple[str, Sensitive]]:
    for name in _PARTS:
        pem = getattr(tls, name)
        if pem is not None:
            yield name, pem


def _trim(cache: dict[Any, Any]) -> None:
    while len(cache) > CONTEXTS_MAX:
        del cache[next(iter(cache))]


def _digest(tls: Tls, material: dict[str, str]) -> bytes:
    digest = hashlib.sha256(str(tls.insecure_skip_verify).encode())
    for name in _PARTS:
        text = material.get(name)
        digest.update(b"-" if text is None else hashlib.sha256(text.encode()).digest())
    return digest.digest()


def _build(tls: Tls, material: dict[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.insecure_skip_verify:
        log.warning("a TLS setting says insecure_skip_verify: the other side is not checked")
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    ca_bundle = material.get("ca_bundle")
    if ca_bundle is None:
        context.load_default_certs()
    else:
        _trust(context, ca_bundle)
    client_cert = material.get("client_cert")
    if client_cert is not None:
        _identify(context, client_cert, material.get("client_key", ""))
    return context


def _trust(context: ssl.SSLContext, ca_bundle: str) -> None:
    try:
        context.load_verify_locations(cadata=ca_bundle)
    except (ssl.SSLError, ValueError) as error:
        message = "ca_bundle: there is no usable PEM certificate in it"
        raise TlsError(message) from error


def _identify(context: ssl.SSLContext, client_cert: str, client_key: str) -> None:
    # OpenSSL takes a chain from a file only: one in memory keeps the key off the disk. Without a password it would ask at
    # the terminal for one.
    file = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(file), "wb") as writer:
            writer.write(f"{client_cert}\n{client_key}\n".encode("latin-1", "replace"))
        context.load_cert_chain(f"/proc/self/fd/{file}", password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise TlsError(_identity_reason(error, client_cert + client_key)) from error
    finally:
        os.close(file)


def _identity_reason(error: Exception, pem: str) -> str:
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return "client_key does not belong to client_cert"
    if "PRIVATE KEY-----" not in pem:
        return "client_cert: there is no private key in it, and no client_key is given"
    if "ENCRYPTED" in pem:
        return "client_key is encrypted with a passphrase, which is not supported"
    return "client_cert or client_key is not usable PEM"
