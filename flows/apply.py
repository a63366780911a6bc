"""What a person declares: manifests, all or nothing. From the UI, from Python, and off the work queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from uuid import UUID, uuid4, uuid5

from prefect import flow
from prefect.logging import get_run_logger

from blocks.errors import ConflictError, InvalidInputError, NotFoundError, PermanentError, ReplicoreError
from blocks.fleet import Connections
from blocks.models.action import Action
from blocks.models.namespace import Namespace
from blocks.models.record import Change
from blocks.models.request import Priority, WorkKind, work_key
from blocks.models.source import Source
from blocks.models.submission import Applied, Effect, Submission
from blocks.secrets.protocol import Secrets
from blocks.store.protocol import Store
from blocks.work_queue.protocol import WorkQueue
from flows.entry import FLEET, run, utc_now, who
from flows.steps import Steps
from tasks.apply import Replacing, apply_wanted, plan
from tasks.decide.audit import Command
from tasks.decide.documents import read_documents
from tasks.decide.manifests import Asked, Scope, Wanted, parse
from tasks.decide.plan import named_as
from tasks.request import request_work
from tasks.shelter import Sheltered, applied_with, shelter

NAMED_MAX = 10
"""So many objects are named in the audit."""


@flow(name="apply")
def apply(
    manifests: str = "",
    by: str | None = None,
    dry_run: bool = False,
    namespace: str | None = None,
    cluster: str | None = None,
    node: str | None = None,
    default_namespace: str | None = None,
    submission: UUID | None = None,
    fleet: str = FLEET,
) -> list[Applied]:
    """Apply manifests (`apiVersion: replicante.io/v0`): all of them, or none when anything is wrong with one.

    Args:
        manifests: YAML or JSON, one or many documents.
        by: who applies them; None means this flow run.
        dry_run: only say what would be created and changed.
        namespace: instead of the namespace that the documents name.
        cluster: instead of the cluster that they name.
        node: instead of the node that they name.
        default_namespace: for documents that name none.
        submission: instead of manifests, the id of what was handed in: Prefect takes no more than 512 KiB of parameters.
        fleet: name of the Fleet block.
    """
    if submission is not None:
        handed_in = Command("apply", str(submission), who(by))
        return run(lambda connections: _handed_in(connections, str(submission)), fleet, command=handed_in)
    asked = Asked(who=who(by), now=utc_now(), new_id=uuid4)
    scope = Scope(namespace=namespace, cluster=cluster, node=node, fill_namespace=default_namespace)
    documents = read_documents(manifests)
    named = [named_as(record) for record in parse(documents, asked, scope=scope)]

    async def sentence(connections: Connections) -> list[Applied]:
        store, secrets = await connections.store(), await connections.secrets()
        given = await shelter(store, secrets, documents, asked, scope)
        if given.new or given.known:
            get_run_logger().warning(
                "%d secrets are given in the manifests: they are kept as Prefect Secret blocks, but the parameters of this "
                "run show them. Give {secret: NAME} or {file: PATH}, and change what was shown.",
                len(given.new) + len(given.known),
            )
        made = await plan(store, given.wanted, asked.who)
        if dry_run:
            return list(made.applied)
        queue, steps = await connections.work_queue(), Steps(watched=True)

        async def save(replacing: Replacing) -> tuple[Applied, ...]:
            return await steps("apply", apply_wanted, store, given.wanted, asked.who, utc_now(), None, replacing)

        applied = await applied_with(store, secrets, given, save)
        await _request_due(store, queue, given.wanted, applied, utc_now, steps)
        return list(applied)

    first = ", ".join(named[:NAMED_MAX]) + (f" and {len(named) - NAMED_MAX} more" if len(named) > NAMED_MAX else "")
    command = None if dry_run else Command("apply", first, asked.who, {"objects": len(named)})
    return run(sentence, fleet, command=command)


async def _handed_in(connections: Connections, key: str) -> list[Applied]:
    """Apply what was handed in and is too large for a parameter.

    Raises:
        InvalidInputError: it cannot be applied.
        ConflictError: others kept changing the same objects; nothing was applied, and will not be.
    """
    store, queue, secrets = await connections.store(), await connections.work_queue(), await connections.secrets()
    ended = await apply_at_once(store, queue, secrets, key, utc_now, Steps(watched=True))
    if ended.error is not None:
        raise InvalidInputError(ended.error)
    return list(ended.applied or ())


async def apply_submission(
    store: Store,
    queue: WorkQueue,
    secrets: Secrets,
    key: str,
    clock: Callable[[], datetime],
    steps: Steps | None = None,
) -> Submission:
    """Apply what was handed in, once, and keep what came of it in the same transaction. Done again after a crash it changes
    nothing, and asks again for the work that it makes due. Whatever would fail again ends it, with the reason.

    Raises:
        NotFoundError: there is no such submission.
        DependencyUnavailableError: the store is gone; nothing, or all of it, was applied.
        ConflictError: others kept changing the same objects; nothing was applied.
    """
    handed_in = await store.get(Submission, key)
    if handed_in is None:
        message = f"there is no submission {key}"
        raise NotFoundError(message)
    if handed_in.error is not None:
        return handed_in
    numbers = iter(range(1_000_000))
    asked = Asked(
        who=handed_in.by, now=handed_in.at, new_id=lambda: uuid5(UUID(handed_in.submission_id), str(next(numbers)))
    )
    scope = Scope(handed_in.namespace, handed_in.cluster, handed_in.node, handed_in.default_namespace)
    steps = steps or Steps()
    try:
        wanted = await asyncio.to_thread(_wanted, handed_in.manifests, asked, scope)
        if handed_in.applied is None:
            await applied_with(
                store,
                secrets,
                Sheltered((), wanted),
                lambda replacing: steps(
                    "apply", apply_wanted, store, wanted, handed_in.by, clock(), handed_in, replacing
                ),
            )
    except PermanentError as error:
        return await _ended_badly(store, handed_in, error, clock())
    ended = await store.get(Submission, key) or handed_in
    if ended.error is not None:
        return ended
    await _request_due(store, queue, wanted, ended.applied or (), clock, steps)
    return ended


async def apply_at_once(
    store: Store,
    queue: WorkQueue,
    secrets: Secrets,
    key: str,
    clock: Callable[[], datetime],
    steps: Steps | None = None,
) -> Submission:
    """Apply what was handed in without waiting for a worker, and take the work off that was kept for one. Its caller is
    told what came of it; hence it ends in a conflict, too.

    Raises:
        NotFoundError: there is no such submission.
        DependencyUnavailableError: the store is gone; if it was not applied, a worker does it later.
        ConflictError: others kept changing the same objects; nothing was applied, and will not be.
    """
    try:
        ended = await apply_submission(store, queue, secrets, key, clock, steps)
    except ConflictError as error:
        if (handed_in := await store.get(Submission, key)) is not None:
            await _ended_badly(store, handed_in, error, clock())
        raise
    await store.drop_work([work_key(WorkKind.APPLY, key)], spare_claimed=True)
    return ended


def _wanted(manifests: str, asked: Asked, scope: Scope) -> tuple[Wanted, ...]:
    return parse(read_documents(manifests), asked, scope=scope)


async def _ended_badly(store: Store, handed_in: Submission, error: ReplicoreError, now: datetime) -> Submission:
    """Keep why nothing was applied; what has ended before stays as it is."""
    if handed_in.ended_at is not None:
        return handed_in
    ended = handed_in.evolve(ended_at=now, error=str(error), version=handed_in.version + 1)
    await store.commit(Change(swaps=(ended,)), now=now)
    return ended


async def _request_due(
    store: Store,
    queue: WorkQueue,
    wanted: Sequence[Wanted],
    applied: Sequence[Applied],
    clock: Callable[[], datetime],
    steps: Steps,
) -> None:
    """Ask for the work that a person who applied these waits for."""
    changed = [record for record, one in zip(wanted, applied, strict=True) if one.effect is not Effect.UNCHANGED]
    homes = await store.get_many(Namespace, {record.namespace for record in changed if isinstance(record, Source)})
    closed = {name for name, home in homes.items() if not home.may_look}
    for kind, subject in _due_now(changed, closed):
        await steps("request", request_work, store, queue, kind, subject, Priority.PERSON, clock())


def _due_now(changed: Sequence[Wanted], closed: Collection[str]) -> list[tuple[WorkKind, str]]:
    """Work that a person who applies these waits for; in namespaces that are not looked at there is none."""
    sources = [
        (WorkKind.DISCOVER, record.key)
        for record in changed
        if isinstance(record, Source) and record.enabled and record.namespace not in closed
    ]
    clusters = {record.cluster.key for record in changed if isinstance(record, Action)}
    return [*sources, *((WorkKind.ORCHESTRATE, key) for key in sorted(clusters))]
