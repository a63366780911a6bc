"""What all listings have in common: `--selector`, `--where`, the labels that rows carry, and saying what was cut off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import typer

from blocks.errors import InvalidInputError
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.event import Event, EventType
from blocks.models.ids import ClusterRef
from blocks.models.record import Record
from blocks.models.request import WorkKind
from blocks.models.source import Source
from blocks.store.protocol import Store, Where
from deployments.cli.output import Row, say
from tasks.decide.conditions import Condition, Fields, parse_conditions
from tasks.decide.search import labels_of_cluster, labels_of_nodes
from tasks.decide.select import Selector, parse_selectors

READ_MAX = 100_000
"""So many records of one kind are read for a listing at most."""
SIFTED_MAX = 10_000
"""Of actions and events, of which there may be any number, so many of the newest are looked through at most."""

SOURCE_LOCK = "source:"
"""Before the names of locks of sources."""

R = TypeVar("R", bound=Record)
T = TypeVar("T")
Note = Callable[[str], None]
"""Takes a sentence for the person, beside the answer."""


class Notes:
    """Says each sentence once, however often a watched listing comes to it."""

    def __init__(self) -> None:
        """Begin with nothing said."""
        self._said: set[str] = set()

    def __call__(self, sentence: str) -> None:
        """Say it, unless that has been done."""
        if sentence not in self._said:
            self._said.add(sentence)
            say(sentence)


async def found(store: Store, type_: type[R], where: Where | None, note: Note) -> list[R]:
    """All records, at most `READ_MAX`: if there are more, that is said."""
    records = await store.find(type_, where, limit=READ_MAX + 1)
    return cut(records, READ_MAX, note, f"only the first {READ_MAX} records ({type_.__name__}) were read")


def place(ref: ClusterRef | None, namespace: str | None) -> Where:
    """What is of this cluster, or of the namespace, or all there is."""
    return Where(namespace=namespace) if ref is None else Where(namespace=ref.namespace, cluster_id=ref.cluster_id)


def cut(rows: Sequence[T], limit: int, note: Note, sentence: str) -> list[T]:
    """The first `limit` rows; if there are more, that is said."""
    if len(rows) > limit:
        note(f"note: {sentence}")
    return list(rows[:limit])


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows of a listing are wanted."""

    selector: Selector
    conditions: tuple[Condition, ...]

    @classmethod
    def of(cls, selectors: Sequence[str] | None, conditions: Sequence[str] | None, fields: Fields) -> Filter:
        """Read what stands on the command line.

        Raises:
            typer.BadParameter: it is no selector, or no condition on these fields.
        """
        try:
            return cls(parse_selectors(selectors or ()), parse_conditions(conditions or (), fields))
        except InvalidInputError as error:
            raise typer.BadParameter(str(error)) from error

    @property
    def narrows(self) -> bool:
        """Whether it may leave anything out."""
        return bool(self.selector.requirements or self.conditions)

    @property
    def needs_labels(self) -> bool:
        """Whether it asks for labels."""
        asked = any(condition.field.partition(".")[0] == "labels" for condition in self.conditions)
        return asked or bool(self.selector.requirements)

    def keeps(self, row: Row) -> bool:
        """Whether a row is wanted; it has its `labels`."""
        return self.selector.matches(row.get("labels", {})) and all(
            condition.holds(row) for condition in self.conditions
        )

    def kept(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows that are wanted."""
        return [row for row in rows if self.keeps(row)] if self.narrows else list(rows)

    def empty(self, nothing: str, what: str) -> str:
        """What is said of a listing without rows."""
        return f"no {what} that -l and --where ask for" if self.narrows else nothing


class Tags:
    """The labels in effect for clusters, nodes and sources, as far as they were loaded."""

    def __init__(self) -> None:
        """Begin with none."""
        self._specs: dict[str, ClusterSpec] = {}
        self._discoveries: dict[str, Discovery] = {}
        self._sources: dict[str, Mapping[str, str]] = {}
        self._nodes: dict[str, dict[str, dict[str, str]]] = {}

    @classmethod
    async def load(cls, store: Store, where: Where | None, note: Note, *, sources: bool = False) -> Tags:
        """One query for manifests, one for discoveries, one for sources where their labels are wanted too."""
        tags = cls()
        for spec in await found(store, ClusterSpec, where, note):
            tags.add(spec)
        for discovery in await found(store, Discovery, where, note):
            tags.add(discovery)
        for source in await found(store, Source, where, note) if sources else ():
            tags.add(source)
        return tags

    def add(self, record: ClusterSpec | Discovery | Source) -> None:
        """Take the labels of a record, or its new ones."""
        match record:
            case ClusterSpec():
                self._specs[record.key] = record
            case Discovery():
                self._discoveries[record.key] = record
            case Source():
                self._sources[record.key] = record.labels
        self._nodes.pop(record.key, None)

    def of_cluster(self, key: str) -> dict[str, str]:
        """Of a cluster."""
        return labels_of_cluster(self._specs.get(key), self._discoveries.get(key))

    def of_nodes(self, key: str) -> Mapping[str, Mapping[str, str]]:
        """By node id, of those nodes of a cluster that have labels of their own."""
        if key not in self._nodes:
            self._nodes[key] = labels_of_nodes(self._specs.get(key), self._discoveries.get(key))
        return self._nodes[key]

    def of_node(self, key: str, node_id: str | None) -> dict[str, str]:
        """Of a node of a cluster; without an id, of the cluster."""
        own = self.of_nodes(key).get(node_id) if node_id is not None else None
        return self.of_cluster(key) if own is None else dict(own)

    def of_work(self, kind: str, subject: str) -> dict[str, str]:
        """Of what a work item is about."""
        if kind == WorkKind.DISCOVER:
            return dict(self._sources.get(subject, {}))
        return self.of_cluster(subject) if kind == WorkKind.ORCHESTRATE else {}

    def of_lock(self, name: str) -> dict[str, str]:
        """Of what a lock keeps to one holder."""
        kind = WorkKind.DISCOVER if name.startswith(SOURCE_LOCK) else WorkKind.ORCHESTRATE
        return self.of_work(kind, name.removeprefix(SOURCE_LOCK))

    def of_event(self, event: Event) -> dict[str, str]:
        """Of the node, cluster or source that an event is about."""
        if event.type.startswith("io.replicante.source."):
            return self.of_work(WorkKind.DISCOVER, event.subject)
        if event.type.startswith("io.replicante.work."):
            kind, _, subject = event.subject.partition(":")
            return self.of_work(kind, subject)
        node_id = event.data.get("node_id")
        return self.of_node(event.stream, node_id if isinstance(node_id, str) else None)

    async def learn(self, store: Store, event: Event) -> None:
        """Read again what an event says has been changed."""
        records: list[ClusterSpec | Discovery | Source | None] = []
        if event.type == EventType.SOURCE_APPLIED:
            records.append(await store.get(Source, event.subject))
        elif event.type in _RELABELLING:
            key = ClusterRef.from_key(event.stream).key
            records += [await store.get(ClusterSpec, key), await store.get(Discovery, key)]
        for record in records:
            if record is not None:
                self.add(record)


_RELABELLING = frozenset(
    {
        EventType.CLUSTER_SPEC_APPLIED,
        EventType.CLUSTER_SPEC_SYNTHESISED,
        EventType.CLUSTER_DISCOVERED,
        EventType.CLUSTER_DISCOVERY_CHANGED,
        EventType.CLUSTER_RETURNED,
    }
)
