"""Settings of adapters: Prefect blocks, each field of which the environment may override as `REPLICORE_<PART>_<FIELD>`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import ClassVar, Self

from prefect.blocks.core import Block
from pydantic import ValidationError

from blocks.errors import Fault, InvalidInputError

PREFIX = "REPLICORE_"


class Settings(Block):
    """What every adapter's settings block has in common. It holds no socket and can be pickled."""

    part: ClassVar[str]
    """The middle of its variables' names, such as `MONGODB` in `REPLICORE_MONGODB_URI`."""

    @classmethod
    def variable(cls, field: str) -> str:
        """The environment variable that overrides a field."""
        return f"{PREFIX}{cls.part}_{field.upper()}"

    def overlaid(self, environ: Mapping[str, str] | None = None) -> Self:
        """These settings with what the environment says instead.

        Raises:
            InvalidInputError: a variable's value does not fit; each is named, without its value.
        """
        environ = os.environ if environ is None else environ
        given = {
            field: environ[self.variable(field)] for field in type(self).model_fields if self.variable(field) in environ
        }
        if not given:
            return self
        try:
            return type(self)(**{**{name: getattr(self, name) for name in type(self).model_fields}, **given})
        except ValidationError as error:
            faults = tuple(
                Fault(where=self.variable(str(fault["loc"][0] if fault["loc"] else "*")), reason=fault["msg"])
                for fault in error.errors(include_input=False, include_url=False)
            )
            message = "the environment holds settings that do not fit"
            raise InvalidInputError(message, faults) from None
