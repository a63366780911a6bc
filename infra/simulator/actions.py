"""What agents do when told: scheduled once per id, one at a time, oldest first, one step per interval.

The rules are those of the real kit (`infra.agents.kit`), whose readers and models are used, without its SQLite: an
agent's book lives as long as the simulator, so a restarted agent goes on where it was, unless it was wiped.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from infra.agents.kit.errors import ActionError, RequestError, error_details
from infra.agents.kit.fence import FENCE_KEY, parse_fence
from infra.agents.kit.handlers import LOOP_TARGET, LOOP_TARGET_MAX
from infra.agents.kit.models import Action, Json, Phase, microseconds
from infra.simulator.fleet import ELECTION_S, Fleet
from infra.simulator.model import Kind, Node, Wire

QUEUE_MAX = 1_000
FINISHED_MAX = 1_000
HISTORY_MAX = 200
STEPS = 3

Effect = Callable[[Fleet, Node, Action], None]
"""What an action changes in the end; raises `ActionError` when it cannot."""


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of action: how many steps it takes, where it exists, and what it does."""

    steps: int = STEPS
    begin: Effect | None = None
    end: Effect | None = None
    store: Kind | None = None
    wire: Wire | None = None


class Executor:
    """Runs the actions of all agents."""

    def __init__(self, fleet: Fleet, clock: Callable[[], datetime], interval_s: float) -> None:
        """Take a step of each action every `interval_s` seconds."""
        self._fleet = fleet
        self._clock = clock
        self._interval_s = interval_s

    def now(self) -> datetime:
        """Return the agents' clock."""
        return self._clock()

    def schedule(self, node: Node, action: Action) -> None:
        """Accept a new action.

        Raises:
            RequestError: 400 unknown kind or malformed fence, 412 superseded, 409 id already here, 503 queue full.
        """
        if not knows(node, action.kind):
            raise RequestError(400, f"this agent has no action of kind {action.kind!r}")
        book = node.book
        if node.wire is Wire.B:
            self._fence(node, action)
        if action.id in book.queue or action.id in book.finished:
            raise RequestError(409, f"action {action.id} already exists")
        if len(book.queue) >= QUEUE_MAX:
            raise RequestError(503, f"the queue is full: {QUEUE_MAX} actions are waiting")
        self._save(node, action)
        self.resume(node)

    def resume(self, node: Node) -> None:
        """Go on with what is in an agent's book."""
        if node.turn is None and node.book.queue and node.agent_up:
            node.turn = asyncio.get_running_loop().call_soon(self._turn, node)  # type: ignore[assignment]

    def pause(self, node: Node) -> None:
        """Stop where it is: the agent is down."""
        if node.turn is not None:
            node.turn.cancel()
            node.turn = None

    def _fence(self, node: Node, action: Action) -> None:
        """Refuse what is older than the newest seen, and remember what is newer."""
        text = action.metadata.get(FENCE_KEY)
        fence = None if text is None else parse_fence(text)
        newest = node.book.fence
        if fence is None:
            return
        if newest is not None and fence < newest:
            message = f"fencing token {fence} is superseded: the newest seen for {node.cluster.name} is {newest}"
            raise RequestError(412, message)
        node.book.fence = fence

    def _turn(self, node: Node) -> None:
        """Do one step of the oldest action."""
        node.turn = None
        action = next(iter(node.book.queue.values()), None)
        if action is None:
            return
        if action.phase is Phase.NEW:
            action = self._save(node, replace(action, phase=Phase.RUNNING))
        try:
            done, payload = self._step(node, action)
            phase, error = Phase.DONE if done else Phase.RUNNING, None
        except ActionError as failure:
            phase, payload, error = Phase.FAILED, action.payload, _details(failure)
        finished = microseconds(self._clock()) if phase.final else None
        self._save(node, replace(action, phase=phase, payload=payload, error=error, finished_us=finished))
        if node.book.queue:
            node.turn = asyncio.get_running_loop().call_later(self._interval_s, self._turn, node)

    def _step(self, node: Node, action: Action) -> tuple[bool, Json]:
        """Count one; begin at the first, end at the last."""
        work = KINDS[action.kind]
        if work.store is not None and not node.store_up:
            message = f"the store at {node.store_address} does not answer: connection refused"
            raise ActionError(message)
        target = _loop_target(action.args) if action.kind.endswith("/test.loop") else work.steps
        before = action.payload.get("count") if isinstance(action.payload, dict) else 0
        count = (before if isinstance(before, int) else 0) + 1
        if count == 1 and work.begin is not None:
            work.begin(self._fleet, node, action)
        if count >= target and work.end is not None:
            work.end(self._fleet, node, action)
        return count >= target, {"count": min(count, target), "target": target}

    def _save(self, node: Node, action: Action) -> Action:
        """Write into the agent's book, and into the record."""
        book = node.book
        if action.phase.final:
            book.queue.pop(action.id, None)
            book.finished[action.id] = action
            if len(book.finished) > FINISHED_MAX:
                oldest = next(iter(book.finished))
                del book.finished[oldest]
                book.history.pop(oldest, None)
        else:
            book.queue[action.id] = action
        if node.wire is Wire.A:
            steps = book.history.setdefault(action.id, [])
            steps.append((microseconds(self._clock()), action))
            del steps[:-HISTORY_MAX]
        node.ready.clear()
        self._fleet.record.note(
            "action", node=node.name, id=action.id, kind=action.kind, phase=action.phase.value, fence=fence_of(action)
        )
        return action


