"""What waits for a person to approve it: actions and rolling actions, the oldest first."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import typer

from blocks.models.action import Action, ActionState
from blocks.models.namespace import Namespace, NamespaceSettings
from blocks.models.rolling import Rolling, RollingState
from blocks.store.protocol import Store, Where
from deployments.cli.options import Conditions, Selectors, Watch
from deployments.cli.output import Answer, Column, Row, listing, say
from deployments.cli.select import READ_MAX, Filter, Note, Notes, Tags
from deployments.cli.session import Cli
from deployments.cli.words import age, seconds_since
from deployments.cli.world import Parts
from tasks.decide.approval import approve_by
from tasks.decide.conditions import Fields


def _for(row: Row) -> str:
    return "/".join(filter(None, (row["namespace"], row["cluster"], row["node"])))


COLUMNS = (
    Column("ID", lambda row: row["id"]),
    Column("FOR", _for),
    Column("KIND", lambda row: f"rolling {row['kind']}, {row['nodes']} nodes" if row["rolling"] else row["kind"]),
    Column("AGE", lambda row: age(row["age_s"]), right=True),
    Column("LAPSES IN", lambda row: age(row["lapses_in_s"]), right=True),
    Column("BY", lambda row: row["created_by"]),
    Column("MAY BE APPROVED BY", lambda row: f"anybody but {row['created_by']}" if row["must_differ"] else "anybody"),
    Column("WHY", lambda row: row["reason"]),
)
FIELDS: Fields = {
    "id": str,
    "rolling": bool,
    "namespace": str,
    "cluster": str,
    "node": str,
    "labels": dict,
    "kind": str,
    "nodes": int,
    "created_at": datetime,
    "age_s": float,
    "lapses_at": datetime,
    "lapses_in_s": float,
    "created_by": str,
    "must_differ": bool,
    "reason": str,
    "digest": str,
}


async def approval_rows(
    store: Store, namespace: str | None, wanted: Filter, now: datetime, note: Note = say
) -> list[dict[str, Any]]:
    """One row per order that waits for approval."""
    where = Where(namespace=namespace)
    actions = await store.find(Action, where.evolve(action_states=(ActionState.PENDING_APPROVE,)), limit=READ_MAX)
    rollings = await store.find(Rolling, where.evolve(rolling_states=(RollingState.PENDING_APPROVE,)), limit=READ_MAX)
    tags = await Tags.load(store, where, note) if wanted.needs_labels else Tags()
    settings = {space.name: space.settings for space in await store.find(Namespace)}
    orders: list[Action | Rolling] = [*actions, *rollings]
    rows = [_row(order, settings, tags, now) for order in orders]
    return sorted(wanted.kept(rows), key=lambda row: (row["created_at"], row["id"]))


def _row(
    order: Action | Rolling, settings: Mapping[str, NamespaceSettings], tags: Tags, now: datetime
) -> dict[str, Any]:
    rules = settings.get(order.namespace, NamespaceSettings())
    rolling = isinstance(order, Rolling)
    node_id = None if isinstance(order, Rolling) else order.node_id
    lapses_at = approve_by(order.created_at, rules)
    return {
        "id": order.key,
        "rolling": rolling,
        "namespace": order.namespace,
        "cluster": order.cluster_id,
        "node": node_id,
        "labels": tags.of_node(order.cluster.key, node_id),
        "kind": order.plan.kind if isinstance(order, Rolling) else order.kind,
        "nodes": len(order.plan.nodes) if isinstance(order, Rolling) else 1,
        "created_at": order.created_at,
        "age_s": seconds_since(order.created_at, now),
        "lapses_at": lapses_at,
        "lapses_in_s": max(0.0, (lapses_at - now).total_seconds()) if lapses_at is not None else None,
        "created_by": order.created_by,
        "must_differ": rules.approver_must_differ,
        "reason": (order.reason or None) if isinstance(order, Rolling) else None,
        "digest": order.plan.digest if isinstance(order, Rolling) else None,
    }


def approvals(
    context: typer.Context, selector: Selectors = None, where: Conditions = None, watch: Watch = None
) -> None:
    """What waits for approval, the oldest first: since when, by whom, and until when it can be approved."""
    cli = Cli.of(context)
    wanted, note = Filter.of(selector, where, FIELDS), Notes()

    async def read(parts: Parts) -> Answer:
        rows = await approval_rows(await parts.store(), cli.namespace, wanted, cli.world.clock(), note)
        return listing(rows, COLUMNS, wanted.empty("nothing waits for approval", "approval"))

    cli.answer(read, watch)
