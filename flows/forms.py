"""Forms that the Prefect UI shows while a run waits for a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from prefect import pause_flow_run
from prefect.exceptions import FlowPauseTimeout
from prefect.input import RunInput
from pydantic import Field, create_model

from blocks.errors import RefusedError
from blocks.models.rolling import NODES_MAX
from tasks.decide.offers import Doing, RollOffers

WITHIN_S = 900
WITHIN_MAX_S = 86_400
LOOK_EVERY_S = 2


class Choice(RunInput):
    """What a person fills in. The choices are added when they are known."""

    comment: str = Field(default="", max_length=2_000, description="Why; kept in each action's history.")
    who: str = Field(default="", max_length=200, description="Your name; kept beside this flow run's.")


def form_of(what: Doing, offered: Mapping[str, str]) -> type[Choice]:
    """The form for some actions, by what is shown of each its id."""
    choices: Any = _choices("Offered", offered)
    described = Field(description=f"Which to {what}.", min_length=1, json_schema_extra={"uniqueItems": True})
    return create_model("Choice", __base__=Choice, actions=(list[choices], described))


class RollOrder(RunInput):
    """What a person fills in of a rolling action. The choices are added when they are known."""

    batch: int = Field(default=1, ge=1, le=NODES_MAX, description="So many nodes at once at most.")
    reason: str = Field(default="", max_length=2_000, description="Why; kept with it.")
    force: str = Field(
        default="",
        max_length=2_000,
        description="Why it may begin although the cluster is not well; empty: it may not.",
    )
    who: str = Field(default="", max_length=200, description="Your name; kept beside this flow run's.")


def cluster_form(clusters: Iterable[str]) -> type[RunInput]:
    """The form for one of some clusters."""
    described = Field(description="On which cluster.")
    return create_model("ClusterChoice", __base__=RunInput, cluster=(_choices("Cluster", clusters), described))


def roll_form(offered: RollOffers) -> type[RollOrder]:
    """The form for what is done to which nodes of a cluster."""
    nodes: Any = _choices("Node", offered.nodes)
    fields: dict[str, Any] = {
        "kind": (_choices("Kind", offered.kinds), Field(description="What is done to each node.")),
        "nodes": (
            list[nodes],
            Field(default=[], description="On which nodes; none: all.", json_schema_extra={"uniqueItems": True}),
        ),
    }
    if offered.labels:
        by = _choices("Label", offered.labels)
        fields["by"] = (by | None, Field(default=None, description="Value by value of this label."))
    return create_model("RollChoice", __base__=RollOrder, **fields)


def _choices(name: str, labels: Iterable[str]) -> Any:
    members = [(f"choice_{number}", label) for number, label in enumerate(labels)]
    return Enum(name, members, type=str)


def filled_in(form: type[RunInput], within_s: int) -> Any:
    """Pause the flow run until a person has filled in a form; returns what they filled in.

    Args:
        form: what they are shown.
        within_s: how many seconds to wait, at most a day.

    Raises:
        RefusedError: nobody did in time.
    """
    try:
        return pause_flow_run(
            wait_for_input=form, timeout=max(1, min(within_s, WITHIN_MAX_S)), poll_interval=LOOK_EVERY_S
        )
    except FlowPauseTimeout as error:
        message = f"nobody chose within {within_s} s: nothing was done"
        raise RefusedError(message) from error
