"""Where a secret has been written that should be nowhere."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

from pymongo import MongoClient


def holding_files(folder: Path, secret: str) -> list[str]:
    """Files below a folder that have the secret in them, logs of Kafka and the database of Prefect included."""
    found = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink() or path.stat().st_size == 0:
            continue
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(secret.encode()) >= 0:
                found.append(str(path.relative_to(folder)))
    return found


def holding_collections(client: MongoClient[dict[str, Any]], secret: str) -> list[str]:
    """Collections with a document that has the secret in it; their files are compressed."""
    return [
        f"{name}.{collection}"
        for name in client.list_database_names()
        if name not in {"admin", "config", "local"}
        for collection in client[name].list_collection_names()
        if any(secret in repr(document) for document in client[name][collection].find())
    ]
