"""How rows of the past are told.

They have the fields of those of the present, and four more: `at` (the moment), `as_of` (when the newest of their facts was
told), `known_since` (by fact, when it was told; null where that is no longer kept) and `not_known` (fields that no event
tells, or that cannot be rebuilt).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from deployments.cli.output import Row, clean
from deployments.cli.turns import until
from deployments.cli.words import seconds_since
from tasks.decide.history import Past
from tasks.decide.moves import ROLE, STATUS, Key

NEVER_TOLD = ("lag_ms", "lag_last_ms", "stale", "seen_at")
"""Of nodes: what moves all the time and makes no event."""


def told(past: Past, groups: Collection[Key], not_known: Iterable[str]) -> dict[str, Any]:
    """What rows of the past have beside the fields of the present: of facts under these keys, when they were told."""
    mine = {key: fact.at for key, fact in past.facts.items() if key[:2] in groups or key[:1] in groups}
    since: dict[str, datetime | None] = {}
    for key, moment in mine.items():
        name = " ".join(key[2:3] if key[0] == "node" else key)
        since[name] = max((one for one in (since.get(name), moment) if one is not None), default=None)
    as_of = max((moment for moment in mine.values() if moment is not None), default=None)
    return {"at": past.at, "as_of": as_of, "known_since": since, "not_known": sorted(set(not_known))}


def past_node(row: Row, past: Past, *, shards: bool = True) -> dict[str, Any]:
    """A node's row, made of what was known at a moment, without what is not known of it."""
    node = ("node", str(row["node"]))
    status = past.facts.get((*node, STATUS))
    since = status.at if status is not None else None
    facts: Mapping[str, str] = {
        "status": STATUS, "store": "store_id", "version": "store_version", "agent": "agent_address",
        "agent_version": "agent_version", "protocol": "protocol", "class": "node_class", "group": "node_group",
    }  # fmt: skip
    unknown = [field for field, fact in facts.items() if not past.knows((*node, fact))]
    unknown += [] if shards and past.knows((*node, ROLE)) else ["roles", "shards"]
    unknown += [] if since is not None else ["status_since"]
    gaps = {field: None for field in unknown if field != "status"}
    return {
        **row,
        "lag_ms": None, "lag_last_ms": None, "lag_age_s": None, "stale": None, "stale_since": None, "stale_age_s": None, "seen_at": None, "age_s": None,
        "status_since": since, "status_age_s": seconds_since(since, past.at),
        **gaps, **({"roles": {}} if "roles" in unknown else {}),
        **told(past, {node}, (*NEVER_TOLD, *unknown)),
    }  # fmt: skip


def as_of(row: Row) -> str:
    """The cell that says when the newest of a row's facts was told."""
    return until(row["as_of"]) if row["as_of"] is not None else "before what is kept"


def gaps(row: Row, but: Collection[str] = NEVER_TOLD) -> str:
    """The cell that says what is not known although events tell of it."""
    left = [name for name in row["not_known"] if name not in but]
    return f"not known: {', '.join(map(clean, left))}" if left else ""
