"""Rolling actions: the plan before, the order, how far it is, batch by batch and node by node."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer
from pydantic import ValidationError
from rich.text import Text

from blocks.errors import InvalidInputError
from blocks.models.action import Action
from blocks.models.rolling import UNFINISHED, Pace, Prospect, Rolling
from blocks.store.protocol import Store, Where
from deployments.cli.actions import HISTORY_COLUMNS
from deployments.cli.options import Conditions, Selectors, TheCluster, Watch
from deployments.cli.output import Answer, Block, Column, Grid, Row, clean, listing, show
from deployments.cli.resolve import known_cluster
from deployments.cli.schedule import seconds
from deployments.cli.session import Cli
from deployments.cli.words import age, coloured, plural, seconds_since
from deployments.cli.world import Parts
from tasks.decide.rolling import action_id_of, action_ids_of

LISTED_MAX = 100

COLUMNS = (
    Column("ID", lambda row: row["rolling_id"]),
    Column("CLUSTER", lambda row: f"{row['namespace']}/{row['cluster']}"),
    Column("KIND", lambda row: row["kind"]),
    Column("STATE", lambda row: coloured(row["state"])),
    Column("BATCH", lambda row: f"{row['batch']}/{row['batches']}", right=True),
    Column("NODES", lambda row: f"{row['nodes_done']}/{row['nodes']}", right=True),
    Column("FAILED", lambda row: row["nodes_failed"] or "", right=True),
    Column("AGE", lambda row: age(row["age_s"]), right=True),
    Column("BY", lambda row: row["created_by"]),
    Column("APPROVED BY", lambda row: row["approved_by"]),
    Column("ERROR", lambda row: row["error"]),
)
NODE_COLUMNS = (
    Column("BATCH", lambda row: row["batch"], right=True),
    Column("NODE", lambda row: row["node"]),
    Column("STATE", lambda row: coloured(row["state"])),
    Column("ACTION", lambda row: row["action_id"]),
    Column("FOR", lambda row: age(row["for_s"]) if row["for_s"] is not None else None, right=True),
    Column("ERROR", lambda row: row["error"]),
)
PLAN_COLUMNS = (
    Column("BATCH", lambda row: row["batch"], right=True),
    Column("NODE", lambda row: row["node"]),
    Column("WOULD WAIT NOW FOR", lambda row: "; ".join(f"{b['rule']}: {b['reason']}" for b in row["waits_for"])),
)


def rolling_row(rolling: Rolling, now: datetime) -> dict[str, Any]:
    """A rolling action in short."""
    return {
        "rolling_id": rolling.rolling_id,
        "namespace": rolling.namespace,
        "cluster": rolling.cluster_id,
        "kind": rolling.plan.kind,
        "state": rolling.state,
        "batch": rolling.batch,
        "batches": len(rolling.plan.batches),
        "phase": rolling.phase,
        "nodes": len(rolling.plan.nodes),
        "nodes_done": rolling.done,
        "nodes_failed": len(rolling.failed),
        "created_at": rolling.created_at,
        "age_s": seconds_since(rolling.created_at, now),
        "created_by": rolling.created_by,
        "approved_by": rolling.approved_by,
        "digest": rolling.plan.digest,
        "reason": rolling.reason or None,
        "forced": rolling.forced,
        "retry_of": rolling.retry_of,
        "finished_at": rolling.finished_at,
        "error": rolling.error,
    }


async def whole_rolling(store: Store, rolling: Rolling, now: datetime) -> dict[str, Any]:
    """Everything about one: each node with its action."""
    actions = await store.get_many(Action, action_ids_of(rolling))
    nodes = [
        _node_row(rolling, number, node_id, actions.get(action_id_of(rolling, node_id)), now)
        for number, batch in enumerate(rolling.plan.batches, start=1)
        for node_id in batch
    ]
    return {
        **rolling_row(rolling, now),
        "args": rolling.plan.args,
        "pace": dict(rolling.plan.pace),
        "members": rolling.plan.members,
        "tolerated": rolling.plan.tolerated,
        "since": rolling.since,
        "healthy_since": rolling.healthy_since,
        "progress": nodes,
        "history": [dict(step) for step in rolling.history],
        "version": rolling.version,
    }


def _node_row(rolling: Rolling, batch: int, node_id: str, action: Action | None, now: datetime) -> dict[str, Any]:
    state = action.state.value if action is not None else rolling.ended.get(node_id)
    since = action.history[-1].at if action is not None and action.history else None
    return {
        "batch": batch,
        "node": node_id,
        "state": state or ("not begun" if not rolling.state.final else "not done"),
        "action_id": action.action_id if action is not None else None,
        "for_s": seconds_since(since, now),
        "error": action.error if action is not None else None,
    }


def page(row: Row) -> Sequence[Block]:
    """One rolling action for people: facts, how far it is, its history."""
    hidden = {"progress", "history", "pace", "members", "version"}
    facts = [(name, value) for name, value in row.items() if name not in hidden and value not in (None, "", {}, ())]
    width = max(len(name) for name, _ in facts)
    lines = [Text.assemble((f"{name:<{width}}  ", "bold"), coloured(value)) for name, value in facts]
    return (
        Text("\n").join(lines),
        Text(""),
        Grid(NODE_COLUMNS, row["progress"]),
        Text(""),
        Grid(HISTORY_COLUMNS, row["history"], "no history"),
    )


def rolling(
    context: typer.Context,
    rolling_id: Annotated[UUID | None, typer.Argument(metavar="[ID]", help="Everything about this one.")] = None,
    watch: Watch = None,
    *,
    every: Annotated[bool, typer.Option("--all", "-a", help="Finished ones too.")] = False,
) -> None:
    """Rolling actions that are not finished, the newest first; or how far one is, batch by batch and node by node."""
    cli = Cli.of(context)

    async def read(parts: Parts) -> Answer:
        from tasks.order_rolling import known_rolling  # noqa: PLC0415 - Prefect costs a second

        store, now = await parts.store(), cli.world.clock()
        if rolling_id is not None:
            row = await whole_rolling(store, await known_rolling(store, str(rolling_id)), now)
            return Answer(row, page(row))
        where = Where(namespace=cli.namespace, rolling_states=None if every else UNFINISHED)
        rows = [rolling_row(one, now) for one in await store.find(Rolling, where, limit=LISTED_MAX)]
        return listing(rows, COLUMNS, "no rolling actions" if every else "no unfinished rolling actions")

    cli.answer(read, watch)


def roll(
    context: typer.Context,
    cluster: TheCluster,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="Such as agent.replicante.io/node.restart.")],
    args: Annotated[str | None, typer.Option(metavar="JSON", help="Arguments of the action.")] = None,
    node: Annotated[list[str] | None, typer.Option(metavar="ID", help="Only this node; repeatable.")] = None,
    selector: Selectors = None,
    where: Conditions = None,
    batch: Annotated[int | None, typer.Option(min=1, help="So many nodes at once at most; 1.")] = None,
    by: Annotated[str | None, typer.Option(metavar="LABEL", help="Value by value of this label: zone, rack.")] = None,
    failures: Annotated[int | None, typer.Option(min=0, help="Go on with so many failed nodes; 0.")] = None,
    settle: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Healthy for so long between batches; 10s.")
    ] = None,
    health_within: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Healthy by then, or failed; 10m.")
    ] = None,
    batch_within: Annotated[str | None, typer.Option(metavar="DURATION", help="A batch is done by then; 1h.")] = None,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; kept with it.")] = "",
    force: Annotated[
        str | None, typer.Option(metavar="WHY", help="Although the cluster is not well, and beyond budgets.")
    ] = None,
    digest: Annotated[
        str | None, typer.Option(help="Order it only if the plan is still the one of that digest.")
    ] = None,
    *,
    any_order: Annotated[bool, typer.Option("--any-order", help="Primaries need not come last.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the plan, the health, and what would keep it.")
    ] = False,
) -> None:
    """Do one thing to many nodes of a cluster, batch by batch: shows the plan and orders it; it waits for approval."""
    cli = Cli.of(context)
    pace = _pace(
        batch=batch, by=by, failures_max=failures, primaries_last=False if any_order else None, settle_s=seconds(settle),
        health_within_s=seconds(health_within), batch_within_s=seconds(batch_within),
    )  # fmt: skip
    given = _args(args)
    choice = {"nodes": node, "selectors": selector or (), "where": where or ()}

    async def look(parts: Parts) -> tuple[str, Prospect]:
        from tasks.order_rolling import proposed  # noqa: PLC0415 - Prefect costs a second

        store = await parts.store()
        ref = await known_cluster(store, cluster, cli.namespace)
        return str(ref), await proposed(store, ref, kind, given, choice, pace, force, cli.world.clock())

    said = {
        "args": given,
        "nodes": node,
        "selectors": selector,
        "where": where,
        "pace": pace,
        "reason": reason,
        "force": force,
    }
    kept = contextlib.nullcontext() if dry_run else cli.keeping_refusals("roll", f"{kind} on {cluster}", **said)
    with kept:
        name, found = cli.run(look)
    if not dry_run:
        cli.need_prefect()
        found = cli.run_flow(
            "roll", cluster=name, kind=kind, digest=digest or found.digest, by=cli.world.user, **said,
        )  # fmt: skip
    row = plan_row(found)
    show(Answer(row, _plan_page(row)), cli.form)


def plan_row(found: Prospect) -> dict[str, Any]:
    """A plan with what speaks against it, and the order where there is one."""
    waits: dict[str, list[dict[str, Any]]] = {}
    for one in found.hindrances:
        waits.setdefault(one.node_id, []).append(dict(one.block))
    return {
        "rolling_id": found.rolling.rolling_id if found.rolling else None,
        "state": found.rolling.state if found.rolling else None,
        "namespace": found.plan.namespace,
        "cluster": found.plan.cluster_id,
        "kind": found.plan.kind,
        "args": found.plan.args,
        "digest": found.digest,
        "health": found.health,
        "unwell": found.unwell,
        "pace": dict(found.plan.pace),
        "plan": [
            {"batch": number, "node": node_id, "waits_for": waits.get(node_id, [])}
            for number, batch in enumerate(found.plan.batches, start=1)
            for node_id in batch
        ],
    }


def _plan_page(row: Row) -> Sequence[Block]:
    pace = row["pace"]
    count = plural(len(row["plan"]), "node")
    order = "primaries last" if pace["primaries_last"] else "in any order"
    zones = f", {pace['by']} by {pace['by']}" if pace["by"] else ""
    lines = [
        Text.assemble((f"{row['kind']} on {count} of {clean(row['namespace'])}/{clean(row['cluster'])}", "bold"), f", plan {row['digest']}"),
        Text.assemble("health ", coloured(row["health"]), f"; {pace['batch']} at once, {order}{zones}; healthy for {pace['settle_s']:g} s between"),
        *(Text.assemble(("not fit: ", "bold red"), clean(why)) for why in row["unwell"]),
    ]  # fmt: skip
    end = [Text(""), Text(f"ordered as {row['rolling_id']}, {row['state']}: `replictl approve {row['rolling_id']}`")]
    return (*lines, Text(""), Grid(PLAN_COLUMNS, row["plan"]), *(end if row["rolling_id"] else []))


def _pace(**given: Any) -> Pace:
    """What was given; the rest as it is otherwise.

    Raises:
        typer.BadParameter: something in it cannot be.
    """
    try:
        return Pace.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        message = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        raise typer.BadParameter(message) from error


def _args(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        message = f"--args is no JSON: {error}"
        raise InvalidInputError(message) from error
