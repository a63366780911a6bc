"""Which actions another one waits for, by the blocking table, and how people are told of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from blocks.models.action import Action, ActionState
from blocks.models.report import Choice
from blocks.models.view import ClusterView
from tasks.decide.choose import in_doubt, on_silent_node, unspared
from tasks.decide.cluster_kinds import Catalogue, Mode, mode_of
from tasks.decide.gates import NAMED_MAX
from tasks.decide.reasons import Circumstances


def in_the_way(view: ClusterView, action: Action, choice: Choice, around: Circumstances) -> tuple[Action, ...]:
    """The actions whose end, or turn, an approved one waits for before it may begin, those that cannot be asked about first.

    Args:
        view: its cluster.
        action: what waits.
        choice: what may begin on the cluster now.
        around: what is known beside it.
    """
    kinds, now = around.kinds, around.now
    others = sorted(
        (one for one in view.actions.values() if not one.state.final and one.action_id != action.action_id),
        key=lambda one: (not on_silent_node(view, one, now), one.created_at, one.action_id),
    )
    nodes = [one for one in others if one.node_id is not None]
    cluster = [one for one in others if one.node_id is None]
    runs = [one for one in cluster if one.state.on_agent]
    waiting = [one for one in cluster if one.state is ActionState.PENDING_SCHEDULE and _exclusive(one, kinds)]
    held = unspared(view, kinds, now, around.namespace_holders)
    pending = [one for one in waiting if one.action_id not in held]
    if action.node_id is not None:
        return tuple([one for one in runs if _exclusive(one, kinds)] or pending[:1]) if choice.block_nodes else ()
    if not _exclusive(action, kinds):
        goes_first = [] if "EXCLUSIVE_WAITS_FOR_SILENT_NODE" in choice.reasons else pending
        return (*runs, *goes_first) if choice.block_parallel else ()
    if not choice.block_exclusive:
        return ()
    begun = [one for one in nodes if one.state.on_agent or in_doubt(view, one, now)]
    aged = "EXCLUSIVE_WAITED_LONG" in choice.reasons
    wait = [one for one in nodes if one.state is ActionState.PENDING_SCHEDULE and one not in begun and not aged]
    return (*begun, *runs, *wait)


def named(view: ClusterView, actions: Sequence[Action], now: datetime) -> str:
    """The first of some actions by their ids, kinds, states and nodes, with what to do about those that cannot be asked about."""
    words = []
    for one in actions[:NAMED_MAX]:
        where = f" on {one.node_id}" if one.node_id is not None else ""
        silent = on_silent_node(view, one, now)
        help_ = f", whose agent cannot be asked: bring it back, or `replictl cancel {one.action_id}`" if silent else ""
        words.append(f"action {one.action_id} ({one.kind}, {one.state}){where}{help_}")
    more = f"; and {len(actions) - NAMED_MAX} more" if len(actions) > NAMED_MAX else ""
    return f"{'; '.join(words)}{more}"


def _exclusive(action: Action, kinds: Catalogue) -> bool:
    return mode_of(action, kinds) is Mode.EXCLUSIVE
