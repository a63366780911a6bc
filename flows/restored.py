"""Go on from a store that was set back to an earlier moment: nothing may be told, and nothing done, twice for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from blocks.coordinator.protocol import ClaimKind, Coordinator
from blocks.errors import RefusedError
from blocks.event_bus.protocol import EventBus
from blocks.models.action import Action, ActionState
from blocks.models.event import SYSTEM_STREAM, EventDraft, EventType
from blocks.models.record import Change
from blocks.models.rolling import UNFINISHED, Rolling
from blocks.store.protocol import Store, Where
from tasks.decide.diff import plain_time
from tasks.decide.gating import EVERYTHING, freeze_of
from tasks.decide.restoring import Restored
from tasks.gating import place
from tasks.restoring import doubt_actions, read_back

OVERLAP = timedelta(minutes=10)
"""So much earlier the bus is read from: clocks differ, and a backup takes its time. What is there already stays."""
NAMED_MAX = 100
_OPEN = tuple(state for state in ActionState if not state.final)


async def restored(
    coordinator: Coordinator,
    store: Store,
    bus: EventBus,
    at: datetime,
    by: str,
    why: str,
    clock: Callable[[], datetime],
) -> Restored:
    """Make a store safe that was set back, before anybody works with it.

    Args:
        coordinator: tells whether somebody works.
        store: that was set back.
        bus: remembers what was told since.
        at: the moment to which it was set back.
        by: who did that.
        why: for the event and the freeze.
        clock: the present.

    Raises:
        RefusedError: workers are running; nothing was changed.
        DependencyUnavailableError: one of the three is away; do it again.
    """
    if workers := await coordinator.holders(ClaimKind.WORKER):
        message = (
            f"{len(workers)} workers are running, {workers[0].owner} on {workers[0].host or '?'} first: stop them all, they "
            "would tell events anew under numbers that are taken, and act on what is out of date"
        )
        raise RefusedError(message)
    lost = await read_back.fn(store, bus, at - OVERLAP)
    await place.fn(
        store, freeze_of(EVERYTHING, f"the store was set back to {plain_time(at)}: {why}", None, by, clock()), clock()
    )
    doubted = await doubt_actions.fn(store, clock())
    actions = await store.find(Action, Where(action_states=_OPEN))
    rollings = await store.find(Rolling, Where(rolling_states=tuple(UNFINISHED)))
    told = EventDraft(
        type=EventType.STORE_RESTORED,
        stream=SYSTEM_STREAM,
        subject="store",
        data={"at": plain_time(at), "who": by, "why": why, "read_back": lost, "doubted": doubted},
    )
    await store.commit(Change(drafts=(told,)), now=clock())
    return Restored(
        read_back=lost,
        doubted=doubted,
        on_clusters=tuple(action.action_id for action in actions if action.node_id is None)[:NAMED_MAX],
        rollings=tuple(rolling.rolling_id for rolling in rollings)[:NAMED_MAX],
    )
