"""The MongoDB agent's decisions: what replSetGetStatus means, and the actions, against a scripted mongod."""

import copy
from typing import Any

import pytest
from bson.timestamp import Timestamp

from infra.agents.kit.errors import ActionError, StartError, StoreDownError
from infra.agents.kit.handlers import ActionHandler, Step, StepContext
from infra.agents.kit.models import (
    Attributes,
    Json,
    NodeReport,
    Offset,
    Other,
    Phase,
    Role,
    Shard,
    Status,
    StoreReport,
    Unknown,
)
from infra.agents.mongodb.actions import ClusterAdd, ClusterInit, StepDown
from infra.agents.mongodb.agent import MongoStore
from infra.agents.mongodb.client import Document, MongoCommandError, Mongod
from infra.agents.mongodb.status import refused_status, report_of, shard_of
from infra.agents.testing import TestClock

ME = "127.0.0.1:27017"
CONFIG = {"config": {"_id": "orders", "version": 1, "members": [{"_id": 0, "host": ME}]}}
NOT_INITIALISED = MongoCommandError(94, "no replset config has been received")
DOWN = StoreDownError("mongod does not answer")


def status(state: int, own: int | None, *others: tuple[int, int | None]) -> Document:
    """Return an answer to replSetGetStatus: our state and optime, and those of the other members."""
    members: list[Document] = [{"self": True, "state": state, **optime(own)}]
    members += [{"state": other, **optime(seconds)} for other, seconds in others]
    return {"set": "orders", "myState": state, "members": members}


def optime(seconds: int | None) -> Document:
    """Return a member's optime; None is a member without one, 0 a member that is down."""
    return {} if seconds is None else {"optime": {"ts": Timestamp(seconds, 1), "t": 1}}


class ScriptedMongod:
    """A mongod that answers from a table; a list is one answer per call, an exception is raised."""

    address = ME

    def __init__(self, **answers: object) -> None:
        """Answer each command by its name."""
        self.answers: dict[str, object] = {"hello": {}, **answers}
        self.commands: list[tuple[str, object]] = []

    async def command(
        self, name: str, value: object = 1, *, database: str = "admin", seconds: float = 1.0, **fields: object
    ) -> Document:
        """Record and answer."""
        del database, seconds, fields
        self.commands.append((name, value))
        answer = self.answers[name]
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, dict)
        return copy.deepcopy(answer)

    async def close(self) -> None:
        """Do nothing."""


async def run(handler: ActionHandler, args: Json, clock: TestClock | None = None, limit: int = 50) -> list[Step]:
    """Step an action to its end, a second between steps, as the executor does."""
    clock = clock or TestClock()
    steps: list[Step] = []
    payload: Json = None
    for _ in range(limit):
        step = await handler.step(args, payload, StepContext("id", clock.now))
        steps.append(step)
        if step.phase.final:
            break
        payload = step.payload
        clock.advance(seconds=1)
    return steps


def payloads(steps: list[Step], key: str) -> list[Any]:
    """Return one key of each step's payload."""
    return [step.payload[key] for step in steps if isinstance(step.payload, dict)]


class TestStatus:
    """Member states."""

    @pytest.mark.parametrize(
        ("state", "expected"),
        [
            (0, Status.UNHEALTHY),
            (1, Status.HEALTHY),
            (2, Status.HEALTHY),
            (3, Status.UNHEALTHY),
            (5, Status.JOINING_CLUSTER),
            (6, Unknown("UNKNOWN")),
            (7, Status.HEALTHY),
            (8, Unknown("DOWN")),
            (9, Status.UNHEALTHY),
            (10, Status.NOT_IN_CLUSTER),
            (42, Unknown("state 42")),
        ],
    )
    def test_node_status(self, state: int, expected: Status | Unknown) -> None:
        """Each member state has its node status; an unknown one is told by number."""
        assert expected == report_of(status(state, 1)).status

    @pytest.mark.parametrize(
        ("code", "expected"),
        [(94, Status.NOT_IN_CLUSTER), (93, Status.NOT_IN_CLUSTER), (76, Unknown("why")), (1, Unknown("why"))],
    )
    def test_refused(self, code: int, expected: Status | Unknown) -> None:
        """Not initialised and removed are NOT_IN_CLUSTER; a standalone mongod is UNKNOWN with the reason."""
        assert expected == refused_status(code, "why")


