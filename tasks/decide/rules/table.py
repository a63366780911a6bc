"""All rules. A new one is a pure function beside this and one entry here; docs and tests read the table."""

from __future__ import annotations

from blocks.models.node import NodeStatus
from blocks.models.problem import Severity
from tasks.decide.rules import cluster, nodes
from tasks.decide.rules.base import Rule

C, W, I = Severity.CRITICAL, Severity.WARNING, Severity.INFO  # noqa: E741 - the table is read by columns
GONE = ("CLUSTER_NOT_SERVING", "MAJORITY_LOST")
UNKNOWN = "CLUSTER_UNKNOWN"
"""Whether it serves nobody knows: neither does its health."""
UNASKED = (*GONE, UNKNOWN, "MAJORITY_UNKNOWN")
HEADLESS = ("NO_PRIMARY", "PRIMARY_UNKNOWN")
FOREIGN = "FOREIGN_NODE"
WORK_DEAD = "WORK_DEAD"
BEHIND = "COPIES_NOT_IN_SYNC"
REWOUND = "OFFSET_WENT_BACK"
"""What happened, not what is: it is over as soon as somebody has seen it."""
NODE_DOWN = (
    "NODE_UNREACHABLE",
    "STORE_UNAVAILABLE",
    FOREIGN,
    "NODE_NOT_IN_CLUSTER",
    "NODE_UNHEALTHY",
    "NODE_INCOMPLETE",
)
LOST = tuple(code for code in NODE_DOWN if code != "NODE_INCOMPLETE")
"""What one more of takes the majority."""
S = NodeStatus
grace = cluster.primary_grace_s
status = nodes.with_status

RULES: tuple[Rule, ...] = (
    Rule("CLUSTER_NOT_SERVING", C, "no node of the cluster serves", "look at its nodes, worst first", cluster.not_serving),
    Rule("MAJORITY_LOST", C, "the majority of the nodes is gone", "bring nodes back before anything else", cluster.majority_lost),
    Rule(UNKNOWN, W, "no node is known to serve, and some cannot be asked", "check the agents and the network between, then the stores", cluster.unknown, GONE),
    Rule("MAJORITY_UNKNOWN", W, "so many nodes cannot be asked that it is not known whether a majority serves", "check their agents and the network between, then their stores", cluster.majority_unknown),
    Rule("NO_PRIMARY", C, "a shard has no primary", "look at the nodes that hold it", cluster.no_primary, GONE, grace),
    Rule("PRIMARY_UNKNOWN", W, "a shard has no known primary, and a node that has it cannot be asked", "check that node: the shard may be served by it, or by none", cluster.primary_unknown, (*UNASKED, "NODE_UNREACHABLE"), grace),
    Rule("SEVERAL_PRIMARIES", C, "a shard has more than one primary", "suspect a partition; stop writes to the older one", cluster.several_primaries, (), grace),
    Rule(FOREIGN, W, "a node belongs to another cluster; what it tells is refused", "mend the discovery record or the node's store; set foreign_nodes to accept where ids differ by design", nodes.foreign),
    Rule("NODE_UNREACHABLE", W, "the agent of a node does not answer", "check the machine, the agent and the network between", nodes.unreachable, UNASKED),
    Rule("STORE_UNAVAILABLE", W, "the agent answers, its store does not", "check the store's process and its log", status(S.UNAVAILABLE), GONE),
    Rule("NODE_NOT_IN_CLUSTER", W, "a node is not a member of its cluster", "initialise the cluster (cluster.init) or add the node (cluster.add)", status(S.NOT_IN_CLUSTER), GONE),
    Rule("NODE_UNHEALTHY", W, "a node says that it is not well", "see the evidence and the store's log", status(S.UNHEALTHY, S.UNKNOWN), (FOREIGN, *GONE)),
    Rule("NODE_INCOMPLETE", W, "a node is well and could not tell all of it", "see the evidence; facts marked stale are the last good ones", status(S.INCOMPLETE), GONE),
    Rule("NODE_IN_TRANSIT", I, "a node is joining or leaving", "wait; it ends by itself", status(S.JOINING_CLUSTER, S.LEAVING_CLUSTER)),
    Rule("MAJORITY_AT_RISK", W, "one more loss takes the majority", "bring the lost nodes back", cluster.majority_at_risk, LOST),
    Rule("STALE_FACTS", W, "a part of a node could not be read for long", "see the node's notes; what is marked stale is the last good answer", nodes.stale, NODE_DOWN),
    Rule(BEHIND, W, "copies of shards are not in sync", "check the node's load, disk and network; until they have caught up there are fewer copies to fall back on", nodes.not_in_sync, (*GONE, *HEADLESS, *NODE_DOWN), nodes.lag_grace_s),
    Rule(nodes.LAG, W, "a secondary is far behind", "check its load, disk and network", nodes.lag, (*GONE, *HEADLESS, BEHIND), nodes.lag_grace_s),
    Rule("DUPLICATE_NODE_ID", W, "two agents say that they are the same node", "give each agent its own node id, or mend the discovery record", nodes.duplicates),
    Rule("IDENTITY_MISMATCH", W, "a node is not who discovery says it is", "check the discovery record and the agent's settings", nodes.identity, ("DUPLICATE_NODE_ID",)),
    Rule(REWOUND, W, "a primary's log is shorter than it was, or than that of the primary before it", "writes may be lost: was it restored, truncated or made anew, or elected without the last writes? `replictl acknowledge` clears it, or an hour", nodes.rewound),
    Rule("TLS_MATERIAL", W, "the TLS material for its agents cannot be used any more; the last good one is still in use", "mend the file or secret that the Namespace's tls names: in a minute, or in a new worker, no node can be asked", cluster.tls_material),
    Rule("CLUSTER_MISSING", W, "the source no longer tells of the cluster", "delete it if it is gone, or mend the source", cluster.missing),
    Rule("CLOCK_SKEW", W, "an agent's clock does not agree with ours", "synchronise the clocks; nothing is ordered or expires by agents' times", nodes.clock),
    Rule("ACTION_STUCK", W, "an action takes very long", "see `replictl action ID`; cancel it when it will not end", nodes.stuck, ("NODE_UNREACHABLE", FOREIGN)),
    Rule("ACTION_UNREACHABLE", W, "an action is on a node whose agent cannot be asked about it, and actions on the whole cluster wait", "bring the agent back, or `replictl cancel` the action: EXCLUSIVE actions on the cluster wait for its end, others go on", nodes.silent_with_action, (), nodes.exclusive_patience_s),
    Rule(WORK_DEAD, W, "the cluster is no longer looked after: its work failed too often", "mend the cause, then `replictl work retry`", cluster.dead_work),
    Rule("AGENT_PROTOCOL_CHANGED", I, "an agent speaks another protocol than before", "nothing, if it was replaced; actions that the old one had are lost", nodes.protocol_changed),
    Rule("VERSION_SKEW", I, "the nodes run different versions", "finish the upgrade", cluster.versions),
)  # fmt: skip
