"""Actions: which there are, everything about one, and what a person orders about them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.text import Text

from blocks.errors import NotFoundError, ReplicoreError
from blocks.models.action import Action, ActionState, Requester
from blocks.models.rolling import Rolling
from blocks.store.protocol import Store, Where
from deployments.cli.options import ActionIds, Comment, Conditions, OneCluster, Selectors, Watch, Yes
from deployments.cli.output import Answer, Block, Column, Format, Grid, Row, clean, dump, listing, say, show
from deployments.cli.resolve import remembered_cluster
from deployments.cli.select import SIFTED_MAX, Filter, Note, Notes, Tags, cut, place
from deployments.cli.session import Cli
from deployments.cli.words import age, coloured, seconds_since
from deployments.cli.world import Parts
from tasks.decide.conditions import Compare, Fields

BULK_MAX = 500
"""So many actions are ordered at once."""
UNFINISHED = tuple(state for state in ActionState if not state.final)


def _target(row: Row) -> str:
    return "/".join(filter(None, (row["namespace"], row["cluster"], row["node"])))


def _state(row: Row) -> Text:
    if row.get("left_running"):
        return Text.assemble(coloured(row["state"]), " (its agent may still do it)")
    if row.get("ended_as") is not None:
        return Text.assemble(coloured(row["state"]), f" (its agent ended it {clean(row['ended_as'])})")
    return coloured(row["state"])


COLUMNS = (
    Column("ID", lambda row: row["action_id"]),
    Column("TARGET", _target),
    Column("KIND", lambda row: row["kind"]),
    Column("STATE", _state),
    Column("AGE", lambda row: age(row["age_s"]), right=True),
    Column("BY", lambda row: row["created_by"]),
    Column("APPROVED BY", lambda row: row["approved_by"]),
    Column("ERROR", lambda row: row["error"]),
)
FIELDS: Fields = {
    "action_id": str,
    "namespace": str,
    "cluster": str,
    "node": str,
    "labels": dict,
    "kind": str,
    "state": ActionState,
    "created_at": datetime,
    "age_s": float,
    "created_by": str,
    "approved_by": str,
    "retry_of": str,
    "forced": str,
    "requester": Requester,
    "attempts": int,
    "scheduled_at": datetime,
    "finished_at": datetime,
    "left_running": bool,
    "ended_as": ActionState,
    "error": str,
}
ORDERED_COLUMNS = (*COLUMNS[:4], Column("COMMENT", lambda row: row["comment"]))


async def action_rows(
    store: Store,
    where: Where,
    wanted: Filter,
    now: datetime,
    *,
    labels: bool = True,
    limit: int = 100,
    note: Note = say,
) -> list[dict[str, Any]]:
    """One row per wanted action, the newest first.

    Args:
        store: where they are.
        where: which are read: with a filter the newest `SIFTED_MAX` of them, else as many as are shown.
        wanted: which of those are wanted.
        now: the present moment.
        labels: whether labels are loaded too: those of the node, or else of the cluster.
        limit: so many are shown at most.
        note: told what was cut off.
    """
    most = SIFTED_MAX if wanted.narrows else limit
    read = await store.find(Action, where, limit=most + 1)
    if wanted.narrows:
        read = cut(read, most, note, f"only the newest {most} actions were looked through")
    tags = await Tags.load(store, where.evolve(action_states=None), note) if labels else Tags()
    rows = [action_row(action, now, tags.of_node(action.cluster.key, action.node_id)) for action in read]
    return cut(wanted.kept(rows), limit, note, f"these are the newest {limit} of more actions; --limit shows more")


def action_row(action: Action, now: datetime, labels: Mapping[str, str]) -> dict[str, Any]:
    """An action in short, with the labels in effect for what it is for."""
    return {
        "action_id": action.action_id,
        "namespace": action.namespace,
        "cluster": action.cluster_id,
        "node": action.node_id,
        "labels": labels,
        "kind": action.kind,
        "state": action.state,
        "created_at": action.created_at,
        "age_s": seconds_since(action.created_at, now),
        "created_by": action.created_by,
        "approved_by": action.approved_by,
        "retry_of": action.retry_of,
        "forced": action.forced,
        "requester": action.requester,
        "attempts": action.attempts,
        "scheduled_at": action.scheduled_at,
        "finished_at": action.finished_at,
        "left_running": action.left_running,
        "ended_as": action.ended_as,
        "error": action.error,
    }


async def whole_action(store: Store, action_id: UUID, now: datetime) -> dict[str, Any]:
    """Everything about an action.

    Raises:
        NotFoundError: there is none of that id.
    """
    action = await store.get(Action, str(action_id))
    if action is None:
        message = f"there is no action {action_id}; `replictl actions --all` lists those that are known"
        raise NotFoundError(message)
    tags = await Tags.load(store, Where(namespace=action.namespace, cluster_id=action.cluster_id), say)
    return {
        **action_row(action, now, tags.of_node(action.cluster.key, action.node_id)),
        "not_before": action.not_before,
        "args": action.args,
        "metadata": action.metadata,
        "payload": action.payload,
        "intent": {**dict(action.intent), "fence": action.intent.fence} if action.intent else None,
        "history": [dict(transition) for transition in action.history],
        "version": action.version,
    }


HISTORY_COLUMNS = (
    Column("AT", lambda row: row["at"]),
    Column("FROM", lambda row: coloured(row["before"])),
    Column("TO", lambda row: coloured(row["after"])),
    Column("WHO", lambda row: row["who"]),
    Column("WHY", lambda row: row["why"]),
)


def page(row: Row) -> Sequence[Block]:
    """One action for people: facts, then its history."""
    facts = [(name, value) for name, value in row.items() if name != "history" and value not in (None, False, "", {})]
    width = max(len(name) for name, _ in facts)
    lines = [Text.assemble((f"{name:<{width}}  ", "bold"), _fact(value)) for name, value in facts]
    return (Text("\n").join(lines), Text(""), Grid(HISTORY_COLUMNS, row["history"], "no history"))


def _fact(value: Any) -> Text:
    return coloured(dump(value, Format.JSON, compact=True) if isinstance(value, dict | list | tuple) else value)


def actions(
    context: typer.Context,
    cluster: OneCluster = None,
    selector: Selectors = None,
    where: Conditions = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the newest.")] = 100,
    watch: Watch = None,
    *,
    every: Annotated[bool, typer.Option("--all", "-a", help="Finished ones too.")] = False,
) -> None:
    """Actions that are not finished, the newest first; with --all every one that is kept."""
    cli = Cli.of(context)
    wanted, note = Filter.of(selector, where, FIELDS), Notes()
    labels = wanted.needs_labels or cli.form is not Format.TABLE
    states = None if every else UNFINISHED

    async def read(parts: Parts) -> Answer:
        store, now = await parts.store(), cli.world.clock()
        ref = await remembered_cluster(store, cluster, cli.namespace) if cluster is not None else None
        among = place(ref, cli.namespace).evolve(action_states=states)
        rows = await action_rows(store, among, wanted, now, labels=labels, limit=limit, note=note)
        return listing(rows, COLUMNS, wanted.empty("no actions" if every else "no unfinished actions", "action"))

    cli.answer(read, watch)


def action(
    context: typer.Context, action_id: Annotated[UUID, typer.Argument(metavar="ID")], watch: Watch = None
) -> None:
    """Everything about one action: arguments, result, and each step with who and why."""
    cli = Cli.of(context)

    async def read(parts: Parts) -> Answer:
        row = await whole_action(await parts.store(), action_id, cli.world.clock())
        return Answer(row, page(row))

    cli.answer(read, watch)


def approve(
    context: typer.Context,
    action_ids: ActionIds = None,
    comment: Comment = "",
    selector: Selectors = None,
    where: Conditions = None,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="They may go beyond budgets and risk the cluster's health; needs --comment.")
    ] = False,
    digest: Annotated[
        str | None, typer.Option(help="Of a rolling action: only if that is the digest of its plan.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Approve actions, or rolling actions, that wait for approval: by id, or all actions that are selected."""
    chosen = Bulk("approve", (ActionState.PENDING_APPROVE,), selector, where, yes=yes)
    more = {**({"force": True} if force else {}), **({"digest": digest} if digest is not None else {})}
    _order(Cli.of(context), chosen, action_ids, comment, **more)


