"""A real cluster as the product sees it, look by look: the real client, and the product's own judgement."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from blocks.agents.client import HttpAgents
from blocks.agents.settings import AgentsSettings
from blocks.models.cluster import Health
from blocks.models.node import Node, NodeStatus, ShardRole
from blocks.models.source import DiscoveredNode
from blocks.models.view import ClusterView
from doubles.engines import WITHIN_S, Cluster
from doubles.views import NOW, discovery, make_view
from tasks.decide.settle import settle
from tasks.poll import poll_nodes

LATER_S = 60.0
"""Between two looks of `Sight.steady`, on the clock of the product: longer than anything has to last to be said."""


@dataclass
class Sight:
    """A cluster as the product sees it: every look goes through the real client and the product's own judgement."""

    view: ClusterView
    now: datetime = NOW
    events: list[str] = field(default_factory=list)
    """The types of all events so far."""

    @classmethod
    def of(cls, made: Cluster, cluster_id: str) -> Sight:
        """A cluster that was just discovered."""
        nodes = tuple(DiscoveredNode(node_id=name, agent_address=agent.url) for name, agent in made.agents.items())
        bare = make_view()
        spec = bare.spec.evolve(cluster_id=cluster_id)
        return cls(replace(bare, spec=spec, discovery=discovery(()).evolve(cluster_id=cluster_id, nodes=nodes)))

    async def look(self, agents: HttpAgents, after_s: float = 0.0) -> ClusterView:
        """Look at every node so many seconds after the last look, and judge."""
        self.now += timedelta(seconds=after_s)
        polled = await poll_nodes.fn(agents, self.view, now=self.now)
        settled = settle(self.view, polled.looks, now=self.now)
        self.view = settled.view
        self.events += [str(draft.type) for draft in settled.change.drafts]
        return self.view

    async def steady(self, is_so: Callable[[ClusterView], bool]) -> ClusterView:
        """Look until the nodes are as wanted, then twice more with time between, so that all is said that must last.

        Raises:
            AssertionError: they did not become so in time, or did not stay so.
        """
        async with HttpAgents(AgentsSettings()) as agents:
            deadline = time.monotonic() + WITHIN_S
            while not is_so(await self.look(agents, 0.1)):
                assert time.monotonic() < deadline, f"not within {WITHIN_S:g} s; last seen {said(self.view)}"
            for _ in range(2):
                await self.look(agents, LATER_S)
        assert is_so(self.view), f"it did not last; now {said(self.view)}"
        return self.view


def said(view: ClusterView) -> dict[str, object]:
    """What a view says, in short."""
    return {"statuses": statuses(view), "problems": problems(view), "roles": roles(view)}


def statuses(view: ClusterView) -> dict[str, str]:
    """By node id."""
    return {node_id: node.status.value for node_id, node in sorted(view.nodes.items())}


def are(**wanted: NodeStatus) -> Callable[[ClusterView], bool]:
    """Whether nodes have these statuses (`_` stands for `-` in their names)."""

    def is_so(view: ClusterView) -> bool:
        found = {node_id.replace("-", "_"): node.status for node_id, node in view.nodes.items()}
        return all(found.get(node_id) is status for node_id, status in wanted.items())

    return is_so


def health(view: ClusterView) -> Health | None:
    """How the cluster is said to be."""
    return view.state.health if view.state is not None else None


def roles(view: ClusterView) -> dict[str, str]:
    """By node id, the role for the only shard; of several shards how many of each role; only what is fresh."""

    def said_of(node: Node) -> str:
        names = [shard.role_text or shard.role.value for shard in node.shards]
        return names[0] if len(names) == 1 else f"{names.count('primary')} of {len(names)} primary"

    return {node_id: said_of(node) for node_id, node in sorted(view.nodes.items()) if _fresh(node)}


def primaries(view: ClusterView) -> list[str]:
    """The nodes that are primary for a shard at this moment."""
    return [
        node_id
        for node_id, node in sorted(view.nodes.items())
        if _fresh(node) and any(shard.role is ShardRole.PRIMARY for shard in node.shards)
    ]


def problems(view: ClusterView) -> list[str]:
    """The problems that are said: their codes, each with its node where it has one."""
    found = view.state.problems if view.state is not None else ()
    return sorted(f"{problem.code} {problem.node_id}" if problem.node_id else problem.code for problem in found)


def codes(view: ClusterView) -> set[str]:
    """The codes of the problems that are said, causes and symptoms alike."""
    return {problem.code for problem in (view.state.problems if view.state is not None else ())}


def lags(view: ClusterView) -> dict[str, bool]:
    """By node id, whether any of its shards has a lag."""
    return {
        node_id: any(shard.lag is not None for shard in node.shards)
        for node_id, node in sorted(view.nodes.items())
        if _fresh(node)
    }


def _fresh(node: Node) -> bool:
    return node.shards_stale_since is None and node.info_stale_since is None
