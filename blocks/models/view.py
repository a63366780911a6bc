"""A view: everything stored about one cluster at one moment, as the pure functions take it and give it back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from blocks.models.action import Action
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.gate import Gate
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace
from blocks.models.node import Node
from blocks.models.request import Request
from blocks.models.rolling import Rolling


@dataclass(frozen=True, slots=True)
class ClusterView:
    """One cluster with its nodes and unfinished actions."""

    namespace: Namespace
    spec: ClusterSpec
    discovery: Discovery | None = None
    state: ClusterState | None = None
    nodes: dict[str, Node] = field(default_factory=dict)
    """By node id."""
    actions: dict[str, Action] = field(default_factory=dict)
    """By action id: unfinished ones, those cancelled here that may still run on their agents, and those that finished in
    this very cycle.
    """
    rollings: dict[str, Rolling] = field(default_factory=dict)
    """By id: rolling actions that are not finished, and those of unfinished actions; the oldest order first."""
    gates: tuple[Gate, ...] = ()
    """Those in front of it that have not ended."""
    dead_work: Request | None = None
    """The cluster's own work item, where that is dead and somebody looked; it is not stored with the cluster."""

    @property
    def ref(self) -> ClusterRef:
        """The cluster's name."""
        return self.spec.ref


def in_front_of(gates: Iterable[Gate], spec: ClusterSpec, discovery: Discovery | None) -> tuple[Gate, ...]:
    """Those gates that are for a cluster, by its place and its labels."""
    labels = {**(discovery.labels if discovery is not None else {}), **spec.labels}
    return tuple(
        gate
        for gate in gates
        if gate.namespace in {None, spec.namespace}
        and gate.cluster_id in {None, spec.cluster_id}
        and gate.labels.items() <= labels.items()
    )
