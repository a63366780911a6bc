"""What flows need of agents: one look at a node, an action by its id, and sending an action.

A failure is a value of that node, never an exception that stops others. Every request has a total deadline, every body a
size cap, every list an item cap; redirects are not followed; nothing an agent says is trusted to be well formed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from blocks.models.action import Action
from blocks.models.base import Fact
from blocks.models.look import AgentAction, Failure, Glimpse, Look
from blocks.models.node import Protocol as WireProtocol
from blocks.models.sent import Sent
from blocks.models.tls import Tls


class Target(Fact):
    """A node to be asked: where its agent is and how to speak to it."""

    node_id: str
    agent_address: str
    protocol: WireProtocol | None = None
    """Remembered from last time; None: find out."""
    only: WireProtocol | None = None
    """Demanded by people: no other is tried, whatever is remembered; None: any."""
    tls: Tls | None = None
    timeout_s: float = 10.0
    """Deadline of one request; the look as a whole gets at most twice that."""
    silent: bool = False
    """It did not answer last time: it gets none of the places of nodes that do."""
    knock_s: float | None = None
    """Deadline of the first answer, in seconds, where that is a shorter one; without it, nothing is said to be known."""


Proof = Callable[[], float]


class Agents(Protocol):
    """All agents of the fleet."""

    async def look(self, target: Target, action_ids: Sequence[str] = ()) -> Look:
        """Read everything of a node, and the details of each action that it lists as unfinished or that is asked for in
        `action_ids`; never raises for what an agent does or fails to do. With `asked` false it says nothing about the
        node: there was no place for a silent one in time, or a knock was not answered.
        """

    async def probe(self, target: Target, *, shards: bool) -> Glimpse | Failure:
        """One cheap request within the target's timeout: whether the node answers, and what that answer is like (its own
        facts, or with `shards` the ids and roles of its shards). Waits for no look and no send. An agent that does not have
        the path any more is asked again what it speaks, within the same timeout.
        """

    async def action(self, target: Target, action_id: str) -> AgentAction | Failure | None:
        """The agent's word on an action; None when the agent answers and does not know it."""

    async def send(
        self, target: Target, action: Action, fence: str, budget_s: float, *, proof: Proof | None = None
    ) -> Sent:
        """Send an action with its fencing token, within `budget_s` seconds; never tried twice in here.

        `proof` is asked right before the request is written: for how many seconds the right to send it still lasts. The
        request gets no more time than that, and is not sent when there is none.
        """
