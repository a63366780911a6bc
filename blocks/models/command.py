"""What came of what a person told the control plane to do."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """What came of a command."""

    DONE = "done"
    REFUSED = "refused"
    """It may not be done, or makes no sense: asked again it would be refused again."""
    FAILED = "failed"
    """It could not be done now, or was interrupted."""