class TestShard:
    """Role, offset and lag."""

    def test_primary(self) -> None:
        """The primary has an offset in milliseconds and no lag."""
        expected = Shard("orders", Role.PRIMARY, Offset(100_000, "milliseconds"))

        assert expected == shard_of(status(1, 100, (2, 90)))

    def test_secondary(self) -> None:
        """A secondary lags by what the primary is ahead."""
        expected = Shard("orders", Role.SECONDARY, Offset(90_000, "milliseconds"), Offset(10_000, "milliseconds"))

        assert expected == shard_of(status(2, 90, (2, 95), (1, 100)))

    def test_ahead(self) -> None:
        """A secondary ahead of the primary (an election) lags by nothing, not by less than nothing."""
        assert Offset(0, "milliseconds") == shard_of(status(2, 110, (1, 100))).lag

    @pytest.mark.parametrize("others", [[], [(2, 100)], [(8, 0)], [(1, 0)], [(1, None)]])
    def test_no_primary(self, others: list[tuple[int, int | None]]) -> None:
        """Without a primary that has an optime there is no lag."""
        assert shard_of(status(2, 90, *others)).lag is None

    @pytest.mark.parametrize(("own", "lag_ms"), [(60, 10_000), (70, 0), (95, 0)])
    def test_delayed(self, own: int, lag_ms: int) -> None:
        """A member that is kept behind on purpose lags by what is beyond that only."""
        found = shard_of(status(2, own, (1, 100)), {"hidden": True, "secondaryDelaySecs": 30})

        assert Offset(lag_ms, "milliseconds") == found.lag

    @pytest.mark.parametrize("own", [None, 0])
    def test_arbiter(self, own: int | None) -> None:
        """An arbiter has no optime: a role, but no offset and no lag."""
        assert Shard("orders", Other("ARBITER")) == shard_of(status(7, own, (1, 100), (2, 100)))

    @pytest.mark.parametrize(("state", "role"), [(0, Role.RECOVERING), (3, Role.RECOVERING), (5, Role.RECOVERING)])
    def test_recovering(self, state: int, role: Role) -> None:
        """A member on its way is Recovering."""
        assert role == shard_of(status(state, 1)).role


