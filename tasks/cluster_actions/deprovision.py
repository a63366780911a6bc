"""`core.replicante.io/platform.deprovision`: a node fewer. Asking a platform again is harmless: one that is gone is gone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from blocks.errors import PlatformError, PlatformRefusedError
from blocks.models.action import ActionState
from blocks.models.base import Id
from tasks.cluster_actions.base import Scene, Step
from tasks.cluster_actions.provision import StableAfter, node_ids, platform_of
from tasks.decide.cluster_kinds import Args

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
    try:
        await (await scene.outside.platforms()).deprovision(
            platform, scene.action.cluster_id, args.node_id, scene.within_s
        )
    except PlatformRefusedError as error:
        return Step(S.FAILED, error=str(error))
    except PlatformError as error:
        return Step(S.RUNNING, error=str(error), failed=True, in_doubt=error.maybe_done)
    return Step(S.RUNNING, payload={"requested": True, "gone_since": None}, error=None)


def _waited(scene: Scene, args: Deprovision, payload: dict[str, Any]) -> Step:
    gone = args.node_id not in node_ids(scene.view)
    since = (payload.get("gone_since") or scene.now.isoformat()) if gone else None
    stable = since is not None and scene.now - datetime.fromisoformat(str(since)) >= timedelta(
        seconds=args.stable_after
    )
    return Step(S.DONE if stable else S.RUNNING, payload={**payload, "gone_since": since})
