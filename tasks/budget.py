"""The budget of a namespace: how many of its nodes are acted on at once, whichever workers act."""

from __future__ import annotations

from collections.abc import Sequence

from blocks.models.action import Action, ActionState
from blocks.models.gate import HOLDERS_MAX, Disruptions
from blocks.models.namespace import Namespace
from blocks.models.view import ClusterView
from blocks.store.protocol import Store
from tasks.decide.cluster_kinds import Catalogue, taken_node
from tasks.decide.gates import disturbs


async def taken(store: Store, namespace: Namespace) -> tuple[Disruptions | None, tuple[str, ...]]:
    """The record, where there is one, and the actions that take room of it now."""
    record = await store.get(Disruptions, namespace.key)
    if record is None:
        return None, ()
    actions = await store.get_many(Action, record.holders)
    # One that is chosen has its intent, so is under way, since the same transaction as its room.
    return record, tuple(one for one in record.holders if one in actions and actions[one].under_way)


async def holders_beside(store: Store, view: ClusterView, kinds: Catalogue) -> tuple[str, ...]:
    """The actions that take room of the namespace's budget, where one that would take a node away waits in this cluster.

    Raises:
        DependencyUnavailableError: the store is gone.
    """
    waiting = (action for action in view.actions.values() if action.state is ActionState.PENDING_SCHEDULE)
    if view.namespace.settings.disruption_max is None or all(taken_node(one, kinds) is None for one in waiting):
        return ()
    _, holders = await taken(store, view.namespace)
    return holders


async def room_for(
    store: Store, namespace: Namespace, chosen: Sequence[Action]
) -> tuple[tuple[Action, ...], Disruptions | None]:
    """Those of the chosen actions that there is room for, and the record to be swapped in with them (None: none takes any).

    An action by force begins whether there is room or not, and takes room that others then do not have. Of actions on clusters
    only those are to be asked about that take a node away.
    """
    most = namespace.settings.disruption_max
    counted = [action for action in chosen if action.node_id is None or disturbs(action, namespace)]
    if most is None or not counted:
        return tuple(chosen), None
    record, holders = await taken(store, namespace)
    others = [one for one in holders if one not in {action.action_id for action in counted}]
    forced = [action.action_id for action in counted if action.forced is not None]
    asking = [action.action_id for action in counted if action.forced is None]
    begun = {*forced, *asking[: max(0, most - len(others) - len(forced))]}
    allowed = tuple(action for action in chosen if action not in counted or action.action_id in begun)
    if not begun:
        return allowed, None
    held = (*others, *sorted(begun))[:HOLDERS_MAX]  # no budget is larger: it is full all the same
    version = record.version + 1 if record is not None else 1
    return allowed, Disruptions(namespace=namespace.name, holders=held, version=version)
