"""What is known of kinds of stores by their name, which each agent spells in its own way."""

from __future__ import annotations

from typing import Final

from blocks.models.node import Node

FAMILIES: Final = ("mongo", "kafka", "zookeeper")
"""How the names of those begin that have several spellings (MongoDB, mongo.replica), whatever the case."""


def family(store_id: str) -> str:
    """Of which family a store is; one that is not known is its own."""
    name = store_id.casefold()
    return next((one for one in FAMILIES if name.startswith(one)), name)


def release(node: Node) -> tuple[str, str] | None:
    """Family and version of a node's store, without what only says how it was built; None where it is not known now."""
    if node.store_id is None or node.store_version is None or node.info_stale_since is not None:
        return None
    return family(node.store_id), node.store_version.number.partition("+")[0].strip()
