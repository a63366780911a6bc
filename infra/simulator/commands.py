"""Everything that can be done to a fleet besides faults, and reading any of it from JSON."""

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from infra.simulator.errors import CommandError
from infra.simulator.faults import AnyFault, Duration, OnNodes, Selector
from infra.simulator.model import Wire


class Heal(OnNodes):
    """Nothing is wrong with the nodes any more."""

    do: Literal["heal"] = "heal"
    nodes: Selector = "all"


class Restart(OnNodes):
    """The agents end, and begin again `down_s` later, well, with their actions or without them (`wipe`)."""

    do: Literal["restart"] = "restart"
    down_s: Duration = 0.0
    wipe: bool = False


class Leave(OnNodes):
    """The nodes go for good: discovery tells of them no more, their agents are gone, their clusters notice."""

    do: Literal["leave"] = "leave"


class Upgrade(OnNodes):
    """The agents are replaced by ones of another protocol; unfinished actions do not come along."""

    do: Literal["upgrade"] = "upgrade"
    protocol: Wire = Wire.B


class SwitchActions(OnNodes):
    """The agents have their actions switched on or off: off, nothing is known of any."""

    do: Literal["switch_actions"] = "switch_actions"
    on: bool = False


class Join(BaseModel):
    """New nodes in a cluster; `member` false leaves a MongoDB node outside its replica set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    do: Literal["join"] = "join"
    cluster: str
    count: Annotated[int, Field(ge=1, le=1_000)] = 1
    member: bool = True


class OnClusters(BaseModel):
    """A command about clusters: all, or by name; those of Kafka move the leaders of their partitions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clusters: Literal["all"] | Annotated[list[str], Field(max_length=100_000)] = "all"
    gap_s: Duration = 1.0
    """How long nobody leads."""


class Elect(OnClusters):
    """Another member leads, after a while in which nobody does."""

    do: Literal["elect"] = "elect"


class Roll(OnClusters):
    """One election after the other through the clusters, every `every_s`; null ends it."""

    do: Literal["roll"] = "roll"
    every_s: Annotated[float, Field(ge=0.001, le=86_400)] | None = 1.0


Command: TypeAlias = AnyFault | Heal | Restart | Leave | Upgrade | SwitchActions | Join | Elect | Roll

_COMMANDS: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="do")])


def parse_command(value: object) -> Command:
    """Read a command.

    Raises:
        CommandError: It is none; says where and why.
    """
    try:
        return _COMMANDS.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"not a command: {where + ': ' if where else ''}{first['msg']}"
        raise CommandError(message) from error
