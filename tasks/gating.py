"""Put gates in front of actions and take them away, by order of a person: compare-and-set, with the event that tells of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.errors import ConflictError, InvalidInputError, NotFoundError
from blocks.models.action import Action
from blocks.models.cluster import ClusterSpec
from blocks.models.event import EventType
from blocks.models.gate import Block, Gate, GateKind
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace
from blocks.models.record import Change, RecordKey
from blocks.models.rolling import Rolling, RollingState
from blocks.models.view import ClusterView, in_front_of
from blocks.store.protocol import Store
from tasks.decide.diff import plain_time
from tasks.decide.gates import closed, stopped
from tasks.decide.gating import GATES_MAX, also_frozen, gate_told

TRIES_MAX = 5


@task(name="place gate", cache_policy=NO_CACHE)
async def place(store: Store, gate: Gate, now: datetime) -> Gate:
    """Place a gate, or replace the one of its name. What is frozen already stays frozen for as long as either wants.

    Raises:
        NotFoundError: what it is in front of does not exist.
        InvalidInputError: there are too many, or one of that name is of another kind or in front of something else.
        ConflictError: others kept changing it at the same moment.
    """
    await _exists(store, gate)
    for _ in range(TRIES_MAX):
        before = await store.get(Gate, gate.key)
        if before is None and len(await store.find(Gate, limit=GATES_MAX)) >= GATES_MAX:
            message = f"there are {GATES_MAX} freezes and windows already; lift those that have ended"
            raise InvalidInputError(message)
        if before is not None and _what(before) != _what(gate):
            message = f"{gate.name!r} is the {before.kind.value} of {before.where} already; lift it first, or choose another name"
            raise InvalidInputError(message)
        wanted = also_frozen(before, gate, now) if before is not None else gate
        placed = wanted.evolve(version=before.version + 1 if before is not None else 1)
        told = gate_told(
            EventType.GATE_PLACED,
            placed,
            who=gate.created_by,
            why=placed.reason,
            until=plain_time(gate.expires_at) if gate.expires_at is not None else None,
        )
        try:
            await store.commit(Change(swaps=(placed,), drafts=(told,)), now=now)
        except ConflictError:
            continue
        return placed
    message = f"gate {gate.name} kept changing; try again"
    raise ConflictError(message)


def _what(gate: Gate) -> tuple[GateKind, str | None, str | None]:
    return gate.kind, gate.namespace, gate.cluster_id


@task(name="lift gate", cache_policy=NO_CACHE)
async def lift(store: Store, name: str, who: str, why: str, now: datetime) -> Gate:
    """Take a gate away.

    Raises:
        NotFoundError: there is none of that name.
    """
    gate = await store.get(Gate, name)
    if gate is None:
        message = f"there is no freeze or window {name!r}; `replictl windows` lists them"
        raise NotFoundError(message)
    told = gate_told(EventType.GATE_LIFTED, gate, who=who, why=why)
    await store.commit(Change(deletes=(RecordKey(Gate, name),), drafts=(told,)), now=now)
    return gate


async def still_closed(store: Store, view: ClusterView, now: datetime) -> tuple[Block, ...]:
    """What keeps everything of a cluster from beginning, read again after intents were saved.

    Whoever freezes, stops or deletes first says so in the store and then looks for intents; whoever sends first saves the
    intent and then looks here. So one of the two always sees the other.
    """
    home, spec = await store.get(Namespace, view.namespace.key), await store.get(ClusterSpec, view.ref.key)
    gone = Block(rule="NAMESPACE", reason=f"namespace {view.namespace.name} is gone")
    found = [gone] if home is None else list(stopped(home, now))
    if spec is None or not spec.active:
        found.append(
            Block(rule="INACTIVE", reason="its ClusterSpec is not active" if spec is not None else "it is deleted")
        )
    gates = await store.find(Gate, limit=GATES_MAX)
    return (*found, *closed(in_front_of(gates, spec or view.spec, view.discovery), now))


async def stopped_rollings(store: Store, actions: Iterable[Action]) -> set[str]:
    """The rolling actions that made these actions and do not run (any more), read again after intents were saved."""
    made = {action.rolling_id for action in actions if action.rolling_id is not None}
    known = await store.get_many(Rolling, made) if made else {}
    return {key for key in made if key not in known or known[key].state is not RollingState.RUNNING}


async def _exists(store: Store, gate: Gate) -> None:
    if gate.namespace is not None and await store.get(Namespace, gate.namespace) is None:
        message = f"there is no namespace {gate.namespace!r}; `replictl get namespaces` lists them"
        raise NotFoundError(message)
    if gate.namespace is not None and gate.cluster_id is not None:
        ref = ClusterRef(namespace=gate.namespace, cluster_id=gate.cluster_id)
        if not await store.existing(ClusterSpec, {ref.key}):
            message = f"there is no cluster {ref}; `replictl clusters` lists those that are known"
            raise NotFoundError(message)
