"""Who may approve what whom ordered, and where nothing is ordered any more."""

from __future__ import annotations

import unicodedata

from blocks.errors import RefusedError
from blocks.models.namespace import Namespace

NOBODY = "flow run "
"""So begins the name of whoever gave none: their flow run's."""


def check_staying(home: Namespace | None, what: str) -> None:
    """In a namespace that is being deleted nothing is added.

    Args:
        home: the namespace; None: there is none of that name.
        what: what is ordered or approved.

    Raises:
        RefusedError: it is, or it is gone.
    """
    if home is not None and home.going:
        message = f"namespace {home.name} is {home.status}: {what} is neither ordered nor approved in it"
        raise RefusedError(message)


def check_approver(home: Namespace | None, who: str, orderer: str, what: str) -> None:
    """Where a namespace wants somebody else to approve, two names are needed, and flow runs are nobody's.

    Raises:
        RefusedError: it is the same person, or one of them did not say who they are.
    """
    if home is None or not home.settings.approver_must_differ:
        return
    if _folded(who) == _folded(orderer):
        message = f"{what} was ordered by {orderer}, and namespace {home.name} wants somebody else to approve it"
        raise RefusedError(message)
    for name, did in ((orderer, "ordered"), (who, "is to be approved")):
        if not _folded(name) or _folded(name).startswith(_folded(NOBODY)):
            message = (
                f"{what} {'was ' if did == 'ordered' else ''}{did} by {name!r}, which is nobody's name, and namespace"
                f" {home.name} wants somebody else to approve than who ordered: give your name (`by`)"
            )
            raise RefusedError(message)


def _folded(name: str) -> str:
    """A name without what the eye does not tell apart: case, width, spaces around and between words, format characters."""
    seen = "".join(char for char in unicodedata.normalize("NFKC", name) if unicodedata.category(char) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", seen.casefold()).split())
