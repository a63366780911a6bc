"""Views of a cluster one after another, and the stream of events that tells of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import strategies as st

from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec
from blocks.models.event import Event, EventDraft, EventType
from blocks.models.node import NodeStatus, ShardRole, Version
from blocks.models.view import ClusterView
from doubles.store_samples import action
from doubles.views import NODES, NOW, REF, discovery, make_node, make_view, shard
from tasks.decide.aggregate import aggregate
from tasks.decide.diff import diff, draft
from tasks.decide.discovery import told_discovery
from tasks.decide.history import Known
from tasks.decide.moves import Key, Value
from tasks.decide.past import Records, facts_of
from tasks.decide.sync import tell

E = EventType
STEP = timedelta(seconds=10)
BORN = (
    draft(REF, E.CLUSTER_SPEC_SYNTHESISED, str(REF), source="prod/inventory"),
    draft(REF, E.CLUSTER_DISCOVERED, str(REF), **told_discovery(discovery())),
)
NODE = st.builds(
    lambda status, roles, version, zone: {
        "status": status,
        "shards": tuple(shard(role, name) for name, role in roles.items()),
        "store_version": version,
        "attributes": zone,
    },
    st.sampled_from(NodeStatus),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from(ShardRole), max_size=3),
    st.sampled_from([None, Version(number="6.0.0"), Version(number="7.0.0", checkout="c0ffee")]),
    st.sampled_from([{}, {"zone": "a"}, {"zone": None}]),
)
ACTION = st.sampled_from([None, *(state for state in ActionState if not state.final)])


@st.composite
def views_of_cycles(draw: st.DrawFn) -> ClusterView:
    """A cluster as one cycle saw it."""
    nodes = draw(st.dictionaries(st.sampled_from(NODES), NODE, max_size=3))
    order = draw(ACTION)
    view = make_view(
        *(make_node(node_id, **fields) for node_id, fields in nodes.items()),
        actions=() if order is None else (an_order(order),),
        spec=ClusterSpec(namespace="prod", cluster_id="orders", synthetic=True, version=draw(st.integers(1, 9))),
        discovery=discovery(),
    )
    return replace(view, state=aggregate(view, now=NOW))


def an_order(state: ActionState) -> Action:
    """The one action there is, in a state."""
    return action(1, state)


def told_by_cycle(before: ClusterView | None, after: ClusterView) -> tuple[EventDraft, ...]:
    """The events of a cycle, as `settle` makes them."""
    empty = make_view(spec=after.spec, discovery=after.discovery)
    had, has = (view.actions.get(an_order(ActionState.NEW).key) for view in (before or empty, after))
    if has is not None:
        acted = tuple(tell(had, has)) if had != has else ()
    else:
        acted = tuple(tell(had, had.evolve(state=ActionState.DONE))) if had is not None else ()
    return (*diff(before or empty, after), *acted)


def stream_of(groups: Iterable[Sequence[EventDraft]], first: int = 1, since: datetime = NOW) -> list[Event]:
    """Events of a stream, a group every ten seconds."""
    told = [(since + STEP * number, one) for number, group in enumerate(groups) for one in group]
    return [
        Event(
            event_id=str(sequence),
            type=one.type.value,
            stream=one.stream,
            subject=one.subject,
            sequence=sequence,
            time=time,
            data=one.data,
        )
        for sequence, (time, one) in enumerate(told, start=first)
    ]


def history_of(views: Sequence[ClusterView]) -> list[Event]:
    """All that was told by cycles that saw these views, from the beginning of the cluster on."""
    cycles = [told_by_cycle(before, after) for before, after in zip([None, *views], views, strict=False)]
    return stream_of([BORN, *cycles])


def values_of(facts: Mapping[Key, Known]) -> dict[Key, Value]:
    """Facts without when they were told."""
    return {key: known.value for key, known in facts.items()}


def known_now(view: ClusterView) -> dict[Key, Value]:
    """What events would have told of a view."""
    return values_of(facts_of(Records.of(view)))


def moment_after(number: int) -> datetime:
    """The moment after so many cycles."""
    return NOW + STEP * number


def split_at(events: Iterable[Event], at: datetime) -> tuple[list[Event], list[Event]]:
    """The events up to a moment, and those after it."""
    told = list(events)
    return [event for event in told if event.time <= at], [event for event in told if event.time > at]
