"""What a run that a person started shows in the Prefect UI. A keyed artifact grows a version per write: only here."""

from __future__ import annotations

import re
from typing import Any

from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact

from blocks.models.cluster import ClusterState
from blocks.models.ids import ClusterRef
from blocks.models.node import Node
from blocks.models.report import Report
from blocks.models.source import SourceReport
from blocks.store.protocol import Store, Where

KEY_CHARS_MAX = 80
ROWS_MAX = 500


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
    """What a discovery run found, and what it refused."""
    row: dict[str, Any] = {
        "clusters": report.clusters,
        "nodes": report.nodes,
        "new": report.new,
        "changed": report.changed,
        "missing": report.missing,
        "refused": len(report.rejected),
        "error": report.error or "",
    }
    refused: list[dict[str, Any]] = [
        {"refused": rejected.what, "error": rejected.reason} for rejected in report.rejected
    ]
    await acreate_table_artifact(
        key=artifact_key("discovery", report.key),
        table=[row, *refused],
        description=f"discovery by {_escaped(report.key)}",
    )


def _escaped(text: str) -> str:
    """Text from outside inside Markdown: no markup of its own."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", text)
