"""What kinds of actions on whole clusters are: what they want, how long they may take, and what may run beside them.

The kinds themselves are in `tasks/cluster_actions`; whoever decides is given their catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from blocks.errors import InvalidInputError
from blocks.models.action import Action
from blocks.models.base import Json

TIMEOUT_S = 86_400.0


class Mode(StrEnum):
    """What may run beside an action on a cluster; the names are the original's."""

    EXCLUSIVE = "EXCLUSIVE"
    """Nothing: no action on a node, no other on the cluster."""
    NODE_PARALLEL = "CLUSTER_EXCLUSIVE_NODE_PARALLEL"
    """Actions on nodes, and no other on the cluster."""


class Args(BaseModel):
    """The arguments of a kind: unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class NoArgs(Args):
    """A kind that takes none."""


@dataclass(frozen=True, slots=True)
class ClusterKind:
    """One kind."""

    name: str
    summary: str
    args: type[BaseModel] = NoArgs
    mode: Mode = Mode.EXCLUSIVE
    timeout_s: float = TIMEOUT_S
    """How long it may take from its start, when the action itself does not say."""
    takes: str | None = None
    """The argument that names a node that is taken away: gates judge it as an action on that node. None: there is none."""

    def read(self, args: Json) -> Any:
        """The arguments, as `args` has them.

        Raises:
            InvalidInputError: they do not fit, with one sentence for all that is wrong.
        """
        try:
            return self.args.model_validate({} if args is None and not issubclass(self.args, RootModel) else args)
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'args'}: {fault['msg']}"
                for fault in error.errors(include_input=False, include_url=False)
            )
            message = f"its arguments do not fit {self.name}: {wrong}"
            raise InvalidInputError(message) from None


Catalogue = Mapping[str, ClusterKind]
"""By name."""


def catalogue(kinds: Iterable[ClusterKind]) -> Catalogue:
    """All kinds by their names.

    Raises:
        ValueError: two have one name.
    """
    found: dict[str, ClusterKind] = {}
    for kind in kinds:
        if kind.name in found:
            message = f"two kinds of actions are called {kind.name}"
            raise ValueError(message)
        found[kind.name] = kind
    return MappingProxyType(found)


def mode_of(action: Action, kinds: Catalogue) -> Mode:
    """What may run beside an action on a cluster; nothing beside one whose kind is not known."""
    kind = kinds.get(action.kind)
    return kind.mode if kind is not None else Mode.EXCLUSIVE


def taken_node(action: Action, kinds: Catalogue) -> str | None:
    """The node that an action on a cluster takes away; None: none, or its arguments do not fit, and it fails when its turn comes."""
    kind = kinds.get(action.kind) if action.node_id is None else None
    if kind is None or kind.takes is None:
        return None
    try:
        return str(getattr(kind.read(action.args), kind.takes))
    except InvalidInputError:
        return None


def timeout_of(action: Action, kinds: Catalogue) -> float:
    """How long it may take from its start, in seconds."""
    if action.timeout_s is not None:
        return action.timeout_s
    kind = kinds.get(action.kind)
    return kind.timeout_s if kind is not None else TIMEOUT_S
