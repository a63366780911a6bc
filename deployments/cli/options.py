"""Options and arguments that several commands have."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

Watch = Annotated[
    float | None,
    typer.Option("--watch", "-w", min=0.1, metavar="[SECONDS]", help="Show it again and again, every 2 s or so often."),
]
OneCluster = Annotated[
    str | None, typer.Argument(metavar="[CLUSTER]", help="Only this one: namespace/cluster, or its id alone.")
]
TheCluster = Annotated[
    str, typer.Argument(metavar="CLUSTER", help="namespace/cluster, or its id alone where that leaves no doubt.")
]
ClusterOption = Annotated[str | None, typer.Option("--cluster", "-c", metavar="CLUSTER", help="Only of this cluster.")]
Selectors = Annotated[
    list[str] | None,
    typer.Option(
        "--selector",
        "-l",
        metavar="LABELS",
        help="Only with these labels: env=prod,tier!=cache,zone in (a,b),owner,!old; repeatable.",
    ),
]
Conditions = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        help="Only where that is so: FIELD OP VALUE with = != < <= > >= ~ on fields of `-o json`; repeatable.",
    ),
]
ShowLabels = Annotated[bool, typer.Option("--show-labels", help="With a column of labels.")]
ActionIds = Annotated[
    list[UUID] | None,
    typer.Argument(metavar="[ID...]", help="Ids of actions, as `replictl actions` shows them; or select them."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where there is no terminal.")]
Comment = Annotated[str, typer.Option("--comment", "-m", help="Why; kept in the action's history.")]
Wait = Annotated[
    float, typer.Option("--wait", min=0, max=86_400, metavar="SECONDS", help="How long to wait for the lock.")
]


def need_reason(reason: str) -> None:
    """Refuse to go on without a reason.

    Raises:
        BadParameter: none was given.
    """
    if not reason.strip():
        message = "say why with --reason: others will want to know"
        raise typer.BadParameter(message)
