"""From a document in any of its spellings to the canonical one, and from places in that back to places as written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tasks.decide.kinds.base import Path, Spelling, peek

Loc = tuple[int | str, ...]


def alternatives(path: Path, spellings: Iterable[Spelling]) -> tuple[Path, ...]:
    """All places in which a field may be written, the canonical one first."""
    found = [path]
    for spelling in reversed(tuple(spellings)):
        if spelling.written != spelling.meant:
            size = len(spelling.meant)
            found += [(*spelling.written, *one[size:]) for one in found if one[:size] == spelling.meant]
    return tuple(dict.fromkeys(found))


class Canonical:
    """A document in canonical spelling, which knows how it was written."""

    def __init__(self, document: Mapping[str, Any], spellings: Iterable[Spelling]) -> None:
        """Take a document whose size has been checked; it is not changed."""
        self.value: dict[str, Any] = _copied(document)
        self.clashes: list[tuple[Loc, str]] = []
        """Fields that are written twice, differently: where, and why that is a fault."""
        self._trail: dict[Loc, tuple[Loc, bool]] = {}
        for spelling in spellings:
            self._move(spelling)
        for part in ("metadata", "spec"):
            self.value.setdefault(part, {})

    def name(self, field: str, value: str) -> None:
        """Put a name into `metadata`, in place of any that is there."""
        self.value["metadata"][field] = value
        self._trail.pop(("metadata", field), None)

    def located(self, loc: Loc) -> Loc:
        """Where in the document as written a place of the canonical one is."""
        for size in range(len(loc), 0, -1):
            if loc[:size] in self._trail:
                place, whole = self._trail[loc[:size]]
                return place if whole else (*place, *loc[size:])
        return loc

    def _move(self, spelling: Spelling) -> None:
        parent = peek(self.value, spelling.written[:-1])
        name = spelling.written[-1]
        if not isinstance(parent, dict) or name not in parent:
            return
        place = self.located(spelling.written)
        value = parent[name] if spelling.via is None else spelling.via.convert(parent[name])
        converted = value is not parent[name]
        del parent[name]
        self._put(spelling.meant, value, place, converted=converted)
        self._prune(spelling.written[:-1])

    def _put(self, meant: Path, value: Any, place: Loc, *, converted: bool) -> None:
        target = self._container(meant[:-1], place[:-1])
        if target is None:  # what is in its way is a fault of its own
            return
        if meant[-1] not in target:
            target[meant[-1]] = value
            self._trail[meant] = place, converted
        elif target[meant[-1]] != value:
            other = ".".join(str(part) for part in self.located(meant))
            self.clashes.append((place, f"says something else than {other}"))

    def _container(self, path: Path, place: Loc) -> dict[str, Any] | None:
        """The mapping at a place, made where there is none: whatever is missing in it is missed at `place`."""
        inside = self.value
        for size, part in enumerate(path, start=1):
            if part not in inside:
                inside[part] = {}
                self._trail[path[:size]] = place, False
            inside = inside[part]
            if not isinstance(inside, dict):
                return None
        return inside

    def _prune(self, path: Path) -> None:
        """Remove mappings that are empty because all in them has moved."""
        while len(path) > 1 and peek(self.value, path) == {}:
            del peek(self.value, path[:-1])[path[-1]]
            path = path[:-1]


def _copied(value: Any) -> Any:
    return {name: _copied(inner) for name, inner in value.items()} if isinstance(value, Mapping) else value
