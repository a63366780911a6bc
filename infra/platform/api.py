"""The Platform API over HTTP: ``GET /discover``, ``POST /provision``, ``POST /deprovision``.

Every refusal is JSON ``{"error": true, "error_msg": ...}``, an unknown node group with the groups there are. What is no
route at all is an empty 404, as in the agents' protocol, so that a wrong address does not look like a node that is gone.
A body must be said to be JSON: a web page cannot make a browser send one here.
"""

import asyncio
import logging

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from infra.agents.kit.errors import MalformedError, RequestError, error_body
from infra.agents.kit.requests import TooLargeError, read_body
from infra.agents.kit.server import Endpoint, exact_route, json_response, protocol_app
from infra.platform.errors import RefusedError
from infra.platform.platform import Platform
from infra.platform.requests import Deprovision, Provision, parse

_log = logging.getLogger(__name__)
_BODY_WITHIN_S = 10.0


def platform_app(platform: Platform, body_within_s: float = _BODY_WITHIN_S) -> Starlette:
    """Return the application; a body that is not there within `body_within_s` seconds is refused."""

    async def body(request: Request) -> bytes:
        try:
            async with asyncio.timeout(body_within_s):
                return await read_body(request)
        except TimeoutError as error:
            message = f"the body was not there within {body_within_s:g} s"
            raise RequestError(408, message) from error

    async def discover(request: Request) -> Response:
        del request
        return json_response({"clusters": platform.discover()})

    async def provision(request: Request) -> Response:
        node_ids = platform.provision(parse(await body(request), Provision))
        _log.info("provisioned %s", ", ".join(node_ids))
        return json_response({"count": len(node_ids), "node_ids": node_ids})

    async def deprovision(request: Request) -> Response:
        await platform.deprovision(parse(await body(request), Deprovision))
        return Response(status_code=204)

    return protocol_app(
        [
            exact_route("GET", "/discover", _guarded(discover)),
            exact_route("POST", "/provision", _guarded(provision)),
            exact_route("POST", "/deprovision", _guarded(deprovision)),
        ]
    )


def _guarded(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with an answer to every failure."""

    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            return _failure(request, error)

    return guarded


def _failure(request: Request, error: Exception) -> Response:
    match error:
        case MalformedError() | ClientDisconnect():
            return json_response({"error": True, "error_msg": str(error)}, 400)
        case TooLargeError():
            answer = json_response(error_body(error), 413)
            answer.headers["connection"] = "close"
            return answer
        case RefusedError():
            _log.info("%s refused: %s", request.url.path, error)
            return json_response({**error.details, **error_body(error)}, error.status)
        case RequestError():
            return json_response(error_body(error), error.status)
    _log.error("%s failed", request.url.path, exc_info=error)
    return json_response(error_body(error), 500)
