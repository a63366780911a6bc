"""`make test` runs two groups of tests side by side: those of the whole product, which mostly wait, and all others."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")  # a busy machine is slow, and nothing is wrong with that

PRODUCT = ("tests/e2e/", "tests/chaos/")


class Groups(LoadScopeScheduling):
    """The tests of a group go to one worker, in their order: they share servers, and some build on each other."""

    def _split_scope(self, nodeid: str) -> str:
        """Give back the group of a test."""
        return "product" if nodeid.startswith(PRODUCT) else "parts"


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    """Take these groups, whatever `--dist` says."""
    return Groups(config, log)
