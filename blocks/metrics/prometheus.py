"""What a worker counts, by `prometheus_client`, in files of its own that the serving process reads.

Guarantees: what was counted is not lost when this process is killed (the files are memory maps), and a call costs a few
microseconds and never waits for anybody. Failure modes: none that a flow would see.
"""

from __future__ import annotations

import itertools
from collections import Counter as Tally
from collections.abc import Iterable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from blocks.metrics.families import BY_NAME, COUNTED, PHASES, Family, Kind
from blocks.models.report import CycleOutcome, Report
from blocks.models.request import Ended, Request

Instrument = Counter | Gauge | Histogram


def instrument(family: Family, registry: CollectorRegistry) -> Instrument:
    """A metric of the client library, with all its series where they are known beforehand."""
    labels = tuple(family.labels)
    made: Instrument
    match family.kind:
        case Kind.COUNTER:
            made = Counter(family.full_name, family.help, labels, registry=registry)
        case Kind.GAUGE:
            mode: Literal["livemax", "livesum"] = "livemax" if family.worst else "livesum"
            made = Gauge(family.full_name, family.help, labels, registry=registry, multiprocess_mode=mode)
        case Kind.HISTOGRAM:
            made = Histogram(family.full_name, family.help, labels, registry=registry, buckets=family.buckets)
    for values in itertools.product(*family.labels.values()) if labels else ():
        made.labels(*values)
    return made


class PrometheusMetrics:
    """See `Metrics`."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Start at zero."""
        registry = registry if registry is not None else CollectorRegistry()
        self._made = {family.name: instrument(family, registry) for family in COUNTED}

    def looked(self, outcome: str, seconds: float) -> None:
        """See `Metrics.looked`."""
        self._count("looks_total", outcome=outcome)
        self._time("look_duration_seconds", seconds)

    def probed(self, seconds: float, *, answered: bool) -> None:
        """See `Metrics.probed`."""
        self._count("probes_total", outcome="answered" if answered else "failed")
        self._time("probe_duration_seconds", seconds)

    def missed(self, *, on_time: bool) -> None:
        """See `Metrics.missed`."""
        self._count("probe_misses_total", verdict="counted" if on_time else "late")

    def stalled(self) -> None:
        """See `Metrics.stalled`."""
        self._count("watch_stalls_total")

    def escalated(self, cause: str) -> None:
        """See `Metrics.escalated`."""
        self._count("escalations_total", cause=cause)

    def watching(self, nodes: int) -> None:
        """See `Metrics.watching`."""
        self._set("watched_nodes", nodes)

    def cycled(self, report: Report, *, transient: bool) -> None:
        """See `Metrics.cycled`."""
        failed = report.outcome is CycleOutcome.FAILED
        self._count("cycles_total", outcome="transient" if failed and transient else report.outcome.value)
        self._count("cycle_events_total", report.events)
        self._count("actions_total", report.actions_sent, outcome="sent")
        self._count("actions_total", report.actions_send_failed, outcome="send_failed")
        self._count("actions_total", report.actions_lost, outcome="lost")
        if report.phases_ms:
            self._time("cycle_duration_seconds", sum(report.phases_ms.values()) / 1_000)
        for phase in PHASES:
            if phase in report.phases_ms:
                self._time("cycle_phase_duration_seconds", report.phases_ms[phase] / 1_000, phase=phase)

    def discovered(self, outcome: str, seconds: float | None = None) -> None:
        """See `Metrics.discovered`."""
        self._count("discoveries_total", outcome=outcome)
        if seconds is not None:
            self._time("discovery_duration_seconds", seconds)

    def started(self, request: Request) -> None:
        """See `Metrics.started`."""
        self._time("work_lateness_seconds", request.late_s, kind=request.kind)

    def ended(self, kind: str, ended: Ended) -> None:
        """See `Metrics.ended`."""
        outcome = "success" if ended.error is None else "transient" if ended.transient else "failed"
        self._count("work_ended_total", kind=kind, outcome=outcome)

    def published(self, types: Iterable[str]) -> None:
        """See `Metrics.published`."""
        for type_, amount in Tally(types).items():
            self._count("events_published_total", amount, type=type_)

    def shift(self, state: str | None) -> None:
        """See `Metrics.shift`."""
        for one in BY_NAME["shifts"].labels["state"]:
            self._set("shifts", state == one, state=one)

    def duty(self, name: str, *, held: bool) -> None:
        """See `Metrics.duty`."""
        self._set("duties_held", held, duty=name)

    def turned(self, duty: str, seconds: float, *, failed: bool) -> None:
        """See `Metrics.turned`."""
        self._time("duty_turn_duration_seconds", seconds, duty=duty)
        self._count("duty_failures_total", failed, duty=duty)

    def degraded(self, mode: str, *, on: bool) -> None:
        """See `Metrics.degraded`."""
        self._set("degraded", on, mode=mode)

    def lost(self, kind: str) -> None:
        """See `Metrics.lost`."""
        self._count("claims_lost_total", kind=kind)

    def _count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        if amount:
            self._of(name, labels).inc(amount)  # type: ignore[union-attr]  # the table says which kind it is

    def _set(self, name: str, value: float, **labels: str) -> None:
        self._of(name, labels).set(float(value))  # type: ignore[union-attr]  # the same

    def _time(self, name: str, seconds: float, **labels: str) -> None:
        self._of(name, labels).observe(max(0.0, seconds))  # type: ignore[union-attr]  # the same

    def _of(self, name: str, labels: dict[str, str]) -> Instrument:
        made, family = self._made[name], BY_NAME[name]
        return made.labels(*(family.known(label, labels[label]) for label in family.labels)) if labels else made
