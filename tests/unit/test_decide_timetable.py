from __future__ import annotations

import pytest

from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import Namespace, NamespaceSettings, NamespaceStatus
from blocks.models.request import WorkKind
from blocks.models.source import HttpDiscovery, Source
from tasks.decide.timetable import timetable

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
