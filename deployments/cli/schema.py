"""JSON Schema of manifests, for editors and for whoever makes manifests. Needs no server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from blocks.errors import InvalidInputError
from deployments.cli.output import Answer, Column, Format, dump, listing, show
from deployments.cli.session import Cli
from tasks.decide.manifest_kinds import KINDS, kind_of
from tasks.decide.manifest_schema import all_schemas, schema_of

COMBINED = "replicante"
COLUMNS = (Column("FILE", lambda row: row["file"]),)


def files() -> dict[str, str]:
    """The published files, by name: one of each kind, and one of all."""
    schemas = {kind.name: schema_of(kind) for kind in KINDS} | {COMBINED: all_schemas()}
    return {f"{name}.json": f"{dump(schema, Format.JSON)}\n" for name, schema in schemas.items()}


def schema(
    context: typer.Context,
    kind: Annotated[
        str | None, typer.Argument(metavar="KIND", help="By any of its names; without it, all kinds.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Write the files of all kinds there instead: docs/schemas is made so.")
    ] = None,
) -> None:
    """JSON Schema of a manifest kind, or of all."""
    cli = Cli.of(context)
    if folder is not None:
        if kind is not None:
            message = "give a KIND or --folder, not both"
            raise typer.BadParameter(message)
        show(listing(_written(folder), COLUMNS, "nothing"), cli.form)
        return
    made: Any = all_schemas() if kind is None else schema_of(kind_of(kind))
    show(Answer(made, (Text(dump(made, Format.JSON)),)), cli.form)


def _written(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for name, text in files().items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        except OSError as error:
            message = f"{folder / name} cannot be written: {error.strerror}"
            raise InvalidInputError(message) from error
        rows.append({"file": str(folder / name)})
    return rows
