"""The budget of a namespace: how many of its nodes are acted on at once, whichever workers act."""

from __future__ import annotations

from collections.abc import Sequence

from blocks.models.action import Action
from blocks.models.gate import Disruptions
from blocks.models.namespace import Namespace
from blocks.store.protocol import Store
from tasks.decide.gates import disturbs


async def taken(store: Store, namespace: Namespace) -> tuple[Disruptions | None, tuple[str, ...]]:
    """The record, where there is one, and the actions that take room of it now."""
    record = await store.get(Disruptions, namespace.key)
    if record is None:
        return None, ()
    actions = await store.get_many(Action, record.holders)
    return record, tuple(one for one in record.holders if one in actions and _acts(actions[one]))


def _acts(action: Action) -> bool:
    """Whether it is begun, or may be: one that is chosen has its intent since the same transaction as its room."""
    sent = not action.state.final and action.intent is not None
    return action.left_running or action.state.on_agent or sent


async def room_for(
    store: Store, namespace: Namespace, chosen: Sequence[Action]
) -> tuple[tuple[Action, ...], Disruptions | None]:
    """Those of the chosen actions that there is room for, and the record to be swapped in with them (None: no budget)."""
    most = namespace.settings.disruption_max
    counted = [action for action in chosen if action.forced is None and disturbs(action, namespace)]
    if most is None or not counted:
        return tuple(chosen), None
    record, holders = await taken(store, namespace)
    others = [one for one in holders if one not in {action.action_id for action in counted}]
    fitting = {action.action_id for action in counted[: max(0, most - len(others))]}
    allowed = tuple(action for action in chosen if action not in counted or action.action_id in fitting)
    version = record.version + 1 if record is not None else 1
    return allowed, Disruptions(namespace=namespace.name, holders=(*others, *sorted(fitting)), version=version)
