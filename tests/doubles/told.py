"""What of records events tell: each field that `tasks.decide.untold` does not name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from blocks.models.base import Fact
from tasks.decide.untold import UNTOLD


def told(fact: Any) -> Any:
    """A fact without its untold fields, and so those within it."""
    if isinstance(fact, tuple):
        return {str(told(one)) for one in fact} if fact and type(fact[0]) in UNTOLD else fact
    if not isinstance(fact, Fact) or type(fact) not in UNTOLD:
        return fact
    return {name: told(value) for name, value in fact if name not in UNTOLD[type(fact)]}


def all_told(records: Iterable[Fact | None]) -> list[Any]:
    """The same of many; a record that is not there tells nothing."""
    return [told(record) for record in records if record is not None]
