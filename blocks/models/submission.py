"""Manifests that wait to be applied by a worker, and what came of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from blocks.models.action import ActionId
from blocks.models.base import Fact, Id, Json, Name, Text, Utc

MANIFESTS_CHARS_MAX = 4 * 1024 * 1024


class Effect(StrEnum):
    """What applying an object does."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


class Difference(Fact):
    """One field that applying an object changes."""

    path: str
    before: Json = None
    after: Json = None
    hidden: bool = False
    """It is there, and its values are not shown."""


class Applied(Fact):
    """One object of a set that was applied, or would be."""

    kind: str
    name: str
    effect: Effect
    action_id: ActionId | None = None
    differences: tuple[Difference, ...] = ()
    """What differs from what was stored, the first hundred; secrets are not shown."""
    more: int = 0
    """So many fields differ beside those."""


class Submission(Fact):
    """Manifests handed in to be applied off the work queue: the way that needs no Prefect."""

    submission_id: ActionId
    manifests: Annotated[str, Field(max_length=MANIFESTS_CHARS_MAX)]
    """Without secrets: those are named, not given."""
    namespace: Name | None = None
    cluster: Id | None = None
    node: Id | None = None
    """What is meant instead of what the documents name; None leaves them as they are."""
    default_namespace: Name | None = None
    """What is meant where a document names no namespace."""
    by: Text
    at: Utc
    ended_at: Utc | None = None
    applied: tuple[Applied, ...] | None = None
    """What came of it; None until then, or when nothing was applied."""
    error: Text | None = None
    """Why nothing was applied; beside `applied`, what of it was undone at once."""
    version: int = 0

    @property
    def key(self) -> str:
        """Its key in the store."""
        return self.submission_id
