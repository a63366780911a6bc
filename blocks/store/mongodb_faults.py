"""What is wrong with the database itself: looked for by order of a person, never on the way of the work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pymongo import ASCENDING

from blocks.errors import RecordError
from blocks.models.base import Fact, clean_text
from blocks.models.event import Event
from blocks.models.request import Request
from blocks.store.mapping import SCHEMA, Document, from_document
from blocks.store.mongodb_calls import whole
from blocks.store.mongodb_connection import Connection
from blocks.store.mongodb_schema import COLLECTIONS, EVENTS, INDEXES, META, WORK

_PAGE: Final = 500
_EVENTS_MAX: Final = 10_000
"""Of events the newest so many are read: there may be hundreds of millions."""
_READ: Final[dict[type[Fact], str]] = {**COLLECTIONS, Request: WORK}


class Faults(Connection):
    """Holds what is there against what this version needs."""

    async def faults(self, most: int = 100) -> list[str]:
        """See `Store.faults`."""
        found = [*await self._of_schema(), *await self._of_indexes()]
        for type_ in _READ:
            if len(found) < most:
                found += await self._unreadable(type_, most - len(found))
        if len(found) < most:
            found += await self._unreadable_events(most - len(found))
        return found[:most]

    @whole
    async def _of_schema(self) -> list[str]:
        with self.call():
            meta = await self.collection(META).find_one({"_id": "schema"})
        version = None if meta is None else meta.get("version")
        if version is None:
            return ["the database was never prepared: run `python -m deployments.register`"]
        if version > SCHEMA:
            return [f"the database is of schema {version}, and this version knows {SCHEMA}: a newer one works with it"]
        return (
            [] if version == SCHEMA else [f"the database is of schema {version}, this version needs {SCHEMA}: register"]
        )

    async def _of_indexes(self) -> list[str]:
        found = []
        for name in sorted({index.collection for index in INDEXES}):
            there = await self._indexes_of(name)
            for index in INDEXES:
                if index.collection != name:
                    continue
                known: dict[str, Any] | None = there.get(index.name)
                if known is None:
                    found.append(f"index {name}.{index.name} is missing: run `python -m deployments.register`")
                elif tuple((str(key), int(way)) for key, way in known["key"]) != index.keys:
                    found.append(
                        f"index {name}.{index.name} is another one than this version needs: drop it, then register"
                    )
        return found

    async def _unreadable(self, type_: type[Fact], most: int) -> list[str]:
        found: list[str] = []
        after: Any = None
        while len(found) < most:
            query = {} if after is None else {"_id": {"$gt": after}}
            documents = await self._page_of(type_, query)
            if not documents:
                break
            after = documents[-1]["_id"]
            found += [fault for document in documents if (fault := _fault(type_, document)) is not None]
        return found[:most]

    @whole
    async def _indexes_of(self, name: str) -> Mapping[str, Any]:
        with self.call():
            return await self.collection(name).index_information()

    @whole
    async def _page_of(self, type_: type[Fact], query: dict[str, Any]) -> list[Document]:
        with self.call():
            return await self.collection(_READ[type_]).find(query).sort("_id", ASCENDING).limit(-_PAGE).to_list()

    @whole
    async def _unreadable_events(self, most: int) -> list[str]:
        found: list[str] = []
        with self.call(_EVENTS_WITHIN_S):
            cursor = self.collection(EVENTS).find().sort("time", -1).limit(_EVENTS_MAX)
            async for document in cursor.batch_size(_PAGE):
                if (fault := _fault(Event, document)) is not None:
                    found.append(fault)
                if len(found) >= most:
                    break
        return found


_EVENTS_WITHIN_S: Final = 30.0


def _fault(type_: type[Fact], document: Document) -> str | None:
    try:
        from_document(type_, document)
    except RecordError as error:
        return clean_text(str(error), 500)
    return None
