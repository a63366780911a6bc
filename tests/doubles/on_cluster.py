"""Actions on a whole cluster through the cycles of a `World`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from blocks.models.action import Action
from blocks.models.base import Json
from blocks.models.ids import ClusterRef
from doubles.actions import make_action
from doubles.world import World
from flows.cycle import Mode, cycle
from flows.steps import Turn
from tasks.cluster_actions.base import ClusterAction, Scene
from tasks.cluster_actions.table import BY_NAME
from tasks.decide.cluster_kinds import ClusterKind

CORE = "core.replicante.io"


async def ordered(world: World, kind: str, args: Json = None, number: int = 1, **fields: Any) -> Action:
    """An approved action on the cluster."""
    name = kind if "/" in kind else f"{CORE}/{kind}"
    return await world.order(make_action(number, node_id=None, kind=name, args=args, **fields))


async def turned(world: World, ref: ClusterRef, action: Action, times: int = 1, turn: Turn | None = None) -> Action:
    """The action after so many cycles, two seconds apart."""
    for _ in range(times):
        [report] = (await cycle(turn or await world.turn(), [ref], Mode.ORCHESTRATE)).reports
        assert report.error is None
        world.advance(2)
    found = await world.store.get(Action, action.action_id)
    assert found is not None
    return found


def with_handler(turn: Turn, handler: Callable[[Scene], Awaitable[Any]], *, effect: bool = False) -> Turn:
    """A turn with one more kind of action, `bad`."""
    bad = ClusterAction(ClusterKind(f"{CORE}/bad", "goes wrong"), handler, effect=effect)
    return replace(turn, handlers={**BY_NAME, bad.kind.name: bad})