class TestStore:
    """The adapter."""

    async def test_not_initialised(self) -> None:
        """A mongod without a set is NOT_IN_CLUSTER, in the configured cluster, with no shards."""
        mongod = ScriptedMongod(buildInfo={"version": "6.0.5", "gitVersion": "abc"}, replSetGetStatus=NOT_INITIALISED)
        store = MongoStore(mongod, "orders", ME)
        node: NodeReport = await store.node()

        assert (Status.NOT_IN_CLUSTER, "6.0.5") == (node.status, node.version.number if node.version else None)
        assert StoreReport("orders") == await store.store()
        assert [] == await store.shards()

    async def test_hidden_and_delayed(self) -> None:
        """What clients are not to see of a secondary are attributes; of an ordinary one nothing is said."""
        answers = {"buildInfo": {"version": "6.0.5"}, "replSetGetStatus": status(2, 90, (1, 100))}
        told = {"hidden": True, "secondaryDelaySecs": 60}
        odd = await MongoStore(ScriptedMongod(**answers, hello=told), "orders", ME).node()
        ordinary = await MongoStore(ScriptedMongod(**answers), "orders", ME).node()
        common = {"mongodb.com/mode": "replica-set", "mongodb.com/member.state": "SECONDARY"}

        assert {**common, "mongodb.com/member.hidden": True, "mongodb.com/member.delay": 60} == odd.attributes
        assert common == ordinary.attributes

    async def test_standalone(self) -> None:
        """A standalone mongod is UNKNOWN, and its shards an error that says why."""
        refusal = MongoCommandError(76, "mongod refused replSetGetStatus: not running with --replSet (code 76)")
        store = MongoStore(ScriptedMongod(buildInfo={"version": "6.0.5"}, replSetGetStatus=refusal), "orders", ME)

        assert Unknown(str(refusal)) == (await store.node()).status
        with pytest.raises(MongoCommandError, match="not running with --replSet"):
            await store.shards()

    async def test_wrong_set(self) -> None:
        """A member of another set says so: the cluster id is the set's."""
        mongod = ScriptedMongod(
            replSetGetStatus=status(1, 1) | {"set": "other"},
            getParameter={"featureCompatibilityVersion": {"version": "6.0"}},
            collStats={"maxSize": 1024.0},
        )
        store = MongoStore(mongod, "orders", ME)
        attributes: Attributes = {"mongodb.com/feature-compatibility": "6.0", "mongodb.com/oplog.size": 1024}

        assert StoreReport("other", attributes) == await store.store()

    @pytest.mark.parametrize("store", ["nonsense", "http://127.0.0.1:1", "mongodb://", "127.0.0.1:99999", "a/b:1"])
    def test_bad_address(self, store: str) -> None:
        """What is not a mongod's address is refused at the start."""
        with pytest.raises(StartError):
            Mongod(store)

    def test_secret_is_not_told(self) -> None:
        """A bad URI is refused without repeating its password."""
        with pytest.raises(StartError) as caught:
            Mongod("mongodb://user:secret@host:port/")

        assert "secret" not in str(caught.value)


class TestClusterInit:
    """cluster.init."""

    async def test_initialises(self) -> None:
        """The set gets mongod's own set name and this member only; the end is a writable primary."""
        mongod = ScriptedMongod(
            replSetGetConfig=NOT_INITIALISED,
            getCmdLineOpts={"parsed": {"replication": {"replSet": "orders"}}},
            replSetInitiate={"ok": 1},
            hello=[{"isWritablePrimary": False}, {"isWritablePrimary": True}],
        )
        steps = await run(ClusterInit(mongod, "cluster", ME), {"settings": {"heartbeatIntervalMillis": 500}})

        assert [Phase.RUNNING, Phase.RUNNING, Phase.RUNNING, Phase.DONE] == [step.phase for step in steps]
        assert ["initiate", "elect", "elect", "done"] == payloads(steps, "stage")
        assert {
            "_id": "orders",
            "members": [{"_id": 0, "host": ME}],
            "settings": {"heartbeatIntervalMillis": 500},
        } == dict(mongod.commands)["replSetInitiate"]

    async def test_already_initialised(self) -> None:
        """A mongod that has a set is refused, and nothing is sent to it."""
        mongod = ScriptedMongod(replSetGetConfig=CONFIG)

        with pytest.raises(ActionError, match="already initialised: a member of orders with 1 members"):
            await run(ClusterInit(mongod, "cluster", ME), None)
        assert ["replSetGetConfig"] == [name for name, _ in mongod.commands]

    async def test_repeated_after_a_crash(self) -> None:
        """The step that initialises recognises what it did before the agent crashed."""
        mongod = ScriptedMongod(
            replSetGetConfig=[NOT_INITIALISED, CONFIG],
            getCmdLineOpts={"parsed": {}},
            replSetInitiate=MongoCommandError(23, "already initialized"),
            hello={"isWritablePrimary": True},
        )
        steps = await run(ClusterInit(mongod, "cluster", ME), None)

        assert Phase.DONE == steps[-1].phase

    async def test_initialised_by_another(self) -> None:
        """A set that somebody else made in between is not taken for ours."""
        other = {"config": {"_id": "orders", "members": [{"_id": 0, "host": "other:1"}]}}
        mongod = ScriptedMongod(
            replSetGetConfig=[NOT_INITIALISED, other],
            getCmdLineOpts={"parsed": {}},
            replSetInitiate=MongoCommandError(23, "already initialized"),
        )

        with pytest.raises(MongoCommandError, match="already initialized"):
            await run(ClusterInit(mongod, "cluster", ME), None)

    async def test_never_elected(self) -> None:
        """A set without a primary after a minute is a failure that says so."""
        mongod = ScriptedMongod(
            replSetGetConfig=NOT_INITIALISED,
            getCmdLineOpts={"parsed": {}},
            replSetInitiate={"ok": 1},
            hello={"isWritablePrimary": False},
        )

        with pytest.raises(ActionError, match="gave up after 61 s: initialised, but not yet the primary"):
            await run(ClusterInit(mongod, "cluster", ME), None, limit=100)

    @pytest.mark.parametrize("args", ["x", [1], {"settings": 3}])
    async def test_bad_args(self, args: Json) -> None:
        """Args of another shape are refused before anything is sent."""
        with pytest.raises(ActionError, match="must be an object or null"):
            await run(ClusterInit(ScriptedMongod(), "cluster", ME), args)


