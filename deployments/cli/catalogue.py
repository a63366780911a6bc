"""What kinds of actions on clusters there are. Needs no server."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from blocks.errors import NotFoundError
from deployments.cli.output import Answer, Column, Format, dump, listing, show
from deployments.cli.session import Cli
from deployments.cli.words import age
from tasks.cluster_actions.table import CATALOGUE
from tasks.decide.cluster_kinds import ClusterKind

COLUMNS = (
    Column("KIND", lambda row: row["kind"]),
    Column("MODE", lambda row: row["mode"]),
    Column("TIMEOUT", lambda row: age(row["timeout_s"]), right=True),
    Column("WHAT IT DOES", lambda row: row["summary"]),
)


def catalogue(
    context: typer.Context,
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="Only this one, with its arguments.")] = None,
) -> None:
    """Kinds of actions on whole clusters; those on nodes are known to the agents. With KIND also the schema of its arguments."""
    cli = Cli.of(context)
    if kind is None:
        show(listing([kind_row(one) for one in CATALOGUE.values()], COLUMNS, "none"), cli.form)
        return
    found = CATALOGUE.get(kind) or next((one for one in CATALOGUE.values() if one.name.endswith(f"/{kind}")), None)
    if found is None:
        message = f"there is no kind {kind!r}; `replictl catalogue` lists them"
        raise NotFoundError(message)
    row = {**kind_row(found), "args": found.args.model_json_schema()}
    table = listing([row], COLUMNS, "none")
    show(Answer(row, (*table.blocks, Text(f"\n{dump(row['args'], Format.JSON)}"))), cli.form)


def kind_row(kind: ClusterKind) -> dict[str, Any]:
    """A kind in short."""
    return {"kind": kind.name, "mode": kind.mode, "timeout_s": kind.timeout_s, "summary": kind.summary}
