"""One SQLite file per agent: actions and fences, written through one connection, one transaction at a time.

The file is opened exclusively: a second agent on the same folder is refused, so "one action at a time" holds.
Commits are synchronous: an action said to be stored survives a crash of the process and of the machine.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite

from infra.agents.kit.errors import StartError

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS actions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    args TEXT NOT NULL,
    metadata TEXT NOT NULL,
    fence TEXT,
    created_us INTEGER NOT NULL,
    scheduled_us INTEGER NOT NULL,
    finished_us INTEGER,
    phase TEXT NOT NULL,
    payload TEXT,
    error TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS actions_queue ON actions (scheduled_us, seq) WHERE finished_us IS NULL;
CREATE INDEX IF NOT EXISTS actions_finished ON actions (finished_us) WHERE finished_us IS NOT NULL;
CREATE TABLE IF NOT EXISTS fences (
    cluster_id TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,
    token INTEGER NOT NULL,
    seen_us INTEGER NOT NULL
) STRICT;
"""


class Database:
    """The agent's file; every use is a transaction that holds the connection alone."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        """Wrap an open connection; use `open_database`."""
        self._connection = connection
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[aiosqlite.Connection]:
        """Run the block in one transaction: committed when it ends, rolled back when it raises or is cancelled."""
        async with self._lock:
            try:
                await self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                await asyncio.shield(self._connection.commit())
            except BaseException:
                await asyncio.shield(self._connection.rollback())
                raise

    async def close(self) -> None:
        """Wait for the transaction under way, then close the file."""
        async with self._lock:
            await self._connection.close()


async def open_database(folder: Path) -> Database:
    """Open, or create, the file in `folder`.

    Raises:
        StartError: The folder cannot be written, another agent uses it, or a newer release wrote it.
    """
    path = folder / "agent.db"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # noqa: ASYNC240 - once, before anything is served
        connection = await aiosqlite.connect(path, isolation_level=None, timeout=1.0)
    except (OSError, sqlite3.Error) as error:
        message = f"cannot open {path}: {error}"
        raise StartError(message) from error
    try:
        await _prepare(connection)
    except sqlite3.Error as error:
        await connection.close()
        locked = "is another agent running on this folder?" if "locked" in str(error) else "is the disk full?"
        message = f"cannot use {path}: {error}; {locked}"
        raise StartError(message) from error
    except BaseException:
        await connection.close()
        raise
    return Database(connection)


async def _prepare(connection: aiosqlite.Connection) -> None:
    """Take the file for ourselves and bring its tables up to date."""
    connection.row_factory = aiosqlite.Row
    for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
        await connection.execute(f"PRAGMA {pragma}")
    async with connection.execute("PRAGMA user_version") as cursor:
        row = await cursor.fetchone()
    found = int(row[0]) if row else 0
    if found > SCHEMA_VERSION:
        message = f"the data folder was written by a newer agent (schema {found}, this one knows {SCHEMA_VERSION})"
        raise StartError(message)
    await connection.executescript(SCHEMA)
    await connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
