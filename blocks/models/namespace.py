"""A namespace: whose clusters these are, how their agents are reached, and what may be done to them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from blocks.models.base import Fact, Name, Seconds
from blocks.models.node import Protocol


class NamespaceStatus(StrEnum):
    """What may happen to what is in the namespace."""

    ACTIVE = "Active"
    """Everything."""
    OBSERVED = "Observed"
    """Look, never act."""
    INACTIVE = "Inactive"
    """Nothing."""
    DELETING = "Deleting"
    """What is in it is being removed."""
    DELETED = "Deleted"
    """All that was in it is gone."""


class Pem(Fact):
    """Where PEM text comes from: given in place, a file, or a Prefect Secret block; resolved where it is used."""

    text: SecretStr | None = None
    file: str | None = Field(default=None, max_length=4096)
    secret: str | None = Field(default=None, max_length=200)

    @model_validator(mode="before")
    @classmethod
    def _bare_text(cls, value: object) -> object:
        return {"text": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(part is not None for part in (self.text, self.file, self.secret)) != 1:
            msg = "give PEM text, or exactly one of {file: PATH} and {secret: NAME}"
            raise ValueError(msg)
        return self


class Tls(Fact):
    """How we check, and show ourselves to, an HTTPS server."""

    ca_bundle: Pem | None = None
    """Certificates to trust; None means the system's."""
    client_cert: Pem | None = None
    client_key: Pem | None = None
    insecure_skip_verify: bool = False
    """Only for a laboratory: the other side is not checked at all."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if self.client_key is not None and self.client_cert is None:
            msg = "client_key needs client_cert"
            raise ValueError(msg)
        return self


class NamespaceSettings(Fact):
    """Limits and defaults for what is in the namespace."""

    schedule_attempts_max: Annotated[int, Field(ge=1, le=100)] = 5
    """How often sending an action is tried before it is FAILED."""
    agent_timeout: Seconds = 10.0
    """Deadline of one request to an agent, in seconds."""
    orchestrate_interval: Seconds = 60.0
    """How often a cluster that says nothing else is looked after, in seconds."""
    agent_protocol: Protocol | None = None
    """The wire protocol that its agents must speak; None means that each is asked what it speaks."""


class Namespace(Fact):
    """A namespace as a person declared it."""

    name: Name
    status: NamespaceStatus = NamespaceStatus.ACTIVE
    tls: Tls | None = None
    settings: NamespaceSettings = NamespaceSettings()
    version: int = 0

    @property
    def key(self) -> str:
        """Its key in the store."""
        return self.name

    @property
    def may_look(self) -> bool:
        """Whether its clusters are discovered and observed."""
        return self.status in {NamespaceStatus.ACTIVE, NamespaceStatus.OBSERVED}

    @property
    def may_act(self) -> bool:
        """Whether actions are sent to its nodes."""
        return self.status is NamespaceStatus.ACTIVE
