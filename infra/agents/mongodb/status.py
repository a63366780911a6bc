"""What ``replSetGetStatus`` means, as pure functions: node status, role, offset and lag.

Optimes are whole seconds (``optime.ts``); arbiters and members that are down have none, or Timestamp(0, 0), and no
offset or lag is ever computed from that. An arbiter that votes is as well as it can be: HEALTHY, with a role of its own.
A delayed member is as far behind as it was told to be: only what is beyond that is lag.
"""

from bson.timestamp import Timestamp

from infra.agents.kit.models import NodeReport, Offset, Other, Role, Shard, Status, Unknown
from infra.agents.mongodb.client import Document

PRIMARY, SECONDARY, ARBITER = 1, 2, 7
STATES = {
    0: "STARTUP",
    PRIMARY: "PRIMARY",
    SECONDARY: "SECONDARY",
    3: "RECOVERING",
    5: "STARTUP2",
    6: "UNKNOWN",
    ARBITER: "ARBITER",
    8: "DOWN",
    9: "ROLLBACK",
    10: "REMOVED",
}
STATUSES = {
    0: Status.UNHEALTHY,
    PRIMARY: Status.HEALTHY,
    SECONDARY: Status.HEALTHY,
    3: Status.UNHEALTHY,
    5: Status.JOINING_CLUSTER,
    ARBITER: Status.HEALTHY,
    9: Status.UNHEALTHY,
    10: Status.NOT_IN_CLUSTER,
}
ROLES = {
    0: Role.RECOVERING,
    PRIMARY: Role.PRIMARY,
    SECONDARY: Role.SECONDARY,
    3: Role.RECOVERING,
    5: Role.RECOVERING,
}

NO_REPLICATION = 76
NOT_YET_INITIALIZED = 94
INVALID_CONFIG = 93


def state_name(state: int) -> str:
    """Return MongoDB's word for a member state."""
    return STATES.get(state, f"state {state}")


def node_status(state: int) -> Status | Unknown:
    """Return a member state as a node status; what has no equivalent is UNKNOWN with its name."""
    return STATUSES.get(state) or Unknown(state_name(state))


def refused_status(code: int, message: str) -> Status | Unknown:
    """Return the node status that a refused ``replSetGetStatus`` stands for."""
    if code in {NOT_YET_INITIALIZED, INVALID_CONFIG}:
        return Status.NOT_IN_CLUSTER
    return Unknown(message)


def shard_of(status: Document, hello: Document | None = None) -> Shard:
    """Return this member's copy of the one shard of its replica set; `hello` tells of a delay that people want."""
    state = int(status["myState"])
    members = status.get("members", [])
    own = next((_seconds(member) for member in members if member.get("self")), None)
    leading = [_seconds(member) for member in members if member.get("state") == PRIMARY]
    newest = max((seconds for seconds in leading if seconds is not None), default=None)
    lag = None
    if state != PRIMARY and own is not None and newest is not None:
        lag = Offset(max(newest - own - delay_seconds(hello or {}), 0) * 1000, "milliseconds")
    return Shard(
        id=str(status["set"]),
        role=ROLES.get(state) or Other(state_name(state)),
        commit_offset=None if own is None else Offset(own * 1000, "milliseconds"),
        lag=lag,
    )


def report_of(status: Document, hello: Document | None = None) -> NodeReport:
    """Return the node's report, still without a version; `hello` tells whether clients see the member."""
    state, hello = int(status["myState"]), hello or {}
    attributes: dict[str, str | int | bool] = {"mongodb.com/mode": "replica-set"}
    attributes["mongodb.com/member.state"] = state_name(state)
    if hello.get("hidden"):
        attributes["mongodb.com/member.hidden"] = True
    if delay_seconds(hello):
        attributes["mongodb.com/member.delay"] = delay_seconds(hello)
    return NodeReport(node_status(state), attributes=attributes)


def delay_seconds(hello: Document) -> int:
    """Return by how many seconds a member is kept behind on purpose."""
    delay = hello.get("secondaryDelaySecs", hello.get("slaveDelay", 0))
    return max(int(delay), 0) if isinstance(delay, int | float) else 0


def _seconds(member: Document) -> int | None:
    """Return a member's optime in seconds, if it has one."""
    optime = member.get("optime")
    stamp = optime.get("ts") if isinstance(optime, dict) else optime
    return stamp.time if isinstance(stamp, Timestamp) and stamp.time > 0 else None
