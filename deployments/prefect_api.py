"""Wait for the Prefect API, so that whatever needs it may start at the same time as the server."""

from __future__ import annotations

import asyncio
import time

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.settings import get_current_settings

from blocks.errors import DependencyUnavailableError
from deployments.catalog import CATALOG, NAME, POOL_NAME

EVERY_S = 0.2
ANSWER_S = 5.0
"""How long one answer may take; a frozen server gives none."""


async def wait_for_prefect(deadline_s: float) -> None:
    """Return when the API answers.

    Raises:
        DependencyUnavailableError: it did not within `deadline_s` seconds, or none is set.
    """
    url = get_current_settings().api.url
    if not url:
        raise DependencyUnavailableError(
            "Prefect", "(nowhere)", "PREFECT_API_URL is not set", "Point it at your server."
        )
    ends, error = time.monotonic() + deadline_s, "no answer"
    while time.monotonic() < ends:
        failure: Exception | None
        try:
            async with asyncio.timeout(ANSWER_S), get_client() as client:
                failure = await client.api_healthcheck()
        except TimeoutError as late:
            failure = late
        if failure is None:
            return
        error = type(failure).__name__
        await asyncio.sleep(EVERY_S)
    raise DependencyUnavailableError("Prefect", url, f"{error} for {deadline_s:g} s", "Is the server running?")


async def missing_deployments() -> list[str]:
    """The flows of the catalog that have no deployment, served or for the work pool.

    Raises:
        DependencyUnavailableError: the API does not answer.
    """
    found: set[str] = set()
    try:
        async with asyncio.timeout(2 * ANSWER_S), get_client() as client:
            for name in (NAME, POOL_NAME):
                wanted = DeploymentFilter(name=DeploymentFilterName(any_=[name]))
                for deployed in await client.read_deployments(deployment_filter=wanted):
                    found.add((await client.read_flow(deployed.flow_id)).name)
    except Exception as error:  # the client lets all of its HTTP library's errors through
        reason = type(error).__name__
        raise DependencyUnavailableError("Prefect", str(get_current_settings().api.url), reason, "Is it up?") from error
    return [entry.flow for entry in CATALOG if entry.flow not in found]