def knows(node: Node, kind: str) -> bool:
    """Say whether an agent has actions of a kind."""
    work = KINDS.get(kind)
    return work is not None and work.store in {None, node.cluster.kind} and work.wire in {None, node.wire}


def fence_of(action: Action) -> str | None:
    """Return the fencing token an action came with, in whichever way it travels."""
    return next((value for key, value in action.metadata.items() if key in FENCE_KEYS), None)


FENCE_KEYS = frozenset({FENCE_KEY, "replicore-fence"})
"""Where it travels in protocol B's metadata, and in protocol A's headers."""


def _details(failure: ActionError) -> Json:
    return {key: str(value) for key, value in error_details(failure).items()}


def _loop_target(args: Json) -> int:
    """Return how far ``test.loop`` counts; nonsense means the default."""
    wanted = args.get("target") if isinstance(args, dict) else None
    valid = isinstance(wanted, int) and not isinstance(wanted, bool) and 0 <= wanted <= LOOP_TARGET_MAX
    return wanted if isinstance(wanted, int) and valid else LOOP_TARGET


def _fail(fleet: Fleet, node: Node, action: Action) -> None:
    del fleet, node
    message = f"the action {action.kind} always fails"
    raise ActionError(message)


def _init(fleet: Fleet, node: Node, action: Action) -> None:
    del action
    if node.member:
        message = "this mongod is a member of a replica set already"
        raise ActionError(message)
    fleet.form(node)


def _add(fleet: Fleet, node: Node, action: Action) -> None:
    args = action.args if isinstance(action.args, dict) else {}
    host = args.get("host", args.get("node"))
    if node.cluster.leader is not node:
        message = "this mongod is not the primary: members are added there"
        raise ActionError(message)
    added = next((other for other in node.cluster.nodes if other.store_address == host), None)
    if added is None:
        message = f"no mongod of {node.cluster.name} answers at {host!r}"
        raise ActionError(message)
    fleet.admit(node.cluster, added)


def _step_down(fleet: Fleet, node: Node, action: Action) -> None:
    del action
    if node.cluster.leader is not node:
        message = "this mongod is not the primary: there is nothing to step down from"
        raise ActionError(message)
    fleet.elect(node.cluster, ELECTION_S)


def _stop(fleet: Fleet, node: Node, action: Action) -> None:
    del action
    fleet.set_store(node, up=False)


def _start(fleet: Fleet, node: Node, action: Action) -> None:
    del action
    fleet.set_store(node, up=True)


_INIT, _ADD, _DOWN = (f"agent.replicante.io/{verb}" for verb in ("cluster.init", "cluster.add", "node.stepdown"))
_RESTARTS = ("restart", "graceful.restart")
KINDS: Mapping[str, Work] = {
    "agent.replicante.io/test.success": Work(steps=1),
    "agent.replicante.io/test.fail": Work(steps=1, end=_fail),
    "agent.replicante.io/test.loop": Work(),
    "agent.replicante.io/test.ping": Work(steps=1, wire=Wire.A),
    _INIT: Work(end=_init, store=Kind.MONGODB),
    _ADD: Work(end=_add, store=Kind.MONGODB),
    _DOWN: Work(end=_step_down, store=Kind.MONGODB),
    **{f"replicante.io/service.{verb}": Work(begin=_stop, end=_start, wire=Wire.A) for verb in _RESTARTS},
    "replicante.io/service.start": Work(end=_start, wire=Wire.A),
    "replicante.io/service.stop": Work(end=_stop, wire=Wire.A),
    "replicante.io/service.graceful.stop": Work(end=_stop, wire=Wire.A),
    "replicante.io/store.stop": Work(end=_stop, store=Kind.MONGODB, wire=Wire.A),
}
