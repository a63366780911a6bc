from __future__ import annotations

import pytest

from blocks.models.action import ActionState
from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import Namespace, NamespaceSettings, NamespaceStatus
from blocks.models.node import NodeStatus
from blocks.models.problem import Pending
from blocks.models.request import WorkKind
from blocks.models.source import HttpDiscovery, Source
from doubles.actions import make_action
from doubles.views import NOW, intent, later, make_node, make_view, state
from tasks.decide.timetable import follow_up, timetable

HTTP = HttpDiscovery.model_validate({"url": "http://inventory.test/"})
SOURCE = Source(namespace="prod", name="inventory", interval=30.0, http=HTTP)
SPEC = ClusterSpec(namespace="prod", cluster_id="a/b")


def _namespace(status: NamespaceStatus = NamespaceStatus.ACTIVE) -> Namespace:
    return Namespace(name="prod", status=status, settings=NamespaceSettings(orchestrate_interval=45.0))


def test_one_item_per_source_and_cluster() -> None:
    """Each has its kind, its key as the subject, and its own interval or the namespace's."""
    specs = [SPEC, SPEC.evolve(cluster_id="own", interval=5.0)]

    assert [
        (WorkKind.DISCOVER, "prod/inventory", 30.0),
        (WorkKind.ORCHESTRATE, "prod/a%2Fb", 45.0),
        (WorkKind.ORCHESTRATE, "prod/own", 5.0),
    ] == [(item.kind, item.subject, item.interval) for item in timetable([_namespace()], [SOURCE], specs)]


def test_a_source_without_an_interval_has_its_namespaces() -> None:
    """What says nothing itself is asked as often as its namespace says."""
    namespace = _namespace().evolve(settings=NamespaceSettings(discovery_interval=120.0))

    assert [120.0] == [item.interval for item in timetable([namespace], [SOURCE.evolve(interval=None)], [])]


@pytest.mark.parametrize("status", NamespaceStatus)
def test_items_are_active_where_the_namespace_may_be_looked_at(status: NamespaceStatus) -> None:
    """Switched off means inactive, not gone."""
    looks = status in {NamespaceStatus.ACTIVE, NamespaceStatus.OBSERVED}

    assert [looks, looks] == [item.active for item in timetable([_namespace(status)], [SOURCE], [SPEC])]


def test_what_is_switched_off_itself_is_inactive() -> None:
    """A disabled source and an inactive cluster have no turns."""
    items = timetable([_namespace()], [SOURCE.evolve(enabled=False)], [SPEC.evolve(active=False)])

    assert [False, False] == [item.active for item in items]


def test_what_has_no_namespace_has_no_item() -> None:
    """Without a namespace nothing is known of how to look."""
    assert () == timetable([], [SOURCE], [SPEC])


def test_nothing_under_way_nothing_to_follow() -> None:
    """A quiet cluster has its turn when the timetable says."""
    view = make_view(make_node("n1"), actions=[make_action(1), make_action(2, state=ActionState.PENDING_APPROVE)])

    assert None is follow_up(view, now=NOW)


@pytest.mark.parametrize(("age_s", "wait_s"), [(-5, 0.5), (0, 0.5), (2, 0.5), (8, 2.0), (3_600, 900.0)])
def test_what_is_under_way_is_followed_often_at_first(age_s: float, wait_s: float) -> None:
    """Soon after it began, later after a share of its age; an action and a node in transit alike."""
    running = make_action(state=ActionState.RUNNING, created_at=later(-age_s))
    joining = make_node("n1", status=NodeStatus.JOINING_CLUSTER, status_since=later(-age_s))

    assert later(wait_s) == follow_up(make_view(make_node("n1"), actions=[running]), now=NOW)
    assert later(wait_s) == follow_up(make_view(joining), now=NOW)


def test_the_youngest_thing_under_way_counts() -> None:
    """An action of hours beside one of seconds: the cluster is looked at for the young one."""
    old = make_action(1, state=ActionState.RUNNING, created_at=later(-3_600))
    young = make_action(2, intent=intent(), created_at=later(-4))

    assert later(1) == follow_up(make_view(make_node("n1"), actions=[old, young]), now=NOW)


def test_what_was_cancelled_and_goes_on_is_followed() -> None:
    """Others wait for its end at its agent."""
    left = make_action(state=ActionState.CANCELLED, left_running=True, created_at=later(-8))

    assert later(2) == follow_up(make_view(make_node("n1"), actions=[left]), now=NOW)
    assert None is follow_up(make_view(make_node("n1"), actions=[left.evolve(left_running=False)]), now=NOW)


def test_the_next_try_is_not_missed() -> None:
    """What could not be sent is looked at when it may be tried again, not an interval later; once that is due it waits its turn."""
    action = make_action(not_before=later(7), attempts=1)

    assert later(7) == follow_up(make_view(make_node("n1"), actions=[action]), now=NOW)
    assert None is follow_up(make_view(make_node("n1"), actions=[action]), now=later(7))


def test_what_must_last_is_looked_at_when_it_has() -> None:
    """A shard without primary is looked at again at the end of its grace, not an interval later; what is said is not."""
    view = make_view(
        make_node("n1"), state=state(pending=(Pending(code="NO_PRIMARY", since=later(-4), until=later(6)),))
    )
    late = make_view(
        make_node("n1"), state=state(pending=(Pending(code="NO_PRIMARY", since=later(-40), until=later(-30)),))
    )
    said = make_view(make_node("n1"), state=state(pending=(Pending(code="NO_PRIMARY", since=later(-40)),)))

    assert (later(6), later(0.5), None) == tuple(follow_up(one, now=NOW) for one in (view, late, said))
