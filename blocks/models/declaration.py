"""What a cluster should become: kept with its spec, and made true by actions."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from blocks.models.action import Approval
from blocks.models.base import Fact, Json
from blocks.models.platform import ClusterDefinition
from blocks.models.search import NodeSearch

Minutes = Annotated[int, Field(ge=0, le=525_600)]


class ExpandMode(StrEnum):
    """How a new node becomes a member."""

    AUTO = "Auto"
    """By itself."""
    ADD = "Add"
    """A member adds it."""
    JOIN = "Join"
    """It joins a member."""


class InitialiseMode(StrEnum):
    """How new nodes become a cluster."""

    AUTO = "Auto"
    """By themselves."""
    SINGLE_NODE = "SingleNode"
    """One node is told to."""


class Expand(Fact):
    """How the cluster grows."""

    mode: ExpandMode = ExpandMode.AUTO
    target_member: NodeSearch | None = None
    """The member that adds or is joined; None means a healthy one with primaries."""


class Graces(Fact):
    """How many minutes a step waits before it is done again."""

    expand: Minutes = 5
    init: Minutes = 5
    scale_up: Minutes = 5


class Initialise(Fact):
    """How the cluster is first set up."""

    action_args: Json = None
    mode: InitialiseMode = InitialiseMode.AUTO
    search: NodeSearch | None = None
    """The node that is told to; None means the first one that is in no cluster."""


class Declaration(Fact):
    """What a cluster should become."""

    active: bool = True
    approval: Approval = Approval.GRANTED
    """Whether a person must approve the actions that make it true."""
    definition: ClusterDefinition | None = None
    expand: Expand = Expand()
    graces: Graces = Graces()
    initialise: Initialise = Initialise()
