from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blocks.models.action import ActionState
from blocks.models.cluster import ClusterSpec
from blocks.models.event import EventType
from blocks.models.look import Failure, Look, StoreInfo
from blocks.models.namespace import ForeignNodes, Namespace, NamespaceSettings
from blocks.models.node import NodeStatus, Protocol, ShardRole
from blocks.models.view import ClusterView
from doubles.actions import make_action
from doubles.views import NODES, NOW, discovery, failed_look, good_look, good_looks, later, make_node, make_view, word
from tasks.cluster_actions.table import CATALOGUE
from tasks.decide.choose import choose
from tasks.decide.settle import Settled, settle

F = ForeignNodes
OTHER = good_look("n3", store=StoreInfo(cluster_id="billing"))
S = NodeStatus


def _view(policy: ForeignNodes = F.AUTO, hold_s: float = 60.0, **parts: Any) -> ClusterView:
    settings = NamespaceSettings(foreign_nodes=policy, status_hold=hold_s)
    view = make_view(*map(make_node, NODES), namespace=Namespace(name="prod", version=1, settings=settings), **parts)
    return settle(view, good_looks(), now=NOW).view


def _foreign(view: ClusterView, look: Look = OTHER, at: float = 10) -> Settled:
    return settle(view, {**good_looks(), "n3": look}, now=later(at))


def _codes(settled: Settled, node_id: str = "n3") -> set[str]:
    assert settled.view.state is not None
    return {problem.code for problem in settled.view.state.problems if problem.node_id == node_id}


def test_what_a_foreign_node_tells_is_refused() -> None:
    """The last good facts stay, all marked stale; a problem and events say why, at once; it is never another cluster's."""
    different = good_look("n3", store=StoreInfo(cluster_id="billing", attributes={"a": 1}), shards=None)
    settled = _foreign(_view(), different)
    node = settled.view.nodes["n3"]

    assert (make_node("n3").shards, "orders", "orders", {}) == (
        node.shards,
        node.cluster_id,
        node.reported_cluster_id,
        node.store_attributes,
    )
    assert {later(10)} == {
        node.info_stale_since,
        node.store_stale_since,
        node.shards_stale_since,
        node.actions_stale_since,
    }
    assert (S.UNKNOWN, "billing") == (node.status, node.foreign_id)
    assert {"FOREIGN_NODE", "NODE_UNHEALTHY"} == _codes(settled)
    assert [EventType.NODE_STATUS_CHANGED, EventType.NODE_CHANGED] == [
        draft.type for draft in settled.change.drafts[:2]
    ]


def test_its_bad_status_is_a_symptom() -> None:
    """That it is not well is because it is another cluster's."""
    settled = _foreign(_view())
    assert settled.view.state is not None

    assert {"NODE_UNHEALTHY": "FOREIGN_NODE", "FOREIGN_NODE": None} == {
        problem.code: problem.cause for problem in settled.view.state.problems if problem.node_id == "n3"
    }


def test_seen_again_nothing_changes() -> None:
    """Refused is refused: no event, no write, whether its store says so again or cannot be asked."""
    first = _foreign(_view())
    again = _foreign(first.view, at=20)
    broken = _foreign(first.view, good_look("n3", store=Failure(reason="HTTP 500")), at=20)

    assert (True, True) == (again.change.empty, broken.change.empty)


def test_a_node_that_comes_home_is_taken_at_once() -> None:
    """When its store says this cluster again, all is fresh and told, and nothing is damped."""
    back = _foreign(_foreign(_view()).view, good_look("n3"), at=20)
    node = back.view.nodes["n3"]

    assert (S.HEALTHY, None, None, set()) == (node.status, node.foreign_id, node.shards_stale_since, _codes(back))


def test_one_that_does_not_answer_stays_refused() -> None:
    """Unreachable, and still not ours until it says so."""
    gone = _foreign(_foreign(_view(hold_s=0)).view, failed_look("n3"), at=20)

    assert (S.UNREACHABLE, "billing") == (gone.view.nodes["n3"].status, gone.view.nodes["n3"].foreign_id)


