"""A platform on a real socket that behaves like the original's playground: what it made is told of, a second removal is an
error, groups it was not told of are refused with a 500.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from doubles.scripted_agent import Received, Reply


@dataclass
class PlaygroundPlatform:
    """Answers the requests of a `ScriptedAgent`."""

    prefix: str = ""
    """Path of the base URL."""
    gone: Reply = field(default_factory=lambda: Reply.json({"error_msg": "node does not exist"}, 500))
    """What is said to the removal of a node that is not there."""
    clusters: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    broken: bool = False
    made: int = 0

    def __call__(self, request: Received) -> Reply:
        """Answer."""
        if self.broken:
            return Reply(b"broken", 500)
        match request.method, request.path.removeprefix(self.prefix):
            case "GET", "/discover":
                return Reply.json({"clusters": [self._told(name) for name in self.clusters]})
            case "POST", "/provision":
                return self._provision(orjson.loads(request.body))
            case "POST", "/deprovision":
                return self._deprovision(orjson.loads(request.body))
        return Reply(b"nothing here", 404)

    def _told(self, name: str) -> dict[str, Any]:
        return {"cluster_id": name, "nodes": list(self.clusters[name].values())}

    def _provision(self, asked: dict[str, Any]) -> Reply:
        groups, group = asked["cluster"]["nodes"], asked["provision"]["node_group_id"]
        if group not in groups:
            body = {"defined_node_groups": list(groups), "error_msg": "unknown node group", "node_group_id": group}
            return Reply.json(body, 500)
        ids = []
        for _ in range(asked["provision"]["count"]):
            self.made += 1
            node_id = f"made-{self.made}"
            ids.append(node_id)
            self.clusters.setdefault(asked["cluster"]["cluster_id"], {})[node_id] = {
                "agent_address": f"http://10.1.0.{self.made}:8000",
                "node_id": node_id,
                "node_class": groups[group]["node_class"],
                "node_group": group,
            }
        return Reply.json({"count": len(ids), "node_ids": ids})

    def _deprovision(self, asked: dict[str, Any]) -> Reply:
        nodes = self.clusters.get(asked["cluster_id"], {})
        if nodes.pop(asked["node_id"], None) is None:
            return self.gone
        if not nodes:
            del self.clusters[asked["cluster_id"]]
        return Reply(status=204)
