"""What a wire protocol has to offer so that agents that speak it can be looked at and be sent actions.

A new protocol is one file with one class of this form, and one line in `blocks.agents.client.DIALECTS`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from blocks.agents.answers import Answer
from blocks.models.action import Action
from blocks.models.look import ActionsInfo, AgentAction, Failure, Look
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


class Dialect(Protocol):
    """One wire protocol. Stateless; decoding never raises."""

    async def look(self, ask: Ask, node_id: str, action_ids: Sequence[str], details_max: int) -> Look:
        """Read everything; at most `details_max` actions by id."""

    async def action(self, ask: Ask, action_id: str) -> AgentAction | Failure | None:
        """Read one action; None when the agent does not know it."""

    def post(self, action: Action, fence: str) -> Post:
        """The request that sends an action."""

    def sent(self, answer: Answer, action_id: str) -> Sent:
        """What the answer to that request means."""


async def read(ask: Ask, path: str, decode: Callable[[Answer], T]) -> T | Failure:
    """Ask and decode; a failure to ask stays what it is."""
    answer = await ask(path)
    return answer if isinstance(answer, Failure) else decode(answer)


async def details(
    dialect: Dialect, ask: Ask, actions: ActionsInfo | Failure, asked: Sequence[str], details_max: int
) -> dict[str, AgentAction | Failure | None]:
    """The agent's word on each action asked for or listed as unfinished; what was not asked for want of room is a `Failure`,
    never None: None would say that the action is gone.
    """
    listed = () if isinstance(actions, Failure) else actions.queue
    wanted = tuple(dict.fromkeys((*asked, *listed)))
    if isinstance(actions, ActionsInfo) and not actions.enabled:
        return {action_id: Failure(reason="the agent has its actions switched off") for action_id in wanted}
    found: dict[str, AgentAction | Failure | None] = {}
    for action_id in wanted[:details_max]:
        found[action_id] = await dialect.action(ask, action_id)
    left = Failure(reason=f"not asked: one look reads at most {details_max} actions")
    found.update(dict.fromkeys(wanted[details_max:], left))
    return found
