"""What a run that a person started shows in the Prefect UI. A keyed artifact grows a version per write: only here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact

from blocks.models.base import clean_text
from blocks.models.ids import ClusterRef
from blocks.models.node import NodeStatus
from blocks.models.problem import Severity
from blocks.models.report import Report
from blocks.models.source import SourceReport
from blocks.store.protocol import Store
from tasks.decide.folding import families
from tasks.decide.shape import shape_of
from tasks.decide.topology import tree_of
from tasks.decide.tree import drawn, plain
from tasks.decide.words import age, last_known, milliseconds
from tasks.known import known_of

KEY_CHARS_MAX = 80
ROWS_MAX = 500
LINES_MAX = 400
PROBLEMS_MAX = 100
SYMPTOMS_MAX = 20
"""So many of one problem are on a page."""
WHY_CHARS_MAX = 300
"""So much of what others told is on a page; of a discovery the table has all of it."""

Row = Mapping[str, Any]


def artifact_key(*parts: str) -> str:
    """A key as Prefect wants it: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")[:KEY_CHARS_MAX] or "artifact"


async def show_cluster(store: Store, ref: ClusterRef, report: Report) -> None:
    """A table of the cluster's nodes, its topology as text, and a page with its health, problems and the run's report. Ages
    are as of the beginning of the run.
    """
    shape = shape_of(await known_of(store, ref), report.started_at)
    await acreate_table_artifact(
        key=artifact_key("nodes", ref.key), table=node_table(shape), description=f"nodes of {_escaped(str(ref))}"
    )
    await acreate_markdown_artifact(key=artifact_key("topology", ref.key), markdown=topology_page(shape))
    await acreate_markdown_artifact(key=artifact_key("report", ref.key), markdown="\n".join(report_page(shape, report)))


def node_table(shape: Row) -> list[dict[str, Any]]:
    """One row per node; where there are too many, those with trouble come first and the last row counts the others."""
    nodes = shape["nodes"]
    if len(nodes) > ROWS_MAX:
        nodes = sorted(nodes, key=lambda node: node["status"] == NodeStatus.HEALTHY)
    rows = [
        {
            "node": node["node"],
            "status": node["status"].value,
            "for": age(node["status_age_s"]),
            "why": clean_text(node["status_text"] or "", WHY_CHARS_MAX),
            "store": f"{node['store'] or '?'} {node['version'] or ''}".strip(),
            "shards": node["shards"],
            "roles": " ".join(f"{role}:{count}" for role, count in node["roles"].items()),
            "lag": _lag(node),
            "seen": f"{age(node['age_s'])} ago" if node["age_s"] is not None else "",
            "stale": age(node["stale_age_s"]) if node["stale"] else "",
            "problems": ", ".join(
                f"{problem['code']} (of {problem['cause']})" if problem["cause"] else problem["code"]
                for problem in node["problems"]
            ),
        }
        for node in nodes[:ROWS_MAX]
    ]
    return rows if len(nodes) <= ROWS_MAX else [*rows, {"node": f"and {len(nodes) - ROWS_MAX} more"}]


def _lag(node: Row) -> str:
    """How far it is behind; what was told before it fell silent, with its age."""
    if node["lag_ms"] is None and node["lag_last_ms"] is not None:
        return last_known(milliseconds(node["lag_last_ms"]), node["lag_age_s"])
    return milliseconds(node["lag_ms"])


def topology_page(shape: Row) -> str:
    """The tree of a cluster in a block of code, which nothing in it can end."""
    lines = [plain(line) for line in drawn(tree_of(shape), ascii_only=False)]
    text = "\n".join(lines[:LINES_MAX])
    if len(lines) > LINES_MAX:
        text += f"\n... and {len(lines) - LINES_MAX} more lines: `replictl topology` has them"
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def report_page(shape: Row, report: Report) -> Iterator[str]:
    """Health, problems with what to do, and what the run did, as lines of Markdown."""
    name = _escaped(f"{shape['namespace']}/{shape['cluster']}")
    yield f"# {name}: {shape['health'].value}"
    yield ""
    problems = [*shape["problems"], *(problem for node in shape["nodes"] for problem in node["problems"])]
    problems.sort(key=lambda problem: -list(Severity).index(problem["severity"]))
    causes = families(problems, _place, lambda problem: (problem["cause"], problem["cause_node_id"]))
    for problem, symptoms in causes[:PROBLEMS_MAX]:
        yield f"- {_problem(problem)}"
        if problem["acknowledged"]:
            word = problem["acknowledged"]
            yield f"    - acknowledged by {_escaped(word['who'])}: {_escaped(word['why'])}"
        if problem["remedy"]:
            yield f"    - to do: {_escaped(problem['remedy'])}"
        if symptoms:
            yield f"    - symptoms: {len(symptoms)}"
        yield from (f"        - {_problem(symptom)}" for symptom in symptoms[:SYMPTOMS_MAX])
        yield from (f"        {line}" for line in _left_out(len(symptoms), min(len(symptoms), SYMPTOMS_MAX)))
    yield from _left_out(len(causes), min(len(causes), PROBLEMS_MAX))
    if not problems:
        yield "No problems."
    yield from ("", f"{report.nodes_synced} nodes answered, {report.nodes_failed} did not; {report.events} events", "")
    yield from (f"- {_escaped(phase)}: {ms:.1f} ms" for phase, ms in report.phases_ms.items())


