"""What a person declares: manifests, all or nothing. From the UI, from Python, and off the work queue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from uuid import UUID, uuid4, uuid5

from prefect import flow
from prefect.logging import get_run_logger

from blocks.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PartlyUndoneError,
    PermanentError,
    ReplicoreError,
)
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
from tasks.apply import Replacing, apply_wanted, plan, refuse_orphans
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
        submission: the id of what was handed in, instead of manifests and all that is about them, for Prefect takes no more
            than 512 KiB of parameters. It is applied as it was handed in: there is no dry run of it.
        fleet: name of the Fleet block.
    """
    if submission is not None:
        _refuse_beside(dry_run, manifests, namespace, cluster, node, default_namespace)
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

        try:
            applied = await applied_with(store, secrets, given, save)
        except PartlyUndoneError:
            await _request_due(store, queue, given.wanted, made.applied, utc_now, steps)
            raise
        await _request_due(store, queue, given.wanted, applied, utc_now, steps)
        return list(applied)

    first = ", ".join(named[:NAMED_MAX]) + (f" and {len(named) - NAMED_MAX} more" if len(named) > NAMED_MAX else "")
    command = None if dry_run else Command("apply", first, asked.who, {"objects": len(named)})
    return run(sentence, fleet, command=command)


def _refuse_beside(*about_manifests: object) -> None:
    """What was handed in has said all of that.

    Raises:
        InvalidInputError: something is given all the same, and would not be heard.
    """
    if any(about_manifests):
        message = "what was handed in is applied as it is: with `submission` give no manifests, no dry run and no names"
        raise InvalidInputError(message)


async def _handed_in(connections: Connections, key: str) -> list[Applied]:
    """Apply what was handed in and is too large for a parameter.

    Raises:
        InvalidInputError: it cannot be applied.
        ConflictError: others kept changing the same objects; nothing was applied, and will not be.
        PartlyUndoneError: it was applied, but for actions whose cluster was deleted at the same moment.
    """
    store, queue, secrets = await connections.store(), await connections.work_queue(), await connections.secrets()
    ended = await apply_at_once(store, queue, secrets, key, utc_now, Steps(watched=True))
    if ended.error is not None:
        raise InvalidInputError(ended.error) if ended.applied is None else PartlyUndoneError(ended.error)
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
    nothing, and asks again for the work that it makes due. Whatever would fail again ends it, with the reason. What is
    applied, but for actions whose cluster was deleted at the same moment, ends with `applied` and an error that says so.

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
    steps = steps or Steps()
    try:
        wanted = await asyncio.to_thread(_wanted_of, handed_in)
        undone = await _applied(store, secrets, handed_in, wanted, clock, steps)
    except PermanentError as error:
        return await _ended_badly(store, handed_in, error, clock())
    ended = await store.get(Submission, key) or handed_in
    if ended.error is not None:
        return ended
    if undone is not None:
        ended = await _ended_partly(store, ended, undone, clock())
    await _request_due(store, queue, wanted, ended.applied or (), clock, steps)
    return ended


async def _applied(
    store: Store,
    secrets: Secrets,
    handed_in: Submission,
    wanted: Sequence[Wanted],
    clock: Callable[[], datetime],
    steps: Steps,
) -> PartlyUndoneError | None:
    """Apply what was not applied yet, and look after its actions: whoever applied it before may have died between.

    Returns:
        What of it was undone at once, if anything was.
    """
    given = Sheltered((), tuple(wanted))

    async def save(replacing: Replacing) -> None:
        await steps("apply", apply_wanted, store, wanted, handed_in.by, clock(), handed_in, replacing)

    try:
        if handed_in.applied is None:
            await applied_with(store, secrets, given, save)
        else:
            ordered = {record.key for record in wanted if isinstance(record, Action)}
            actions, _ = await store.readable_many(Action, ordered)
            await refuse_orphans(store, [one for one in actions.values() if not one.state.final], clock())
    except PartlyUndoneError as error:
        return error
    return None


async def apply_at_once(
    store: Store,
    queue: WorkQueue,
    secrets: Secrets,
    key: str,
    clock: Callable[[], datetime],
    steps: Steps | None = None,
) -> Submission:
    """Apply what was handed in without waiting for a worker, and take the work off that was kept for one. Its caller is
    told what came of it; hence it ends in a conflict, too. As with `apply_submission`, what has ended may have both
    `applied` and an error.

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


def _wanted_of(handed_in: Submission) -> tuple[Wanted, ...]:
    """What it means; its actions have the same ids however often it is read."""
    numbers = iter(range(1_000_000))
    asked = Asked(
        who=handed_in.by, now=handed_in.at, new_id=lambda: uuid5(UUID(handed_in.submission_id), str(next(numbers)))
    )
    scope = Scope(handed_in.namespace, handed_in.cluster, handed_in.node, handed_in.default_namespace)
    return parse(read_documents(handed_in.manifests), asked, scope=scope)


async def _ended_partly(store: Store, ended: Submission, error: PartlyUndoneError, now: datetime) -> Submission:
    """Keep what of an applied set was undone."""
    told = ended.evolve(error=str(error), version=ended.version + 1)
    with contextlib.suppress(ConflictError):  # somebody else has kept it
        await store.commit(Change(swaps=(told,)), now=now)
    return told


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
