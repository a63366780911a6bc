"""What an action does: one small class with ``step``; and the three test actions every agent has.

A step does one bounded thing and says where the action is now. Its payload is all it may remember: it is stored before
the next step and handed back after a restart, so a step must expect to be repeated with the payload it started from.
Write the intent into the payload in one step and have the effect in the next.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from infra.agents.kit.errors import ActionError
from infra.agents.kit.models import Json, Phase

LOOP_TARGET = 10
LOOP_TARGET_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """Where an action is after a step: RUNNING again, DONE, or FAILED with an error."""

    phase: Phase
    payload: Json = None
    error: Json = None


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a step may know besides its arguments."""

    action_id: str
    now: datetime


class ActionHandler(Protocol):
    """One kind of action; raising ends it FAILED, with the exception's text and causes."""

    async def step(self, args: Json, payload: Json, ctx: StepContext) -> Step:
        """Do the next bounded thing; `payload` is None the first time."""
        ...


Handlers = Mapping[str, ActionHandler]


def running(payload: Json) -> Step:
    """Go on with `payload` one execute interval from now."""
    return Step(Phase.RUNNING, payload)


def done(payload: Json = None) -> Step:
    """End well."""
    return Step(Phase.DONE, payload)


def as_object(value: Json, what: str) -> dict[str, Json]:
    """Return a JSON object, or an empty one for null.

    Raises:
        ActionError: It is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        message = f"{what} must be an object or null, not {type(value).__name__}"
        raise ActionError(message)
    return value


class TestSuccess:
    """``agent.replicante.io/test.success``: ends DONE in one step."""

    __test__ = False

    async def step(self, args: Json, payload: Json, ctx: StepContext) -> Step:
        """End well."""
        del args, payload, ctx
        return done()


class TestFail:
    """``agent.replicante.io/test.fail``: ends FAILED in one step."""

    __test__ = False

    async def step(self, args: Json, payload: Json, ctx: StepContext) -> Step:
        """End badly."""
        del args, payload, ctx
        message = "the action agent.replicante.io/test.fail always fails"
        raise ActionError(message)


class TestLoop:
    """``agent.replicante.io/test.loop`` {target?: 10}: counts one per step; nonsense args mean the default."""

    __test__ = False

    async def step(self, args: Json, payload: Json, ctx: StepContext) -> Step:
        """Count one."""
        del ctx
        wanted = args.get("target") if isinstance(args, dict) else None
        valid = isinstance(wanted, int) and not isinstance(wanted, bool) and 0 <= wanted <= LOOP_TARGET_MAX
        target = wanted if isinstance(wanted, int) and valid else LOOP_TARGET
        before = payload.get("count") if isinstance(payload, dict) else 0
        count = (before if isinstance(before, int) else 0) + 1
        progress: Json = {"count": min(count, target), "target": target}
        return done(progress) if count >= target else running(progress)


TEST_ACTIONS: Handlers = {
    "agent.replicante.io/test.success": TestSuccess(),
    "agent.replicante.io/test.fail": TestFail(),
    "agent.replicante.io/test.loop": TestLoop(),
}
