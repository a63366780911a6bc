"""The discovery endpoint: a file of clusters over HTTP, in the protocol's two ways.

``POST /discover`` (body: any JSON object, with ``cursor``) and ``GET /discover?cursor=`` answer
``{"clusters": [{"cluster_id", "display_name", "nodes": [...]}], "cursor": str | null}``; ask again with it until it
is null. Nodes are objects ``{agent_address, node_id, node_class, node_group}`` (the Platform's shape); one that the
file gives as a string stays a string (the old shape). The file is read again when it changes; one that cannot be read
is answered with 500 and the reason, never with an empty fleet. A cursor belongs to one version of the file: a page of
another version would skip or repeat clusters, so it is refused with 409 and the caller starts again.
"""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from infra.agents.kit.errors import MalformedError, RequestError, StartError, StoreError
from infra.agents.kit.models import Json
from infra.agents.kit.requests import read_body
from infra.agents.kit.server import exact_route, guard, json_response, protocol_app

log = logging.getLogger(__name__)

FILE_BYTES_MAX = 64 * 1024 * 1024
PAGE_SIZE_MAX = 10_000
CURSOR_MAX = 64


@dataclass(frozen=True, slots=True)
class Fleet:
    """One version of the file."""

    version: str
    clusters: list[Json]


class FleetFile:
    """The file; read when its time, size or inode differ from the last read."""

    def __init__(self, path: Path) -> None:
        """Read `path` when asked."""
        self._path = path
        self._mark: tuple[int, int, int] | None = None
        self._fleet = Fleet("", [])

    def read(self) -> Fleet:
        """Return the fleet as the file has it now.

        Raises:
            StoreError: The file cannot be read or is not a fleet.
        """
        try:
            status = self._path.stat()
            mark = (status.st_mtime_ns, status.st_size, status.st_ino)
            if mark == self._mark:
                return self._fleet
            if status.st_size > FILE_BYTES_MAX:
                message = f"{self._path} has {status.st_size} bytes; the limit is {FILE_BYTES_MAX}"
                raise StoreError(message)
            content = self._path.read_bytes()
            self._fleet = Fleet(hashlib.sha256(content).hexdigest()[:16], parse_fleet(content))
        except (OSError, ValueError) as error:
            message = f"cannot read the fleet from {self._path}: {error}"
            raise StoreError(message) from error
        self._mark = mark
        log.info("read %d clusters from %s", len(self._fleet.clusters), self._path)
        return self._fleet


def parse_fleet(content: bytes) -> list[Json]:
    """Read ``{"clusters": [{"cluster_id", "display_name"?, "nodes": [...]}]}``.

    Raises:
        ValueError: It is something else; says which cluster and node.
    """
    value = orjson.loads(content)
    clusters = value.get("clusters") if isinstance(value, dict) else None
    if not isinstance(clusters, list):
        message = 'it must be {"clusters": [...]}'
        raise ValueError(message)  # noqa: TRY004 - the file's fault, not the caller's
    return [_cluster(f"clusters[{index}]", cluster) for index, cluster in enumerate(clusters)]


def page(fleet: Fleet, cursor: str | None, size: int) -> dict[str, Json]:
    """Return one answer.

    Raises:
        RequestError: 400 not a cursor of ours, 409 a cursor of an earlier version of the file.
    """
    start = 0
    if cursor is not None:
        version, _, position = cursor.partition(".")
        if len(cursor) > CURSOR_MAX or not (position.isascii() and position.isdecimal()):
            message = "cursor is not one that this endpoint gave"
            raise RequestError(400, message)
        if version != fleet.version:
            message = "the fleet changed since this cursor was given: start again without a cursor"
            raise RequestError(409, message)
        start = int(position)
    end = start + size
    more = end < len(fleet.clusters)
    return {"clusters": fleet.clusters[start:end], "cursor": f"{fleet.version}.{end}" if more else None}


def discovery_app(path: Path, page_size: int) -> Starlette:
    """Return the application.

    Raises:
        StartError: The page size is not one.
    """
    if not 0 < page_size <= PAGE_SIZE_MAX:
        message = f"--page-size must be from 1 to {PAGE_SIZE_MAX}"
        raise StartError(message)
    file = FleetFile(path)

    async def discover(request: Request) -> Response:
        cursor = await _body_cursor(request) if request.method == "POST" else request.query_params.get("cursor")
        return json_response(page(file.read(), cursor or None, page_size))

    async def guarded(request: Request) -> Response:
        return await guard(discover, request)

    route = exact_route("POST", "/discover", guarded)
    route.methods = {"GET", "POST"}
    return protocol_app([route])


async def _body_cursor(request: Request) -> str | None:
    """Return the cursor of a POST; an empty body asks for the first page."""
    if request.headers.get("content-length") == "0":
        return None
    try:
        body = orjson.loads(await read_body(request))
    except orjson.JSONDecodeError as error:
        message = f"Json deserialize error: {error}"
        raise MalformedError(message) from error
    cursor = body.get("cursor") if isinstance(body, dict) else None
    if cursor is not None and not isinstance(cursor, str):
        message = "Json deserialize error: cursor must be a string or null"
        raise MalformedError(message)
    return cursor


def _cluster(where: str, value: Json) -> Json:
    """Check one cluster and give it every key."""
    if not isinstance(value, dict):
        message = f"{where} must be an object"
        raise ValueError(message)  # noqa: TRY004
    nodes = value.get("nodes")
    if not isinstance(nodes, list):
        message = f"{where}.nodes must be a list"
        raise ValueError(message)  # noqa: TRY004
    return {
        "cluster_id": _text(where, value, "cluster_id"),
        "display_name": _text(where, value, "display_name", optional=True),
        "nodes": [_node(f"{where}.nodes[{index}]", node) for index, node in enumerate(nodes)],
    }


def _node(where: str, value: Json) -> Json:
    """Check one node."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        message = f"{where} must be an object or an agent's address"
        raise ValueError(message)  # noqa: TRY004
    return {
        "agent_address": _text(where, value, "agent_address"),
        "node_id": _text(where, value, "node_id"),
        "node_class": _text(where, value, "node_class"),
        "node_group": _text(where, value, "node_group", optional=True),
    }


def _text(where: str, value: dict[str, Json], key: str, *, optional: bool = False) -> str | None:
    """Return a string field."""
    text = value.get(key)
    if (text is None and optional) or (isinstance(text, str) and text):
        return text
    message = f"{where}.{key} must be a string"
    raise ValueError(message)
