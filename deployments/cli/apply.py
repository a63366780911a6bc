"""Manifests from files, folders and stdin: checked here, then applied together by the flow, all or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

import typer
from rich.text import Text

from blocks.errors import (
    ConflictError,
    DependencyUnavailableError,
    InvalidInputError,
    PartlyUndoneError,
    PermanentError,
)
from blocks.models.submission import Applied, Difference, Submission
from blocks.store.protocol import Store
from deployments.cli.manifest_files import STDIN, Manifest, dumped, gather, joined, located, refused
from deployments.cli.output import Answer, Column, Grid, clean, show
from deployments.cli.session import Cli
from deployments.cli.wait import LOOK_EVERY_S, WITHIN_S, NotInTimeError
from deployments.cli.words import coloured
from deployments.cli.world import Parts
from tasks.decide.audit import Command
from tasks.decide.manifests import Asked, Scope, parse

if TYPE_CHECKING:  # it imports Prefect
    from tasks.shelter import Sheltered

PARAMETER_CHARS_MAX = 400_000
"""Longer texts are no parameter of a flow run: Prefect's limit, for all parameters as JSON, is 512 KiB."""

COLUMNS = (
    Column("KIND", lambda row: row["kind"]),
    Column("NAME", lambda row: row["name"]),
    Column("EFFECT", lambda row: coloured(row["effect"], {"unchanged": "dim"}.get(str(row["effect"]), "green"))),
    Column("ACTION", lambda row: row["action_id"]),
)


Files = Annotated[
    list[str] | None,
    typer.Argument(metavar="[FILE|DIR|-]...", help="YAML or JSON, many documents; nothing means stdin."),
]


def apply(
    context: typer.Context,
    files: Files = None,
    filename: Annotated[
        list[str] | None, typer.Option("--filename", "-f", metavar="FILE|DIR|-", help="The same; repeatable.")
    ] = None,
    *,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Folders with what is below them.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be created and changed.")] = False,
    cluster: Annotated[
        str | None, typer.Option("--cluster", "-c", help="Instead of the cluster that the documents name.")
    ] = None,
    node: Annotated[str | None, typer.Option("--node", help="Instead of the node that the documents name.")] = None,
    queue: Annotated[
        bool, typer.Option("--queue", help="Have a worker apply them, off the work queue: needs no Prefect server.")
    ] = False,
    submission_id: Annotated[
        UUID | None,
        typer.Option(
            "--id", help="With --queue: hand them in under this id; again under the same id applies them once."
        ),
    ] = None,
) -> None:
    """Apply manifests: all of them, or none when anything is wrong with one.

    `--namespace` on the command line is meant instead of the namespace that the documents name; REPLICTL_NAMESPACE is for
    those that name none.
    """
    cli = Cli.of(context)
    if submission_id is not None and not queue:
        message = "--id is for --queue"
        raise typer.BadParameter(message)
    names = _names(files, filename)
    scope = Scope(
        namespace=cli.namespace if cli.namespace_given else None,
        cluster=cluster,
        node=node,
        fill_namespace=None if cli.namespace_given else cli.namespace,
    )
    refusals = contextlib.nullcontext() if dry_run else cli.keeping_refusals("apply", ", ".join(names))
    with refusals:
        manifests = gather(names, recursive=recursive)
        with _located(manifests):
            _check(cli, manifests, scope)
    with _located(manifests):
        if dry_run:
            applied = cli.run(lambda parts: _planned(cli, parts, manifests, scope))
        elif queue:
            applied = cli.run(lambda parts: _queued(cli, parts, joined(manifests), scope, submission_id or uuid4()))
        else:
            applied = _by_flow(cli, manifests, scope)
    show(_answer(applied, dry_run=dry_run), cli.form)


@contextlib.contextmanager
def _located(manifests: Sequence[Manifest]) -> Iterator[None]:
    """What is wrong is told with the file that it is in."""
    try:
        yield
    except InvalidInputError as error:
        if not error.faults:
            raise
        raise refused([located(fault, manifests) for fault in error.faults]) from error


def _check(cli: Cli, manifests: Sequence[Manifest], scope: Scope) -> None:
    documents = [document for manifest in manifests for document in manifest.documents]
    parse(documents, Asked(who=cli.world.user, now=cli.world.clock(), new_id=uuid4), scope=scope)


def _names(files: Sequence[str] | None, filename: Sequence[str] | None) -> list[str]:
    names = [*(files or ()), *(filename or ())]
    if not names and sys.stdin.isatty():
        message = "name the files or folders to apply, or give manifests on stdin"
        raise typer.BadParameter(message)
    return names or [STDIN]


def _by_flow(cli: Cli, manifests: Sequence[Manifest], scope: Scope) -> Sequence[Applied]:
    """Run the flow. Secrets given in clear are kept first, so that the run's parameters only name them; what is too large
    to be a parameter is handed in first.
    """
    from tasks.apply import plan  # noqa: PLC0415 - imports Prefect
    from tasks.shelter import forget_unused, keep_again, keep_secrets  # noqa: PLC0415 - imports Prefect

    cli.need_prefect()
    text = joined(manifests)

    async def before(parts: Parts) -> tuple[Sheltered, str, Submission | None]:
        store, secrets = await parts.store(), await parts.secrets()
        given = await _sheltered(cli, parts, manifests, scope)
        if given.new:
            await plan.fn(store, given.wanted, cli.world.user)
        await keep_secrets.fn(secrets, given.new)
        named = dumped(given.documents) if given.new or given.known else text
        large = len(json.dumps(named)) > PARAMETER_CHARS_MAX
        return given, named, await _handed_in(cli, store, named, scope) if large else None

    async def undo(parts: Parts) -> None:
        await forget_unused(await parts.store(), await parts.secrets(), given.new)

    async def confirm(parts: Parts) -> None:
        await keep_again(await parts.secrets(), given.known)

    with cli.keeping_refusals("apply", ", ".join(manifest.name for manifest in manifests)):
        given, named, handed_in = cli.run(before)
    try:
        applied = _flow_run(cli, named, scope) if handed_in is None else _flow_run_of(cli, handed_in)
    except (PermanentError, ConflictError):
        if given.new:
            cli.run(undo)
        raise
    if given.known:
        cli.run(confirm)
    return applied


