"""Say that a problem has been seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from blocks.errors import InvalidInputError
from blocks.models.ids import ClusterRef
from blocks.models.problem import Problem
from deployments.cli.options import TheCluster, need_reason
from deployments.cli.output import Answer, clean, show
from deployments.cli.resolve import known_cluster
from deployments.cli.session import Cli
from deployments.cli.world import Parts
from tasks.decide.rules.table import REWOUND, RULES


def acknowledge(
    context: typer.Context,
    cluster: TheCluster,
    code: Annotated[str, typer.Argument(metavar="CODE", help="As `replictl problems` shows it.")],
    node: Annotated[
        str | None, typer.Option("--node", metavar="NODE", help="Only of this node, not of all that have it.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why nobody else needs to look; shown beside it.")] = "",
    wait: Annotated[
        float,
        typer.Option("--wait", min=0, max=600, metavar="SECONDS", help="How long to wait for the cluster's lock."),
    ] = 30.0,
) -> None:
    """Say that you have seen a problem: others are told, until it is over. OFFSET_WENT_BACK is over by that."""
    cli, wanted = Cli.of(context), code.upper()
    need_reason(reason)

    async def name(parts: Parts) -> ClusterRef:
        return await known_cluster(await parts.store(), cluster, cli.namespace)

    with cli.keeping_refusals("acknowledge", cluster, code=wanted, node=node, reason=reason):
        if wanted not in {rule.code for rule in RULES}:
            message = f"{code!r} is no code of a problem; `replictl problems {cluster}` lists those of the cluster"
            raise InvalidInputError(message)
        ref = cli.run(name)
    cli.need_prefect()
    seen: Sequence[Problem] = cli.run_flow(
        "acknowledge", cluster=str(ref), code=wanted, reason=reason, node=node, wait_s=wait, by=cli.world.user
    )
    show(_answer(ref, seen, cli.world.user, reason), cli.form)


def _answer(ref: ClusterRef, seen: Sequence[Problem], who: str, why: str) -> Answer:
    rows = [
        {
            "namespace": ref.namespace, "cluster": ref.cluster_id, "node": one.node_id, "code": one.code,
            "cleared": one.code == REWOUND, "acknowledged_by": who, "acknowledged_why": why,
        }
        for one in seen
    ]  # fmt: skip
    lines = [
        f"{clean(one.code)} of {clean(ref.node(one.node_id) if one.node_id is not None else ref)} "
        f"{'is cleared' if one.code == REWOUND else 'is acknowledged until it is over'}"
        for one in seen
    ]
    return Answer(rows, (Text("\n".join(lines)),))