def reject(
    context: typer.Context,
    action_ids: ActionIds = None,
    comment: Comment = "",
    selector: Selectors = None,
    where: Conditions = None,
    *,
    yes: Yes = False,
) -> None:
    """Reject actions, or rolling actions, that wait for approval: by id, or all actions that are selected."""
    chosen = Bulk("reject", (ActionState.PENDING_APPROVE,), selector, where, yes=yes)
    _order(Cli.of(context), chosen, action_ids, comment)


def cancel(
    context: typer.Context,
    action_ids: ActionIds = None,
    comment: Comment = "",
    selector: Selectors = None,
    where: Conditions = None,
    *,
    yes: Yes = False,
) -> None:
    """Cancel actions, or rolling actions, that have not finished: by id, or all actions that are selected."""
    _order(Cli.of(context), Bulk("cancel", UNFINISHED, selector, where, yes=yes), action_ids, comment)


def retry(
    context: typer.Context,
    action_ids: ActionIds = None,
    comment: Comment = "",
    selector: Selectors = None,
    where: Conditions = None,
    *,
    yes: Yes = False,
) -> None:
    """Order once more what failed: new actions that point at the old ones, and wait for approval. Of a rolling action what it
    did not do. What was CANCELLED is selected only with `--where state=CANCELLED`.
    """
    failed, named = (ActionState.FAILED, ActionState.LOST), (ActionState.CANCELLED,)
    chosen = Bulk("retry", failed, selector, where, yes=yes, when_named=named)
    _order(Cli.of(context), chosen, action_ids, comment)


