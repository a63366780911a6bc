"""Rolling actions for tests."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from blocks.models.rolling import Pace, Prospect, Rolling, RollingPlan, RollingState
from blocks.models.view import ClusterView
from doubles.views import NODES, NOW, REF
from doubles.world import World
from tasks.cluster_actions.table import CATALOGUE
from tasks.decide.rolling_plan import planned
from tasks.order_rolling import cluster_of, order_new, order_rolling, proposed

RESTART = "agent.replicante.io/node.restart"
ROLLING_ID = str(UUID(int=99))


def make_plan(*batches: tuple[str, ...], **fields: Any) -> RollingPlan:
    """A plan for `prod/orders`: the secondaries one by one, then the primary."""
    basics = {
        "namespace": "prod",
        "cluster_id": "orders",
        "kind": RESTART,
        "batches": batches or (("n2",), ("n3",), ("n1",)),
        "members": NODES,
    }
    return RollingPlan.model_validate({**basics, **fields})


def make_rolling(**fields: Any) -> Rolling:
    """A rolling action that is approved."""
    basics = {
        "rolling_id": ROLLING_ID,
        "plan": make_plan(),
        "state": RollingState.RUNNING,
        "created_at": NOW,
        "created_by": "ann",
        "approved_by": "bob",
        "version": 1,
    }
    return Rolling.model_validate({**basics, **fields})


def plan_for(view: ClusterView, *nodes: str, **pace: Any) -> RollingPlan:
    """The plan for these nodes, or for all, as `roll` makes it."""
    return planned(view, RESTART, None, nodes or sorted(view.nodes), Pace(**pace), CATALOGUE)


async def shown(world: World, force: str | None = None, **pace: Any) -> Prospect:
    """What a dry run shows."""
    return await proposed(world.store, REF, RESTART, None, {}, Pace(**{"settle_s": 1.0, **pace}), force, world.clock())


async def rolled(
    world: World, *, approved: bool = True, force: str | None = None, rolling_id: str = ROLLING_ID, **pace: Any
) -> Rolling:
    """A rolling action over all nodes of `prod/orders`, ordered by ann and approved by bob."""
    plan = (await shown(world, force, **pace)).plan
    view, now = await cluster_of(world.store, REF), world.clock()
    made = await order_new.fn(world.store, view, plan, rolling_id, "ann", "new certificates", now, forced=force)
    if not approved:
        return made
    return await order_rolling.fn(world.store, made.rolling_id, RollingState.RUNNING, "bob", "fine", now)


async def stored(world: World, rolling: Rolling) -> Rolling:
    """A rolling action as it is now."""
    found = await world.store.get(Rolling, rolling.rolling_id)
    assert found is not None
    return found
