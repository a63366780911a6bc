"""What is wrong, as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

import typer

from blocks.models.cluster import ClusterState, Discovery
from blocks.models.ids import ClusterRef
from blocks.models.problem import Problem, Severity
from blocks.store.protocol import Store
from deployments.cli.options import Conditions, OneCluster, Selectors, Watch
from deployments.cli.output import Answer, Column, Format, Row, listing, say
from deployments.cli.past import At, Then, fleet_then, headed, moment_of, then_of, title
from deployments.cli.past_rows import as_of, told
from deployments.cli.resolve import known_cluster
from deployments.cli.select import Filter, Note, Notes, Tags, found, place
from deployments.cli.session import Cli
from deployments.cli.words import age, coloured, seconds_since
from deployments.cli.world import Parts
from tasks.decide.conditions import Fields
from tasks.decide.folding import families
from tasks.decide.rules.base import moment
from tasks.decide.rules.table import RULES
from tasks.decide.search import labels_of_cluster, labels_of_nodes

MISSING = "CLUSTER_MISSING"


def _code(row: Row) -> str:
    """A cause with the number of its symptoms; a symptom under its cause."""
    return (
        f"└ {row['code']}"
        if row["cause"]
        else f"{row['code']} (+{row['symptoms']})"
        if row["symptoms"]
        else row["code"]
    )


def _cause(row: Row) -> str:
    """Of what it is a symptom, where that is known."""
    at = f" of {row['cause_node']}" if row["cause_node"] and row["cause_node"] != row["node"] else ""
    return f"symptom of {row['cause']}{at}" if row["cause"] else ""


def _acknowledged(row: Row) -> str:
    """Who has seen it, when and why."""
    if row["acknowledged_by"] is None:
        return ""
    return f"acknowledged by {row['acknowledged_by']} {age(row['acknowledged_age_s'])} ago: {row['acknowledged_why']}"


def _problem(row: Row) -> str:
    return " - ".join(filter(None, (row["description"], row["evidence"], _cause(row), _acknowledged(row))))


COLUMNS = (
    Column("SEVERITY", lambda row: coloured(row["severity"])),
    Column("CLUSTER", lambda row: f"{row['namespace']}/{row['cluster']}"),
    Column("NODE", lambda row: row["node"]),
    Column("SHARD", lambda row: row["shard"]),
    Column("CODE", _code),
    Column("FOR", lambda row: age(row["age_s"]), right=True),
    Column("SEEN", lambda row: age(row["observed_age_s"]), right=True),
    Column("PROBLEM", _problem),
    Column("WHAT TO DO", lambda row: row["remedy"]),
)
THEN_COLUMNS = (
    *(column for column in COLUMNS if column.title != "SEEN"),
    Column("AS OF", as_of),
)
FIELDS: Fields = {
    "namespace": str,
    "cluster": str,
    "node": str,
    "shard": str,
    "labels": dict,
    "severity": Severity,
    "code": str,
    "description": str,
    "evidence": str,
    "remedy": str,
    "cause": str,
    "cause_node": str,
    "symptoms": int,
    "since": datetime,
    "age_s": float,
    "observed_at": datetime,
    "observed_age_s": float,
    "acknowledged_by": str,
    "acknowledged_why": str,
    "acknowledged_at": datetime,
    "acknowledged_age_s": float,
}


async def problem_rows(
    store: Store,
    ref: ClusterRef | None,
    namespace: str | None,
    now: datetime,
    *,
    labels: bool = True,
    note: Note = say,
) -> list[dict[str, Any]]:
    """One row per problem, in the order of `grouped`; with the labels of its node, or else of its cluster."""
    where = place(ref, namespace)
    tags = await Tags.load(store, where, note) if labels else Tags()
    states = {state.key: state for state in await found(store, ClusterState, where, note)}
    rows = [
        problem_row(state, problem, tags.of_node(state.key, problem.node_id), now)
        for state in states.values()
        for problem in state.problems
    ]
    said = {
        ClusterRef(namespace=row["namespace"], cluster_id=row["cluster"]).key for row in rows if row["code"] == MISSING
    }
    for record in await found(store, Discovery, where, note):
        if record.missing_since is not None and record.key not in said:  # its own cycle has not said so yet
            state = states.get(record.key) or ClusterState(namespace=record.namespace, cluster_id=record.cluster_id)
            rows.append(problem_row(state, _missing(record, record.missing_since), tags.of_node(record.key, None), now))
    return grouped(rows)


def _missing(record: Discovery, since: datetime) -> Problem:
    rule = next(rule for rule in RULES if rule.code == MISSING)
    return Problem(
        code=rule.code,
        severity=rule.severity,
        description=rule.description,
        evidence=f"{record.source} has not told of it since {moment(since)}",
        remedy=rule.remedy,
        since=since,
    )


def problem_row(state: ClusterState, problem: Problem, labels: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """A problem of a cluster."""
    word = problem.acknowledged
    return {
        "namespace": state.namespace,
        "cluster": state.cluster_id,
        "node": problem.node_id,
        "shard": problem.shard_id,
        "labels": labels,
        "severity": problem.severity,
        "code": problem.code,
        "description": problem.description,
        "evidence": problem.evidence,
        "remedy": problem.remedy,
        "cause": problem.cause,
        "cause_node": problem.cause_node_id,
        "symptoms": problem.symptoms,
        "since": problem.since,
        "age_s": seconds_since(problem.since, now),
        "observed_at": state.observed_at,
        "observed_age_s": seconds_since(state.observed_at, now),
        "acknowledged_by": word.who if word is not None else None,
        "acknowledged_why": word.why if word is not None else None,
        "acknowledged_at": word.at if word is not None else None,
        "acknowledged_age_s": seconds_since(word.at, now) if word is not None else None,
    }


def grouped(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Causes, the worst first, then the oldest, and each followed by its symptoms; a symptom without its cause is like one."""
    order = list(Severity)
    worst_first = sorted(rows, key=lambda row: (-order.index(row["severity"]), -(row["age_s"] or math.inf)))
    return [one for row, under in families(worst_first, _place, _place_of_cause) for one in (row, *under)]


