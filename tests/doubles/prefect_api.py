"""Ask a product's Prefect API, as its UI does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from doubles.product import Product
from doubles.waiting import until

T = TypeVar("T")
RUN_WITHIN_S = 60


def asking(product: Product, ask: Callable[[PrefectClient], Awaitable[T]]) -> T:
    """Ask the product's Prefect API."""

    async def main() -> T:
        with temporary_settings({PREFECT_API_URL: product.stack.prefect_api_url}):
            async with get_client() as client:
                return await ask(client)

    return asyncio.run(main())


async def start(client: PrefectClient, deployment: str, parameters: dict[str, Any]) -> UUID:
    """Create a run as the UI's form does."""
    found = await client.read_deployment_by_name(deployment)
    return (await client.create_flow_run_from_deployment(found.id, parameters=parameters)).id


async def finished(client: PrefectClient, run_id: UUID) -> Any:
    """The run, once it has ended."""
    run = await client.read_flow_run(run_id)
    return run if run.state is not None and run.state.is_final() else None


def ran(product: Product, deployment: str, parameters: dict[str, Any]) -> Any:
    """Start a run as the UI's form does, and wait for its end."""
    run_id = asking(product, lambda client: start(client, deployment, parameters))
    return until(lambda: asking(product, lambda client: finished(client, run_id)), within_s=RUN_WITHIN_S, what="an end")
