"""What approve, reject and cancel have in common."""

from __future__ import annotations

from uuid import UUID

from blocks.fleet import Connections
from blocks.models.action import Action, ActionState
from blocks.models.request import Priority, WorkKind
from flows.entry import run, utc_now, who
from tasks.decide.audit import Command
from tasks.order import order
from tasks.request import request_work


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
) -> Action:
    """Move an action by order of a person, and have its cluster looked after at once; `name` is that of the command.

    Raises:
        NotFoundError: there is no such action.
        RefusedError: it cannot move there from where it is.
    """

    async def sentence(connections: Connections) -> Action:
        store, now = await connections.store(), utc_now()
        action = await order(store, str(action_id), after, who(by), comment, now, only_from, forced=forced)
        queue = await connections.work_queue()
        await request_work(store, queue, WorkKind.ORCHESTRATE, action.cluster.key, Priority.PERSON, now)
        return action

    command = Command(name, str(action_id), who(by), {"comment": comment, "force": forced})
    return run(sentence, fleet, command=command)
