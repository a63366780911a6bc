"""Why something does not run: every rule that keeps it."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import typer

from blocks.coordinator.protocol import Coordinator
from blocks.errors import DependencyUnavailableError
from blocks.models.action import Action
from blocks.models.rolling import Rolling
from deployments.cli.options import Watch
from deployments.cli.output import Answer, Column, Grid, say
from deployments.cli.resolve import known_cluster
from deployments.cli.session import Cli
from deployments.cli.turns import until
from deployments.cli.world import Parts
from tasks.decide.rolling import action_ids_of
from tasks.decide.why import why_action, why_cluster
from tasks.decide.why_rolling import why_rolling, why_rollings
from tasks.why import known_action, load_why

COLUMNS = (
    Column("RULE", lambda row: row["rule"]),
    Column("WHY", lambda row: row["text"]),
    Column("UNTIL", lambda row: until(row["until"])),
)


def why(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="ACTION|ROLLING|CLUSTER", help="The id of an action or a rolling action, or a cluster's name."
        ),
    ],
    watch: Watch = None,
) -> None:
    """Why an action, a rolling action or a cluster does not move: the exact rule, and when that may be over. The first line is what to look at."""
    cli = Cli.of(context)

    async def read(parts: Parts) -> Answer:
        store, now = await parts.store(), cli.world.clock()
        coordinator = await _coordinator(parts)
        action_id = _action_id(what)
        if action_id is not None and (rolling := await store.get(Rolling, action_id)) is not None:
            view, around = await load_why(store, coordinator, rolling.cluster, now)
            made = await store.get_many(Action, action_ids_of(rolling))
            reasons = why_rolling(view, rolling, made, around)
            row: dict[str, Any] = {"rolling": rolling.rolling_id, "state": rolling.state}
        elif action_id is not None:
            action = await known_action(store, action_id)
            view, around = await load_why(store, coordinator, action.cluster, now)
            reasons, row = why_action(view, action, around), {"action": action.action_id, "state": action.state}
        else:
            ref = await known_cluster(store, what, cli.namespace)
            view, around = await load_why(store, coordinator, ref, now)
            reasons = (*why_rollings(view, around), *why_cluster(view, around))
            row = {"cluster": str(ref)}
        rows: list[dict[str, Any]] = [dict(reason) for reason in reasons]
        return Answer({**row, "reasons": rows}, (Grid(COLUMNS, rows),))

    cli.answer(read, watch)


def _action_id(text: str) -> str | None:
    try:
        return str(UUID(text))
    except ValueError:
        return None


async def _coordinator(parts: Parts) -> Coordinator | None:
    try:
        return await parts.coordinator()
    except DependencyUnavailableError as error:
        say(f"note: who holds locks is not known: {error}")
        return None
