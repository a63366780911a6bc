"""The agent's actions in SQLite: scheduled once per id, ordered, kept across restarts, bounded.

Scheduling is one transaction {fence check, duplicate check, insert}, and transactions are serial, so that two requests
with one id can never both be accepted nor restart an action (agent-protocol.md 2, trap b). What is over never changes.
"""

import sqlite3
from dataclasses import dataclass, replace

import aiosqlite
import orjson

from infra.agents.kit.database import Database
from infra.agents.kit.errors import RequestError
from infra.agents.kit.fence import FENCE_KEY, Fence, newest_fence, parse_fence, raise_fence
from infra.agents.kit.models import Action, Json, Phase

LIST_LIMIT = 50
CLEAN_AGE_US = 14 * 86_400 * 1_000_000

_QUEUE = "SELECT * FROM actions WHERE finished_us IS NULL ORDER BY scheduled_us, seq LIMIT ?"
_FINISHED = "SELECT * FROM actions WHERE finished_us IS NOT NULL ORDER BY scheduled_us, seq LIMIT ?"
_NEXT = "SELECT * FROM actions WHERE finished_us IS NULL ORDER BY phase = 'RUNNING' DESC, scheduled_us, seq LIMIT 1"
_INSERT = (
    "INSERT INTO actions (id, kind, args, metadata, fence, created_us, scheduled_us, phase)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_UPDATE = "UPDATE actions SET phase = ?, payload = ?, error = ?, finished_us = ? WHERE id = ? AND finished_us IS NULL"
_EXPIRE = "DELETE FROM actions WHERE finished_us IS NOT NULL AND finished_us < ?"
_OVERFLOW = (
    "DELETE FROM actions WHERE seq IN (SELECT seq FROM actions WHERE finished_us IS NOT NULL"
    " ORDER BY finished_us DESC, seq DESC LIMIT -1 OFFSET ?)"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many actions are kept: waiting (more are refused) and over (the oldest are forgotten)."""

    queue: int = 1000
    finished: int = 10_000


@dataclass(frozen=True, slots=True)
class Counts:
    """What the file holds, for the metrics."""

    by_phase: dict[str, int]
    unfenced: int
    fence: Fence | None


class ActionStore:
    """The actions of one node; `cluster_id` says whose fence guards them."""

    def __init__(self, database: Database, cluster_id: str, limits: Limits | None = None) -> None:
        """Work on an open `database`."""
        self._limits = limits or Limits()
        self._database = database
        self._cluster_id = cluster_id

    async def schedule(self, action: Action) -> None:
        """Accept a new action.

        Raises:
            RequestError: 400 malformed fence, 412 superseded, 409 id already here, 503 queue full; nothing stored.
        """
        text = action.metadata.get(FENCE_KEY)
        fence = None if text is None else parse_fence(text)
        # A refusal commits too: the newest fence must be remembered even when its request is a duplicate.
        async with self._database.transaction() as connection:
            refusal = await self._admit(connection, action, fence)
            if refusal is None:
                await _insert(connection, action, fence)
        if refusal is not None:
            raise refusal

    async def _admit(
        self, connection: aiosqlite.Connection, action: Action, fence: Fence | None
    ) -> RequestError | None:
        """Say why an action may not be stored; the fence comes first, then the id, then the room."""
        if fence is not None and not await raise_fence(connection, self._cluster_id, fence, action.scheduled_us):
            newest = await newest_fence(connection, self._cluster_id)
            message = f"fencing token {fence} is superseded: the newest seen for {self._cluster_id} is {newest}"
            return RequestError(412, message)
        if await _one(connection, "SELECT 1 FROM actions WHERE id = ?", (action.id,)) is not None:
            return RequestError(409, f"action {action.id} already exists")
        waiting = await _one(connection, "SELECT count(*) FROM actions WHERE finished_us IS NULL", ())
        if waiting is not None and waiting[0] >= self._limits.queue:
            return RequestError(503, f"the queue is full: {self._limits.queue} actions are waiting")
        return None

    async def get(self, action_id: str) -> Action | None:
        """Return one action, or None when it is not here."""
        async with self._database.transaction() as connection:
            row = await _one(connection, "SELECT * FROM actions WHERE id = ?", (action_id,))
        return None if row is None else _action(row)

    async def queue(self) -> list[Action]:
        """Return what is not over, oldest scheduled first, at most 50."""
        return await self._list(_QUEUE)

    async def finished(self) -> list[Action]:
        """Return what is over, oldest scheduled first, at most 50 (so the newest may be missing: look up by id)."""
        return await self._list(_FINISHED)

    async def next(self) -> Action | None:
        """Return the action whose turn it is: the running one, else the oldest scheduled."""
        async with self._database.transaction() as connection:
            row = await _one(connection, _NEXT, ())
        return None if row is None else _action(row)

    async def save(self, action: Action, phase: Phase, payload: Json, error: Json, now_us: int) -> Action:
        """Record where an action got to and return it; one that is over stays as it is."""
        finished_us = now_us if phase.final else None
        values = (phase.value, _dump(payload), _dump(error), finished_us, action.id)
        async with self._database.transaction() as connection:
            await connection.execute(_UPDATE, values)
        return replace(action, phase=phase, payload=payload, error=error, finished_us=finished_us)

    async def prune(self, now_us: int) -> None:
        """Forget what has been over for 14 days, and the oldest of what is over beyond the limit."""
        async with self._database.transaction() as connection:
            await connection.execute(_EXPIRE, (now_us - CLEAN_AGE_US,))
            await connection.execute(_OVERFLOW, (self._limits.finished,))

    async def counts(self) -> Counts:
        """Count actions per phase, those without a fence, and tell the newest fence."""
        async with self._database.transaction() as connection:
            query = "SELECT phase, count(*) FROM actions GROUP BY phase"
            async with connection.execute(query) as cursor:
                by_phase = {row[0]: row[1] for row in await cursor.fetchall()}
            unfenced = await _one(connection, "SELECT count(*) FROM actions WHERE fence IS NULL", ())
            fence = await newest_fence(connection, self._cluster_id)
        return Counts(by_phase, unfenced[0] if unfenced else 0, fence)

    async def _list(self, query: str) -> list[Action]:
        """Run one of the list queries."""
        async with self._database.transaction() as connection, connection.execute(query, (LIST_LIMIT,)) as cursor:
            return [_action(row) for row in await cursor.fetchall()]


async def _one(connection: aiosqlite.Connection, query: str, values: tuple[str | int, ...]) -> sqlite3.Row | None:
    """Return the first row."""
    async with connection.execute(query, values) as cursor:
        return await cursor.fetchone()


async def _insert(connection: aiosqlite.Connection, action: Action, fence: Fence | None) -> None:
    """Store a new action."""
    values = (
        action.id,
        action.kind,
        _dump(action.args),
        _dump(dict(action.metadata)),
        None if fence is None else str(fence),
        action.created_us,
        action.scheduled_us,
        Phase.NEW.value,
    )
    await connection.execute(_INSERT, values)


def _action(row: sqlite3.Row) -> Action:
    """Read a row."""
    return Action(
        id=row["id"],
        kind=row["kind"],
        args=_load(row["args"]),
        metadata=orjson.loads(row["metadata"]),
        created_us=row["created_us"],
        scheduled_us=row["scheduled_us"],
        finished_us=row["finished_us"],
        phase=Phase(row["phase"]),
        payload=_load(row["payload"]),
        error=_load(row["error"]),
    )


def _dump(value: object) -> str:
    """Return the stored form of any JSON value."""
    return orjson.dumps(value).decode()


def _load(text: str | None) -> Json:
    """Read the stored form of any JSON value."""
    value: Json = None if text is None else orjson.loads(text)
    return value
