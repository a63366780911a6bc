"""What a wire protocol has to offer so that agents that speak it can be looked at and be sent actions.

A new protocol is one file with one class of this form, one line in `blocks.agents.client.DIALECTS` and one in
`blocks.agents.detection`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from blocks.agents.answers import Answer
from blocks.models.action import Action
from blocks.models.look import AgentAction, Failure, Glimpse, Look
from blocks.models.sent import Sent

FENCE_KEY = "replicore.io/fence"
"""Where the fencing token travels in an action's metadata."""

Ask = Callable[[str], Awaitable[Answer | Failure]]
"""GET a path below the agent's root; a transport failure is a value."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Post:
    """The one request that sends an action: a path below the agent's root, headers and a body."""

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    """What of the action the protocol has no room for."""


class Dialect(Protocol):
    """One wire protocol. Stateless; decoding never raises."""

    def glimpse_path(self, *, shards: bool) -> str:
        """What a probe asks for: the node, or its shards."""

    def glimpse(self, answer: Answer, *, shards: bool) -> Glimpse:
        """What an answer to that is like: of the node its status, identity and versions, of shards ids and roles."""

    async def look(self, ask: Ask, node_id: str, action_ids: Sequence[str], details_max: int) -> Look:
        """Read everything; at most `details_max` actions by id."""

    async def action(self, ask: Ask, action_id: str) -> AgentAction | Failure | None:
        """Read one action; None when the agent does not know it."""

    def post(self, action: Action, fence: str) -> Post | Failure:
        """The request that sends an action; a `Failure` when the protocol cannot say it at all."""

    def sent(self, answer: Answer, action_id: str) -> Sent:
        """What the answer to that request means."""


async def read(ask: Ask, path: str, decode: Callable[[Answer], T]) -> T | Failure:
    """Ask and decode; a failure to ask stays what it is."""
    answer = await ask(path)
    return answer if isinstance(answer, Failure) else decode(answer)
