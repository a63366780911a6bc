"""How much what a source tells is: UTF-8 bytes of names, addresses and labels, and what the store adds to them."""

from __future__ import annotations

from collections.abc import Mapping

from blocks.models.source import DiscoveredNode

CLUSTER_BYTES_MAX = 6 * 1024 * 1024
"""Of one cluster. The store takes records and events of 16 MB, and an event may tell of a cluster before and after."""
_OF_NODE = 128
_OF_LABEL = 8


def labels_bytes(labels: Mapping[str, str]) -> int:
    """The size of labels, in bytes."""
    return sum(_bytes(key) + _bytes(value) + _OF_LABEL for key, value in labels.items())


def node_bytes(node: DiscoveredNode) -> int:
    """The size of a node, in bytes."""
    texts = (node.node_id, node.agent_address, node.node_class or "", node.node_group or "")
    return _OF_NODE + sum(map(_bytes, texts)) + labels_bytes(node.labels)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
