from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from blocks.models.action import Action, ActionState
from blocks.models.cluster import Health
from blocks.models.event import EventType
from blocks.models.look import Failure, Look, ShardsInfo, StoreInfo
from blocks.models.node import Node, NodeStatus, Offset, ShardRole
from blocks.models.record import Change, RecordKey
from blocks.models.view import ClusterView
from doubles.actions import action_id, make_action
from doubles.views import (
    NODES,
    NOW,
    discovery,
    failed_look,
    good_look,
    good_looks,
    later,
    make_node,
    make_view,
    shard,
    word,
)
from tasks.decide.settle import OFFSETS_EVERY_S, settle

BROKEN = Failure(reason="HTTP 500", status=500)


def _observed(view: ClusterView | None = None, looks: dict[str, Look] | None = None) -> ClusterView:
    """A cluster as the store has it after a first cycle at `NOW`."""
    settled = settle(view or make_view(*map(make_node, NODES)), looks or good_looks(), now=NOW)
    return settled.view


@st.composite
def _looks(draw: st.DrawFn) -> dict[str, Look]:
    looks: dict[str, Look] = {}
    for node_id in NODES:
        role = draw(st.sampled_from(ShardRole))
        parts: dict[str, Any] = {"shards": ShardsInfo(shards=(shard(role),))}
        match draw(st.sampled_from(["good", "failed", "no store", "no shards", "no actions", "none"])):
            case "good":
                looks[node_id] = good_look(node_id, **parts)
            case "failed":
                looks[node_id] = failed_look(node_id)
            case "no store":
                looks[node_id] = good_look(node_id, **{**parts, "store": BROKEN})
            case "no shards":
                looks[node_id] = good_look(node_id, shards=BROKEN)
            case "no actions":
                looks[node_id] = good_look(node_id, **{**parts, "actions": BROKEN})
            case _:
                continue
    return looks


@given(_looks(), _looks())
def test_the_same_looks_again_change_nothing(first: dict[str, Look], second: dict[str, Look]) -> None:
    """Whatever has been seen for a while: seen again it is an empty change, without event, and since when things are stays."""
    before = _observed(make_view(discovery=discovery()), first)
    once = settle(settle(before, second, now=later(60)).view, second, now=later(120))
    again = settle(once.view, second, now=later(180))

    assert Change() == again.change
    assert once.view.nodes == again.view.nodes
    assert once.view.state.problems == again.view.state.problems


@given(_looks())
def test_a_change_says_all_that_is_new(looks: dict[str, Look]) -> None:
    """Every node that is not as it was is in the change; none that is as it was."""
    before = _observed()
    settled = settle(before, looks, now=later(60))
    saved = {record.node_id for record in settled.change.puts if isinstance(record, Node)}

    assert {node_id for node_id in NODES if settled.view.nodes[node_id] != before.nodes[node_id]} == saved


def test_first_cycle_of_a_new_cluster() -> None:
    """All nodes added, health told, everything saved in one change."""
    settled = settle(make_view(discovery=discovery()), good_looks(), now=NOW)
    types = [draft.type for draft in settled.change.drafts]

    assert 3 == types.count(EventType.NODE_ADDED)
    assert EventType.CLUSTER_HEALTH_CHANGED is types[-1]
    assert (4, Health.HEALTHY, 3, 0) == (
        len(settled.change.puts),
        settled.view.state.health,
        settled.synced,
        settled.failed,
    )


def test_an_unreachable_node_keeps_its_facts_and_is_told_of() -> None:
    """One node's failure is that node's status, a problem and an event; the others are as they were."""
    settled = settle(_observed(), {**good_looks(), "n3": failed_look("n3")}, now=later(60))
    node = settled.view.nodes["n3"]

    assert (NodeStatus.UNREACHABLE, later(60), make_node("n3").shards) == (
        node.status,
        node.shards_stale_since,
        node.shards,
    )
    assert [
        EventType.NODE_STATUS_CHANGED,
        EventType.PROBLEM_RAISED,
        EventType.PROBLEM_RAISED,
        EventType.CLUSTER_HEALTH_CHANGED,
    ] == [draft.type for draft in settled.change.drafts]
    assert (2, 1) == (settled.synced, settled.failed)


def test_a_node_without_a_look_stays_as_it_was() -> None:
    """Who was not looked at has not changed."""
    before = _observed()
    settled = settle(before, {"n1": good_look("n1")}, now=later(60))

    assert before.nodes == settled.view.nodes
    assert Change() == settled.change


def test_only_a_look_at_all_nodes_observes_the_cluster() -> None:
    """When the cluster was seen is when all of it was: a partial look does not make it look fresh."""
    before = _observed()
    partly = settle(before, {"n1": good_look("n1")}, now=later(60)).view.state
    whole = settle(before, good_looks(), now=later(60)).view.state

    assert (NOW, later(60)) == (partly.observed_at, whole.observed_at)


