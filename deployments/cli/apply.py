"""Manifests from files, folders and stdin: checked here, then applied together by the flow, all or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

import typer
from rich.text import Text

from blocks.errors import ConflictError, Fault, InvalidInputError, PermanentError
from blocks.models.submission import Applied, Difference, Submission
from blocks.store.protocol import Store
from blocks.yaml_dialect import write_yaml
from deployments.cli.output import Answer, Column, Grid, clean, say, show
from deployments.cli.session import Cli
from deployments.cli.wait import LOOK_EVERY_S, WITHIN_S, NotInTimeError
from deployments.cli.words import coloured, plural
from deployments.cli.world import Parts
from tasks.decide.documents import read_documents
from tasks.decide.manifests import Asked, Scope, parse

if TYPE_CHECKING:  # it imports Prefect
    from tasks.shelter import Sheltered

STDIN = "-"
SUFFIXES = {".yaml", ".yml", ".json"}
BYTES_MAX = 4 * 1024 * 1024
PARAMETER_CHARS_MAX = 400_000
"""Longer texts are no parameter of a flow run: Prefect's limit, for all parameters as JSON, is 512 KiB."""

COLUMNS = (
    Column("KIND", lambda row: row["kind"]),
    Column("NAME", lambda row: row["name"]),
    Column("EFFECT", lambda row: coloured(row["effect"], {"unchanged": "dim"}.get(str(row["effect"]), "green"))),
    Column("ACTION", lambda row: row["action_id"]),
)
_DOCUMENT = re.compile(r"document (\d+)")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One file of manifests."""

    name: str
    text: str
    documents: tuple[object, ...]


def gather(names: Sequence[str], *, recursive: bool) -> list[Manifest]:
    """Read all files; folders give their `.yaml`, `.yml` and `.json` files in order.

    Raises:
        InvalidInputError: something cannot be read or is not YAML; each is named.
    """
    faults: list[Fault] = []
    manifests = []
    for name in names:
        for path in _files(name, faults, recursive=recursive):
            try:
                manifest = _read(path)
                if manifest.documents:
                    manifests.append(manifest)
                elif path == name:
                    faults.append(Fault(path, "there is no document in it"))
                else:
                    say(f"note: there is no document in {path}")
            except (OSError, UnicodeError) as error:
                reason = getattr(error, "strerror", None) or "this is not UTF-8 text"
                faults.append(Fault(str(path), reason))
            except InvalidInputError as error:
                faults.append(Fault(str(path), error.message))
    if faults:
        raise refused(faults)
    return manifests


def _files(name: str, faults: list[Fault], *, recursive: bool) -> list[str]:
    path = Path(name)
    if name == STDIN or not path.is_dir():
        return [name]
    found = path.rglob("*") if recursive else path.glob("*")
    wanted = [file for file in found if file.suffix.lower() in SUFFIXES and file.is_file()]
    hidden = [file for file in wanted if any(part.startswith(".") for part in file.relative_to(path).parts)]
    if hidden:
        say(f"note: {plural(len(hidden), 'hidden file')} in {name} left out: name what you mean")
    files = sorted(str(file) for file in wanted if file not in hidden)
    if not files:
        faults.append(
            Fault(name, f"there is no {', '.join(sorted(SUFFIXES))} file in it" + ("" if recursive else " (see -r)"))
        )
    return files


def _read(name: str) -> Manifest:
    if name == STDIN:
        raw = sys.stdin.buffer.read(BYTES_MAX + 1)
    else:
        with Path(name).open("rb") as file:
            raw = file.read(BYTES_MAX + 1)
    if len(raw) > BYTES_MAX:
        message = f"it is larger than {BYTES_MAX} bytes"
        raise InvalidInputError(message)
    text = raw.decode("utf-8-sig")
    documents = tuple(read_documents(text))
    return Manifest("stdin" if name == STDIN else name, text, documents)


def joined(manifests: Sequence[Manifest]) -> str:
    """All of them as one text: a single one as it was written."""
    if len(manifests) == 1:
        return manifests[0].text
    return dumped([document for manifest in manifests for document in manifest.documents])


def dumped(documents: Sequence[object]) -> str:
    """Documents as one text."""
    return write_yaml(documents)


def located(fault: Fault, manifests: Sequence[Manifest]) -> Fault:
    """The fault with the file it is in: documents are counted over all files before they are known."""
    match = _DOCUMENT.match(fault.where)
    if match is None:
        return fault
    number = int(match[1])
    for manifest in manifests:
        if number <= len(manifest.documents):
            return Fault(f"{manifest.name}: document {number}{fault.where[match.end() :]}", fault.reason)
        number -= len(manifest.documents)
    return fault


def refused(faults: Sequence[Fault]) -> InvalidInputError:
    """The error that lists all faults."""
    count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
    return InvalidInputError(f"{count} in the manifests; nothing was applied", tuple(faults))


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
) -> None:
    """Apply manifests: all of them, or none when anything is wrong with one.

    `--namespace` on the command line is meant instead of the namespace that the documents name; REPLICTL_NAMESPACE is for
    those that name none.
    """
    cli = Cli.of(context)
    manifests = gather(_names(files, filename), recursive=recursive)
    documents = [document for manifest in manifests for document in manifest.documents]
    scope = Scope(
        namespace=cli.namespace if cli.namespace_given else None,
        cluster=cluster,
        node=node,
        fill_namespace=None if cli.namespace_given else cli.namespace,
    )
    try:
        parse(documents, Asked(who=cli.world.user, now=cli.world.clock(), new_id=uuid4), scope=scope)
        if dry_run:
            applied = cli.run(lambda parts: _planned(cli, parts, manifests, scope))
        elif queue:
            applied = cli.run(lambda parts: _queued(cli, parts, joined(manifests), scope))
        else:
            applied = _by_flow(cli, manifests, scope)
    except InvalidInputError as error:
        if not error.faults:
            raise
        raise refused([located(fault, manifests) for fault in error.faults]) from error
    show(_answer(applied, dry_run=dry_run), cli.form)


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
    from flows.apply import hand_in  # noqa: PLC0415 - imports Prefect

    return await hand_in(store, text, cli.world.user, cli.world.clock(), scope)


async def _planned(cli: Cli, parts: Parts, manifests: Sequence[Manifest], scope: Scope) -> Sequence[Applied]:
    from tasks.apply import plan  # noqa: PLC0415 - imports Prefect

    given = await _sheltered(cli, parts, manifests, scope)
    made = await plan.fn(await parts.store(), given.wanted, cli.world.user)
    return made.applied


async def _queued(cli: Cli, parts: Parts, text: str, scope: Scope) -> Sequence[Applied]:
    """Hand them in, and wait for what comes of it."""
    from flows.apply import submit  # noqa: PLC0415 - imports Prefect

    store = await parts.store()
    handed_in = await submit(store, await parts.work_queue(), text, cli.world.user, cli.world.clock(), scope)
    within_s = cli.timeout_s or WITHIN_S
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while True:
                ended = await store.get(Submission, handed_in.key)
                if ended is not None and ended.error is not None:
                    raise InvalidInputError(ended.error)
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
        }
        for one in applied
    ]
    blocks: list[Grid | Text] = [Grid(COLUMNS, rows, "nothing to apply")]
    for one in applied:
        blocks += [Text(f"  {one.kind} {clean(one.name)}  {_difference(each)}") for each in one.differences]
    if dry_run:
        blocks.append(Text("dry run: nothing was applied", style="yellow"))
    return Answer(rows, blocks)


def _difference(one: Difference) -> str:
    return f"{clean(one.path)}: {clean(json.dumps(one.before))} -> {clean(json.dumps(one.after))}"
