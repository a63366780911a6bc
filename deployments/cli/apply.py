"""Manifests from files, folders and stdin: checked here, then applied together by the flow, all or nothing."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer
import yaml

from blocks.errors import Fault, InvalidInputError
from deployments.cli.output import Column, listing, show
from deployments.cli.session import Cli
from deployments.cli.words import coloured
from tasks.decide.documents import read_documents
from tasks.decide.manifests import Asked, parse

STDIN = "-"
SUFFIXES = {".yaml", ".yml", ".json"}
BYTES_MAX = 4 * 1024 * 1024

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
                manifests.append(_read(path))
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
    files = sorted(str(file) for file in found if file.suffix.lower() in SUFFIXES and file.is_file())
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
    if not documents:
        message = "there is no document in it"
        raise InvalidInputError(message)
    return Manifest("stdin" if name == STDIN else name, text, documents)


def joined(manifests: Sequence[Manifest]) -> str:
    """All of them as one text: a single one as it was written."""
    if len(manifests) == 1:
        return manifests[0].text
    documents = [document for manifest in manifests for document in manifest.documents]
    return str(yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, explicit_start=True))


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


def apply(
    context: typer.Context,
    filename: Annotated[
        list[str],
        typer.Option("--filename", "-f", metavar="FILE|DIR|-", help="YAML or JSON, many documents; repeatable."),
    ],
    *,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Folders with what is below them.")] = False,
) -> None:
    """Apply manifests: all of them, or none when anything is wrong with one."""
    cli = Cli.of(context)
    manifests = gather(filename, recursive=recursive)
    documents = [document for manifest in manifests for document in manifest.documents]
    try:
        parse(documents, Asked(who=cli.world.user, now=cli.world.clock(), new_id=uuid4))
        cli.need_prefect()
        applied = cli.run_flow("apply", manifests=joined(manifests), by=cli.world.user)
    except InvalidInputError as error:
        if not error.faults:
            raise
        raise refused([located(fault, manifests) for fault in error.faults]) from error
    rows: list[dict[str, Any]] = [
        {"kind": one.kind, "name": one.name, "effect": one.effect, "action_id": one.action_id} for one in applied
    ]
    show(listing(rows, COLUMNS, "nothing to apply"), cli.form)