def test_a_node_that_left_goes_with_its_actions() -> None:
    """No longer discovered: its record is deleted, its unfinished actions are cancelled, both are told."""
    actions = [make_action(1, node_id="n3", state=ActionState.RUNNING), make_action(2)]
    before = replace(
        _observed(), actions={action.action_id: action for action in actions}, discovery=discovery(["n1", "n2"])
    )
    settled = settle(before, good_looks("n1", "n2"), now=later(60))

    assert (RecordKey(Node, "prod/orders/n3"),) == settled.change.deletes
    assert [(action_id(1), ActionState.CANCELLED)] == [(a.action_id, a.state) for a in settled.change.swaps]
    assert {EventType.NODE_REMOVED, EventType.ACTION_FINISHED} <= {draft.type for draft in settled.change.drafts}
    assert 2 == settled.view.state.nodes_total


def test_an_action_for_a_node_that_never_was_does_not_wait_for_ever() -> None:
    """An action whose node left before it was ever seen is cancelled as well."""
    action = make_action(1, node_id="n9")
    before = replace(_observed(), actions={action.action_id: action})
    settled = settle(before, good_looks(), now=later(60))

    assert [ActionState.CANCELLED] == [action.state for action in settled.change.swaps]


def test_what_lapses_as_its_node_goes_is_changed_once() -> None:
    """Two swaps of one action would never be saved, and the cluster never be looked at again."""
    action = make_action(1, node_id="n3", state=ActionState.PENDING_APPROVE)
    before = make_view(make_node("n1"), actions=[action], discovery=discovery(["n1"]))
    settled = settle(before, {"n1": good_look("n1")}, now=later(30 * 86_400))

    assert [(action.action_id, ActionState.CANCELLED)] == [
        (one.action_id, one.state) for one in settled.change.swaps if isinstance(one, Action)
    ]


def test_an_agents_word_is_saved_as_a_swap() -> None:
    """Actions are changed by compare-and-set on their version, never overwritten."""
    action = make_action(1, state=ActionState.RUNNING, version=4)
    before = replace(_observed(), actions={action.action_id: action})
    settled = settle(
        before, {**good_looks(), "n1": good_look("n1", word(action, state=ActionState.DONE))}, now=later(60)
    )

    assert [(ActionState.DONE, 5)] == [(a.state, a.version) for a in settled.change.swaps]
    assert ActionState.DONE is settled.view.actions[action.action_id].state


def _moving(offset: int) -> dict[str, Look]:
    at = shard(ShardRole.PRIMARY).evolve(commit_offset=Offset(unit="seconds", value=offset))
    return {**good_looks(), "n1": good_look("n1", shards=ShardsInfo(shards=(at,)))}


def test_offsets_alone_are_no_change_and_saved_now_and_then() -> None:
    """Moving offsets make no event and no change; they are saved once their time has come."""
    before = _observed()
    saved = replace(before, state=before.state.evolve(offsets_at=NOW))
    soon = settle(saved, _moving(2_000), now=later(OFFSETS_EVERY_S - 1))
    due = settle(saved, _moving(2_000), now=later(OFFSETS_EVERY_S))

    assert (Change(), ()) == (soon.change, soon.moved)
    assert (Change(), ["n1"]) == (due.change, [node.node_id for node in due.moved])


def test_an_attribute_of_another_type_is_saved_and_told() -> None:
    """1 and true are equal to Python; the node is saved all the same."""
    before = make_view(make_node("n1", store_attributes={"a": 1}), discovery=discovery(["n1"]))
    look = good_look("n1", store=StoreInfo(cluster_id="orders", attributes={"a": True}))
    settled = settle(before, {"n1": look}, now=later(60))

    assert ["{'a': True}"] == [repr(put.store_attributes) for put in settled.change.puts if isinstance(put, Node)]
    assert EventType.NODE_CHANGED in {draft.type for draft in settled.change.drafts}


def test_a_cluster_without_discovery_has_no_nodes() -> None:
    """Declared and not yet discovered: UNKNOWN, nothing to look at."""
    settled = settle(make_view(discovery=None), {}, now=NOW)

    assert (Health.UNKNOWN, 0) == (settled.view.state.health, settled.view.state.nodes_total)


def test_lost_actions_are_counted() -> None:
    """What an agent no longer has is LOST and in the report's count."""
    action = make_action(1, state=ActionState.NEW)
    before = replace(_observed(), actions={action.action_id: action})
    looks = {**good_looks(), "n1": good_look("n1", details={action.action_id: None})}

    assert 1 == settle(before, looks, now=later(60)).lost
