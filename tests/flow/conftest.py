"""A world in memory for every test, and one Prefect server for those that need it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect.settings import (
    PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    temporary_settings,
)
from prefect.testing.utilities import prefect_test_harness

from doubles.world import World


@pytest.fixture
def world() -> World:
    """An empty fleet."""
    return World()


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """Prefect's own server on a throw-away database, started once."""
    quiet = {PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore", PREFECT_SERVER_ANALYTICS_ENABLED: False}
    with temporary_settings(quiet), prefect_test_harness(server_startup_timeout=60):
        yield
