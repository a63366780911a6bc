"""Transactions, and what becomes of those whose process died.

MongoDB keeps the transaction of a client that vanished between two of its requests open for a minute or more (60 s by
default; 90 s measured), and nobody else can write what it has written. A worker that is killed would so keep its
successor from the cluster. Hence: whoever collides for longer than `PATIENCE_S` ends transactions of ours that have been
open and idle for longer than `ABANDONED_S`. If such a one was alive after all, its driver simply runs it again.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from bson.binary import Binary
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from blocks.store.mongodb_connection import APPLICATION, Connection, is_duplicate

PATIENCE_S: Final = 1.0
ABANDONED_S: Final = 2.0

T = TypeVar("T")
Transaction = Callable[[AsyncClientSession], Awaitable[T]]


class Transactions(Connection):
    """Runs transactions to their end, within the deadline of the call."""

    async def transact(self, write: Transaction[T]) -> T:
        """Run `write` in one transaction, again after conflicts; it must have no effect but on the database.

        Two that create the same document at once collide in a way the server does not repeat: once more, then.
        """
        try:
            return await self._transact_once(write)
        except (DuplicateKeyError, BulkWriteError) as error:
            if not is_duplicate(error):
                raise
            return await self._transact_once(write)

    async def _transact_once(self, write: Transaction[T]) -> T:
        patient_until = time.monotonic() + PATIENCE_S

        async def patiently(session: AsyncClientSession) -> T:
            nonlocal patient_until
            if time.monotonic() > patient_until:
                await self.end_abandoned()
                patient_until = time.monotonic() + PATIENCE_S
            return await write(session)

        async with self.database.client.start_session() as session:
            return await session.with_transaction(
                patiently, read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority")
            )

    async def end_abandoned(self) -> None:
        """End transactions of our own user that stand idle. Needs no privilege; where it is refused, they end by time."""
        idle = {
            "type": "idleSession",
            "appName": APPLICATION,
            "transaction.timeOpenMicros": {"$gt": ABANDONED_S * 1_000_000},
        }
        admin = self.database.client.get_database("admin", read_concern=ReadConcern("local"))
        operations: list[dict[str, Any]] = [
            {"$currentOp": {"idleSessions": True}},
            {"$match": idle},
            {"$project": {"lsid": 1}},
        ]
        with suppress(OperationFailure):
            sessions = [
                {"id": Binary.from_uuid(operation["lsid"]["id"])}
                async for operation in await admin.aggregate(operations)
            ]
            if sessions:
                await admin.command("killSessions", sessions)
