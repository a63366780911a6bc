"""What `core.replicante.io/http` needs of HTTP endpoints of others: one POST, and what was answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import AnyHttpUrl

from blocks.models.base import Json
from blocks.models.tls import Sensitive


@dataclass(frozen=True, slots=True)
class Call:
    """One request."""

    url: AnyHttpUrl
    body: Json
    idempotency_key: str
    """The same for all tries of one thing: who has done it answers as before."""
    fence: str
    """The fencing token of whoever asks: an older one than was seen before is from somebody who has been replaced."""
    within_s: float
    headers: Mapping[str, Sensitive] = field(default_factory=dict)
    ca: str | None = None
    """Certificates to trust, as PEM text; None: those of the system."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of it."""

    status: int = 0
    text: str = field(default="", repr=False)
    """The body, bounded, without our secrets."""
    unusable: str | None = None
    """Why the answer that was given cannot be read."""
    unreachable: str | None = None
    """Why there is no whole answer, and where it was asked for; the request may have arrived all the same."""


class Webhooks(Protocol):
    """HTTP endpoints of others."""

    async def post(self, call: Call) -> Answered:
        """Send a request, once."""
