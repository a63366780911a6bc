"""Which nodes of a cluster a `NodeSearch` means, in its order; and the labels that are in effect for clusters and nodes.

Attributes of a node, by name: `ns_id`, `cluster_id`, `node_id`, `node_status`, `node_class`, `node_group`, `store_id`,
`address.NAME`, `agent_version.{number,checkout,taint}`, `store_version.{number,checkout,extra}`, `shard.count.ROLE`,
`label.KEY`; any other name is one of the attributes that its agent told, the node's before the store's.

Values of different types are in the order number < string < bool < null, and what is set comes before what is not; a `-`
before the name turns all of that round. Only `unset` matches what is not set. Numbers are compared as numbers, and
`true` is not 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final

from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.node import Attribute, Node, ShardRole, Version
from blocks.models.search import Matcher, MatchOp, NodeSearch
from blocks.models.view import ClusterView

Tags = Mapping[str, str]
"""Labels by key."""


class _Missing(Enum):
    MISSING = "missing"


_MISSING: Final = _Missing.MISSING
_Value = Attribute | _Missing
_Getter = Callable[[Node, Tags], _Value]


# -- labels in effect ------------------------------------------------------------------------------------------------------


def labels_of_cluster(spec: ClusterSpec | None, discovery: Discovery | None) -> dict[str, str]:
    """The labels of a cluster: those of its manifest over those of its source."""
    return {**(discovery.labels if discovery else {}), **(spec.labels if spec else {})}


def labels_of_node(spec: ClusterSpec | None, discovery: Discovery | None, node_id: str) -> dict[str, str]:
    """The labels of a node: its own over its cluster's, and of each those of the manifest over those of the source."""
    told = next((node.labels for node in discovery.nodes if node.node_id == node_id), {}) if discovery else {}
    wanted = spec.node_labels.get(node_id, {}) if spec else {}
    return {**labels_of_cluster(spec, discovery), **told, **wanted}


def labels_of_nodes(spec: ClusterSpec | None, discovery: Discovery | None) -> dict[str, dict[str, str]]:
    """By node id, the labels of all nodes that have labels of their own; the others have their cluster's."""
    cluster = labels_of_cluster(spec, discovery)
    told = {node.node_id: node.labels for node in discovery.nodes if node.labels} if discovery else {}
    wanted = spec.node_labels if spec else {}
    return {node_id: {**cluster, **told.get(node_id, {}), **wanted.get(node_id, {})} for node_id in {*told, *wanted}}


# -- searching -------------------------------------------------------------------------------------------------------------


def search(view: ClusterView, wanted: NodeSearch) -> tuple[Node, ...]:
    """The nodes of a cluster that match all criteria, in the wanted order (then by id), at most so many."""
    labels = labels_of_nodes(view.spec, view.discovery)
    return search_nodes(view.nodes.values(), wanted, labels, labels_of_cluster(view.spec, view.discovery))


def search_nodes(
    nodes: Iterable[Node], wanted: NodeSearch, labels: Mapping[str, Tags], cluster_labels: Tags
) -> tuple[Node, ...]:
    """The same among these nodes of one cluster.

    Args:
        nodes: the nodes of one cluster.
        wanted: what is searched for.
        labels: by node id, the labels of nodes that have some of their own.
        cluster_labels: the labels of all others.
    """

    def value(getter: _Getter, node: Node) -> _Value:
        return getter(node, labels.get(node.node_id, cluster_labels))

    criteria = [(_getter(name), matcher) for name, matcher in wanted.matches.items()]
    found = [node for node in nodes if all(_matches(matcher, value(getter, node)) for getter, matcher in criteria)]
    found.sort(key=lambda node: node.node_id)
    for name in reversed(wanted.sort_by):  # sorting is stable: the one that counts most comes last
        getter = _getter(name[1:] if name[0] in "+-" else name)
        found.sort(key=lambda node, getter=getter: _place(value(getter, node)), reverse=name[0] == "-")  # type: ignore[misc]
    return tuple(found[: wanted.max_results])


