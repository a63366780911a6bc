"""What clients send (Platform API): strict types, bounded, unknown keys ignored."""

from typing import Annotated, Any, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from infra.agents.kit.errors import MalformedError, clip

_TEXT_MAX = 256
_GROUPS_MAX = 100
_ATTRIBUTES_MAX = 200
_COUNT_MAX = 65_535
_FAULTS_MAX = 5

Text = Annotated[str, Field(min_length=1, max_length=_TEXT_MAX)]
ClusterId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""Narrower than the protocol: it becomes the name of a replica set."""
Attributes = Annotated[dict[str, Any], Field(max_length=_ATTRIBUTES_MAX)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", hide_input_in_errors=True)


class NodeGroup(_Part):
    """Nodes of a cluster that are alike."""

    desired_count: Annotated[int, Field(ge=0, le=_COUNT_MAX)]
    node_class: Text
    attributes: Attributes | None = None
    store_version: Annotated[Text | None, Field(validation_alias=AliasChoices("store_version", "version"))] = None
    """Another version than the cluster's; both names are in use."""


class Cluster(_Part):
    """What the cluster should be made of."""

    cluster_id: ClusterId
    store: Text
    store_version: Text
    attributes: Attributes | None = None
    nodes: Annotated[dict[Text, NodeGroup], Field(max_length=_GROUPS_MAX)]


class Wanted(_Part):
    """Which nodes to make."""

    node_group_id: Text
    count: Annotated[int, Field(ge=1, le=_COUNT_MAX)] = 1


class Provision(_Part):
    """The body of ``POST /provision``."""

    cluster: Cluster
    provision: Wanted


class Deprovision(_Part):
    """The body of ``POST /deprovision``; the ids are only compared, never used to build a path."""

    cluster_id: Text
    node_id: Text


AnyPart = TypeVar("AnyPart", bound=_Part)


def parse(body: bytes, kind: type[AnyPart]) -> AnyPart:
    """Read a body.

    Raises:
        MalformedError: it is not JSON, or not that shape; says where and why, and repeats no value.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)[:_FAULTS_MAX]
        said = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}" for fault in faults
        )
        raise MalformedError(clip(said)) from error
