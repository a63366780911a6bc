"""Workers that break one rule on purpose, so that one sees that the checker notices.

A switch puts a wrapper around a real adapter of a shift, which tells each time that it broke the rule. Nothing of it is in the
product, nor can it be switched on there: only the worker of chaos runs knows these.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from blocks.coordinator.protocol import Claim, ClaimKind
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterState
from blocks.models.event import Event, EventType
from blocks.models.gate import Gate
from blocks.models.ids import ClusterRef
from blocks.models.node import Node
from blocks.models.record import Change, Fence, Seen
from blocks.models.request import Request, WorkKind
from blocks.models.sent import Sent
from blocks.models.view import ClusterView
from flows.shift import Shift

_EACH = 7
"""Of so many events one is lost."""

Did = Callable[[], None]
"""Told each time that a rule was broken."""


class _Around:
    """Everything as the inner one does it, but what a subclass says."""

    def __init__(self, inner: Any, did: Did) -> None:
        self._inner = inner
        self._did = did

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _NoLock(_Around):
    """Takes locks without asking anybody, with a token that is long out of date."""

    async def take(self, kind: ClaimKind, name: str, purpose: str, *, wait_s: float = 0.0) -> Claim:
        if kind is not ClaimKind.LOCK:
            return await self._inner.take(kind, name, purpose, wait_s=wait_s)  # type: ignore[no-any-return]
        return self._made(name)

    async def take_many(self, kind: ClaimKind, names: Iterable[str], purpose: str) -> dict[str, Claim]:
        del kind, purpose
        return {name: self._made(name) for name in names}

    async def give_back(self, claims: Iterable[Claim]) -> None:
        await self._inner.give_back([claim for claim in claims if claim.kind is not ClaimKind.LOCK])

    def remaining_s(self, claim: Claim) -> float:
        return 10.0 if claim.kind is ClaimKind.LOCK else self._inner.remaining_s(claim)

    async def confirm(self, claim: Claim) -> bool:
        return claim.kind is ClaimKind.LOCK or await self._inner.confirm(claim)

    def _made(self, name: str) -> Claim:
        return Claim(kind=ClaimKind.LOCK, name=name, generation=0, token=1, session=0)


class _NoFence(_Around):
    """Writes as if nobody else could hold the cluster."""

    async def claim(self, fences: Sequence[Fence]) -> set[str]:
        del fences
        return set()

    async def commit(self, change: Change, *, now: datetime, fence: Fence | None = None) -> tuple[Event, ...]:
        told: tuple[Event, ...] = await self._inner.commit(change, now=now)
        if fence is not None and any(isinstance(one, ClusterState | Node) for one in change.puts):
            self._did()
        return told

    async def seen(self, seen: Sequence[Seen]) -> set[str]:
        for one in seen:
            await self._inner.commit(Change(puts=(one.state, *one.nodes)), now=one.state.observed_at)
            self._did()
        return set()


class _Sends(_Around):
    """Sends as ever, and tells of what should not have been sent and arrived."""

    def __init__(self, inner: Any, did: Did, wrong: Callable[[Action], bool]) -> None:
        super().__init__(inner, did)
        self._wrong = wrong

    async def send(self, target: Any, action: Action, fence: str, budget_s: float, **more: Any) -> Sent:
        sent: Sent = await self._inner.send(target, action, fence, budget_s, **more)
        if sent.accepted and self._wrong(action):
            self._did()
        return sent


class _NoIntent(_Around):
    """Sends without having said so."""

    def __init__(self, inner: Any, did: Did) -> None:
        super().__init__(inner, did)
        self._unsaved: set[str] = set()

    def unsaved(self, action: Action) -> bool:
        """Whether its intent was not saved."""
        return action.action_id in self._unsaved

    async def commit(self, change: Change, *, now: datetime, fence: Fence | None = None) -> tuple[Event, ...]:
        intents = [one for one in change.swaps if isinstance(one, Action) and one.intent is not None]
        if intents and not change.drafts:
            self._unsaved |= {one.action_id for one in intents}
            return ()
        return await self._inner.commit(change, now=now, fence=fence)  # type: ignore[no-any-return]


class _NoEvents(_Around):
    """Changes actions and does not tell of it."""

    async def commit(self, change: Change, *, now: datetime, fence: Fence | None = None) -> tuple[Event, ...]:
        quiet = tuple(one for one in change.drafts if one.type is not EventType.ACTION_FINISHED)
        told: tuple[Event, ...] = await self._inner.commit(replace(change, drafts=quiet), now=now, fence=fence)
        if len(quiet) < len(change.drafts):
            self._did()
        return told


class _MovesFinal(_Around):
    """Takes up again what was over."""

    async def commit(self, change: Change, *, now: datetime, fence: Fence | None = None) -> tuple[Event, ...]:
        told: tuple[Event, ...] = await self._inner.commit(change, now=now, fence=fence)
        over = [one for one in change.swaps if isinstance(one, Action) and one.state is ActionState.DONE]
        again = tuple(one.evolve(state=ActionState.RUNNING, version=one.version + 1) for one in over)
        if again:
            await self._inner.commit(Change(swaps=again), now=now, fence=fence)
            self._did()
        return told


class _NoGates(_Around):
    """Sees no freeze and no blackout."""

    closed = False
    """Whether there is one."""

    async def find(self, type_: type[Any], *args: Any, **more: Any) -> list[Any]:
        found: list[Any] = await self._inner.find(type_, *args, **more)
        if type_ is not Gate:
            return found
        self.closed = bool(found)
        return []

    async def views(self, clusters: Sequence[ClusterRef]) -> dict[str, ClusterView]:
        found: dict[str, ClusterView] = await self._inner.views(clusters)
        return {key: replace(view, gates=()) for key, view in found.items()}


class _Forgets(_Around):
    """Claims work and leaves undone what clusters need."""

    async def claim_work(self, keys: Sequence[str], owner: str, now: datetime) -> list[Request]:
        return self._remembered(await self._inner.claim_work(keys, owner, now))

    async def claim_any(self, kinds: Sequence[str], owner: str, now: datetime, limit: int) -> list[Request]:
        return self._remembered(await self._inner.claim_any(kinds, owner, now, limit))

    def _remembered(self, claimed: list[Request]) -> list[Request]:
        kept = [one for one in claimed if one.kind != WorkKind.ORCHESTRATE]
        for _ in range(len(claimed) - len(kept)):
            self._did()
        return kept


class _SendsTwice(_Around):
    """Makes a new id where it should ask for the old one."""

    async def send(self, target: Any, action: Action, fence: str, budget_s: float, **more: Any) -> Sent:
        begun = time.monotonic()
        sent: Sent = await self._inner.send(target, action, fence, budget_s, **more)
        again = action.evolve(action_id=str(uuid4()))
        twice: Sent = await self._inner.send(
            target, again, fence, max(0.1, budget_s - (time.monotonic() - begun)), **more
        )
        if sent.accepted and twice.accepted:
            self._did()
        return sent


class _LosesEvents(_Around):
    """Says that events are on the bus which are not."""

    async def publish(self, events: Sequence[Event], **more: Any) -> list[str]:
        kept = [event for event in events if event.sequence % _EACH]
        lost = [event.event_id for event in events if not event.sequence % _EACH]
        if lost:
            self._did()
        return [*await self._inner.publish(kept, **more), *lost] if kept else lost


def _unsaid(shift: Shift, did: Did) -> Shift:
    store = _NoIntent(shift.store, did)
    return replace(shift, store=store, agents=_Sends(shift.agents, did, store.unsaved))


def _ungated(shift: Shift, did: Did) -> Shift:
    """Whoever works looks at all gates when an intent was saved, and sends then."""
    store = _NoGates(shift.store, did)
    return replace(shift, store=store, agents=_Sends(shift.agents, did, lambda _: store.closed))


def _unlocked(shift: Shift, did: Did) -> Shift:
    return replace(shift, coordinator=_NoLock(shift.coordinator, did), store=_NoFence(shift.store, did))


SWITCHES: Mapping[str, tuple[int, Callable[[Shift, Did], Shift]]] = {
    "dedupe": (1, lambda shift, did: replace(shift, agents=_SendsTwice(shift.agents, did))),
    "intent": (2, _unsaid),
    "gates": (3, _ungated),
    "work": (4, lambda shift, did: replace(shift, store=_Forgets(shift.store, did))),
    "outbox": (5, lambda shift, did: replace(shift, bus=_LosesEvents(shift.bus, did))),
    "events": (5, lambda shift, did: replace(shift, store=_NoEvents(shift.store, did))),
    "fence": (6, _unlocked),
    "final": (7, lambda shift, did: replace(shift, store=_MovesFinal(shift.store, did))),
}
"""By name, the rule that is broken, and how."""


def sabotaged(shift: Shift, switch: str, did: Did) -> Shift:
    """The shift that breaks a rule, and tells each time that it did."""
    return SWITCHES[switch][1](shift, did)