DONE = {"approve": "approved", "reject": "rejected", "cancel": "cancelled", "retry": "ordered once more"}


@dataclass(frozen=True, slots=True)
class Bulk:
    """What is done, and to which actions, where they are selected and not named."""

    verb: str
    states: tuple[ActionState, ...]
    selector: list[str] | None
    where: list[str] | None
    yes: bool
    when_named: tuple[ActionState, ...] = ()
    """And to actions in these, where a condition names their state: `--where state=CANCELLED`."""

    def among(self, wanted: Filter) -> tuple[ActionState, ...]:
        """The states of the actions that are looked through."""
        states = {one.value for one in wanted.conditions if one.field == "state" and one.compare is Compare.EQ}
        return (*self.states, *(state for state in self.when_named if state.value in states))

    @property
    def selects(self) -> bool:
        """Whether there are conditions."""
        return bool(self.selector or self.where)


def _chosen(cli: Cli, bulk: Bulk, action_ids: Sequence[UUID] | None) -> list[UUID]:
    """The actions that are meant; those that were selected are shown, and a person is asked.

    Raises:
        typer.BadParameter: neither ids nor conditions are given, or both; or nobody can be asked.
        typer.Abort: the person said no.
    """
    if bool(action_ids) is bulk.selects:
        message = f"say which actions to {bulk.verb}: their ids, or conditions (-l, --where)"
        raise typer.BadParameter(message)
    if action_ids:
        return list(dict.fromkeys(action_ids))
    wanted, note = Filter.of(bulk.selector, bulk.where, FIELDS), Notes()

    async def read(parts: Parts) -> list[dict[str, Any]]:
        place_ = Where(namespace=cli.namespace, action_states=bulk.among(wanted))
        return await action_rows(await parts.store(), place_, wanted, cli.world.clock(), limit=BULK_MAX, note=note)

    rows = cli.run(read)
    if not rows:
        say(f"no action is selected that could be {DONE[bulk.verb]}")
        raise typer.Exit(1)
    if not bulk.yes:
        if not sys.stdin.isatty():
            show(listing(rows, COLUMNS, ""), Format.TABLE)
            message = f"these {len(rows)} actions are selected; nobody can be asked here: say --yes"
            raise typer.BadParameter(message)
        show(listing(rows, COLUMNS, ""), Format.TABLE)
        typer.confirm(f"{bulk.verb} these {len(rows)} actions?", abort=True, err=True)
    return [UUID(row["action_id"]) for row in rows]


def _told(ordered: Action | Rolling, now: datetime) -> dict[str, Any]:
    """A row of what a flow gave back; its labels were not asked for."""
    if isinstance(ordered, Rolling):
        row = {
            "action_id": ordered.rolling_id,
            "cluster": ordered.cluster_id,
            "kind": f"rolling {ordered.plan.kind}",
            "node": None,
        }
        return {**row, **{name: getattr(ordered, name) for name in ("namespace", "state", "retry_of", "error")}}
    return {name: value for name, value in action_row(ordered, now, {}).items() if name != "labels"}


def _order(cli: Cli, bulk: Bulk, action_ids: Sequence[UUID] | None, comment: str, **more: Any) -> None:
    """One flow run per action; what goes wrong with one does not stop the others."""
    chosen = _chosen(cli, bulk, action_ids)
    cli.need_prefect()
    rows, failures = [], 0
    for action_id in chosen:
        try:
            ordered: Action | Rolling = cli.run_flow(
                bulk.verb, action_id=action_id, comment=comment, by=cli.world.user, **more
            )
        except ReplicoreError as error:
            failures += 1
            say(f"error: {error}")
        else:
            rows.append({**_told(ordered, cli.world.clock()), "comment": clean(comment) if comment else None})
    if rows or cli.form is not Format.TABLE:
        show(listing(rows, ORDERED_COLUMNS, ""), cli.form)
    if failures:
        raise typer.Exit(1)