class TestClusterAdd:
    """cluster.add."""

    @pytest.mark.parametrize("key", ["host", "node"])
    async def test_adds(self, key: str) -> None:
        """The configuration is written back one version later with the member appended."""
        config = {"_id": "orders", "version": 7, "members": [{"_id": 4, "host": ME}]}
        mongod = ScriptedMongod(
            replSetGetConfig=[{"config": dict(config)}, {"config": dict(config)}],
            hello={"isWritablePrimary": True},
            replSetReconfig={"ok": 1},
        )
        steps = await run(ClusterAdd(mongod), {key: "127.0.0.1:27018"})

        assert {
            "_id": "orders",
            "version": 8,
            "members": [{"_id": 4, "host": ME}, {"_id": 5, "host": "127.0.0.1:27018"}],
        } == dict(mongod.commands)["replSetReconfig"]
        assert {
            "host": "127.0.0.1:27018",
            "set": "orders",
            "members": 2,
            "result": "added",
        } == steps[-1].payload

    async def test_already_a_member(self) -> None:
        """A member that is there is DONE, and the payload says why."""
        mongod = ScriptedMongod(replSetGetConfig=CONFIG)
        steps = await run(ClusterAdd(mongod), {"host": ME})

        assert Phase.DONE == steps[-1].phase
        assert {"host": ME, "set": "orders", "members": 1, "result": "already a member"} == steps[-1].payload

    @pytest.mark.parametrize("code", [74, 103, 109, 189, 308, 10107, 11602])
    async def test_tries_again(self, code: int) -> None:
        """What passes is tried again, on a configuration read again."""
        mongod = ScriptedMongod(
            replSetGetConfig=[
                {"config": {"_id": "orders", "version": n, "members": [{"_id": 0, "host": ME}]}} for n in (1, 1, 2)
            ],
            hello={"isWritablePrimary": True},
            replSetReconfig=[MongoCommandError(code, "not now"), {"ok": 1}],
        )
        steps = await run(ClusterAdd(mongod), {"host": "h:1"})

        assert Phase.DONE == steps[-1].phase
        assert "not now" == payloads(steps[:-1], "reason")[-1]

    async def test_final_refusal(self) -> None:
        """What does not pass fails at once."""
        mongod = ScriptedMongod(
            replSetGetConfig=CONFIG,
            hello={"isWritablePrimary": True},
            replSetReconfig=MongoCommandError(2, "bad value"),
        )

        with pytest.raises(MongoCommandError, match="bad value"):
            await run(ClusterAdd(mongod), {"host": "h:1"})

    async def test_not_primary(self) -> None:
        """On a member that does not become the primary within a minute it fails, and says what to do."""
        mongod = ScriptedMongod(replSetGetConfig=CONFIG, hello={"isWritablePrimary": False})

        with pytest.raises(ActionError, match="add members through the primary"):
            await run(ClusterAdd(mongod), {"host": "h:1"}, limit=100)

    async def test_not_in_a_set(self) -> None:
        """A mongod without a set has nothing to add to."""
        with pytest.raises(ActionError, match="not a member of a replica set"):
            await run(ClusterAdd(ScriptedMongod(replSetGetConfig=NOT_INITIALISED)), {"host": "h:1"})

    @pytest.mark.parametrize(
        "args",
        [
            None,
            {},
            {"host": 1},
            {"host": "x"},
            {"host": "x:0"},
            {"host": "x:70000"},
            {"host": "a/b:1"},
            {"host": "x:1\n"},
        ],
    )
    async def test_bad_args(self, args: Json) -> None:
        """A missing or impossible address is refused before anything is sent."""
        with pytest.raises(ActionError, match="the address of the member to add"):
            await run(ClusterAdd(ScriptedMongod()), args)


