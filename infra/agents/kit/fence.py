"""The fence (design.md 3): a superseded controller cannot make this agent act.

A request carries ``metadata["replicore.io/fence"] = "GENERATION:TOKEN"``: the ZooKeeper generation and the czxid of
the cluster's lock. The newest pair seen is kept per cluster, in the same file and the same transaction as the actions;
an older pair is refused with 412 and nothing is stored. A newer pair counts as seen even when the request then turns
out to be a duplicate. No pair at all means another client: accepted, and marked as unfenced.
"""

import re
from dataclasses import dataclass

import aiosqlite

from infra.agents.kit.errors import RequestError

FENCE_KEY = "replicore.io/fence"
INT64_MAX = 2**63 - 1
_FORM = re.compile(r"(0|[1-9][0-9]{0,18}):(0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True, order=True)
class Fence:
    """A fencing token; a later holder of the lock compares greater."""

    generation: int
    token: int

    def __str__(self) -> str:
        """Return the wire form."""
        return f"{self.generation}:{self.token}"


def parse_fence(text: str) -> Fence:
    """Read the wire form.

    Raises:
        RequestError: 400, not two decimal integers of at most 63 bits.
    """
    match = _FORM.fullmatch(text)
    fence = Fence(int(match[1]), int(match[2])) if match else None
    if fence is None or max(fence.generation, fence.token) > INT64_MAX:
        message = f"metadata {FENCE_KEY} must be GENERATION:TOKEN, two decimal integers, not {text[:64]!r}"
        raise RequestError(400, message)
    return fence


async def newest_fence(connection: aiosqlite.Connection, cluster_id: str) -> Fence | None:
    """Return the newest token seen for a cluster."""
    query = "SELECT generation, token FROM fences WHERE cluster_id = ?"
    async with connection.execute(query, (cluster_id,)) as cursor:
        row = await cursor.fetchone()
    return None if row is None else Fence(row["generation"], row["token"])


async def raise_fence(connection: aiosqlite.Connection, cluster_id: str, fence: Fence, now_us: int) -> bool:
    """Remember `fence` unless a newer one was seen.

    Returns:
        Whether the request may go on: false means it is superseded.
    """
    newest = await newest_fence(connection, cluster_id)
    if newest is not None and fence < newest:
        return False
    if newest is None or fence > newest:
        await connection.execute(
            "INSERT INTO fences (cluster_id, generation, token, seen_us) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (cluster_id) DO UPDATE"
            " SET generation = excluded.generation, token = excluded.token, seen_us = excluded.seen_us",
            (cluster_id, fence.generation, fence.token, now_us),
        )
    return True
