"""What we ask of ZooKeeper in order to take and give back: each a function that starts a request on a client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from kazoo.handlers.threading import AsyncResult
from kazoo.protocol.states import ZnodeStat

from blocks.coordinator.connection import Client

T = TypeVar("T")
Send = Callable[[Client], "AsyncResult[T]"]  # quoted: kazoo's own class cannot be subscripted


def ensure(path: str) -> Send[Any]:
    """Make a folder with all above it."""
    return lambda client: client.ensure_path_async(path)


def create(path: str, data: bytes, *, ephemeral: bool) -> Send[tuple[str, ZnodeStat]]:
    """Make a znode and learn its czxid."""
    return lambda client: client.create_async(path, data, ephemeral=ephemeral, include_data=True)


def create_all(paths: Sequence[str], data: bytes) -> Send[list[Any]]:
    """Make ephemeral znodes, all or none."""

    def send(client: Client) -> AsyncResult[list[Any]]:
        transaction = client.transaction()
        for path in paths:
            transaction.create(path, data, ephemeral=True)
        return transaction.commit_async()

    return send


def delete_all(paths: Sequence[str], guard: str, version: int) -> Send[list[Any]]:
    """Remove znodes, all or none, if the guard still has that version."""

    def send(client: Client) -> AsyncResult[list[Any]]:
        transaction = client.transaction()
        transaction.check(guard, version)
        for path in paths:
            transaction.delete(path)
        return transaction.commit_async()

    return send
