"""`core.replicante.io/debug.*` and `core.replicante.io/test.*`: actions that do nothing, to try out everything around them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, RootModel

from blocks.models.action import ActionState
from blocks.models.base import Json
from tasks.cluster_actions.base import Scene, Step
from tasks.decide.cluster_kinds import Args

COUNTS_MAX = 1_000_000
S = ActionState


class Anything(RootModel[Json]):
    """Whatever JSON has a form for."""


class Counting(Args):
    """How far to count, one each cycle."""

    count: Annotated[int, Field(ge=1, le=COUNTS_MAX)]


class Loop(Args):
    """How many cycles it takes."""

    target: Annotated[int, Field(ge=1, le=COUNTS_MAX)] = 10


async def success(scene: Scene) -> Step:
    """Succeed at once."""
    del scene
    return Step(S.DONE)


async def fail(scene: Scene) -> Step:
    """Fail at once."""
    del scene
    return Step(S.FAILED, error="it always fails")


async def ping(scene: Scene) -> Step:
    """Give back the arguments."""
    return Step(S.DONE, payload=scene.action.args)


async def counting(scene: Scene) -> Step:
    """Count one further."""
    return _counted(scene.action.payload, scene.args.count)


async def loop(scene: Scene) -> Step:
    """Go round once more."""
    return _counted(scene.action.payload, scene.args.target)


def _counted(payload: Json, target: int) -> Step:
    before = payload.get("count") if isinstance(payload, dict) else None
    count = before + 1 if isinstance(before, int) else 1
    return Step(S.DONE if count >= target else S.RUNNING, payload={"count": count, "target": target})
