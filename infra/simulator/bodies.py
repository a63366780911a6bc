"""Answers to GET of both protocols, as complete bodies: what an agent says of its node and of its actions.

Facts come from `stores.py` and the agent's own book; the two protocols are two ways of writing them
(agent-protocol.md 1 and 2).
"""

from collections.abc import Callable
from typing import TypeAlias

import orjson

from infra.agents.kit.errors import StoreError, error_body
from infra.agents.kit.models import AGENT_VERSION, Action, Identity, Json, Offset, Other, Phase, Role, Shard, rfc3339
from infra.simulator import stores
from infra.simulator.actions import KINDS
from infra.simulator.faults import WrongIdentity
from infra.simulator.model import Kind, Node, Wire

ROOT = "/api/unstable"
ITEMS = (f"{ROOT}/action/", f"{ROOT}/actions/info/")
"""Below these is one action: too many different answers to keep ready."""
B_LIST_MAX = 50
A_LIST_MAX = 100
TRACE = "stack backtrace:\n" + "   0: replicante_agent::trace\n" * 60

Answer: TypeAlias = tuple[int, bytes]
NOTHING: Answer = (404, b"")


def body(node: Node, path: str, tick: int) -> Answer:
    """Return status and body of a GET; what is not there is an empty 404."""
    if not path.startswith(ROOT):
        return NOTHING
    below = path.removeprefix(ROOT)
    routes, item = (_B, "/action/") if node.wire is Wire.B else (_A, "/actions/info/")
    if not node.actions_on and below.startswith("/action"):
        return (200, b'{"actions":false}') if below == "/actions" and node.wire is Wire.A else NOTHING
    route = routes.get(below)
    if route is not None:
        return route(node, tick)
    if below.startswith(item):
        return _action(node, below.removeprefix(item))
    return NOTHING


def node_id(node: Node) -> str:
    """Return who the agent says it speaks for."""
    other = node.fault.node_id if isinstance(node.fault, WrongIdentity) else None
    return other or node.name


def cluster_id(node: Node) -> str:
    """Return which cluster it says that is in."""
    other = node.fault.cluster_id if isinstance(node.fault, WrongIdentity) else None
    return other or node.cluster.name


def failed_a(status: int, error: str, variant: str | None) -> Answer:
    """Return an error of protocol A."""
    value = {"error": error, "layers": [error], "trace": TRACE, "variant": variant}
    return status, orjson.dumps(value)


def failed_b(status: int, error: Exception) -> Answer:
    """Return an error of protocol B."""
    return status, orjson.dumps(error_body(error))


def _b_node(node: Node, tick: int) -> Answer:
    del tick
    identity = Identity(node_id(node), stores.STORE_IDS[node.cluster.kind], node.store_address, node.store_address)
    return 200, orjson.dumps(identity.wire(stores.node_report(node)))


def _b_store(node: Node, tick: int) -> Answer:
    del tick
    if not stores.serving(node):
        return failed_b(500, StoreError(_why(node)))
    return 200, orjson.dumps({**stores.store_report(node).wire(), "cluster_id": cluster_id(node)})


def _b_shards(node: Node, tick: int) -> Answer:
    if not stores.serving(node):
        return failed_b(500, StoreError(_why(node)))
    return 200, orjson.dumps({"shards": [shard.wire() for shard in stores.shards(node, tick)]})


def _b_queue(node: Node, tick: int) -> Answer:
    del tick
    return _b_list(node.book.queue)


def _b_finished(node: Node, tick: int) -> Answer:
    del tick
    return _b_list(node.book.finished)


def _b_list(actions: dict[str, Action]) -> Answer:
    """Return the oldest scheduled."""
    return 200, orjson.dumps({"actions": [action.summary() for action in list(actions.values())[:B_LIST_MAX]]})


def _a_root(node: Node, tick: int) -> Answer:
    del node, tick
    return 200, b"Replicante Agent API endpoints"


def _a_agent(node: Node, tick: int) -> Answer:
    del node, tick
    return 200, orjson.dumps({"version": AGENT_VERSION})


def _a_datastore(node: Node, tick: int) -> Answer:
    del tick
    if not stores.serving(node) or not node.member:
        return failed_a(500, _why(node), "StoreOpFailed")
    value = {
        "cluster_id": cluster_id(node),
        "node_id": node_id(node),
        "kind": stores.STORE_NAMES[node.cluster.kind],
        "version": node.cluster.version,
        "cluster_display_name": None,
    }
    return 200, orjson.dumps(value)


