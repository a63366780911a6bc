"""`core.replicante.io/platform.deprovision`: a node fewer. Asking a platform again is harmless: one that is gone is gone.

Whether the cluster can spare the node is judged by the gates before it begins, and again here before each time it is asked: what
could only wait would keep everything else from the cluster meanwhile, also what may mend it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from blocks.errors import PlatformError, PlatformRefusedError
from blocks.models.action import ActionState
from blocks.models.base import Id
from tasks.cluster_actions.base import Scene, Step
from tasks.cluster_actions.provision import StableAfter, node_ids, platform_of
from tasks.decide.choose import acted_on
from tasks.decide.cluster_kinds import Args
from tasks.decide.gates import health

S = ActionState


class Deprovision(Args):
    """Which node, and for how long it must be gone."""

    node_id: Id
    stable_after: StableAfter = 60.0
    """For so many seconds discovery must not have told of it."""


async def deprovision(scene: Scene) -> Step:
    """Ask the cluster's platform until it has agreed; then wait until the node is gone."""
    args: Deprovision = scene.args
    payload = scene.action.payload if isinstance(scene.action.payload, dict) else {}
    if payload.get("requested"):
        return _waited(scene, args, payload)
    platform = await platform_of(scene, scene.view.spec.platform)
    if isinstance(platform, str):
        return Step(S.FAILED, error=platform)
    if (danger := _danger(scene, args.node_id)) is not None:
        asked = "it may have been asked all the same" if scene.repeated else "it was not asked"
        return Step(S.FAILED, error=f"the cluster cannot spare node {args.node_id} any more ({danger}); {asked}")
    try:
        await (await scene.outside.platforms()).deprovision(
            platform, scene.action.cluster_id, args.node_id, scene.within_s
        )
    except PlatformRefusedError as error:
        return Step(S.FAILED, error=str(error))
    except PlatformError as error:
        return Step(S.RUNNING, error=str(error), failed=True, in_doubt=error.maybe_done)
    return Step(S.RUNNING, payload={"requested": True, "gone_since": None}, error=None)


def _danger(scene: Scene, node_id: str) -> str | None:
    """Why the cluster cannot spare the node now; None: it can, or somebody has said why it must."""
    if scene.action.forced is not None:
        return None
    blocks = health(scene.view, node_id, acted_on(scene.view, scene.now))
    return next((f"{block.rule}: {block.reason}" for block in blocks), None)


def _waited(scene: Scene, args: Deprovision, payload: dict[str, Any]) -> Step:
    gone = args.node_id not in node_ids(scene.view)
    since = (payload.get("gone_since") or scene.now.isoformat()) if gone else None
    stable = since is not None and scene.now - datetime.fromisoformat(str(since)) >= timedelta(
        seconds=args.stable_after
    )
    return Step(S.DONE if stable else S.RUNNING, payload={**payload, "gone_since": since})
