"""What a run that a person started shows in the Prefect UI. A keyed artifact grows a version per write: only here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact

from blocks.models.base import clean_text
from blocks.models.cluster import ClusterState
from blocks.models.ids import ClusterRef
from blocks.models.node import Node
from blocks.models.report import Report
from blocks.models.source import SourceReport
from blocks.store.protocol import Store, Where

KEY_CHARS_MAX = 80
ROWS_MAX = 500
WHY_CHARS_MAX = 300
"""So much of what a source told wrong is on a page; the table has all of it."""


def artifact_key(*parts: str) -> str:
    """A key as Prefect wants it: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")[:KEY_CHARS_MAX] or "artifact"


async def show_cluster(store: Store, ref: ClusterRef, report: Report) -> None:
    """A table of the cluster's nodes, and a page with its health, problems and the run's report."""
    state = await store.get(ClusterState, ref.key)
    nodes = await store.find(Node, Where(namespace=ref.namespace, cluster_id=ref.cluster_id), limit=ROWS_MAX)
    await acreate_table_artifact(
        key=artifact_key("nodes", ref.key),
        table=[
            {
                "node": node.node_id,
                "status": node.status.value,
                "why": node.status_text or "",
                "store": f"{node.store_id or '?'} {node.store_version or ''}".strip(),
                "shards": len(node.shards),
            }
            for node in nodes
        ],
        description=f"nodes of {_escaped(str(ref))}",
    )
    lines = [f"# {_escaped(str(ref))}: {state.health.value if state is not None else 'UNKNOWN'}", ""]
    for problem in state.problems if state is not None else ():
        where = f" on {_escaped(problem.node_id)}" if problem.node_id else ""
        lines.append(f"- **{problem.code}**{where}: {_escaped(problem.description)} ({_escaped(problem.evidence)})")
    lines += ["", f"{report.nodes_synced} nodes answered, {report.nodes_failed} did not; {report.events} events; ", ""]
    lines += [f"- {phase}: {ms:.1f} ms" for phase, ms in report.phases_ms.items()]
    await acreate_markdown_artifact(key=artifact_key("report", ref.key), markdown="\n".join(lines))


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
    return [
        {"what": "found", "name": counts, "why": report.error or ""},
        *({"what": what, "name": name, "why": ""} for what, _, names in _by_name(report) for name in names),
        *({"what": "refused", "name": one.what, "why": one.reason} for one in report.rejected),
    ]


def source_page(report: SourceReport) -> Iterator[str]:
    """The same as lines of Markdown."""
    yield f"# Discovery by {_escaped(report.key)}"
    yield ""
    if report.error is not None:
        yield f"**Nothing was concluded**: {_escaped(report.error)}"
        yield ""
    yield f"It told of {report.clusters} clusters with {report.nodes} nodes, in {report.duration_s:.2f} s."
    for what, total, names in _by_name(report):
        if total:
            yield from ("", f"## {what.capitalize()}: {total}", "")
            yield from (f"- {_escaped(name)}" for name in names)
            yield from _left_out(total, len(names))
    if report.rejected_total:
        yield from ("", f"## Refused: {report.rejected_total}", "")
        for one in report.rejected:
            what, reason = clean_text(one.what, WHY_CHARS_MAX), clean_text(one.reason, WHY_CHARS_MAX)
            yield f"- {_escaped(what)}: {_escaped(reason)}{' (only that part)' if one.partial else ''}"
        yield from _left_out(report.rejected_total, len(report.rejected))


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