def _a_shards(node: Node, tick: int) -> Answer:
    if not stores.serving(node) or not node.member:
        return failed_a(500, _why(node), "StoreOpFailed")
    kind = node.cluster.kind
    return 200, orjson.dumps({"shards": [_a_shard(kind, shard) for shard in stores.shards(node, tick)]})


def _a_enabled(node: Node, tick: int) -> Answer:
    del node, tick
    return 200, b'{"actions":true}'


def _a_available(node: Node, tick: int) -> Answer:
    del node, tick
    return 200, orjson.dumps([{"kind": kind, "description": f"Simulated {kind}"} for kind in sorted(KINDS)])


def _a_queue(node: Node, tick: int) -> Answer:
    del tick
    return 200, orjson.dumps([_a_item(action) for action in list(node.book.queue.values())[:A_LIST_MAX]])


def _a_finished(node: Node, tick: int) -> Answer:
    del tick
    newest = list(reversed(node.book.finished.values()))[:A_LIST_MAX]
    return 200, orjson.dumps([_a_item(action) for action in newest])


def _a_item(action: Action) -> dict[str, Json]:
    return {"id": action.id, "kind": action.kind, "state": action.phase.value}


def _a_shard(kind: Kind, shard: Shard) -> dict[str, Json]:
    """Return a shard as protocol A has it; a broker tells offsets of what it leads and lags of what it follows."""
    offset = None if kind is Kind.KAFKA and shard.role is not Role.PRIMARY else shard.commit_offset
    return {
        "id": shard.id,
        "role": _a_role(shard.role),
        "commit_offset": _a_offset(offset),
        "lag": _a_offset(shard.lag),
    }


def _a_role(role: Role | Other) -> Json:
    """Return a role; protocol A has words for two."""
    if isinstance(role, Other):
        return {"unknown": role.text}
    return role.value.lower() if role in {Role.PRIMARY, Role.SECONDARY} else {"unknown": role.value.upper()}


def _a_offset(offset: Offset | None) -> Json:
    """Return an offset; MongoDB's milliseconds are seconds here."""
    if offset is None:
        return None
    if offset.unit == "milliseconds":
        return {"unit": "seconds", "value": offset.value // 1_000}
    return offset.wire()


def _a_record(action: Action) -> dict[str, Json]:
    """Return an action with its whole-second times."""
    failed = action.phase is Phase.FAILED
    return {
        "id": action.id,
        "kind": action.kind,
        "args": action.args,
        "headers": dict(action.metadata),
        "requester": "CORE_API",
        "created_ts": _a_time(action.created_us),
        "scheduled_ts": _a_time(action.scheduled_us),
        "finished_ts": None if action.finished_us is None else _a_time(action.finished_us),
        "state": action.phase.value,
        "state_payload": _a_error(action.error) if failed else action.payload,
    }


def _a_error(error: Json) -> Json:
    """Return what failed as protocol A's error object."""
    text = error.get("error_msg") if isinstance(error, dict) else None
    return {"error": text, "layers": [text], "trace": TRACE, "variant": "ActionFailed"}


def _a_time(microseconds: int) -> str:
    return rfc3339(microseconds).partition(".")[0] + "Z"


def _action(node: Node, action_id: str) -> Answer:
    """Return one action."""
    action = node.book.queue.get(action_id) or node.book.finished.get(action_id)
    if action is None:
        return NOTHING
    if node.wire is Wire.B:
        return 200, orjson.dumps(action.wire())
    history: list[Json] = [
        {
            "action_id": action_id,
            "timestamp": _a_time(at),
            "state": before.phase.value,
            "state_payload": _a_record(before)["state_payload"],
        }
        for at, before in reversed(node.book.history.get(action_id, []))
    ]
    return 200, orjson.dumps({"action": _a_record(action), "history": history})


def _why(node: Node) -> str:
    """Return why a store does not answer."""
    if node.store_up and node.cluster.kind is Kind.ZOOKEEPER:
        return f"ZooKeeper at {node.store_address} has no quorum: it is not serving requests"
    if not node.member:
        return "no replset config has been received"
    return f"the store at {node.store_address} does not answer: connection refused"


_B: dict[str, Callable[[Node, int], Answer]] = {
    "/info/node": _b_node,
    "/info/store": _b_store,
    "/info/shards": _b_shards,
    "/actions/queue": _b_queue,
    "/actions/finished": _b_finished,
}
_A: dict[str, Callable[[Node, int], Answer]] = {
    "/": _a_root,
    "/info/agent": _a_agent,
    "/info/datastore": _a_datastore,
    "/shards": _a_shards,
    "/actions/": _a_enabled,
    "/actions/available": _a_available,
    "/actions/queue": _a_queue,
    "/actions/finished": _a_finished,
}
