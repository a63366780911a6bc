"""The HTTP API of protocol B: shapes, status codes and bodies exactly as agent-protocol.md 2 has them.

What is not a route, a wrong method and a HEAD are all an empty 404; only understood and refused requests have a JSON
error body. No exception leaves an endpoint.
"""

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TypeAlias

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from infra.agents.kit.actions import ActionStore
from infra.agents.kit.errors import MalformedError, RequestError, StoreError, error_body
from infra.agents.kit.executor import Executor
from infra.agents.kit.metrics import Metrics
from infra.agents.kit.models import Identity
from infra.agents.kit.requests import TooLargeError, parse_schedule, read_body
from infra.agents.kit.store import Reader

log = logging.getLogger(__name__)

ROOT = "/api/unstable"

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


class Api:
    """The endpoints of one agent."""

    def __init__(
        self,
        identity: Identity,
        reader: Reader,
        actions: ActionStore,
        executor: Executor,
        clock: Callable[[], datetime],
    ) -> None:
        """Serve what these parts know."""
        self._identity = identity
        self._reader = reader
        self._actions = actions
        self._executor = executor
        self._clock = clock
        self._metrics = Metrics(identity)

    def app(self) -> Starlette:
        """Return the application."""
        routes = [
            self._route("GET", f"{ROOT}/info/node", self._info_node),
            self._route("GET", f"{ROOT}/info/store", self._info_store),
            self._route("GET", f"{ROOT}/info/shards", self._info_shards),
            self._route("GET", f"{ROOT}/actions/queue", self._actions_queue),
            self._route("GET", f"{ROOT}/actions/finished", self._actions_finished),
            self._route("GET", f"{ROOT}/action/{{id}}", self._action),
            self._route("POST", f"{ROOT}/action", self._schedule),
            self._route("GET", "/metrics", self._show_metrics),
        ]
        return protocol_app(routes)

    def _route(self, method: str, path: str, endpoint: Endpoint) -> Route:
        """Return a route that answers every failure in protocol B's words, and counts."""

        async def guarded(request: Request) -> Response:
            response = await guard(endpoint, request)
            self._metrics.answered(path, response.status_code)
            return response

        return exact_route(method, path, guarded)

    async def _info_node(self, request: Request) -> Response:
        """GET /info/node: works with the store down."""
        del request
        report = await self._reader.node()
        self._metrics.status = report.status
        return json_response(self._identity.wire(report))

    async def _info_store(self, request: Request) -> Response:
        """GET /info/store."""
        del request
        return json_response((await self._reader.store()).wire())

    async def _info_shards(self, request: Request) -> Response:
        """GET /info/shards."""
        del request
        return json_response({"shards": [shard.wire() for shard in await self._reader.shards()]})

    async def _actions_queue(self, request: Request) -> Response:
        """GET /actions/queue."""
        del request
        return json_response({"actions": [action.summary() for action in await self._actions.queue()]})

    async def _actions_finished(self, request: Request) -> Response:
        """GET /actions/finished."""
        del request
        return json_response({"actions": [action.summary() for action in await self._actions.finished()]})

    async def _action(self, request: Request) -> Response:
        """GET /action/{id}: an unknown id is an empty 404, what is not a UUID a 404 with text."""
        try:
            action_id = str(uuid.UUID(request.path_params["id"]))
        except ValueError:
            return PlainTextResponse("UUID parsing failed", status_code=404)
        action = await self._actions.get(action_id)
        return Response(status_code=404) if action is None else json_response(action.wire())

    async def _schedule(self, request: Request) -> Response:
        """POST /action."""
        action = parse_schedule(await read_body(request), self._clock())
        if not self._executor.knows(action.kind):
            message = f"this agent has no action of kind {action.kind!r}"
            raise RequestError(400, message)
        await self._actions.schedule(action)
        self._executor.nudge()
        log.info("action %s (%s) scheduled", action.id, action.kind)
        return json_response({"id": action.id})

    async def _show_metrics(self, request: Request) -> Response:
        """GET /metrics."""
        del request
        text = self._metrics.text(await self._actions.counts())
        return Response(text, media_type="text/plain; version=0.0.4")


async def guard(endpoint: Endpoint, request: Request) -> Response:
    """Run an endpoint; every failure becomes its answer."""
    try:
        return await endpoint(request)
    except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer of protocol B
        return _failure(request, error)


def _failure(request: Request, error: Exception) -> Response:
    """Return the answer for a request that failed; only what nobody expected is logged with its traceback."""
    match error:
        case ClientDisconnect():
            return Response(status_code=400)
        case MalformedError():
            return PlainTextResponse(str(error), status_code=400)
        case TooLargeError():
            return PlainTextResponse(str(error), status_code=413, headers={"connection": "close"})
        case RequestError():
            log.info("%s %r refused: %s", request.method, request.url.path, error)
            return json_response(error_body(error), error.status)
        case StoreError():
            return json_response(error_body(error), 500)
    log.error("%s %r failed", request.method, request.url.path, exc_info=error)
    return json_response(error_body(error), 500)


def protocol_app(routes: list[Route]) -> Starlette:
    """Return an application whose only 404 and 405 are an empty 404."""

    async def nothing(request: Request, error: Exception) -> Response:
        del request, error
        return Response(status_code=404)

    app = Starlette(routes=routes, exception_handlers={404: nothing, 405: nothing})
    app.router.redirect_slashes = False
    return app


def exact_route(method: str, path: str, endpoint: Endpoint) -> Route:
    """Return a route for this method only: a GET route does not answer HEAD."""
    route = Route(path, endpoint, methods=[method])
    route.methods = {method}
    return route


def json_response(body: Mapping[str, object], status: int = 200) -> Response:
    """Return a JSON answer."""
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")