def _matches(matcher: Matcher, value: _Value) -> bool:
    if isinstance(value, _Missing):
        return matcher.op is MatchOp.UNSET
    operand, operands = "value" in matcher.model_fields_set, matcher.values
    match matcher.op:
        case MatchOp.EQ:
            return operand and _equal(value, matcher.value)
        case MatchOp.NE:
            return operand and not _equal(value, matcher.value)
        case MatchOp.IN:
            return operands is not None and any(_equal(value, one) for one in operands)
        case MatchOp.NOT_IN:
            return operands is not None and not any(_equal(value, one) for one in operands)
        case _:
            return matcher.op is MatchOp.SET


def _equal(one: Attribute, other: Attribute) -> bool:
    return _rank(one) == _rank(other) and one == other


def _rank(value: Attribute) -> int:
    match value:
        case None:
            return 3
        case bool():
            return 2
        case str():
            return 1
        case _:
            return 0


def _place(value: _Value) -> tuple[bool, int, Any]:
    """What nodes are sorted by. Values are only compared where the types are the same; NaN is behind all numbers."""
    if isinstance(value, _Missing):
        return True, 0, 0
    if value is None:
        return False, _rank(value), 0
    if isinstance(value, float) and math.isnan(value):
        return False, _rank(value), (True, 0)
    return False, _rank(value), (False, value)


# -- attributes ------------------------------------------------------------------------------------------------------------


def _getter(name: str) -> _Getter:
    """What reads the attribute of that name; its own names are never taken from what an agent told."""
    fixed = _FIXED.get(name)
    if fixed is not None:
        return lambda node, _: _set(fixed(node))
    prefix, part = next(((prefix, name[len(prefix) :]) for prefix in _PARTS if name.startswith(prefix)), ("", name))
    if prefix:
        return _PARTS[prefix](part)
    return lambda node, _: node.attributes[name] if name in node.attributes else _told_of_store(node, name)


def _told_of_store(node: Node, name: str) -> _Value:
    return node.store_attributes.get(name, _MISSING)


def _set(value: Attribute) -> _Value:
    """Of a field of ours None means that it is not set; only an agent's attribute can be null."""
    return _MISSING if value is None else value


_FIXED: Final[Mapping[str, Callable[[Node], Attribute]]] = {
    "ns_id": lambda node: node.namespace,
    "cluster_id": lambda node: node.cluster_id,
    "node_id": lambda node: node.node_id,
    "node_status": lambda node: node.status.value,
    "node_class": lambda node: node.node_class,
    "node_group": lambda node: node.node_group,
    "store_id": lambda node: node.store_id,
}


def _address(part: str) -> _Getter:
    return lambda node, _: _set(node.addresses.get(part))


def _label(part: str) -> _Getter:
    return lambda _, labels: _set(labels.get(part))


def _agent_version(part: str) -> _Getter:
    return lambda node, _: _version(node.agent_version, part)


def _store_version(part: str) -> _Getter:
    return lambda node, _: _version(node.store_version, part)


def _version(version: Version | None, part: str) -> _Value:
    return _set(getattr(version, part)) if version is not None and part in Version.model_fields else _MISSING


def _shard_count(part: str) -> _Getter:
    known = part in _COUNTED

    def count(node: Node, _: Tags) -> _Value:
        number = sum(_role(shard.role, shard.role_text) == part for shard in node.shards)
        return number if known or number else _MISSING

    return count


def _role(role: ShardRole, text: str | None) -> str:
    return text or role.value if role is ShardRole.OTHER else role.value


_COUNTED: Final = frozenset({ShardRole.PRIMARY.value, ShardRole.SECONDARY.value, ShardRole.RECOVERING.value})
"""Roles that every node has a number of shards in; of other roles it has one if it has any."""

_PARTS: Final[Mapping[str, Callable[[str], _Getter]]] = {
    "address.": _address,
    "agent_version.": _agent_version,
    "store_version.": _store_version,
    "shard.count.": _shard_count,
    "label.": _label,
}
