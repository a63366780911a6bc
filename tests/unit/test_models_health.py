from __future__ import annotations

import pytest

from blocks.models.base import Fact
from blocks.models.cluster import ClusterSpec, ClusterState, Health
from blocks.models.namespace import ForeignNodes, Namespace
from blocks.models.node import ClockOff, NodeStatus, Protocol
from blocks.models.problem import Pending, Problem, Severity
from blocks.store.mapping import from_document, to_document
from doubles.views import NOW, make_node, state

NODE = make_node(
    "n1",
    pending_status=NodeStatus.UNREACHABLE,
    pending_text="refused",
    pending_since=NOW,
    protocol_before=Protocol.A,
    protocol_changed_at=NOW,
    foreign_id="billing",
    clock_off=ClockOff(action_id="a", seconds=-90.5, at=NOW),
)
STATE = state(
    health=Health.DEGRADED,
    problems=(
        Problem(code="STALE_FACTS", severity=Severity.WARNING, description="d", since=NOW, cause="X", symptoms=2),
    ),
    pending=(Pending(code="NO_PRIMARY", since=NOW, until=NOW, shards={"$a.b": NOW}, rest_since=NOW),),
    lag_worst={"$zxid.a": 3},
    lags_synthesised=1,
    versions={"mongo.replica 6.0.0": 2},
    agents={"0.1.0": 2},
    node_classes={"a.b": 1},
    node_groups={"": 1},
)
SPEC = ClusterSpec(
    namespace="prod",
    cluster_id="orders",
    primary_grace=3,
    foreign_nodes=ForeignNodes.ACCEPT,
    not_counted=("n3",),
    lag_limits={"a.b": 1, "$": 2**62},
)
NEW = {
    "pending_status", "pending_text", "pending_since", "protocol_before", "protocol_changed_at", "foreign_id", "clock_off",
    "lag_worst", "lags_synthesised", "versions", "agents", "node_classes", "node_groups", "primary_grace", "foreign_nodes",
    "lag_grace", "not_counted", "lag_limits",
}  # fmt: skip
"""Fields that records of before do not have."""


@pytest.mark.parametrize("record", [NODE, STATE, SPEC], ids=["node", "state", "spec"])
def test_what_is_stored_is_read_back(record: ClusterState | ClusterSpec) -> None:
    """With all that is new in it, whatever names the outside has given."""
    assert record == from_document(type(record), to_document(record))


@pytest.mark.parametrize(
    "record", [NODE, STATE, SPEC, Namespace(name="prod")], ids=["node", "state", "spec", "namespace"]
)
def test_records_of_before_are_read(record: ClusterState | ClusterSpec) -> None:
    """A document without what is new reads as one in which nothing of it has happened."""
    document = {name: value for name, value in to_document(record).items() if name not in NEW}
    read: Fact = from_document(type(record), document)
    defaults = {name: field for name, field in type(record).model_fields.items() if name in NEW}

    assert all(getattr(read, name) == field.get_default(call_default_factory=True) for name, field in defaults.items())


def test_what_was_seen_last() -> None:
    """The pending status where there is one; nothing is sent to a node that is seen to be away, or is not ours."""
    calm = make_node("n1")

    assert (NodeStatus.UNREACHABLE, NodeStatus.HEALTHY) == (NODE.seen_status, calm.seen_status)
    assert (False, False, True) == (
        NODE.evolve(foreign_id=None).takes_actions,
        calm.evolve(foreign_id="billing").takes_actions,
        calm.takes_actions,
    )
