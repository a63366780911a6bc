"""Forms that the Prefect UI shows while a run waits for a person."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from prefect.input import RunInput
from pydantic import Field, create_model

from tasks.decide.offers import Doing


class Choice(RunInput):
    """What a person fills in. The choices are added when they are known."""

    comment: str = Field(default="", max_length=2_000, description="Why; kept in each action's history.")
    who: str = Field(default="", max_length=200, description="Your name; kept beside this flow run's.")


def form_of(what: Doing, offered: Mapping[str, str]) -> type[Choice]:
    """The form for some actions, by what is shown of each its id."""
    members = [(f"action_{number}", label) for number, label in enumerate(offered)]
    choices: Any = Enum("Offered", members, type=str)  # type: ignore[misc]
    described = Field(description=f"Which to {what}.", min_length=1, json_schema_extra={"uniqueItems": True})
    return create_model("Choice", __base__=Choice, actions=(list[choices], described))
