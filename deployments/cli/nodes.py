"""The nodes of a cluster, or of all, as a table; and trying out which of them a manifest's search means."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from pydantic import ValidationError
from rich.text import Text

from blocks.errors import Fault, InvalidInputError
from blocks.models.cluster import ClusterState
from blocks.models.ids import ClusterRef
from blocks.models.node import Node
from blocks.models.search import NodeSearch
from blocks.store.protocol import Store
from deployments.cli.options import Conditions, OneCluster, Selectors, ShowLabels, Watch
from deployments.cli.output import Answer, Column, Format, Row, listing, say
from deployments.cli.past import At, fleet_then, headed, moment_of, then_of, title
from deployments.cli.past_rows import as_of, gaps, past_node
from deployments.cli.resolve import known_cluster
from deployments.cli.select import Filter, Note, Notes, Tags, found, place
from deployments.cli.session import Cli
from deployments.cli.words import MIDDLING, age, coloured, last_known, milliseconds
from deployments.cli.world import Parts
from tasks.decide.documents import TEXT_MAX, read_documents
from tasks.decide.search import labels_of_cluster, labels_of_nodes, search_nodes
from tasks.decide.select import written
from tasks.decide.shape import NODE_FIELDS, node_row

STDIN = "-"


def _seen(row: Row) -> Text:
    """How old the oldest part of what is known of a node is."""
    return coloured(f"{age(row['age_s'])} stale", MIDDLING) if row["stale"] else coloured(age(row["age_s"]), "")


def _lag(row: Row) -> Text:
    """How far it is behind; what was told before it fell silent, with its age."""
    if row["lag_ms"] is None and row["lag_last_ms"] is not None:
        return coloured(last_known(milliseconds(row["lag_last_ms"]), row["lag_age_s"]), MIDDLING)
    return coloured(milliseconds(row["lag_ms"]), "")


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
    Column("LAG", _lag, right=True),
    Column("SEEN", _seen, right=True),
    Column("AGENT", lambda row: row["agent"]),
    Column("WHY", lambda row: row["status_text"]),
)
THEN_COLUMNS = (
    *(column for column in COLUMNS if column.title not in {"LAG", "SEEN"}),
    Column("AS OF", as_of),
    Column("NOTE", gaps),
)
LABELS = Column("LABELS", lambda row: written(row["labels"]))
FIELDS = NODE_FIELDS


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
    seen = {state.key: state.observed_at for state in await found(store, ClusterState, where, note)}
    return [
        node_row(node, now, tags.of_node(node.cluster.key, node.node_id), seen.get(node.cluster.key)) for node in nodes
    ]


async def node_rows_then(
    parts: Parts,
    cluster: str | None,
    namespace: str | None,
    at: datetime,
    now: datetime,
    *,
    wanted: NodeSearch | None = None,
    note: Note = say,
) -> list[dict[str, Any]]:
    """The same as it was known at a moment. Of all clusters at once, shards and roles are not told."""
    if cluster is not None:
        pasts = [await then_of(parts, cluster, namespace, at, now)]
    else:
        pasts = [then for _, then in await fleet_then(parts, namespace, at, now, note)]
    rows = []
    for then in pasts:
        records = then.records
        labels = labels_of_cluster(records.spec, records.discovery)
        own = labels_of_nodes(records.spec, records.discovery)
        nodes: Sequence[Node] = tuple(records.nodes.values())
        if wanted is not None:
            nodes = search_nodes(nodes, wanted, own, labels)
        for node in nodes:
            row = node_row(node, at, own.get(node.node_id, labels), None)
            rows.append(past_node(row, then.past, shards=cluster is not None))
    return rows


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
    at: At = None,
    *,
    show_labels: ShowLabels = False,
) -> None:
    """The nodes of a cluster, or of all; with --at as they were known then."""
    cli = Cli.of(context)
    if search is not None and cluster is None:
        message = "a search is made in one cluster: name it"
        raise typer.BadParameter(message)
    wanted, note = Filter.of(selector, where, FIELDS), Notes()
    searched = None if search is None else read_search(search, cli.world.folder, lambda: sys.stdin.buffer)
    labels = show_labels or wanted.needs_labels or cli.form is not Format.TABLE
    moment = moment_of(at, cli.world.clock, watch)
    columns = COLUMNS if moment is None else THEN_COLUMNS
    columns = (*columns[:3], LABELS, *columns[3:]) if show_labels else columns
    empty = wanted.empty("the search finds no node" if searched is not None else "no nodes", "node")

    async def read(parts: Parts) -> Answer:
        store, now = await parts.store(), cli.world.clock()
        if moment is not None:
            rows = await node_rows_then(parts, cluster, cli.namespace, moment, now, wanted=searched, note=note)
            return headed(title(moment, now), listing(wanted.kept(rows), columns, empty))
        ref = await known_cluster(store, cluster, cli.namespace) if cluster is not None else None
        rows = await node_rows(store, ref, cli.namespace, now, labels=labels, wanted=searched, note=note)
        return listing(wanted.kept(rows), columns, empty)

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
