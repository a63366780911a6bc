"""All agents of the fleet over HTTP.

Guarantees: a failure is a value of its node; a look takes at most twice the request's deadline, counted from when it is
given its place (for a node known to be silent: from the call), and keeps the parts that came in time; at most `concurrency`
looks at nodes that answer and `silent_max` at others run at once, so that hanging nodes neither delay healthy ones nor break
their deadlines; sending has places of its own and does not wait behind looks; an action is sent exactly once per call, and never two at a time to one agent (some check for duplicates too late).
Failure modes: an agent that cannot be reached or is no agent is a `Failure` that says so; one that asks to be left alone for a
moment (429, 503) is asked once more within the look.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from weakref import WeakValueDictionary

from blocks.agents.answers import Answer
from blocks.agents.detection import NOT_HERE, Detected, detect
from blocks.agents.dialect import Ask, Dialect
from blocks.agents.glimpses import Glimpses
from blocks.agents.places import Place, PlaceError, Places
from blocks.agents.protocol import Proof, Target
from blocks.agents.protocol_a import ProtocolA
from blocks.agents.protocol_b import ProtocolB
from blocks.agents.settings import AgentsSettings
from blocks.agents.transport import Transport, base_url
from blocks.connected import Connected
from blocks.errors import AgentError
from blocks.models.action import Action
from blocks.models.look import AgentAction, Failure, Glimpse, Look
from blocks.models.node import Protocol
from blocks.models.sent import Sent
from blocks.models.tls import Tls
from blocks.tls.contexts import TlsContexts

DIALECTS: Mapping[Protocol, Dialect] = {
    Protocol.A: ProtocolA(),
    Protocol.B: ProtocolB(),
}
PATIENCE_S = 0.25
"""A node that lets us wait for longer gives its place to others and is waited for elsewhere."""
BEHIND_S = (0.05, 0.5)
"""So long a silent node lets others go first, from and to, in seconds: hundreds of connections at once take time to make."""
PAUSE_S = (0.1, 0.4)
"""How long a busy agent that says nothing more is left alone within a look, from and to, in seconds."""
PAUSE_MAX_S = 2.0
"""One that asks for more than this is not asked again in the same look."""


class HttpAgents(Connected):
    """All agents of the fleet; `async with` it, or `connect` and `close`."""

    def __init__(
        self, settings: AgentsSettings, contexts: TlsContexts | None = None, jitter: random.Random | None = None
    ) -> None:
        self._settings = settings
        self._jitter = jitter or random.Random()  # noqa: S311 - spreads retries, hides nothing
        self._own_contexts = TlsContexts() if contexts is None else None
        self._contexts = contexts or self._own_contexts or TlsContexts()
        self._transport = Transport(settings, self._contexts)
        self._looks = Places(settings.concurrency, settings.silent_max, PATIENCE_S)
        self._glimpses = Glimpses(settings.remembered_max)
        self._sends = asyncio.Semaphore(settings.concurrency)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By address, for agents that are being sent an action."""

    async def connect(self) -> None:
        """Get ready; agents are connected to when they are asked."""
        await self._transport.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()
        if self._own_contexts is not None:
            await self._own_contexts.close()

    async def look(self, target: Target, action_ids: Sequence[str] = ()) -> Look:
        """See `Agents.look`."""
        look = await self._looked(target, action_ids)
        trouble = self._contexts.trouble(target.tls) if target.tls is not None else None
        return look if trouble is None else look.evolve(tls_trouble=trouble)

    async def _looked(self, target: Target, action_ids: Sequence[str]) -> Look:
        called, wait_s = time.monotonic(), None
        if target.silent:
            wait_s = target.timeout_s if target.knock_s is None else target.knock_s
            if target.knock_s is None:
                await asyncio.sleep(min(self._jitter.uniform(*BEHIND_S), target.timeout_s / 4))
        try:
            async with self._looks.one(silent=target.silent, wait_s=wait_s) as place:
                begun = called if target.silent else time.monotonic()
                return await self._look(target, action_ids, begun + 2 * target.timeout_s, place)
        except PlaceError as error:
            return Look(node_id=target.node_id, info=Failure(reason=str(error)), asked=False)

    async def _look(self, target: Target, action_ids: Sequence[str], end: float, place: Place) -> Look:
        ask = self._ask(target, end, place.answered)
        knock_s = target.knock_s
        first = ask if knock_s is None else self._ask(target, min(end, time.monotonic() + knock_s), place.answered)
        detected = await detect(first, target.protocol, target.only)
        if isinstance(detected, Failure):
            return Look(node_id=target.node_id, info=detected, asked=knock_s is None or detected.status is not None)
        dialect, ask = DIALECTS[detected.protocol], detected.replayed(ask)
        return await dialect.look(ask, target.node_id, action_ids, self._settings.details_max)

    async def probe(self, target: Target, *, shards: bool) -> Glimpse | Failure:
        """See `Agents.probe`."""
        ask = self._ask(target, time.monotonic() + target.timeout_s)
        known = target.only or target.protocol
        answer = None if known is None else await ask(DIALECTS[known].glimpse_path(shards=shards))
        if isinstance(answer, Failure):
            return answer
        if known is None or answer is None or answer.status in NOT_HERE:
            # Another agent may stand there now: what was remembered is believed only while it is not contradicted.
            detected = await detect(ask, None, target.only)
            if isinstance(detected, Failure):
                return detected
            if answer is None or detected.protocol is not known:
                known, ask = detected.protocol, detected.replayed(ask)
                answer = await ask(DIALECTS[known].glimpse_path(shards=shards))
        if isinstance(answer, Failure):
            return answer
        return self._glimpses.of(known, answer, shards=shards, read=partial(DIALECTS[known].glimpse, shards=shards))

    async def action(self, target: Target, action_id: str) -> AgentAction | Failure | None:
        """The agent's word on an action; None when the agent answers and does not know it."""
        async with self._sends:
            ask = self._ask(target, time.monotonic() + 2 * target.timeout_s)
            spoken = await self._known(ask, target)
            if isinstance(spoken, Failure):
                return spoken
            dialect, ask = spoken
            return await dialect.action(ask, action_id)

    async def send(
        self, target: Target, action: Action, fence: str, budget_s: float, *, proof: Proof | None = None
    ) -> Sent:
        """See `Agents.send`."""
        end = time.monotonic() + budget_s
        turn = self._turns.setdefault(target.agent_address, asyncio.Lock())
        async with AsyncExitStack() as places:
            try:
                async with asyncio.timeout(budget_s):
                    await places.enter_async_context(turn)
                    await places.enter_async_context(self._sends)
            except TimeoutError:
                return Sent(accepted=False, failed="not sent: too many other actions are being sent")
            return await self._send(target, action, fence, end, proof)

    async def _send(self, target: Target, action: Action, fence: str, end: float, proof: Proof | None) -> Sent:
        spoken = await self._known(self._ask(target, end), target)
        if isinstance(spoken, Failure):
            return Sent(accepted=False, failed=spoken.reason)
        dialect, _ = spoken
        post = dialect.post(action, fence)
        if isinstance(post, Failure):
            return Sent(accepted=False, refused=post.reason)
        budget_s = min(target.timeout_s, end - time.monotonic(), proof() if proof is not None else math.inf)
        if budget_s <= 0:
            return Sent(accepted=False, failed="not sent: no time was left, or the lock could no longer be proven")
        try:
            url = base_url(target.agent_address) + post.path
            answer = await self._transport.post(url, self._tls(target), post.body, dict(post.headers), budget_s)
        except AgentError as error:
            return Sent(accepted=False, failed=error.reason, maybe_sent=error.sent, notes=post.notes)
        return dialect.sent(answer, action.action_id).evolve(notes=post.notes)

    async def _known(self, ask: Ask, target: Target) -> tuple[Dialect, Ask] | Failure:
        """Believe what is demanded or remembered; a look would have noticed a change."""
        known = target.only or target.protocol
        return (DIALECTS[known], ask) if known is not None else await self._spoken(ask, target)

    async def _spoken(self, ask: Ask, target: Target) -> tuple[Dialect, Ask] | Failure:
        detected: Detected | Failure = await detect(ask, target.protocol, target.only)
        if isinstance(detected, Failure):
            return detected
        return DIALECTS[detected.protocol], detected.replayed(ask)

    def _ask(self, target: Target, end: float, answered: Callable[[], None] = lambda: None) -> Ask:
        """A way to GET paths of one agent until the moment `end` of the monotonic clock; tells of each answer."""
        late = f"not asked: the deadline of {2 * target.timeout_s:.3g} s for the whole node has passed"
        root: str | None = None
        patient = True

        async def once(path: str) -> Answer | Failure:
            nonlocal root
            left = end - time.monotonic()
            if left <= 0:
                return Failure(reason=late)
            try:
                root = root or base_url(target.agent_address)
                answer = await self._transport.get(root + path, self._tls(target), min(target.timeout_s, left))
            except AgentError as error:
                return Failure(reason=error.reason, status=error.status)
            answered()
            return answer

        async def ask(path: str) -> Answer | Failure:
            nonlocal patient
            answer = await once(path)
            if isinstance(answer, Failure) or not answer.busy or not patient:
                return answer
            patient = False
            pause_s = self._jitter.uniform(*PAUSE_S) + (answer.retry_after_s or 0.0)
            if pause_s > min(PAUSE_MAX_S, (end - time.monotonic()) / 2):
                return answer
            await asyncio.sleep(pause_s)
            return await once(path)

        return ask

    def _tls(self, target: Target) -> Tls | None:
        return target.tls if target.tls is not None else self._settings.tls
