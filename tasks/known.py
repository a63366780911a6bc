"""What is known of one cluster, read for people to look at."""

from __future__ import annotations

from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.ids import ClusterRef
from blocks.models.node import Node
from blocks.store.protocol import Store, Where
from tasks.decide.past import Records, unfinished

UNFINISHED = tuple(state for state in ActionState if not state.final)
NODES_MAX = 100_000
ACTIONS_MAX = 1_000


async def known_of(store: Store, ref: ClusterRef) -> Records:
    """Its records as they are now: at most `NODES_MAX` nodes, and the newest `ACTIONS_MAX` unfinished actions, oldest first."""
    where = Where(namespace=ref.namespace, cluster_id=ref.cluster_id)
    actions = await store.find(Action, where.evolve(action_states=UNFINISHED), limit=ACTIONS_MAX)
    return Records(
        ref=ref,
        spec=await store.get(ClusterSpec, ref.key),
        discovery=await store.get(Discovery, ref.key),
        state=await store.get(ClusterState, ref.key),
        nodes={node.node_id: node for node in await store.find(Node, where, limit=NODES_MAX)},
        running=tuple(unfinished(action) for action in reversed(actions)),
    )
