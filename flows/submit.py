"""Handing manifests in: kept together with the work of applying them, so that what is accepted is applied."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from pydantic import SecretStr

from blocks.errors import ConflictError, InvalidInputError
from blocks.models.record import Change
from blocks.models.request import Priority, Request, WorkKind
from blocks.models.submission import Submission
from blocks.store.protocol import Store
from blocks.store.timetable import made
from blocks.work_queue.protocol import WorkQueue
from tasks.decide.documents import read_documents
from tasks.decide.manifests import EVERYWHERE, Asked, Scope, parse
from tasks.decide.sheltering import sheltered
from tasks.request import point_to, request_work

WORKER_AFTER_S = 300.0
"""What a flow run applies that has not ended after so many seconds is left to a worker: the run may never have begun."""


async def submit(
    store: Store,
    queue: WorkQueue,
    manifests: str,
    by: str,
    now: datetime,
    scope: Scope = EVERYWHERE,
    submission_id: UUID | None = None,
) -> Submission:
    """Hand manifests in to be applied by a worker: the way that needs no Prefect.

    They are kept together with the work of applying them: once kept, they are applied, whatever dies then. Who got
    `DependencyUnavailableError` does not know whether they are kept; the same call with the same `submission_id` keeps
    them once, and asks again for what has not ended.

    Returns:
        The submission; `store.get(Submission, submission_id)` tells what came of it.

    Raises:
        InvalidInputError: they cannot be applied, or hold secrets in clear, which are not stored; or the id is taken.
        DependencyUnavailableError: the store is away; they are kept or not.
    """
    handed_in = await _new(manifests, by, now, scope, submission_id)
    item = made(WorkKind.APPLY, handed_in.key, Priority.PERSON, now)
    kept = await _keep(store, handed_in, item, now)
    if kept is None:
        await point_to(store, queue, item, now)
    elif kept.ended_at is None:
        await request_work.fn(store, queue, WorkKind.APPLY, kept.key, Priority.PERSON, now)
    return kept or handed_in


async def hand_in(
    store: Store,
    manifests: str,
    by: str,
    now: datetime,
    scope: Scope = EVERYWHERE,
    submission_id: UUID | None = None,
) -> Submission:
    """Keep manifests that the caller applies with `apply_at_once`; a worker does, if they have not ended `WORKER_AFTER_S`
    later. As safe as `submit`.

    Raises:
        InvalidInputError: they cannot be applied, or hold secrets in clear, which are not stored; or the id is taken.
        DependencyUnavailableError: the store is away; they are kept or not.
    """
    handed_in = await _new(manifests, by, now, scope, submission_id)
    later = now + timedelta(seconds=WORKER_AFTER_S)
    item = Request(kind=WorkKind.APPLY, subject=handed_in.key, priority=Priority.PERSON, next_at=later)
    return await _keep(store, handed_in, item, now) or handed_in


async def _new(manifests: str, by: str, now: datetime, scope: Scope, submission_id: UUID | None) -> Submission:
    secrets = await asyncio.to_thread(_checked, manifests, Asked(who=by, now=now, new_id=uuid4), scope)
    if secrets:
        message = (
            "there are secrets in the manifests, and what is handed in keeps none: give {secret: NAME} or {file: PATH}"
        )
        raise InvalidInputError(message)
    return Submission(
        submission_id=str(submission_id or uuid4()),
        manifests=manifests,
        namespace=scope.namespace,
        cluster=scope.cluster,
        node=scope.node,
        default_namespace=scope.fill_namespace,
        by=by,
        at=now,
        version=1,
    )


async def _keep(store: Store, handed_in: Submission, item: Request, now: datetime) -> Submission | None:
    """Keep it with its work, in one transaction; what is there already where it was kept before.

    Raises:
        InvalidInputError: there is another of its id.
    """
    try:
        await store.commit(Change(swaps=(handed_in,), work=(item,)), now=now)
    except ConflictError:
        kept = await store.get(Submission, handed_in.key)
        if kept is None:
            raise
        same = handed_in.evolve(at=kept.at, ended_at=kept.ended_at, applied=kept.applied, error=kept.error)
        if kept != same.evolve(version=kept.version):
            message = f"the submission {handed_in.key} is another one: give each an id of its own"
            raise InvalidInputError(message) from None
        return kept
    return None


def _checked(manifests: str, asked: Asked, scope: Scope) -> Mapping[str, SecretStr]:
    """The secrets in manifests that can be applied."""
    documents, secrets = sheltered(read_documents(manifests), scope)
    parse(documents, asked, scope=scope)
    return secrets
