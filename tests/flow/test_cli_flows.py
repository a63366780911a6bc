from __future__ import annotations

import inspect
from typing import Any
from uuid import UUID

import pytest

from deployments.cli.world import World

ORDER = {"action_id": UUID(int=1), "comment": "", "by": "ann", "fleet": "replicore"}
CYCLE = {"cluster": "prod/orders", "wait_s": 1.0, "fleet": "replicore"}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("approve", ORDER),
        ("reject", ORDER),
        ("cancel", ORDER),
        ("orchestrate", CYCLE),
        ("observe", CYCLE),
        ("act", CYCLE),
        ("discover", {"source": "prod/inventory", "wait_s": 1.0, "fleet": "replicore"}),
        ("apply", {"manifests": "", "by": "ann", "fleet": "replicore"}),
    ],
)
def test_flows_take_what_the_commands_give(name: str, parameters: dict[str, Any]) -> None:
    """Each changing command's flow exists under its name and has the parameters that the command passes."""
    flow: Any = World.real().flow(name)
    inspect.signature(flow.fn).bind(**parameters)

    assert name == flow.name
