from __future__ import annotations

import inspect
from typing import Any
from uuid import UUID

import pytest

from blocks.models.rolling import Pace
from deployments.cli.world import World
from tasks.decide.pausing import Pausable
from tasks.decide.remove import Thing

ORDER = {"action_id": UUID(int=1), "comment": "", "by": "ann", "fleet": "replicore"}
DELETE = {"kind": "ClusterSpec", "name": "prod/orders", "force": False, "reason": "", "by": "ann", "wait_s": 1.0}
PAUSE = {"kind": "cluster", "name": "prod/orders", "reason": "x", "for_s": 60.0, "until": None, "by": "ann"}
ROLL = {
    "cluster": "prod/orders", "kind": "k", "args": None, "nodes": None, "selectors": None, "where": None, "pace": Pace(),
    "reason": "", "force": None, "digest": "ab", "by": "ann", "fleet": "replicore",
}  # fmt: skip
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
        ("delete", {**DELETE, "fleet": "replicore"}),
        ("pause", {**PAUSE, "fleet": "replicore"}),
        (
            "acknowledge",
            {
                "cluster": "prod/orders",
                "code": "X",
                "reason": "x",
                "node": None,
                "wait_s": 1.0,
                "by": "ann",
                "fleet": "replicore",
            },
        ),
        ("resume", {"kind": "cluster", "name": "prod/orders", "reason": "", "by": "ann", "fleet": "replicore"}),
        ("approve", {**ORDER, "digest": "ab"}),
        ("retry", ORDER),
        ("roll", ROLL),
        ("pause", {"kind": "rolling", "name": "x", "reason": "lunch", "by": "ann", "fleet": "replicore"}),
        ("apply", {"manifests": "", "by": "ann", "fleet": "replicore"}),
    ],
)
def test_flows_take_what_the_commands_give(name: str, parameters: dict[str, Any]) -> None:
    """Each changing command's flow exists under its name and has the parameters that the command passes."""
    flow: Any = World.real().flow(name)
    inspect.signature(flow.fn).bind(**parameters)

    assert name == flow.name


def test_kinds_may_be_spelt_as_people_do() -> None:
    """Prefect takes any name of a kind for the parameter, and its form offers the few."""
    delete, pause = World.real().flow("delete"), World.real().flow("pause")

    assert Thing.SOURCE is delete.validate_parameters({**DELETE, "kind": "DiscoverySettings"})["kind"]  # type: ignore[attr-defined]
    assert Pausable.SOURCE is pause.validate_parameters({**PAUSE, "kind": "platforms"})["kind"]  # type: ignore[attr-defined]
    assert "rolling" == pause.validate_parameters({**PAUSE, "kind": "rolling"})["kind"]  # type: ignore[attr-defined]
    assert [*Thing] == delete.parameters.definitions["Thing"]["enum"]  # type: ignore[attr-defined]
