"""`core.replicante.io/platform.provision`, `platform.replicante.io/node.provision`: more nodes from a platform.

A platform makes as many nodes as often as it is asked, so it is asked once: the intent is saved before, and where it is not
known whether the request arrived it is not repeated. Then the nodes are waited for: they are there when discovery has told of
all of them for `stable_after` seconds without a change.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import Field

from blocks.errors import PlatformError, PlatformRefusedError
from blocks.models.action import ActionState
from blocks.models.platform import COUNT_MAX, ClusterDefinition, PlatformRef, Provisioned
from blocks.models.source import Source
from blocks.models.view import ClusterView
from tasks.cluster_actions.base import Scene, Step
from tasks.decide.cluster_kinds import Args

S = ActionState

Count = Annotated[int, Field(ge=1, le=COUNT_MAX)]
Group = Annotated[str, Field(min_length=1, max_length=256)]
StableAfter = Annotated[float, Field(ge=0, le=86_400)]


class Request(Args):
    """What is wanted."""

    node_group_id: Group
    count: Count


class Provision(Args):
    """More nodes of a cluster that has a platform and a declaration."""

    request: Request
    stable_after: StableAfter = 300.0
    """For so many seconds the new nodes must be told of without a change."""


class NodeProvision(Args):
    """More nodes of a cluster that is defined here."""

    platform_ref: PlatformRef
    cluster: ClusterDefinition
    provision: Request


async def provision(scene: Scene) -> Step:
    """Ask the cluster's platform, once; then wait for the nodes."""
    if isinstance(scene.action.payload, dict) and scene.action.payload.get("requested"):
        return _waited(scene, scene.action.payload)
    definition = scene.view.spec.declaration.definition
    if definition is None:
        return Step(
            S.FAILED,
            error="the cluster's ClusterSpec declares no definition of what it is made of: apply one with spec.declaration.definition",
        )
    args: Provision = scene.args
    begun = {
        "requested": True,
        "starting_nodes": sorted(node_ids(scene.view)),
        "candidate_nodes": [],
        "stable_since": None,
    }
    if scene.repeated:  # also where it was refused and we died: then nothing comes, and its time runs out
        return _begun(begun, args.request.count, note="whether the platform was asked is not known")
    try:
        made = await _asked(scene, scene.view.spec.platform, definition, args.request)
    except PlatformError as error:  # it may have begun: that shows
        return _begun(begun, args.request.count, note=str(error))
    return made if isinstance(made, Step) else _begun(begun, made.count, node_ids=list(made.node_ids or ()))


def _begun(payload: dict[str, Any], expected: int, **more: Any) -> Step:
    return Step(S.RUNNING, payload={**payload, "expected": expected, **more}, error=more.get("note"))


async def node_provision(scene: Scene) -> Step:
    """Ask a platform, once."""
    if scene.repeated:
        return Step(S.FAILED, error="whether the platform was asked is not known, and it is not asked again")
    args: NodeProvision = scene.args
    if args.cluster.cluster_id != scene.action.cluster_id:
        return Step(
            S.FAILED,
            error=f"the action is on cluster {scene.action.cluster_id}, and asks for nodes of {args.cluster.cluster_id}",
        )
    try:
        made = await _asked(scene, args.platform_ref, args.cluster, args.provision)
    except PlatformError as error:
        return Step(S.FAILED, error=f"{error}; it is not asked again")
    if isinstance(made, Step):
        return made
    return Step(S.DONE, payload={"count": made.count, "node_ids": list(made.node_ids or ())})


async def platform_of(scene: Scene, ref: PlatformRef | None) -> Source | str:
    """The platform of a name, or why it is not to be asked."""
    if ref is None:
        return "the cluster's ClusterSpec names no platform: apply one with spec.platform"
    key = f"{ref.ns_id or scene.action.namespace}/{ref.name}"
    source = await scene.source(key)
    if source is None or source.platform is None:
        return f"there is no Platform {key}"
    if not source.enabled:
        return f"Platform {key} is switched off (`active: false`): no nodes are made or removed with it"
    home = await scene.namespace(source.namespace)
    if home is None or not home.may_act:
        status = "gone" if home is None else home.status
        return f"namespace {source.namespace} of Platform {key} is {status}: no nodes are made or removed with it"
    return source


def node_ids(view: ClusterView) -> set[str]:
    """The nodes that discovery tells of."""
    return {node.node_id for node in view.discovery.nodes} if view.discovery is not None else set()


async def _asked(
    scene: Scene, ref: PlatformRef | None, definition: ClusterDefinition, request: Request
) -> Provisioned | Step:
    """Raises PlatformError when nodes may be made all the same."""
    platform = await platform_of(scene, ref)
    if isinstance(platform, str):
        return Step(S.FAILED, error=platform)
    try:
        return await (await scene.outside.platforms()).provision(
            platform, definition, request.node_group_id, request.count, scene.within_s
        )
    except PlatformRefusedError as error:
        return Step(S.FAILED, error=str(error))
    except PlatformError as error:
        if error.maybe_done:
            raise
        return Step(S.RUNNING, error=str(error), failed=True)


def _waited(scene: Scene, payload: dict[str, Any]) -> Step:
    """Whether the nodes are there, all of them, and for long enough."""
    before, expected = set(payload.get("starting_nodes") or ()), int(payload.get("expected") or 0)
    candidates = sorted(node_ids(scene.view) - before)
    same = candidates == payload.get("candidate_nodes")
    since = payload.get("stable_since") if same else None
    complete = len(candidates) >= expected
    if complete and since is None:
        since = scene.now.isoformat()
    told: dict[str, Any] = {**payload, "candidate_nodes": candidates, "stable_since": since if complete else None}
    stable = complete and scene.now - datetime.fromisoformat(str(since)) >= timedelta(seconds=scene.args.stable_after)
    return Step(S.DONE if stable else S.RUNNING, payload=told)