def _flow_run(cli: Cli, manifests: str, scope: Scope) -> Sequence[Applied]:
    applied: Sequence[Applied] = cli.run_flow(
        "apply",
        manifests=manifests,
        by=cli.world.user,
        namespace=scope.namespace,
        cluster=scope.cluster,
        node=scope.node,
        default_namespace=scope.fill_namespace,
    )
    return applied


def _flow_run_of(cli: Cli, handed_in: Submission) -> Sequence[Applied]:
    applied: Sequence[Applied] = cli.run_flow("apply", submission=UUID(handed_in.submission_id), by=cli.world.user)
    return applied


async def _sheltered(cli: Cli, parts: Parts, manifests: Sequence[Manifest], scope: Scope) -> Sheltered:
    from tasks.shelter import shelter  # noqa: PLC0415 - imports Prefect

    documents = [document for manifest in manifests for document in manifest.documents]
    asked = Asked(who=cli.world.user, now=cli.world.clock(), new_id=uuid4)
    return await shelter.fn(await parts.store(), await parts.secrets(), documents, asked, scope)


async def _handed_in(cli: Cli, store: Store, text: str, scope: Scope) -> Submission:
    from flows.submit import hand_in  # noqa: PLC0415 - imports Prefect

    return await hand_in(store, text, cli.world.user, cli.world.clock(), scope)


async def _planned(cli: Cli, parts: Parts, manifests: Sequence[Manifest], scope: Scope) -> Sequence[Applied]:
    from tasks.apply import plan  # noqa: PLC0415 - imports Prefect

    given = await _sheltered(cli, parts, manifests, scope)
    made = await plan.fn(await parts.store(), given.wanted, cli.world.user)
    return made.applied


async def _submitted(cli: Cli, parts: Parts, text: str, scope: Scope, submission_id: UUID) -> Submission:
    from flows.submit import submit  # noqa: PLC0415 - imports Prefect

    store, queue = await parts.store(), await parts.work_queue()
    try:
        return await submit(store, queue, text, cli.world.user, cli.world.clock(), scope, submission_id)
    except DependencyUnavailableError as error:
        hint = (
            f"{error.hint} Whether they were handed in is not known: if so, they will be applied. "
            f"`replictl apply --queue --id {submission_id}` with the same manifests applies them once."
        )
        raise DependencyUnavailableError(error.component, error.endpoint, error.reason, hint) from error


async def _queued(cli: Cli, parts: Parts, text: str, scope: Scope, submission_id: UUID) -> Sequence[Applied]:
    """Hand them in, and wait for what comes of it; kept in the audit, as no flow does it."""
    from flows.audit import audited  # noqa: PLC0415 - imports Prefect

    store = await parts.store()
    command = Command("apply", str(submission_id), cli.world.user, {"queue": True})
    async with audited(store, command, cli.world.clock):
        handed_in = await _submitted(cli, parts, text, scope, submission_id)
        return await _ended(cli, store, handed_in)


async def _ended(cli: Cli, store: Store, handed_in: Submission) -> Sequence[Applied]:
    within_s = cli.timeout_s or WITHIN_S
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while True:
                ended = await store.get(Submission, handed_in.key)
                if ended is not None and ended.error is not None:
                    raise InvalidInputError(ended.error) if ended.applied is None else PartlyUndoneError(ended.error)
                if ended is not None and ended.applied is not None:
                    return ended.applied
                await asyncio.sleep(LOOK_EVERY_S)
    message = (
        f"no worker has applied submission {handed_in.key} within {within_s:g} s; it stays on the queue "
        f"(`replictl work` shows apply:{handed_in.key})"
    )
    raise NotInTimeError(message)


def _answer(applied: Sequence[Applied], *, dry_run: bool) -> Answer:
    rows: list[dict[str, Any]] = [
        {
            "kind": one.kind,
            "name": one.name,
            "effect": one.effect,
            "action_id": one.action_id,
            "differences": [dict(difference) for difference in one.differences],
            "more": one.more,
        }
        for one in applied
    ]
    blocks: list[Grid | Text] = [Grid(COLUMNS, rows, "nothing to apply")]
    for one in applied:
        told = [_difference(each) for each in one.differences]
        told += [f"and {one.more} more"] if one.more else []
        blocks += [Text(f"  {one.kind} {clean(one.name)}  {each}") for each in told]
    if dry_run:
        blocks.append(Text("dry run: nothing was applied", style="yellow"))
    return Answer(rows, blocks)


def _difference(one: Difference) -> str:
    if one.hidden:
        return f"{clean(one.path)}: changed, not shown"
    return f"{clean(one.path)}: {clean(json.dumps(one.before))} -> {clean(json.dumps(one.after))}"