def folded(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the symptoms whose cause is among them."""
    return [row for row, _ in families(rows, _place, _place_of_cause)]


def _place(row: Row) -> tuple[str, ...]:
    return (row["namespace"], row["cluster"], row["code"], row["node"] or "")


def _place_of_cause(row: Row) -> tuple[str, ...]:
    """That of the problem of which it is a symptom; of nothing for one that stands for itself."""
    return (row["namespace"], row["cluster"], row["cause"] or "", row["cause_node"] or "")


def problem_rows_then(then: Then) -> list[dict[str, Any]]:
    """The problems of a cluster as they were known at a moment."""
    records, past = then.records, then.past
    if records.state is None:
        return []
    labels = labels_of_cluster(records.spec, records.discovery)
    own = labels_of_nodes(records.spec, records.discovery)
    rows = []
    for problem in records.state.problems:
        row = problem_row(records.state, problem, own.get(problem.node_id or "", labels), past.at)
        known = past.facts["problem", *problem.identity]
        since = {"since": known.at, "age_s": seconds_since(known.at, past.at)}
        unknown = (
            ["acknowledged_by", "evidence", *([] if known.at is not None else ["since"])]
            if known.why is None
            else ["acknowledged_by"]
        )
        rows.append({**row, **since, **told(past, {("problem", problem.code)}, unknown), "as_of": known.at})
    return rows


def problems(
    context: typer.Context,
    cluster: OneCluster = None,
    selector: Selectors = None,
    where: Conditions = None,
    watch: Watch = None,
    at: At = None,
    *,
    symptoms: Annotated[
        bool,
        typer.Option("--symptoms", help="Also list symptoms, each under its cause, instead of their number alone."),
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 when any problem is listed.")] = False,
) -> None:
    """What is wrong now, the worst first, and what to do about it; with --at what was known to be wrong then.

    Symptoms are folded under their cause, which says how many it has.
    """
    cli = Cli.of(context)
    wanted, note = Filter.of(selector, where, FIELDS), Notes()
    moment = moment_of(at, cli.world.clock, watch)
    labels = wanted.needs_labels or cli.form is not Format.TABLE
    shown = grouped if symptoms else folded

    async def read(parts: Parts) -> Answer:
        store, now = await parts.store(), cli.world.clock()
        if moment is not None:
            rows = shown(wanted.kept(await _problems_then(parts, cluster, cli.namespace, moment, now, note)))
            listed = listing(rows, THEN_COLUMNS, wanted.empty("no problems", "problem"))
            return replace(headed(title(moment, now), listed), code=1 if check and rows else 0)
        ref = await known_cluster(store, cluster, cli.namespace) if cluster is not None else None
        rows = shown(wanted.kept(await problem_rows(store, ref, cli.namespace, now, labels=labels, note=note)))
        listed = listing(rows, COLUMNS, wanted.empty("no problems", "problem"))
        return Answer(listed.value, listed.blocks, code=1 if check and rows else 0)

    cli.answer(read, watch)


async def _problems_then(
    parts: Parts, cluster: str | None, namespace: str | None, at: datetime, now: datetime, note: Note
) -> list[dict[str, Any]]:
    if cluster is not None:
        thens = [await then_of(parts, cluster, namespace, at, now)]
    else:
        thens = [then for _, then in await fleet_then(parts, namespace, at, now, note)]
    return grouped([row for then in thens for row in problem_rows_then(then)])
