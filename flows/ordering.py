"""What approve, reject, cancel, and pause and resume of rolling actions have in common."""

from __future__ import annotations

from uuid import UUID

from blocks.fleet import Connections
from blocks.models.action import Action, ActionState
from blocks.models.ids import ClusterRef
from blocks.models.request import Priority, WorkKind
from blocks.models.rolling import Rolling, RollingState
from blocks.store.protocol import Store
from flows.entry import run, utc_now, who
from flows.steps import Steps
from tasks.decide.audit import Command
from tasks.order import order
from tasks.order_rolling import order_rolling
from tasks.request import request_work

OF_ROLLING = {
    ActionState.PENDING_SCHEDULE: RollingState.RUNNING,
    ActionState.CANCELLED: RollingState.CANCELLED,
    ActionState.PENDING_APPROVE: RollingState.PENDING_APPROVE,
}
"""By the state of an action, what a rolling action is in its place."""


def order_action(
    name: str,
    action_id: UUID,
    after: ActionState,
    comment: str,
    by: str | None,
    fleet: str,
    *,
    only_from: ActionState | None = None,
    forced: bool = False,
    digest: str | None = None,
) -> Action | Rolling:
    """Move an action, or a rolling action, by order of a person, and have its cluster looked after at once; `name` is that
    of the command.

    Raises:
        NotFoundError: there is no such action.
        RefusedError: it cannot move there from where it is.
    """

    async def sentence(connections: Connections) -> Action | Rolling:
        store, now, key = await connections.store(), utc_now(), str(action_id)
        moved: Action | Rolling
        if await is_rolling(store, key):
            wanted, before = OF_ROLLING[after], OF_ROLLING[only_from] if only_from is not None else None
            if after is ActionState.PENDING_SCHEDULE:
                before = RollingState.PENDING_APPROVE  # a paused one is not approved, but resumed
            moved = await order_rolling(
                store, key, wanted, who(by), comment, now, before, forced=forced, digest=digest
            )  # fmt: skip
        else:
            moved = await order(store, key, after, who(by), comment, now, only_from, forced=forced)
        await look_after(connections, moved.cluster, Steps(watched=True))
        return moved

    command = Command(name, str(action_id), who(by), {"comment": comment, "force": forced, "digest": digest})
    return run(sentence, fleet, command=command)


async def is_rolling(store: Store, key: str) -> bool:
    """Whether an id is that of a rolling action."""
    return bool(await store.existing(Rolling, {key}))


async def look_after(connections: Connections, ref: ClusterRef, steps: Steps) -> None:
    """Have a cluster looked after at once."""
    store, queue = await connections.store(), await connections.work_queue()
    await steps("request", request_work, store, queue, WorkKind.ORCHESTRATE, ref.key, Priority.PERSON, utc_now())
