"""Every metric that we have, as data: names, labels with all the values they can have, buckets. Imports no client.

Base units (seconds, bytes) and the prefix `replicore_`. Labels are of few values that are known beforehand: never a node,
a cluster, an address or a text of somebody else. docs/metrics.md is made from these tables (`python -m
deployments.metrics_reference`), and the dashboard and the alerts are tested against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from blocks.models.cluster import Health
from blocks.models.event import EventType
from blocks.models.node import NodeStatus
from blocks.models.problem import Severity
from blocks.models.request import WorkKind

PREFIX = "replicore_"
FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SLOW_S = (0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
OTHER = "other"
"""What a label says instead of a value that is not in its table: the number of series stays what it is."""


class Kind(StrEnum):
    """What a metric is."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric."""

    name: str
    """Without the prefix."""
    kind: Kind
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """By label, every value it can have; none listed: it is bounded by something else that `help` names."""
    buckets: tuple[float, ...] = ()
    """Upper bounds, of a histogram."""
    worst: bool = False
    """Of a gauge of several processes: the greatest value counts; otherwise their sum."""

    @property
    def full_name(self) -> str:
        """As Prometheus knows it."""
        return f"{PREFIX}{self.name}"

    def known(self, label: str, value: str) -> str:
        """The value, or `other` when it is none of those that the label can have."""
        values = self.labels[label]
        return value if not values or value in values else OTHER


def _counter(name: str, text: str, **labels: tuple[str, ...]) -> Family:
    return Family(name, Kind.COUNTER, text, labels)


def _gauge(name: str, text: str, *, worst: bool = False, **labels: tuple[str, ...]) -> Family:
    return Family(name, Kind.GAUGE, text, labels, worst=worst)


def _timer(name: str, text: str, buckets: tuple[float, ...] = FAST_S, **labels: tuple[str, ...]) -> Family:
    return Family(name, Kind.HISTOGRAM, text, labels, buckets)


KINDS = tuple(kind.value for kind in WorkKind)
PHASES = ("lock", "load", "poll", "decide", "save", "dispatch", "report")
DUTIES = ("enqueue", "relay", "sweep")
MODES = ("NO_COORDINATOR", "NO_QUEUE", "NO_STORE", "COORDINATOR_WIPED", "NO_PREFECT")
CLAIMS = ("seats", "duties", "workers")

COUNTED: tuple[Family, ...] = (
    _counter("looks_total", "Looks at nodes, by what they brought.", outcome=("complete", "partial", "failed")),
    _timer("look_duration_seconds", "How long one look at a node took, all its requests together."),
    _counter("probes_total", "Cheap probes of nodes, by whether the agent answered.", outcome=("answered", "failed")),
    _timer("probe_duration_seconds", "How long one probe took."),
    _counter(
        "probe_misses_total",
        "Probes without an answer; late: this worker was itself paused or starved, so the miss says nothing.",
        verdict=("counted", "late"),
    ),
    _counter("watch_stalls_total", "How often a worker found that it had been paused or starved."),
    _counter(
        "escalations_total",
        "What the watch saw that made a cluster be looked at under its lock, by what it was.",
        cause=("silent", "back", "node", "shards"),
    ),
    _gauge("watched_nodes", "Nodes that workers probe now."),
    _counter(
        "cycles_total",
        "Cycles of clusters; transient: a failure that says nothing about the cluster (superseded, a lock in doubt).",
        outcome=("success", "skipped", "failed", "transient"),
    ),
    _timer("cycle_duration_seconds", "How long a cluster's cycle took, all its phases together."),
    _timer("cycle_phase_duration_seconds", "How long one phase of a cluster's cycle took.", phase=PHASES),
    _counter("cycle_events_total", "Events that cycles wrote."),
    _counter(
        "actions_total",
        "Actions that were sent to agents, could not be sent, or were lost by their agent.",
        outcome=("sent", "send_failed", "lost"),
    ),
    _timer(
        "work_lateness_seconds", "By how much work started after its wanted start.", SLOW_S, kind=KINDS
    ),
    _counter(
        "work_ended_total",
        "Work items that ended; transient: the failure says nothing about the item.",
        kind=KINDS,
        outcome=("success", "failed", "transient"),
    ),
    _counter(
        "events_published_total", "Events that are on the bus for good.", type=tuple(type_.value for type_ in EventType)
    ),
    _counter(
        "discoveries_total", "Runs of discovery sources by shifts.", outcome=("success", "failed", "busy")
    ),
    _timer("discovery_duration_seconds", "How long a source took to answer.", SLOW_S),
    _gauge("shifts", "Shifts that work and that wait as standby.", state=("working", "standby")),
    _gauge("duties_held", "Duties that workers of this serving process hold.", duty=DUTIES),
    _timer("duty_turn_duration_seconds", "How long one turn of a duty took.", duty=DUTIES),
    _counter("duty_failures_total", "Turns of duties that failed.", duty=DUTIES),
    _gauge("degraded", "1 while a worker is in that degraded mode.", worst=True, mode=MODES),
    _counter(
        "claims_lost_total", "Seats, presences and duties that were lost, or came into doubt, instead of being given back.", kind=CLAIMS
    ),
)  # fmt: skip
"""What workers count: each process its own, added up by the endpoint of the process that serves them."""

READ: tuple[Family, ...] = (
    _gauge("info", "1; its label says which version serves. Bounded: one value per process.", version=()),
    _gauge("seats", "How many shifts may work at once, on all machines together."),
    _gauge("fleet_readable", "1 while the figures of the fleet can be read from MongoDB, else 0 and they are absent."),
    _gauge("fleet_read_timestamp_seconds", "When the figures of the fleet were last read, in seconds since 1970."),
    _gauge("fleet_read_duration_seconds", "How long that took."),
    _gauge("clusters", "Clusters, by health.", health=tuple(health.value for health in Health)),
    _gauge("nodes", "Nodes, by status.", status=tuple(status.value for status in NodeStatus)),
    _gauge(
        "problems",
        "Problems that stand, by code and severity. Bounded by the table of rules.",
        code=(),
        severity=tuple(severity.value for severity in Severity),
    ),
    _gauge("lag_worst_seconds", "The largest known lag of a secondary, where the unit is one of time."),
    _gauge("sources", "Discovery sources, by how their last run went.", outcome=("success", "failed")),
    _gauge(
        "work_items",
        "Work items, by state; retrying: queued after a failure and not yet to be tried again.",
        state=("idle", "queued", "retrying", "claimed", "dead"),
    ),
    _gauge("work_late_worst_seconds", "How long the latest queued item has been waiting past its wanted start."),
    _gauge("outbox_events", "Events that wait for the bus."),
    _gauge("outbox_age_seconds", "How long the oldest of them has been waiting; 0 when none waits."),
)
"""What the serving process reads from the store, the same in each of them: take the maximum over instances."""

FAMILIES = (*COUNTED, *READ)
BY_NAME: Mapping[str, Family] = MappingProxyType({family.name: family for family in FAMILIES})
Samples = Mapping[str, Mapping[tuple[str, ...], float]]
"""By name of a metric (without the prefix), by the values of its labels in their order, its value."""
