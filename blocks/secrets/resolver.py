"""From a `Sensitive` to its text.

Guarantees: files are read again within a second of their change on disk, secrets once a minute; what many ask for at once
is read once; texts have a largest size; no text is in an error or a log.
Failure modes: while whoever keeps the secrets does not answer, the last good text of a secret stays in use, for up to a day,
and nobody waits for more than a moment; a secret that is gone and a file that cannot be read are used for one minute more
(they are being replaced, or were removed by mistake); a failure is remembered for a few seconds. Then: `UnresolvedError`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, replace

from blocks.errors import DependencyUnavailableError, ReplicoreError, TransientError
from blocks.files import Files, Stamp
from blocks.models.tls import Sensitive
from blocks.secrets.protocol import Secrets

log = logging.getLogger(__name__)

SECRET_FRESH_S = 60.0
FAILURE_FRESH_S = 5.0
GONE_GRACE_S = 60.0
AWAY_GRACE_S = 86_400.0
REFRESH_WAIT_S = 1.0
"""How long one who has a good text waits for a newer one."""
TEXTS_MAX = 1_024
BYTES_MAX = 4 * 1024 * 1024

_FOREVER = float("inf")
_Read = Callable[[], Awaitable[tuple[str, Stamp | None]]]


class UnresolvedError(TransientError):
    """A text cannot be had; it may be put right at any time."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A text, and until when it need not be asked for again (unless its file changes)."""

    text: str
    until: float


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of one secret or file."""

    text: str | None
    """The last good one."""
    good_at: float
    """When it was last seen to be that."""
    until: float
    stamp: Stamp | None = None
    reason: str = ""
    """Why the last try failed; empty when it did not."""
    away: bool = False
    """It failed because nobody answered, which says nothing about the text."""
    failing_since: float = 0.0

    def usable(self, now: float) -> bool:
        """Whether the last good text may be used."""
        if self.text is None:
            return False
        if self.reason and not self.away:
            return now - self.failing_since < GONE_GRACE_S
        return now - self.good_at < AWAY_GRACE_S


class Resolver:
    """All sensitive texts in use; `close` it."""

    def __init__(
        self, secrets: Secrets, clock: Callable[[], float] = time.monotonic, files: Files | None = None
    ) -> None:
        self._secrets = secrets
        self._clock = clock
        self.files = files or Files(clock)
        """How files are looked at; for whoever needs to know when they change."""
        self._known: dict[Hashable, _Known] = {}
        self._reading: dict[Hashable, asyncio.Task[_Known]] = {}

    async def text(self, sensitive: Sensitive, bytes_max: int = BYTES_MAX) -> str:
        """The text.

        Raises:
            UnresolvedError: it cannot be had, or is larger than `bytes_max`.
        """
        return (await self.resolve(sensitive, bytes_max)).text

    async def resolve(self, sensitive: Sensitive, bytes_max: int = BYTES_MAX) -> Resolved:
        """The text, and until when it is good.

        Raises:
            UnresolvedError: it cannot be had, or is larger than `bytes_max`.
        """
        if sensitive.text is not None:
            resolved = Resolved(sensitive.text.get_secret_value(), _FOREVER)
        elif sensitive.file is not None:
            resolved = await self._of_file(sensitive.file)
        else:
            resolved = await self._of_secret(str(sensitive.secret))
        if len(resolved.text) > bytes_max:
            message = f"{_named(sensitive)} is larger than {bytes_max} bytes"
            raise UnresolvedError(message)
        return resolved

    async def close(self) -> None:
        """Stop reading what nobody will need."""
        tasks = list(self._reading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _of_file(self, path: str) -> Resolved:
        key = ("file", path)
        known, stamp = self._known.get(key), await self.files.stamp(path)
        if known is None or known.stamp != stamp or known.until <= self._clock():
            known = await asyncio.shield(self._read(key, lambda: self._file_text(path), stamp))
        return self._outcome(known)

    async def _of_secret(self, name: str) -> Resolved:
        key = ("secret", name)
        known = self._known.get(key)
        if known is None or known.until <= self._clock():
            task = self._read(key, lambda: self._secret_text(name))
            if known is None or not known.usable(self._clock()):
                await asyncio.shield(task)
            elif not known.away:
                await asyncio.wait({task}, timeout=REFRESH_WAIT_S)
            known = self._known.get(key, known)
        return self._outcome(known)

    def _outcome(self, known: _Known | None) -> Resolved:
        now = self._clock()
        if known is None or known.text is None or not known.usable(now):
            raise UnresolvedError("" if known is None else known.reason)
        return Resolved(known.text, known.until if known.until > now else now + FAILURE_FRESH_S)

    def _read(self, key: Hashable, read: _Read, stamp: Stamp | None = None) -> asyncio.Task[_Known]:
        task = self._reading.get(key)
        if task is None:
            task = asyncio.create_task(self._renewed(key, read, stamp))
            self._reading[key] = task
            task.add_done_callback(lambda _: self._reading.pop(key, None))
        return task

    async def _renewed(self, key: Hashable, read: _Read, stamp: Stamp | None) -> _Known:
        before = self._known.get(key)
        try:
            text, stamp = await read()
            now = self._clock()
            known = _Known(text, now, _FOREVER if stamp is not None else now + SECRET_FRESH_S, stamp)
        except ReplicoreError as error:
            known = self._failed(before, error, stamp)
        self._known.pop(key, None)
        self._known[key] = known
        while len(self._known) > TEXTS_MAX:
            del self._known[next(iter(self._known))]
        return known

    def _failed(self, before: _Known | None, error: ReplicoreError, stamp: Stamp | None) -> _Known:
        now = self._clock()
        before = before or _Known(None, now, now)
        away = isinstance(error, DependencyUnavailableError)
        known = replace(
            before,
            until=now + FAILURE_FRESH_S,
            stamp=stamp,
            reason=str(error),
            away=away,
            failing_since=before.failing_since if before.reason and before.away == away else now,
        )
        if not before.reason and known.usable(now):
            log.warning("a text that was good is used a little longer: %s", error)
        return known

    async def _secret_text(self, name: str) -> tuple[str, None]:
        return await self._secrets.read(name), None

    async def _file_text(self, path: str) -> tuple[str, Stamp]:
        content, stamp = await self.files.read(path, BYTES_MAX)
        return content.decode("latin-1"), stamp


def _named(sensitive: Sensitive) -> str:
    if sensitive.file is not None:
        return sensitive.file
    return "the text" if sensitive.secret is None else f"the secret {sensitive.secret!r}"
