"""Declared objects of any kind: list them, write them down as manifests, delete them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from blocks.errors import RefusedError
from blocks.models.action import Action
from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import Namespace
from blocks.models.source import Source
from blocks.yaml_dialect import write_yaml
from deployments.cli.kinds import all_of, listed, manifest, namespace_name, one_of, shape_of
from deployments.cli.options import Conditions, Selectors, Wait, Watch
from deployments.cli.output import Answer, Block, Column, Format, Grid, clean, plain, say, show
from deployments.cli.resolve import cluster_name, known_cluster, known_source
from deployments.cli.select import Filter, Notes
from deployments.cli.session import Cli
from deployments.cli.words import plural
from deployments.cli.world import Parts
from tasks.decide.kinds.base import Kind, Wanted
from tasks.decide.manifest_export import manifest_of
from tasks.decide.manifest_kinds import KINDS, kind_of

IN_ORDER = ("Namespace", "Platform", "DiscoverySettings", "ClusterSpec")
"""Kinds of what is declared, each after those that it may name."""

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


def export(
    context: typer.Context,
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="By any of its names.")] = None,
    name: SomeName = None,
    *,
    every: Annotated[
        bool, typer.Option("--all", "-a", help="Clusters that only a source declared, too; finished actions, too.")
    ] = False,
) -> None:
    """Manifests that `replictl apply -f -` takes; without KIND of everything that is declared.

    Many YAML documents; with `-o json` one array. Namespaces that are being deleted, and what is in them, are left out.
    """
    cli = Cli.of(context)
    kinds = [kind_of(kind)] if kind is not None else [one for name_ in IN_ORDER for one in KINDS if one.name == name_]
    note = Notes()

    async def read(parts: Parts) -> list[Wanted]:
        store = await parts.store()
        if name is not None:
            return [await one_of(store, kinds[0], name, cli.namespace)]
        found = [r for which in kinds for r in await all_of(store, which, cli.namespace, note, every=every)]
        going = {space.name for space in await store.find(Namespace) if space.going}
        kept = [record for record in found if _home(record) not in going]
        if len(kept) < len(found):
            note(f"note: {len(found) - len(kept)} objects of namespaces that are being deleted are left out")
        return [record for record in kept if every or not (isinstance(record, ClusterSpec) and record.synthetic)]

    documents = [manifest_of(record) for record in cli.run(read)]
    if cli.form is Format.JSON:
        show(Answer(documents, ()), cli.form)
    elif documents:
        sys.stdout.write(_documents(documents))
    else:
        say("nothing is declared")


def _home(record: Wanted) -> str:
    return record.name if isinstance(record, Namespace) else record.namespace


def _documents(documents: Sequence[object]) -> str:
    """As many YAML documents, in ASCII: nothing in them can steer a terminal."""
    return write_yaml([plain(document) for document in documents], ascii_only=True, width=10_000)


def delete(
    context: typer.Context,
    kind: KindName,
    name: ObjectName,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Also when an agent is at work on it, or clusters name it; needs --reason.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; kept with the event.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where there is no terminal.")] = False,
    wait: Wait = 30.0,
) -> None:
    """Delete a cluster, a source, a platform, or a namespace with all that is in it. Events and finished actions are kept."""
    cli = Cli.of(context)
    which = kind_of(kind)
    if which.record is Action:
        message = f"an action is not deleted but cancelled: `replictl cancel {clean(name)}`"
        raise RefusedError(message)
    if force and not reason.strip():
        message = "--force needs --reason: say why"
        raise typer.BadParameter(message)
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
