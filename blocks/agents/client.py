"""All agents of the fleet over HTTP.

Guarantees: a failure is a value of its node; a look takes at most twice the request's deadline, counted from when it is
given its place, and keeps the parts that came in time; at most `concurrency` looks run at once, so that hanging nodes cost
places for a bounded time and never break the deadline of others; sending has places of its own and does not wait behind
looks; an action is sent exactly once per call.
Failure modes: an agent that cannot be reached, is no agent, or speaks a protocol we do not is a `Failure` that says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from blocks.agents.answers import Answer
from blocks.agents.detection import Detected, detect
from blocks.agents.dialect import Ask, Dialect
from blocks.agents.protocol import Target
from blocks.agents.protocol_b import ProtocolB
from blocks.agents.settings import AgentsSettings
from blocks.agents.transport import Transport, base_url
from blocks.errors import AgentError
from blocks.models.action import Action
from blocks.models.look import AgentAction, Failure, Look
from blocks.models.namespace import Tls
from blocks.models.node import Protocol
from blocks.models.sent import Sent
from blocks.tls.contexts import TlsContexts

DIALECTS: Mapping[Protocol, Dialect] = {
    Protocol.B: ProtocolB(),
}


class HttpAgents:
    """All agents of the fleet; `async with` it, or `connect` and `close`."""

    def __init__(self, settings: AgentsSettings, contexts: TlsContexts | None = None) -> None:
        self._settings = settings
        self._own_contexts = TlsContexts() if contexts is None else None
        self._transport = Transport(settings, contexts or self._own_contexts or TlsContexts())
        self._looks = asyncio.Semaphore(settings.concurrency)
        self._sends = asyncio.Semaphore(settings.concurrency)

    async def connect(self) -> None:
        """Get ready; agents are connected to when they are asked."""
        await self._transport.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()
        if self._own_contexts is not None:
            await self._own_contexts.close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def look(self, target: Target, action_ids: Sequence[str] = ()) -> Look:
        """Read everything of a node, and the details of each action that it lists as unfinished or that is asked for in
        `action_ids`; never raises for what an agent does or fails to do.
        """
        async with self._looks:
            ask = self._ask(target, time.monotonic() + 2 * target.timeout_s)
            spoken = await self._spoken(ask, target.protocol)
            if isinstance(spoken, Failure):
                return Look(node_id=target.node_id, info=spoken)
            dialect, ask = spoken
            return await dialect.look(ask, target.node_id, action_ids, self._settings.details_max)

    async def action(self, target: Target, action_id: str) -> AgentAction | Failure | None:
        """The agent's word on an action; None when the agent answers and does not know it."""
        async with self._sends:
            ask = self._ask(target, time.monotonic() + 2 * target.timeout_s)
            spoken = await self._known(ask, target.protocol)
            if isinstance(spoken, Failure):
                return spoken
            dialect, ask = spoken
            return await dialect.action(ask, action_id)

    async def send(self, target: Target, action: Action, fence: str, budget_s: float) -> Sent:
        """Send an action with its fencing token, within `budget_s` seconds; never tried twice in here."""
        end = time.monotonic() + budget_s
        try:
            async with asyncio.timeout(budget_s):
                await self._sends.acquire()
        except TimeoutError:
            return Sent(accepted=False, failed="not sent: too many other actions are being sent")
        try:
            return await self._send(target, action, fence, end)
        finally:
            self._sends.release()

    async def _send(self, target: Target, action: Action, fence: str, end: float) -> Sent:
        spoken = await self._known(self._ask(target, end), target.protocol)
        if isinstance(spoken, Failure):
            return Sent(accepted=False, failed=spoken.reason)
        dialect, _ = spoken
        post = dialect.post(action, fence)
        budget_s = min(target.timeout_s, end - time.monotonic())
        if budget_s <= 0:
            return Sent(accepted=False, failed="not sent: no time was left")
        try:
            url = base_url(target.agent_address) + post.path
            answer = await self._transport.post(url, self._tls(target), post.body, dict(post.headers), budget_s)
        except AgentError as error:
            return Sent(accepted=False, failed=error.reason, maybe_sent=error.sent)
        return dialect.sent(answer, action.action_id)

    async def _known(self, ask: Ask, remembered: Protocol | None) -> tuple[Dialect, Ask] | Failure:
        """Believe what is remembered; a look would have noticed a change."""
        if remembered is None:
            return await self._spoken(ask, None)
        dialect = DIALECTS.get(remembered)
        return _unsupported(remembered) if dialect is None else (dialect, ask)

    async def _spoken(self, ask: Ask, remembered: Protocol | None) -> tuple[Dialect, Ask] | Failure:
        detected: Detected | Failure = await detect(ask, remembered)
        if isinstance(detected, Failure):
            return detected
        dialect = DIALECTS.get(detected.protocol)
        return _unsupported(detected.protocol) if dialect is None else (dialect, detected.replayed(ask))

    def _ask(self, target: Target, end: float) -> Ask:
        """A way to GET paths of one agent until the moment `end` of the monotonic clock."""
        late = f"not asked: the deadline of {2 * target.timeout_s:.3g} s for the whole node has passed"
        root: str | None = None

        async def ask(path: str) -> Answer | Failure:
            nonlocal root
            left = end - time.monotonic()
            if left <= 0:
                return Failure(reason=late)
            try:
                root = root or base_url(target.agent_address)
                return await self._transport.get(root + path, self._tls(target), min(target.timeout_s, left))
            except AgentError as error:
                return Failure(reason=error.reason, status=error.status)

        return ask

    def _tls(self, target: Target) -> Tls | None:
        return target.tls if target.tls is not None else self._settings.tls


def _unsupported(protocol: Protocol) -> Failure:
    return Failure(reason=f"the agent speaks protocol {protocol}, which is not supported yet")
