"""Declared objects of any kind: list them, write them down as manifests, delete them."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.text import Text

from blocks.errors import RefusedError
from blocks.models.action import Action
from blocks.models.namespace import Namespace
from blocks.models.source import Source
from deployments.cli.kinds import all_of, listed, manifest, namespace_name, one_of, shape_of
from deployments.cli.options import Conditions, Selectors, Wait, Watch
from deployments.cli.output import Answer, Block, Column, Format, Grid, clean, show
from deployments.cli.resolve import cluster_name, known_cluster, known_source
from deployments.cli.select import Filter, Notes
from deployments.cli.session import Cli
from deployments.cli.words import plural
from deployments.cli.world import Parts
from tasks.decide.kinds.base import Kind, Wanted
from tasks.decide.manifest_kinds import kind_of

KindName = Annotated[
    str, typer.Argument(metavar="KIND", help="By any of its names: namespaces, ns, cluster, source ...")
]
ObjectName = Annotated[
    str, typer.Argument(metavar="NAME", help="namespace/name, or the name alone where that leaves no doubt.")
]
SomeName = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this one.")]
DELETED_COLUMNS = (
    Column("KIND", lambda row: row["kind"]),
    Column("NAME", lambda row: row["name"]),
    Column("OUTCOME", lambda row: row["outcome"]),
    Column("NODES", lambda row: row["nodes"] or "", right=True),
    Column("CANCELLED", lambda row: row["actions_cancelled"] or "", right=True),
    Column("MISSING", lambda row: row["clusters_missing"] or "", right=True),
)


def get(
    context: typer.Context,
    kind: KindName,
    name: SomeName = None,
    selector: Selectors = None,
    where: Conditions = None,
    watch: Watch = None,
    *,
    every: Annotated[bool, typer.Option("--all", "-a", help="Of actions, finished ones too.")] = False,
) -> None:
    """Objects of a kind. With `-o yaml` or `-o json` as manifests, each with its status."""
    cli = Cli.of(context)
    which = kind_of(kind)
    shape = shape_of(which)
    wanted, note = Filter.of(selector, where, shape.fields), Notes()

    async def read(parts: Parts) -> Answer:
        store = await parts.store()
        among = cli.namespace
        if name is not None:
            one = await one_of(store, which, name, cli.namespace)
            records: list[Wanted] = [one]
            among = None if isinstance(one, Namespace) else one.namespace
        else:
            records = await all_of(store, which, cli.namespace, note, every=every)
        rows = await listed(store, which, records, among, cli.world.clock(), note)
        kept = [one for one in rows if wanted.keeps(one.row)] if wanted.narrows else rows
        value: Any = [manifest(one, which) for one in kept] if cli.form is not Format.TABLE else []
        if name is not None and value:
            (value,) = value
        empty = wanted.empty(f"no {which.name}", which.name)
        return Answer(value, (Grid(shape.columns, [one.row for one in kept], empty),))

    cli.answer(read, watch)


def delete(
    context: typer.Context,
    kind: KindName,
    name: ObjectName,
    *,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Also when an agent or a rolling action is at work on it, or clusters name it; needs --reason.",
        ),
    ] = False,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; kept with the event.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where there is no terminal.")] = False,
    wait: Wait = 30.0,
) -> None:
    """Delete a cluster, a source, a platform, or a namespace with all that is in it. Events and finished actions are kept."""
    cli = Cli.of(context)
    if force and not reason.strip():
        message = "--force needs --reason: say why"
        raise typer.BadParameter(message)
    with cli.keeping_refusals("delete", f"{kind} {name}", force=force, reason=reason):
        which = kind_of(kind)
        if which.record is Action:
            message = f"an action is not deleted but cancelled: `replictl cancel {clean(name)}`"
            raise RefusedError(message)
        full = cli.run(lambda parts: _full_name(cli, parts, which, name))
    _confirm(which, full, yes=yes)
    cli.need_prefect()
    removed = cli.run_flow(
        "delete", kind=which.name, name=full, force=force, reason=reason, by=cli.world.user, wait_s=wait
    )
    row = dict(removed)
    blocks: list[Block] = [Grid(DELETED_COLUMNS, [row]), *(Text(f"  {clean(one)}") for one in removed.notes)]
    if removed.secrets_forgotten:
        blocks.append(Text(f"  {plural(len(removed.secrets_forgotten), 'secret')} forgotten"))
    show(Answer(row, blocks), cli.form)


async def _full_name(cli: Cli, parts: Parts, kind: Kind, text: str) -> str:
    """The name with its namespace. One that is given whole need not be known: something may be left to be cleaned up."""
    if kind.record is Namespace:
        return namespace_name(text)
    if kind.record is Source:
        return str(await known_source(await parts.store(), text, cli.namespace))
    if "/" in text or cli.namespace is not None:
        return str(cluster_name(text, cli.namespace))
    return str(await known_cluster(await parts.store(), text, None))


def _confirm(kind: Kind, name: str, *, yes: bool) -> None:
    """Ask a person.

    Raises:
        typer.BadParameter: there is no terminal to ask at.
        typer.Abort: they said no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        message = "nobody can be asked here: say --yes"
        raise typer.BadParameter(message)
    what = " with all that is in it, for good" if kind.record is Namespace else ""
    typer.confirm(f"Delete {kind.name} {clean(name)}{what}?", abort=True, err=True)
