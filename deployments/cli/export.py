"""Write declared objects down as manifests that can be applied again."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import Namespace
from blocks.models.source import Source
from blocks.models.submission import MANIFESTS_CHARS_MAX
from blocks.store.protocol import Store
from blocks.yaml_dialect import write_yaml
from deployments.cli.kinds import all_of, one_of
from deployments.cli.objects import SomeName
from deployments.cli.output import Answer, Format, plain, say, show
from deployments.cli.select import Note, Notes
from deployments.cli.session import Cli
from deployments.cli.words import plural
from deployments.cli.world import Parts
from tasks.decide.kinds.base import Wanted
from tasks.decide.manifest_export import manifest_of
from tasks.decide.manifest_kinds import KINDS, kind_of
from tasks.decide.manifest_size import DOCUMENTS_MAX
from tasks.decide.remove import listed
from tasks.decide.remove_source import platform_key

IN_ORDER = ("Namespace", "Platform", "DiscoverySettings", "ClusterSpec")
"""Kinds of what is declared, each after those that it may name."""
CHARS_MAX = MANIFESTS_CHARS_MAX // 2
"""So long a part is at most: twice that can be applied."""


def export(
    context: typer.Context,
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="By any of its names.")] = None,
    name: SomeName = None,
    *,
    every: Annotated[
        bool, typer.Option("--all", "-a", help="Clusters that only a source declared, too; finished actions, too.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder", metavar="DIR", help="Into files of this new or empty folder, in parts that can be applied."
        ),
    ] = None,
) -> None:
    """Manifests that `replictl apply -f -` takes; without KIND of everything that is declared.

    Many YAML documents; with `-o json` one array. Namespaces that are being deleted, and what is in them, are left out.
    No more than 1,000 documents are applied at once: with `--folder` larger fleets are written in parts.
    """
    cli = Cli.of(context)
    if folder is not None:
        _check_empty(folder)
    kinds = [kind_of(kind)] if kind is not None else [one for name_ in IN_ORDER for one in KINDS if one.name == name_]
    note = Notes()

    async def read(parts: Parts) -> list[Wanted]:
        store = await parts.store()
        if name is not None:
            one = await one_of(store, kinds[0], name, cli.namespace)
            await _note_dangling(store, [one], set(), note)
            return [one]
        found = [r for which in kinds for r in await all_of(store, which, cli.namespace, note, every=every)]
        going = {space.name for space in await store.find(Namespace) if space.going}
        kept = [record for record in found if _home(record) not in going]
        if len(kept) < len(found):
            note(f"note: {len(found) - len(kept)} objects of namespaces that are being deleted are left out")
        written = [record for record in kept if every or not (isinstance(record, ClusterSpec) and record.synthetic)]
        await _note_dangling(store, written, going, note)
        return written

    documents = [manifest_of(record) for record in cli.run(read)]
    if folder is not None:
        _write(folder, documents)
        return
    if len(documents) > DOCUMENTS_MAX:
        say(f"note: {len(documents)} objects are more than the {DOCUMENTS_MAX} that are applied at once: see --folder")
    if cli.form is Format.JSON:
        show(Answer(documents, ()), cli.form)
    elif documents:
        sys.stdout.write(_documents(documents))
    else:
        say("nothing is declared")


async def _note_dangling(store: Store, records: Sequence[Wanted], going: Collection[str], note: Note) -> None:
    """Say which clusters name platforms that are not there, or are left out because their namespace is being deleted."""
    specs = [record for record in records if isinstance(record, ClusterSpec)]
    named = [(record.ref, key) for record in specs if (key := platform_key(record)) is not None]
    sources, broken = await store.readable_many(Source, {key for _, key in named}) if named else ({}, [])
    there = {key for key, one in sources.items() if one.platform is not None and one.namespace not in going}
    there |= set(broken)
    lost = [f"{ref} ({key})" for ref, key in named if key not in there]
    if lost:
        note(
            f"note: clusters name platforms that are not there: {listed(lost)}; their manifests are taken where that changes "
            "nothing, else mend `spec.platform` first"
        )


def _home(record: Wanted) -> str:
    return record.name if isinstance(record, Namespace) else record.namespace


def _documents(documents: Sequence[object]) -> str:
    """As many YAML documents, in ASCII: nothing in them can steer a terminal."""
    return write_yaml([plain(document) for document in documents], ascii_only=True, width=10_000)


def _check_empty(folder: Path) -> None:
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        message = f"{folder}: {error.strerror}"
        raise typer.BadParameter(message) from error
    if taken:
        message = f"{folder} is not an empty folder"
        raise typer.BadParameter(message)


def _write(folder: Path, documents: Sequence[object]) -> None:
    """Write all documents, in files whose names are in the order in which they have to be applied."""
    files = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for files, text in enumerate(parts(documents), start=1):
            (folder / f"part-{files:04}.yaml").write_text(text, encoding="ascii")
    except OSError as error:
        message = f"{folder}: {error.strerror}"
        raise typer.BadParameter(message) from error
    how = f'for part in {folder}/part-*.yaml; do replictl apply -f "$part" || break; done'
    say(f"{plural(len(documents), 'object')} in {plural(files, 'file')}; apply them in this order: {how}")


def parts(documents: Sequence[object], documents_max: int = DOCUMENTS_MAX, chars_max: int = CHARS_MAX) -> Iterator[str]:
    """Documents as texts that can each be applied at once, in order."""
    part: list[str] = []
    chars = 0
    for document in documents:
        text = _documents([document])
        if part and (len(part) >= documents_max or chars + len(text) > chars_max):
            yield "".join(part)
            part, chars = [], 0
        part.append(text)
        chars += len(text)
    if part:
        yield "".join(part)
