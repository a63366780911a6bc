"""What MongoDB holds at the end, and why what is not finished waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from pymongo import MongoClient

from blocks.coordinator.protocol import Coordinator
from blocks.models.action import Action
from blocks.models.ids import ClusterRef
from blocks.store.protocol import Store
from tasks.decide.why import why_action
from tasks.why import load_why

COLLECTIONS = ("actions", "states", "nodes", "work", "fences", "submissions", "specs", "gates")


async def dump(
    store: Store, coordinator: Coordinator, uri: str, database: str, path: Path, clock: Callable[[], datetime]
) -> None:
    """Write it into a file."""
    now = clock()
    found = await asyncio.to_thread(_read, uri, database)
    found["now"] = now.isoformat()
    found["waiting"] = {}
    for document in found["actions"]:
        if document["state"] in {"PENDING_APPROVE", "PENDING_SCHEDULE", "NEW", "RUNNING"}:
            found["waiting"][document["_id"]] = await _why(store, coordinator, str(document["_id"]), now)
    await asyncio.to_thread(path.write_bytes, orjson.dumps(found, default=str))


async def _why(store: Store, coordinator: Coordinator, action_id: str, now: datetime) -> list[str]:
    action = await store.get(Action, action_id)
    if action is None:
        return []
    ref = ClusterRef(namespace=action.namespace, cluster_id=action.cluster_id)
    view, circumstances = await load_why(store, coordinator, ref, now)
    return [f"{reason.rule}: {reason.text}" for reason in why_action(view, action, circumstances)]


def _read(uri: str, name: str) -> dict[str, Any]:
    with MongoClient[dict[str, Any]](uri, timeoutMS=60_000, tz_aware=True) as client:
        database = client[name]
        found: dict[str, Any] = {one: list(database[one].find()) for one in COLLECTIONS}
        fields = {"stream": 1, "sequence": 1, "type": 1, "published": 1, "data": 1}
        found["events"] = list(database["events"].find({}, fields).sort([("stream", 1), ("sequence", 1)]))
        return found
