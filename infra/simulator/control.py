"""The two services beside the agents: discovery, which the product asks, and control, which people and tests ask.

Control: ``POST /do`` takes one command or a list; ``GET /status``, ``/clusters``, ``/nodes?cluster=&limit=`` and
``/received?node=&what=&since=&limit=`` tell; ``POST /gaps`` begins to count how long nodes are left alone, ``GET /gaps`` tells
(`gaps`). Discovery: GET or POST ``/discover`` as Platforms answer (nodes are
objects), ``/legacy/discover`` as of old (nodes are URLs); both in pages with a cursor, as `infra.agents.discovery`.
"""

import time
from collections.abc import Callable
from itertools import islice
from urllib.parse import parse_qs, urlsplit

import orjson

from infra.agents.discovery import Fleet as Told
from infra.agents.discovery import page
from infra.agents.kit.errors import RequestError, error_body
from infra.agents.kit.models import Json
from infra.simulator.commands import parse_command
from infra.simulator.conductor import Conductor
from infra.simulator.errors import CommandError, SimulatorError
from infra.simulator.fleet import Fleet
from infra.simulator.http import Connection, Request, json_response, response
from infra.simulator.model import Node

LIMIT = 1_000
COMMANDS_MAX = 10_000

Handle = Callable[[Request], bytes]


class ServiceConnection(Connection):
    """A connection to one of the services."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        super().__init__()
        self._handle = handle

    def handle(self, request: Request) -> None:
        """Answer."""
        self.reply(self._handle(request), close=request.close)


class Discovery:
    """Tells which clusters there are."""

    def __init__(self, fleet: Fleet, page_size: int) -> None:
        self._fleet = fleet
        self._page_size = page_size
        self._told: dict[bool, Told] = {}
        self.asked = 0

    def handle(self, request: Request) -> bytes:
        """Answer one page."""
        self.asked += 1
        urls = request.path == "/legacy/discover"
        if not (urls or request.path == "/discover") or request.method not in {"GET", "POST"}:
            return response(404)
        try:
            return json_response(page(self._current(urls=urls), _cursor(request), self._page_size))
        except RequestError as error:
            return json_response(error_body(error), error.status)

    def _current(self, *, urls: bool) -> Told:
        """Return the fleet as it is told now."""
        told = self._told.get(urls)
        version = f"v{self._fleet.version}"
        if told is None or told.version != version:
            told = self._told[urls] = Told(version, list(self._fleet.told(urls=urls)))
        return told


class Control:
    """Does and tells."""

    def __init__(self, fleet: Fleet, conductor: Conductor) -> None:
        self._fleet = fleet
        self._conductor = conductor

    def handle(self, request: Request) -> bytes:
        """Answer; a wrong request is a 400 with a sentence."""
        query = {name: values[-1] for name, values in parse_qs(urlsplit(request.target).query).items()}
        try:
            value = self._answer(request, query)
        except (SimulatorError, ValueError) as error:
            return json_response({"error": str(error)}, 400)
        return response(404) if value is None else json_response(value)

    def _answer(self, request: Request, query: dict[str, str]) -> object:  # noqa: PLR0911 - a table of paths
        """Return what was asked for, or None."""
        limit = int(query.get("limit", LIMIT))
        match request.method, request.path:
            case "POST", "/do":
                return self._do(orjson.loads(request.body))
            case "GET", "/status":
                return self._status()
            case "GET" | "POST", "/gaps":
                return self._gaps(begin=request.method == "POST")
            case "GET", "/clusters":
                return [_cluster_line(cluster.name, self._fleet) for cluster in self._fleet.clusters.values()]
            case "GET", "/nodes":
                nodes = self._fleet.select([query["cluster"]] if "cluster" in query else "all")
                return [_node_line(node) for node in islice(nodes, limit)]
            case "GET", "/received":
                since = float(query.get("since", 0.0))
                lines = list(self._fleet.record.lines(query.get("node"), query.get("what"), since))
                return lines[-limit:] if limit else lines
        return None

    def _do(self, value: object) -> list[Json]:
        """Carry out commands in order; all are read before the first is carried out."""
        items = value if isinstance(value, list) else [value]
        if len(items) > COMMANDS_MAX:
            message = f"at most {COMMANDS_MAX} commands at once"
            raise CommandError(message)
        commands = [parse_command(item) for item in items]
        return [{"do": command.do, "names": list(self._conductor.apply(command))} for command in commands]

    def _gaps(self, *, begin: bool) -> dict[str, object]:
        """Return how long nodes were left alone; or begin to count that."""
        gaps, nodes = self._fleet.record.gaps, self._fleet.nodes.values()
        if begin:
            gaps.begin(nodes, time.monotonic())
        return gaps.told(nodes, time.monotonic())

    def _status(self) -> dict[str, object]:
        """Return figures."""
        fleet = self._fleet
        faults: dict[str, int] = {}
        for node in fleet.nodes.values():
            if node.fault is not None:
                faults[node.fault.do] = faults.get(node.fault.do, 0) + 1
        return {
            "clusters": len(fleet.clusters),
            "nodes": len(fleet.nodes),
            "requests": sum(node.requests for node in fleet.nodes.values()),
            "connections": sum(len(node.connections) for node in fleet.nodes.values()),
            "faults": faults,
            "recorded": dict(fleet.record.counts),
            "record_failed": fleet.record.failed,
            "cpu_s": time.process_time(),
            "monotonic_s": time.monotonic(),
        }


def _cursor(request: Request) -> str | None:
    """Return the cursor in a query or a body."""
    if request.method == "GET":
        return parse_qs(urlsplit(request.target).query).get("cursor", [None])[-1] or None
    try:
        value = orjson.loads(request.body) if request.body else {}
    except ValueError as error:
        raise RequestError(400, f"Json deserialize error: {error}") from error
    cursor = value.get("cursor") if isinstance(value, dict) else None
    if cursor is not None and not isinstance(cursor, str):
        raise RequestError(400, "Json deserialize error: cursor must be a string or null")
    return cursor or None


def _cluster_line(name: str, fleet: Fleet) -> dict[str, Json]:
    """Return a cluster for people."""
    cluster = fleet.clusters[name]
    return {
        "cluster": name,
        "kind": cluster.kind.value,
        "leader": cluster.leader.name if cluster.leader else None,
        "nodes": [node.name for node in cluster.nodes],
    }


def _node_line(node: Node) -> dict[str, Json]:
    """Return a node for people."""
    return {
        "node": node.name,
        "cluster": node.cluster.name,
        "kind": node.cluster.kind.value,
        "protocol": node.wire.value,
        "agent_address": node.url,
        "leader": node.cluster.leader is node,
        "store_up": node.store_up,
        "agent_up": node.agent_up,
        "refusable": node.refusable,
        "fault": None if node.fault is None else node.fault.do,
        "requests": node.requests,
        "queue": len(node.book.queue),
        "finished": len(node.book.finished),
    }
