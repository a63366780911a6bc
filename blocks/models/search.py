"""A search for nodes of a cluster, as manifests describe one: which nodes match, in which order, and how many of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from blocks.models.base import Fact
from blocks.models.node import Attribute

MATCHES_MAX = 50
VALUES_MAX = 200

AttributeName = Annotated[str, Field(min_length=1, max_length=256)]


class MatchOp(StrEnum):
    """How an attribute is compared."""

    EQ = "eq"
    IN = "in"
    NE = "ne"
    NOT_IN = "not-in"
    SET = "set"
    UNSET = "unset"


class Matcher(Fact):
    """What an attribute must be. Written short: a value (`eq`) or a list of values (`in`)."""

    op: MatchOp
    value: Attribute = None
    values: Annotated[tuple[Attribute, ...], Field(max_length=VALUES_MAX)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: object) -> object:
        if isinstance(given, list | tuple):
            return {"op": MatchOp.IN, "values": tuple(given)}
        if isinstance(given, dict) and isinstance(given.get("values"), list):
            return {**given, "values": tuple(given["values"])}
        if given is None or isinstance(given, bool | int | float | str):
            return {"op": MatchOp.EQ, "value": given}
        return given

    @model_serializer(mode="wrap")
    def _as_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """An operand that was not given is left out: it is something else than null, also when it is read again."""
        return {name: value for name, value in dump(self).items() if name == "op" or name in self.model_fields_set}


class NodeSearch(Fact):
    """Which nodes of a cluster are meant."""

    matches: Annotated[dict[AttributeName, Matcher], Field(max_length=MATCHES_MAX)] = Field(default_factory=dict)
    """By attribute (`node_status`, `address.member`, `shard.count.primary`, `label.zone` ...) what it must be: all of them."""
    max_results: Annotated[int, Field(ge=1)] | None = None
    sort_by: Annotated[tuple[AttributeName, ...], Field(max_length=MATCHES_MAX)] = ()
    """Attributes to order by, the first counts most; `-` before one turns its order round."""