def _place(problem: Row) -> tuple[str, str | None]:
    return (problem["code"], problem["node_id"])


def _problem(problem: Row) -> str:
    """A problem in a line of Markdown, without what to do."""
    where = f" on {_escaped(problem['node_id'])}" if problem["node_id"] else ""
    evidence = _escaped(clean_text(problem["evidence"], WHY_CHARS_MAX))
    said = f"{_escaped(problem['description'])} ({evidence})" if evidence else _escaped(problem["description"])
    return f"**{_escaped(problem['code'])}**{where}, {problem['severity']}, for {age(problem['age_s'])}: {said}"


async def show_source(report: SourceReport) -> None:
    """A table of what a discovery run found by name, and a page that says it in words."""
    await acreate_table_artifact(
        key=artifact_key("discovery", report.key),
        table=source_rows(report),
        description=f"discovery by {_escaped(report.key)}",
    )
    await acreate_markdown_artifact(
        key=artifact_key("discovery-report", report.key), markdown="\n".join(source_page(report))
    )


def source_rows(report: SourceReport) -> list[dict[str, Any]]:
    """What was found, new, changed, missing and refused, one thing in a row."""
    counts = f"{report.clusters} clusters, {report.nodes} nodes"
    found = [{"what": "found", "name": counts, "why": ""}] if report.error is None else []
    failed = [{"what": "failed", "name": "nothing was concluded", "why": report.error}] if report.error else []
    return [
        *failed,
        *found,
        *({"what": what, "name": name, "why": ""} for what, _, names in _by_name(report) for name in names),
        *(
            {"what": "taken in part" if one.partial else "refused", "name": one.what, "why": one.reason}
            for one in report.rejected
        ),
    ]


def source_page(report: SourceReport) -> Iterator[str]:
    """The same as lines of Markdown."""
    yield f"# Discovery by {_escaped(report.key)}"
    yield ""
    if report.error is not None:
        yield f"**Nothing was concluded**, after {report.duration_s:.2f} s: {_escaped(report.error)}"
        yield ""
        if report.good_at is None:
            yield "It has never given a good answer."
        else:
            yield f"Its last good answer, at {report.good_at:%Y-%m-%d %H:%M:%S} UTC, told of {_counts(report)}."
    else:
        yield f"It told of {_counts(report)}, in {report.duration_s:.2f} s."
    for what, total, names in _by_name(report):
        if total:
            yield from ("", f"## {what.capitalize()}: {total}", "")
            yield from (f"- {_escaped(name)}" for name in names)
            yield from _left_out(total, len(names))
    if report.rejected_total:
        whole = report.rejected_total - report.left_out_total
        part = f"; taken in part: {report.left_out_total}" if report.left_out_total else ""
        yield from ("", f"## Refused: {whole}{part}", "")
        for one in report.rejected:
            what, reason = clean_text(one.what, WHY_CHARS_MAX), clean_text(one.reason, WHY_CHARS_MAX)
            yield f"- {_escaped(what)}: {_escaped(reason)}{' (only that part)' if one.partial else ''}"
        yield from _left_out(report.rejected_total, len(report.rejected))


def _counts(report: SourceReport) -> str:
    return f"{report.clusters} clusters with {report.nodes} nodes"


def _by_name(report: SourceReport) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    yield "new", report.new, report.new_clusters
    yield "changed", report.changed, report.changed_clusters
    yield "missing", report.missing, report.missing_clusters


def _left_out(total: int, named: int) -> Iterator[str]:
    if total > named:
        yield f"- and {total - named} more"


def _escaped(text: str) -> str:
    """Text from outside inside Markdown: no markup of its own."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", text)
