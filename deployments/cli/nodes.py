"""The nodes of a cluster, or of all, as a table; and trying out which of them a manifest's search means."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from pydantic import ValidationError

from blocks.errors import Fault, InvalidInputError
from blocks.models.ids import ClusterRef
from blocks.models.node import Node, NodeStatus, Protocol, Shard
from blocks.models.search import NodeSearch
from blocks.store.protocol import Store
from deployments.cli.options import Conditions, OneCluster, Selectors, ShowLabels, Watch
from deployments.cli.output import Answer, Column, Format, listing, say
from deployments.cli.resolve import known_cluster
from deployments.cli.select import Filter, Note, Notes, Tags, found, place
from deployments.cli.session import Cli
from deployments.cli.words import age, coloured, milliseconds, seconds_since
from deployments.cli.world import Parts
from tasks.decide.conditions import Fields
from tasks.decide.documents import TEXT_MAX, read_documents
from tasks.decide.search import search_nodes
from tasks.decide.select import written

STDIN = "-"

COLUMNS = (
    Column("NAMESPACE", lambda row: row["namespace"]),
    Column("CLUSTER", lambda row: row["cluster"]),
    Column("NODE", lambda row: row["node"]),
    Column("STATUS", lambda row: coloured(row["status"])),
    Column("FOR", lambda row: age(row["status_age_s"]), right=True),
    Column("STORE", lambda row: row["store"]),
    Column("VERSION", lambda row: row["version"]),
    Column("SHARDS", lambda row: row["shards"], right=True),
    Column("ROLES", lambda row: " ".join(f"{role}:{count}" for role, count in row["roles"].items())),
    Column("LAG", lambda row: milliseconds(row["lag_ms"]), right=True),
    Column("STALE", lambda row: coloured("stale", "yellow") if row["stale"] else ""),
    Column("AGENT", lambda row: row["agent"]),
    Column("WHY", lambda row: row["status_text"]),
)
LABELS = Column("LABELS", lambda row: written(row["labels"]))
FIELDS: Fields = {
    "namespace": str,
    "cluster": str,
    "node": str,
    "labels": dict,
    "status": NodeStatus,
    "status_text": str,
    "status_since": datetime,
    "status_age_s": float,
    "store": str,
    "version": str,
    "agent": str,
    "agent_version": str,
    "protocol": Protocol,
    "class": str,
    "group": str,
    "shards": int,
    "roles": dict,
    "lag_ms": int,
    "stale": bool,
    "stale_since": datetime,
    "notes": list,
}


async def node_rows(
    store: Store,
    ref: ClusterRef | None,
    namespace: str | None,
    now: datetime,
    *,
    labels: bool = True,
    wanted: NodeSearch | None = None,
    note: Note = say,
) -> list[dict[str, Any]]:
    """One row per node, of one cluster or of all.

    Args:
        store: where they are.
        ref: the cluster; None means all of the namespace.
        namespace: None means all.
        now: the present moment.
        labels: whether their labels are loaded too.
        wanted: only what this search finds in the cluster, in its order.
        note: told what was cut off.
    """
    where = place(ref, namespace)
    nodes: Sequence[Node] = await found(store, Node, where, note)
    tags = await Tags.load(store, where, note) if labels or wanted is not None else Tags()
    if wanted is not None and ref is not None:
        nodes = search_nodes(nodes, wanted, tags.of_nodes(ref.key), tags.of_cluster(ref.key))
    return [node_row(node, now, tags.of_node(node.cluster.key, node.node_id)) for node in nodes]


def node_row(node: Node, now: datetime, labels: Mapping[str, str]) -> dict[str, Any]:
    """A node in short, with the labels in effect for it."""
    stale = [since for since in (node.info_stale_since, node.store_stale_since, node.shards_stale_since) if since]
    return {
        "namespace": node.namespace,
        "cluster": node.cluster_id,
        "node": node.node_id,
        "labels": labels,
        "status": node.status,
        "status_text": node.status_text,
        "status_since": node.status_since,
        "status_age_s": seconds_since(node.status_since, now),
        "store": node.store_id,
        "version": str(node.store_version) if node.store_version else None,
        "agent": node.agent_address,
        "agent_version": str(node.agent_version) if node.agent_version else None,
        "protocol": node.protocol,
        "class": node.node_class,
        "group": node.node_group,
        "shards": len(node.shards),
        "roles": dict(Counter(role_of(shard) for shard in node.shards)),
        "lag_ms": lag_ms(node.shards),
        "stale": bool(stale),
        "stale_since": min(stale, default=None),
        "notes": node.notes,
    }


def role_of(shard: Shard) -> str:
    """A shard's role in the agent's words, where it has its own."""
    return shard.role_text or shard.role.value


def lag_ms(shards: Iterable[Shard]) -> int | None:
    """The largest lag in units of time."""
    lags = (shard.lag.milliseconds for shard in shards if shard.lag is not None)
    return max((lag for lag in lags if lag is not None), default=None)


def nodes(
    context: typer.Context,
    cluster: OneCluster = None,
    selector: Selectors = None,
    where: Conditions = None,
    search: Annotated[
        str | None,
        typer.Option(metavar="FILE|-|YAML", help="Only what this node search finds in the cluster, in its order."),
    ] = None,
    watch: Watch = None,
    *,
    show_labels: ShowLabels = False,
) -> None:
    """The nodes of a cluster, or of all."""
    cli = Cli.of(context)
    if search is not None and cluster is None:
        message = "a search is made in one cluster: name it"
        raise typer.BadParameter(message)
    wanted, note = Filter.of(selector, where, FIELDS), Notes()
    searched = None if search is None else read_search(search, cli.world.folder, lambda: sys.stdin.buffer)
    labels = show_labels or wanted.needs_labels or cli.form is not Format.TABLE
    columns = (*COLUMNS[:3], LABELS, *COLUMNS[3:]) if show_labels else COLUMNS

    async def read(parts: Parts) -> Answer:
        store, now = await parts.store(), cli.world.clock()
        ref = await known_cluster(store, cluster, cli.namespace) if cluster is not None else None
        rows = await node_rows(store, ref, cli.namespace, now, labels=labels, wanted=searched, note=note)
        empty = "the search finds no node" if searched is not None else "no nodes"
        return listing(wanted.kept(rows), columns, wanted.empty(empty, "node"))

    cli.answer(read, watch)


def read_search(text: str, folder: Path, stdin: Callable[[], BinaryIO]) -> NodeSearch:
    """A node search from a file, from stdin (`-`), or written out as YAML or JSON.

    Raises:
        InvalidInputError: it is none, or cannot be read.
    """
    written_out = text if text != STDIN and (":" in text or "{" in text) else _content(text, folder, stdin)
    documents = read_documents(written_out)
    if len(documents) != 1 or not isinstance(documents[0], Mapping):
        message = "a node search is one mapping with matches, sort_by and max_results"
        raise InvalidInputError(message)
    unknown = [Fault(str(name), "unknown field") for name in documents[0] if name not in NodeSearch.model_fields]
    try:
        search = NodeSearch.model_validate(documents[0])
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        unknown += [Fault(".".join(map(str, fault["loc"])), fault["msg"]) for fault in faults]
    else:
        if not unknown:
            return search
    message = "this is no node search"
    raise InvalidInputError(message, tuple(unknown))


def _content(name: str, folder: Path, stdin: Callable[[], BinaryIO]) -> str:
    try:
        if name == STDIN:
            raw = stdin().read(TEXT_MAX + 1)
        else:
            with (folder / name).open("rb") as file:
                raw = file.read(TEXT_MAX + 1)
        return raw.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "this is not UTF-8 text"
        message = f"{name} cannot be read as a node search: {reason}"
        raise InvalidInputError(message) from error
