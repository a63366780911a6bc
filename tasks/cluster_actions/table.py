"""All kinds of actions on clusters. A new one is a handler in a file beside this and one entry here."""

from __future__ import annotations

from tasks.cluster_actions import debug
from tasks.cluster_actions.base import ClusterAction
from tasks.cluster_actions.deprovision import Deprovision, deprovision
from tasks.cluster_actions.http import Http, http
from tasks.cluster_actions.provision import NodeProvision, Provision, node_provision, provision
from tasks.decide.cluster_kinds import ClusterKind, Mode, catalogue

CORE, PLATFORM = "core.replicante.io", "platform.replicante.io"
MINUTES, HOURS = 60.0, 3_600.0
K = ClusterKind

ACTIONS: tuple[ClusterAction, ...] = (
    ClusterAction(K(f"{CORE}/debug.success", "succeeds at once", timeout_s=1 * HOURS), debug.success),
    ClusterAction(K(f"{CORE}/debug.fail", "fails at once", timeout_s=1 * HOURS), debug.fail),
    ClusterAction(K(f"{CORE}/debug.ping", "gives back its arguments", args=debug.Anything, timeout_s=1 * HOURS), debug.ping),
    ClusterAction(K(f"{CORE}/debug.counting", "counts to `count`, one each cycle", args=debug.Counting, timeout_s=24 * HOURS), debug.counting),
    ClusterAction(K(f"{CORE}/test.success", "succeeds at once", timeout_s=10 * MINUTES), debug.success),
    ClusterAction(K(f"{CORE}/test.fail", "fails at once", timeout_s=10 * MINUTES), debug.fail),
    ClusterAction(K(f"{CORE}/test.loop", "takes `target` cycles", args=debug.Loop, timeout_s=10 * MINUTES), debug.loop),
    ClusterAction(K(f"{CORE}/http", "has an HTTP endpoint do it, step by step", args=Http, timeout_s=24 * HOURS), http, effect=True),
    ClusterAction(K(f"{CORE}/platform.provision", "adds nodes from the cluster's platform and waits for them", args=Provision, mode=Mode.NODE_PARALLEL, timeout_s=1 * HOURS), provision, effect=True),
    ClusterAction(K(f"{CORE}/platform.deprovision", "has the cluster's platform remove a node, and waits until it is gone", args=Deprovision, takes="node_id", timeout_s=1 * HOURS), deprovision, effect=True),
    ClusterAction(K(f"{PLATFORM}/node.provision", "asks a platform for nodes of its cluster (which is known already), as the arguments define them", args=NodeProvision, mode=Mode.NODE_PARALLEL, timeout_s=10 * MINUTES), node_provision, effect=True),
)  # fmt: skip

CATALOGUE = catalogue(action.kind for action in ACTIONS)
BY_NAME = {action.kind.name: action for action in ACTIONS}
