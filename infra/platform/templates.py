"""What the platform can make: stores by id and version."""

from collections.abc import Sequence
from dataclasses import dataclass

from infra.platform.errors import NoTemplateError


@dataclass(frozen=True, slots=True)
class Template:
    """One store that there is a server and an agent for."""

    stores: tuple[str, ...]
    """Its ids; the first is the one that its agent reports."""
    version: str
    """The version of its server, e.g. `6.0.5`."""

    def makes(self, store: str, version: str) -> bool:
        """Whether it is that store, and `version` is its own or a part of it, e.g. `6` or `6.0`."""
        parts = version.split(".")
        return store in self.stores and parts == self.version.split(".")[: len(parts)]


TEMPLATES = (Template(("mongo.replica", "mongodb"), "6.0.5"),)


def require(store: str, version: str, templates: Sequence[Template] = TEMPLATES) -> Template:
    """Return the template of that store and version.

    Raises:
        NoTemplateError: there is none.
    """
    found = next((template for template in templates if template.makes(store, version)), None)
    if found is None:
        raise NoTemplateError(store, version, [f"{each.stores[0]} {each.version}" for each in templates])
    return found
