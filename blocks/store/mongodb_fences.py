"""Fences: per subject the newest holder seen, in one document that every write about the subject touches.

Claim and check are the same update, which always writes, in a transaction: a newer holder's claim and an older holder's
commit collide on that document, so that one of them is run again and sees the other. A check that only read, or that wrote
nothing new, would let an older holder commit after a newer one has read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo import DESCENDING, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession

from blocks.models.record import Fence
from blocks.store.mapping import SCHEMA, Document
from blocks.store.mongodb_calls import whole
from blocks.store.mongodb_connection import chunked
from blocks.store.mongodb_schema import FENCES
from blocks.store.mongodb_transactions import Transactions


class Fences(Transactions):
    """Announces holders and stops superseded ones."""

    @whole
    async def claim(self, fences: Sequence[Fence]) -> set[str]:
        """See `Store.claim`."""
        if not fences:
            return set()
        with self.call():
            return await self.transact(lambda session: self.superseded(session, fences))

    @whole
    async def newest_fence(self) -> Fence | None:
        """See `Store.newest_fence`."""
        newest = [("generation", DESCENDING), ("token", DESCENDING)]
        with self.call():
            found = await self.collection(FENCES).find_one({}, sort=newest)
        if found is None:
            return None
        return Fence(subject=found["_id"], generation=found["generation"], token=found["token"])

    async def superseded(self, session: AsyncClientSession, fences: Sequence[Fence]) -> set[str]:
        """Within a transaction: pass these fences. Returns the subjects with a newer holder, whose fences stay."""
        collection = self.collection(FENCES)
        passed = 0
        for piece in chunked(fences):
            raises = [UpdateOne(_not_newer(fence), _raise(fence)) for fence in piece]
            passed += (await collection.bulk_write(raises, ordered=False, session=session)).matched_count
        if passed == len(fences):
            return set()
        subjects = [fence.subject for fence in fences]
        stored = {
            document["_id"]: (document["generation"], document["token"])
            async for document in collection.find({"_id": {"$in": subjects}}, session=session)
        }
        new = {fence.subject: fence for fence in fences if fence.subject not in stored}
        if new:
            await collection.insert_many([_document(fence) for fence in new.values()], session=session)
        return {f.subject for f in fences if f.subject in stored and stored[f.subject] > (f.generation, f.token)}


def _not_newer(fence: Fence) -> dict[str, Any]:
    older = {"generation": {"$lt": fence.generation}}
    own = {"generation": fence.generation, "token": {"$lte": fence.token}}
    return {"_id": fence.subject, "$or": [older, own]}


def _raise(fence: Fence) -> dict[str, Any]:
    return {
        "$set": {"generation": fence.generation, "token": fence.token, "schema": SCHEMA},
        "$inc": {"passed": 1},
    }


def _document(fence: Fence) -> Document:
    return {
        "_id": fence.subject,
        "generation": fence.generation,
        "token": fence.token,
        "schema": SCHEMA,
        "passed": 1,
    }