@pytest.mark.parametrize(
    ("policy", "own", "refused"),
    [
        (F.AUTO, "orders", True),
        (F.AUTO, "7f3a", False),
        (F.REFUSE, "7f3a", True),
        (F.ACCEPT, "orders", False),
    ],
)
def test_ids_are_compared_where_they_have_one_origin(policy: ForeignNodes, own: str, refused: bool) -> None:
    """Where some store says discovery's id, another is foreign; where none does (Kafka), ids differ by design."""
    settings = NamespaceSettings(foreign_nodes=policy)
    view = make_view(discovery=discovery(), namespace=Namespace(name="prod", version=1, settings=settings))
    looks = {one: good_look(one, store=StoreInfo(cluster_id=own)) for one in ("n1", "n2")}
    settled = settle(view, {**looks, "n3": OTHER}, now=NOW)

    assert refused is (settled.view.nodes["n3"].foreign_id is not None)
    mismatch = not refused and policy is not F.ACCEPT
    assert mismatch is ("IDENTITY_MISMATCH" in _codes(settled))


def test_a_clusters_own_setting_wins() -> None:
    """A sharded cluster among others says so in its spec."""
    spec = ClusterSpec(namespace="prod", cluster_id="orders", foreign_nodes=F.ACCEPT)

    assert None is _foreign(replace(_view(), spec=spec)).view.nodes["n3"].foreign_id


def test_what_was_taken_by_mistake_is_dropped() -> None:
    """Facts that a node told as another cluster's, before that was known, are not kept as this one's."""
    view = make_view(discovery=discovery())
    taken = settle(view, {"n3": OTHER}, now=NOW)
    known = _foreign(taken.view)

    assert ("billing", 1) == (taken.view.nodes["n3"].reported_cluster_id, len(taken.view.nodes["n3"].shards))
    assert (None, (), "billing") == (
        known.view.nodes["n3"].reported_cluster_id,
        known.view.nodes["n3"].shards,
        known.view.nodes["n3"].foreign_id,
    )


def test_a_new_foreign_node_has_no_facts() -> None:
    """Of a node that never told anything of this cluster only its protocol is kept, to speak to it."""
    view = replace(_view(), nodes={one: make_node(one) for one in ("n1", "n2")})
    node = _foreign(view).view.nodes["n3"]

    assert ((), None, None, Protocol.B) == (node.shards, node.store_version, node.reported_node_id, node.protocol)


def test_nothing_is_sent_to_it_and_its_actions_are_not_adopted() -> None:
    """An action for a node of this cluster must not run on another cluster's; what is unknown there is not ours."""
    ours = make_action(1, node_id="n3")
    running = make_action(2, node_id="n3", state=ActionState.RUNNING)
    strange = word(make_action(3, node_id="n3", state=ActionState.RUNNING))
    view = replace(_view(), actions={ours.action_id: ours})
    settled = _foreign(view, OTHER.evolve(details={strange.action_id: strange}))
    lost = _foreign(
        replace(_view(), actions={running.action_id: running}), OTHER.evolve(details={running.action_id: None})
    )

    assert () == choose(settled.view, CATALOGUE, now=later(10)).actions
    assert [ours.action_id] == list(settled.view.actions)
    assert ActionState.RUNNING is lost.view.actions[running.action_id].state


def test_a_foreign_primary_is_none_of_ours() -> None:
    """A shard whose last primary went to another cluster has no primary."""
    view = _view()
    primary = good_look("n1", store=StoreInfo(cluster_id="billing"))
    settled = settle(view, {**good_looks("n2", "n3"), "n1": primary}, now=later(10))

    assert ShardRole.PRIMARY is settled.view.nodes["n1"].shards[0].role
    assert settled.view.state is not None
    assert ["NO_PRIMARY"] == [pending.code for pending in settled.view.state.pending]


def test_what_stores_said_before_is_remembered() -> None:
    """All stores say another cluster at once: they said this one before, so all are refused until a person accepts it."""
    looks = {one: good_look(one, store=StoreInfo(cluster_id="billing")) for one in NODES}
    settled = settle(_view(), looks, now=later(10))
    again = settle(settled.view, looks, now=later(20))

    assert {"billing"} == {node.foreign_id for node in settled.view.nodes.values()}
    assert again.change.empty
