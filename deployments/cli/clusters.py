"""Clusters, as a table."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import typer
from rich.text import Text

from blocks.models.cluster import ClusterSpec, ClusterState, Discovery, Health
from blocks.models.ids import ClusterRef
from blocks.models.request import Request, WorkKind
from blocks.store.protocol import Store, Where
from deployments.cli.options import Conditions, Selectors, ShowLabels, Watch
from deployments.cli.output import Answer, Column, Row, clean, listing, say
from deployments.cli.past import At, Then, fleet_then, headed, moment_of, title
from deployments.cli.past_rows import as_of, gaps, told
from deployments.cli.select import Filter, Note, Notes, found
from deployments.cli.session import Cli
from deployments.cli.turns import TURN_FIELDS, turn_fields, turns_of, until
from deployments.cli.words import MIDDLING, age, coloured, last_known, milliseconds, seconds_since
from deployments.cli.world import Parts
from tasks.decide.conditions import Fields
from tasks.decide.past import paused_at
from tasks.decide.search import labels_of_cluster
from tasks.decide.select import written


def _note(row: Row) -> str:
    notes = (
        "" if row["active"] else "not active",
        "missing from its source" if row["missing_since"] else "",
        "not observed yet" if row["observed_at"] is None else "",
        f"paused until {until(row['paused_until'])}" if row["paused_until"] else "",
        f"not seen for {age(row['age_s'])}: see `replictl why`" if row["unseen"] else "",
    )
    return ", ".join(filter(None, notes))


UNSEEN_S, UNSEEN_TURNS = 300.0, 5
"""A cluster that was not seen for so many seconds, and for so many of its intervals, is marked."""


def _health(row: Row) -> Text:
    """How it was when it was last seen; with a question mark where that is long ago."""
    text = Text.assemble(coloured(row["health"]))
    return text.append("?") if row["unseen"] else text


def _lag(row: Row) -> Text:
    """The largest lag when it was last seen; with its age where that is long ago."""
    if row["lag_worst_ms"] is None and row["lag_worst"]:
        counted = ", ".join(f"{value} {clean(unit)}" for unit, value in list(row["lag_worst"].items())[:LAG_UNITS_MAX])
        return coloured(last_known(counted, row["age_s"]), MIDDLING) if row["unseen"] else Text(counted)
    if row["unseen"] and row["lag_worst_ms"] is not None:
        return coloured(last_known(milliseconds(row["lag_worst_ms"]), row["age_s"]), MIDDLING)
    return coloured(milliseconds(row["lag_worst_ms"]), "")


def _seen(row: Row) -> Text:
    return coloured(f"{age(row['age_s'])} stale", MIDDLING) if row["unseen"] else coloured(age(row["age_s"]), "")


def _problems(row: Row) -> str:
    """How many, and beside it how many symptoms of them."""
    more = f" (+{row['symptoms']})" if row["symptoms"] else ""
    return f"{row['problems']}{more}"


LAG_UNITS_MAX = 2
CLUSTER_NEVER_TOLD = ("lag_worst_ms", "lag_worst", "observed_at", "primaries", "shards")
"""What no event tells of a cluster, or only thousands of them."""


def _note_then(row: Row) -> str:
    return "nothing of that time is kept" if row["lost"] else _note({**row, "observed_at": row["at"]})


CLUSTER_COLUMNS = (
    Column("NAMESPACE", lambda row: row["namespace"]),
    Column("CLUSTER", lambda row: row["cluster"]),
    Column("HEALTH", _health),
    Column("NODES", lambda row: f"{row['nodes_healthy']}/{row['nodes_total']}", right=True),
    Column("PROBLEMS", _problems, right=True),
    Column("LAG", _lag, right=True),
    Column("STORE", lambda row: ", ".join(row["stores"])),
    Column("SEEN", _seen, right=True),
    Column("NOTE", _note),
)
CLUSTER_THEN_COLUMNS = (
    *(column for column in CLUSTER_COLUMNS if column.title not in {"LAG", "SEEN", "NOTE"}),
    Column("AS OF", as_of),
    Column("NOTE", lambda row: ", ".join(filter(None, (_note_then(row), gaps(row, CLUSTER_NEVER_TOLD))))),
)
LABELS = Column("LABELS", lambda row: written(row["labels"]))
CLUSTER_FIELDS: Fields = {
    "namespace": str,
    "cluster": str,
    "display_name": str,
    "labels": dict,
    "health": Health,
    "health_since": datetime,
    "nodes_total": int,
    "nodes_healthy": int,
    "nodes_by_status": dict,
    "problems": int,
    "symptoms": int,
    "shards": int,
    "primaries": int,
    "lag_worst_ms": int,
    "lag_worst": dict,
    "stores": list,
    "active": bool,
    "source": str,
    "missing_since": datetime,
    "observed_at": datetime,
    "age_s": float,
    "unseen": bool,
    **TURN_FIELDS,
}


async def cluster_rows(store: Store, namespace: str | None, now: datetime, note: Note = say) -> list[dict[str, Any]]:
    """One row per cluster that is declared or was discovered, sorted by name."""
    where = Where(namespace=namespace)
    specs = {spec.key: spec for spec in await found(store, ClusterSpec, where, note)}
    discoveries = {told.key: told for told in await found(store, Discovery, where, note)}
    states = {state.key: state for state in await found(store, ClusterState, where, note)}
    turns = await turns_of(store, WorkKind.ORCHESTRATE, note)
    return [
        cluster_row(key, specs.get(key), discoveries.get(key), states.get(key), turns.get(key), now)
        for key in sorted({*specs, *discoveries, *states})
    ]


def cluster_row(
    key: str,
    spec: ClusterSpec | None,
    told: Discovery | None,
    state: ClusterState | None,
    item: Request | None,
    now: datetime,
) -> dict[str, Any]:
    """A cluster of which at least one of spec, discovery and state is there, with its work item."""
    ref = ClusterRef.from_key(key)
    unseen = state is None or state.observed_at is None
    return {
        "namespace": ref.namespace,
        "cluster": ref.cluster_id,
        "display_name": told.display_name if told else None,
        "labels": labels_of_cluster(spec, told),
        "health": state.health if state else Health.UNKNOWN,
        "health_since": state.health_since if state else None,
        "nodes_total": len(told.nodes) if unseen and told else state.nodes_total if state else 0,
        "nodes_healthy": state.nodes_healthy if state else 0,
        "nodes_by_status": state.nodes_by_status if state else {},
        "problems": sum(problem.root for problem in state.problems) if state else 0,
        "symptoms": sum(not problem.root for problem in state.problems) if state else 0,
        "shards": state.shards if state else 0,
        "primaries": state.primaries if state else 0,
        "lag_worst_ms": state.lag_worst_ms if state else None,
        "lag_worst": dict(state.lag_worst) if state else {},
        "stores": state.stores if state else (),
        "active": spec.active if spec else False,
        "source": told.source if told else None,
        "missing_since": told.missing_since if told else None,
        "observed_at": state.observed_at if state else None,
        "age_s": seconds_since(state.observed_at, now) if state else None,
        "unseen": _unseen(spec, state, item, now),
        **turn_fields(item, now),
    }


def _unseen(spec: ClusterSpec | None, state: ClusterState | None, item: Request | None, now: datetime) -> bool:
    """Whether what is told of a cluster is so old that it may be quite another by now."""
    if spec is None or not spec.active or state is None or state.observed_at is None:
        return False
    interval = item.interval if item is not None and item.interval is not None else spec.interval or 0.0
    return (now - state.observed_at).total_seconds() > max(UNSEEN_S, UNSEEN_TURNS * interval)


# -- the past --------------------------------------------------------------------------------------------------------------


def cluster_row_then(then: Then) -> dict[str, Any]:
    """A cluster as it was known at a moment."""
    records, past = then.records, then.past
    row = cluster_row(records.ref.key, records.spec, records.discovery, records.state, None, past.at)
    paused = paused_at(past)
    told_of = {key[:1] for key in past.facts} - {("node",), ("problem",), ("action",)}
    fields = {"health": ("health",), "source": ("discovery",), "active": ("spec",), "paused_until": ("paused",)}
    unknown = [name for name, key in fields.items() if not past.knows(key)]
    if any(key[:1] == ("node",) for key in past.unknown) or past.lost:
        unknown.append("stores")
    return {
        **row,
        **dict.fromkeys((*CLUSTER_NEVER_TOLD, "age_s")),
        "unseen": False,
        "paused_until": paused.get("until"),
        "paused_by": paused.get("who"),
        "paused_why": paused.get("why"),
        "lost": past.lost,
        **told(past, told_of, (*CLUSTER_NEVER_TOLD, *unknown)),
        "as_of": past.told_at,
    }


def clusters(
    context: typer.Context,
    selector: Selectors = None,
    where: Conditions = None,
    watch: Watch = None,
    at: At = None,
    *,
    show_labels: ShowLabels = False,
) -> None:
    """All clusters: health, nodes, problems, and how old that knowledge is; with --at as they were known then."""
    cli = Cli.of(context)
    wanted, note = Filter.of(selector, where, CLUSTER_FIELDS), Notes()
    moment = moment_of(at, cli.world.clock, watch)
    columns = CLUSTER_COLUMNS if moment is None else CLUSTER_THEN_COLUMNS
    columns = (*columns[:2], LABELS, *columns[2:]) if show_labels else columns

    async def read(parts: Parts) -> Answer:
        if moment is not None:
            now = cli.world.clock()
            thens = await fleet_then(parts, cli.namespace, moment, now, note)
            rows = wanted.kept([cluster_row_then(then) for _, then in thens])
            return headed(title(moment, now), listing(rows, columns, wanted.empty("no clusters", "cluster")))
        rows = await cluster_rows(await parts.store(), cli.namespace, cli.world.clock(), note)
        empty = "no clusters: apply a DiscoverySettings manifest, or see `replictl sources`"
        return listing(wanted.kept(rows), columns, wanted.empty(empty, "cluster"))

    cli.answer(read, watch)
