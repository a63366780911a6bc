"""How we check, and show ourselves to, an HTTPS server; and texts that must not be shown."""

from __future__ import annotations

from typing import Self

from pydantic import Field, SecretStr, model_validator

from blocks.models.base import Fact


class Sensitive(Fact):
    """A text that is not for every eye: given in place, a file, or a Prefect Secret block; resolved where it is used."""

    text: SecretStr | None = None
    file: str | None = Field(default=None, max_length=4096)
    """Path of a file on every machine that runs a worker; read again when it changes."""
    secret: str | None = Field(default=None, max_length=200)
    """Name of a Prefect Secret block; read again once a minute."""

    @model_validator(mode="before")
    @classmethod
    def _bare_text(cls, value: object) -> object:
        return {"text": value} if isinstance(value, str | SecretStr) else value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(part is not None for part in (self.text, self.file, self.secret)) != 1:
            msg = "give the text itself, or exactly one of {file: PATH} and {secret: NAME}"
            raise ValueError(msg)
        return self


class Tls(Fact):
    """How we check, and show ourselves to, an HTTPS server. Each part is PEM."""

    ca_bundle: Sensitive | None = None
    """Certificates to trust; None means the system's."""
    client_cert: Sensitive | None = None
    """Our certificate with its chain; it may hold the key as well."""
    client_key: Sensitive | None = None
    insecure_skip_verify: bool = False
    """Only for a laboratory: the other side is not checked at all."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if self.client_key is not None and self.client_cert is None:
            msg = "client_key needs client_cert"
            raise ValueError(msg)
        return self
