"""One cluster as a tree: its shards and who has them, its nodes, what is wrong and what is running where."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from blocks.models.ids import ClusterRef
from blocks.store.protocol import Store
from deployments.cli.options import TheCluster, Watch
from deployments.cli.output import Answer, Row, console
from deployments.cli.past import At, Then, moment_of, then_of, title
from deployments.cli.past_rows import past_node, told
from deployments.cli.resolve import known_cluster
from deployments.cli.session import Cli
from deployments.cli.turns import until
from deployments.cli.words import BAD, FAINT, MIDDLING, STYLES
from deployments.cli.world import Parts
from tasks.decide.shape import shape_of
from tasks.decide.topology import tree_of
from tasks.decide.tree import WORD, Label, drawn
from tasks.known import known_of

_TONES = {"bold": "bold", "dim": FAINT, "bad": BAD, "warn": MIDDLING}


async def topology_of(store: Store, ref: ClusterRef, now: datetime) -> dict[str, Any]:
    """Everything about a cluster's shape, as one object."""
    return shape_of(await known_of(store, ref), now)


def topology_then(then: Then) -> dict[str, Any]:
    """The same as it was known at a moment."""
    past, at = then.past, then.past.at
    shape = shape_of(then.records, at)
    nodes = [
        {
            **past_node(node, past),
            "problems": [_since(problem, past.facts.get(_problem_key(problem))) for problem in node["problems"]],
        }
        for node in shape["nodes"]
    ]
    heads = {key[:1] for key in past.facts}
    not_known = ["lag_worst_ms", "observed_at", *([] if past.knows(("health",)) else ["health"])]
    return {**shape, "told": f"as known at {until(at)}", "nodes": nodes, **told(past, heads - {("node",)}, not_known)}


def _problem_key(problem: Row) -> tuple[str, ...]:
    return ("problem", problem["code"], problem["node_id"] or "", problem["shard_id"] or "")


def _since(problem: Row, known: Any) -> dict[str, Any]:
    """A problem of the past: since when it was one may not be known any more."""
    return {**problem} if known is None or known.at is not None else {**problem, "since": None, "age_s": None}


def drawing(shape: Row, *, every_shard: bool = False) -> Text:
    """A cluster's shape: on a terminal never wider than that, and in colours; elsewhere nothing is broken or cut."""
    terminal = console()
    root = tree_of(shape, every_shard=every_shard)
    lines = drawn(root, ascii_only=not terminal.is_terminal, width=terminal.width if terminal.is_terminal else None)
    return Text("\n").join(_text(line) for line in lines)


def _text(line: Label) -> Text:
    return Text.assemble(
        *(
            (piece.text, STYLES.get(piece.text, "") if piece.tone == WORD else _TONES.get(piece.tone, ""))
            for piece in line
        )
    )


def topology(
    context: typer.Context,
    cluster: TheCluster,
    watch: Watch = None,
    at: At = None,
    *,
    shards: Annotated[
        bool, typer.Option("--shards", help="Draw shards one by one also where there are many (at most 1000).")
    ] = False,
) -> None:
    """A cluster as a tree: shards, nodes, problems, running actions; with --at as it was known then."""
    cli = Cli.of(context)
    moment = moment_of(at, cli.world.clock, watch)

    async def read(parts: Parts) -> Answer:
        store, now = await parts.store(), cli.world.clock()
        if moment is not None:
            value = topology_then(await then_of(parts, cluster, cli.namespace, moment, now))
            return Answer(value, (title(moment, now), drawing(value, every_shard=shards)))
        ref = await known_cluster(store, cluster, cli.namespace)
        value = await topology_of(store, ref, now)
        return Answer(value, (drawing(value, every_shard=shards),))

    cli.answer(read, watch)