class TestStepDown:
    """node.stepdown."""

    LEADS = {"isWritablePrimary": True, "electionId": "7"}  # noqa: RUF012 - read only
    FOLLOWS = {"isWritablePrimary": False}  # noqa: RUF012 - read only

    @pytest.mark.parametrize("answer", [{"ok": 1}, DOWN, MongoCommandError(10107, "not primary")])
    async def test_steps_down(self, answer: Document | Exception) -> None:
        """The primary that no longer leads is DONE, whatever it answered."""
        mongod = ScriptedMongod(hello=[self.LEADS, self.LEADS, self.FOLLOWS], replSetStepDown=answer)
        steps = await run(StepDown(mongod), {"seconds": 30})

        assert ("replSetStepDown", 30) in mongod.commands
        assert {"stage": "done", "seconds": 30, "primary": False} == steps[-1].payload

    async def test_elected_again(self) -> None:
        """A primary by a later election has stepped down in between."""
        again = {"isWritablePrimary": True, "electionId": "8"}
        mongod = ScriptedMongod(hello=[self.LEADS, self.LEADS, again], replSetStepDown={"ok": 1})
        steps = await run(StepDown(mongod), None)

        assert {"stage": "done", "seconds": 10, "primary": True} == steps[-1].payload

    async def test_not_twice(self) -> None:
        """Repeated after a crash, the step sees that it no longer leads and sends nothing."""
        mongod = ScriptedMongod(hello=[self.LEADS, self.FOLLOWS])
        steps = await run(StepDown(mongod), None)

        assert Phase.DONE == steps[-1].phase
        assert "replSetStepDown" not in dict(mongod.commands)

    async def test_not_primary(self) -> None:
        """A member that does not lead is refused."""
        with pytest.raises(ActionError, match="not the primary"):
            await run(StepDown(ScriptedMongod(hello=self.FOLLOWS)), None)

    async def test_no_electable_secondary(self) -> None:
        """A refusal of mongod is the action's error."""
        refusal = MongoCommandError(262, "No electable secondaries caught up")

        with pytest.raises(MongoCommandError, match="No electable"):
            await run(StepDown(ScriptedMongod(hello=self.LEADS, replSetStepDown=refusal)), None)

    async def test_still_primary(self) -> None:
        """A primary that goes on leading is a failure."""
        mongod = ScriptedMongod(hello=self.LEADS, replSetStepDown=DOWN)

        with pytest.raises(ActionError, match="told to step down, but still the primary"):
            await run(StepDown(mongod), None, limit=100)

    @pytest.mark.parametrize("seconds", [0, -1, 3601, "10", 1.5, True])
    async def test_bad_args(self, seconds: Json) -> None:
        """Seconds must be a whole number in range."""
        with pytest.raises(ActionError, match=r"args\.seconds must be a whole number"):
            await run(StepDown(ScriptedMongod()), {"seconds": seconds})
