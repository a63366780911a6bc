"""Actions on simulated agents: the rules of the real kit."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from doubles.actions import action_id
from doubles.eventually import until
from doubles.simulation import LOOP, ROOT, SUCCESS, Simulation, simulation
from infra.simulator.actions import QUEUE_MAX
from infra.simulator.model import Kind, Node, Wire

INIT, ADD, STEP_DOWN = (f"agent.replicante.io/{verb}" for verb in ("cluster.init", "cluster.add", "node.stepdown"))
SLOW: dict[str, Any] = {"execute_interval_s": 3_600.0}
"""After the first step of an action the next does not come within the test."""


async def run(fleet: Simulation, node: Node, number: int, **body: Any) -> dict[str, Any]:
    """Schedule an action, and return what became of it."""
    answer = await fleet.schedule(node, id=action_id(number), **body)
    answer.raise_for_status()
    await until(lambda: action_id(number) in node.book.finished)
    told: dict[str, Any] = await fleet.told(node, f"/action/{action_id(number)}")
    return told


class TestScheduling:
    async def test_an_action_runs_to_its_end(self) -> None:
        """It is answered with its id, told of by id with its arguments, and ends DONE."""
        async with simulation() as fleet:
            node = fleet.node()
            told = await run(fleet, node, 1, kind=SUCCESS, args={"a": [1]}, metadata={"ticket": "42"})

        times = (told.pop("created_time"), told.pop("scheduled_time"), told.pop("finished_time"))
        assert {
            "id": action_id(1),
            "kind": SUCCESS,
            "args": {"a": [1]},
            "metadata": {"ticket": "42"},
            "state": {"phase": "DONE", "payload": {"count": 1, "target": 1}, "error": None},
        } == told
        assert times[0] <= times[1] <= times[2]

    async def test_an_id_is_taken_once(self) -> None:
        """Sent again, while it runs or after, it is a 409 and runs no second time."""
        async with simulation() as fleet:
            node = fleet.node()
            await run(fleet, node, 1, kind=SUCCESS)
            again = await fleet.schedule(node, id=action_id(1), kind=SUCCESS)

            done = [line for line in fleet.fleet.record.lines(what="action") if line["phase"] == "DONE"]
        assert (409, True) == (again.status_code, again.json()["error"])
        assert 1 == len(done)

    async def test_one_at_a_time_the_oldest_first(self) -> None:
        """While the first runs the others are NEW, and they end in the order they came."""
        async with simulation() as fleet:
            node = fleet.node()
            for number in (1, 2, 3):
                await fleet.schedule(node, id=action_id(number), kind=LOOP, args={"target": 3})
            await until(lambda: len(node.book.finished) == 3)

            steps = [(line["id"], line["phase"]) for line in fleet.fleet.record.lines(what="action")]
        running = [name for name, phase in steps if phase == "RUNNING"]
        assert [action_id(number) for number in (1, 2, 3) for _ in range(3)] == running
        assert [action_id(number) for number in (1, 2, 3)] == [name for name, phase in steps if phase == "DONE"]

    async def test_an_action_takes_its_time(self) -> None:
        """Between two steps lies the execute interval; the lists and the action itself tell how far it is."""
        async with simulation(settings=SLOW) as fleet:
            node = fleet.node()
            await fleet.schedule(node, id=action_id(1), kind=LOOP, args={"target": 2})
            await fleet.schedule(node, id=action_id(2), kind=SUCCESS)
            await until(lambda: node.turn is not None and node.book.queue[action_id(1)].payload is not None)

            assert {action_id(1): "RUNNING", action_id(2): "NEW"} == await fleet.phases(node, "queue")
            assert {} == await fleet.phases(node, "finished")
            state = (await fleet.told(node, f"/action/{action_id(1)}"))["state"]
            assert {"count": 1, "target": 2} == state["payload"]

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"kind": "no.such/kind"}, 400),
            ({"kind": SUCCESS, "created_time": "2026-11-25T12:00:00+01:00"}, 400),
            ({"kind": SUCCESS, "metadata": {"replicore.io/fence": "nonsense"}}, 400),
            ({"id": "not-a-uuid", "kind": SUCCESS}, 400),
            ({"args": {}}, 400),
            ({"kind": "replicante.io/service.restart"}, 400),
        ],
    )
    async def test_what_cannot_be_scheduled(self, body: dict[str, Any], status: int) -> None:
        """Unknown kinds, those of the other protocol, times that are not UTC, bad fences and ids."""
        async with simulation() as fleet:
            answer = await fleet.schedule(fleet.node(), **body)

            assert (status, {}) == (answer.status_code, fleet.node().book.queue)

    async def test_a_full_queue_refuses(self) -> None:
        """Nothing an agent keeps grows without bound."""
        async with simulation(settings=SLOW) as fleet:
            node = fleet.node()
            await fleet.schedule(node, kind=LOOP)
            first = next(iter(node.book.queue.values()))
            node.book.queue.update({action_id(number): first for number in range(1, QUEUE_MAX)})

            assert 503 == (await fleet.schedule(node, kind=SUCCESS)).status_code

    async def test_wrong_methods_and_bodies(self) -> None:
        """An empty 404, and 400 in plain text for what is no JSON."""
        async with simulation() as fleet:
            url = f"{fleet.node().url}{ROOT}/action"
            deleted = await fleet.client.delete(url)
            untyped = await fleet.client.post(url, content=b"{}")
            broken = await fleet.client.post(url, content=b"{", headers={"content-type": "application/json"})

        assert [(404, ""), (400, "text/plain; charset=utf-8"), (400, "text/plain; charset=utf-8")] == [
            (answer.status_code, answer.headers.get("content-type", "")) for answer in (deleted, untyped, broken)
        ]


class TestFence:
    async def test_an_older_token_is_refused(self) -> None:
        """Superseded is 412, and nothing is stored; the same or a newer one is taken."""
        async with simulation() as fleet:
            node = fleet.node()

            async def status(number: int, fence: str) -> int:
                metadata = {"replicore.io/fence": fence}
                answer = await fleet.schedule(node, id=action_id(number), kind=SUCCESS, metadata=metadata)
                return answer.status_code

            answers = [await status(number, fence) for number, fence in enumerate(("1:9", "1:8", "0:99", "1:9", "2:1"))]
            stored = [*node.book.queue, *node.book.finished]

        assert [200, 412, 412, 200, 200] == answers
        assert {action_id(number) for number in (0, 3, 4)} == set(stored)

    async def test_a_newer_token_of_a_duplicate_counts_as_seen(self) -> None:
        """As in the real kit: the fence comes first."""
        async with simulation() as fleet:
            node = fleet.node()
            answers = [
                (
                    await fleet.schedule(node, id=action_id(1), kind=SUCCESS, metadata={"replicore.io/fence": fence})
                ).status_code
                for fence in ("1:1", "1:5", "1:4")
            ]

        assert [200, 409, 412] == answers

    async def test_protocol_a_keeps_it_and_refuses_nothing(self) -> None:
        """Agents of protocol A know of no fence: it is a header like any other."""
        async with simulation(wire=Wire.A) as fleet:
            node = fleet.node()
            url = f"{node.url}{ROOT}/actions/schedule/{SUCCESS}"
            for number, fence in ((1, "1:9"), (2, "1:8")):
                answer = await fleet.client.post(
                    url, json={"action_id": action_id(number)}, headers={"Replicore-Fence": fence, "X-Ticket": "42"}
                )
                answer.raise_for_status()
            told = (await fleet.told(node, f"/actions/info/{action_id(2)}"))["action"]
            posts = [line["fence"] for line in fleet.fleet.record.lines(what="request") if line["method"] == "POST"]

        assert ("1:8", "42") == (told["headers"]["replicore-fence"], told["headers"]["x-ticket"])
        assert ["1:9", "1:8"] == posts


class TestRestart:
    async def test_a_restarted_agent_goes_on(self) -> None:
        """Down, nothing moves; back, the running action ends, with what it had done before."""
        async with simulation(settings=SLOW) as fleet:
            node = fleet.node()
            await fleet.schedule(node, id=action_id(1), kind=LOOP, args={"target": 2})
            await until(lambda: node.book.queue[action_id(1)].payload is not None)
            fleet.do("restart", nodes=[node.name], down_s=3_600)
            with pytest.raises(httpx.HTTPError):
                await fleet.get(node, "/info/node")
            still = node.turn
            fleet.do("heal")
            await until(lambda: action_id(1) in node.book.finished)

            assert None is still
            assert {action_id(1): "DONE"} == await fleet.phases(node, "finished")

    async def test_a_wiped_agent_knows_nothing(self) -> None:
        """Its actions and the newest fence are gone."""
        async with simulation() as fleet:
            node = fleet.node()
            await run(fleet, node, 1, kind=SUCCESS, metadata={"replicore.io/fence": "1:9"})
            fleet.do("restart", nodes=[node.name], wipe=True)
            await until(lambda: node.agent_up)

            assert 404 == (await fleet.get(node, f"/action/{action_id(1)}")).status_code
            answer = await fleet.schedule(node, kind=SUCCESS, metadata={"replicore.io/fence": "1:1"})
            assert 200 == answer.status_code


class TestEffects:
    async def test_a_set_is_formed_by_actions(self) -> None:
        """cluster.init makes a primary, cluster.add a member of each other node."""
        async with simulation(unformed=1) as fleet:
            first, second, _ = (fleet.node(index) for index in range(3))
            outside = (await fleet.told(first, "/info/node"))["node_status"]
            await run(fleet, first, 1, kind=INIT)
            await run(fleet, first, 2, kind=ADD, args={"host": second.store_address})

            bodies = [await fleet.told(fleet.node(index), "/info/node") for index in range(3)]
        states = [(told["node_status"], told["attributes"].get("mongodb.com/member.state")) for told in bodies]
        assert "NOT_IN_CLUSTER" == outside
        assert [("HEALTHY", "PRIMARY"), ("HEALTHY", "SECONDARY"), ("NOT_IN_CLUSTER", None)] == states

    @pytest.mark.parametrize(
        ("kind", "index", "args"),
        [(INIT, 0, None), (ADD, 1, {"host": "127.10.0.3:27017"}), (ADD, 0, {"host": "h:1"}), (STEP_DOWN, 1, None)],
    )
    async def test_what_makes_no_sense_fails(self, kind: str, index: int, args: Any) -> None:
        """Initialised already, not the primary, no such mongod."""
        async with simulation() as fleet:
            node = fleet.node(index)
            node.cluster.leader = fleet.node(0)
            state = (await run(fleet, node, 1, kind=kind, args=args))["state"]

        assert ("FAILED", str) == (state["phase"], type(state["error"]["error_msg"]))

    async def test_a_step_down_is_an_election(self) -> None:
        """Nobody leads for a while, then the next one."""
        async with simulation() as fleet:
            node = fleet.node()
            node.cluster.leader = node
            await run(fleet, node, 1, kind=STEP_DOWN)
            await until(lambda: node.cluster.leader is not None)

            leaders = [line["leader"] for line in fleet.fleet.record.lines(what="election")]
        assert [None, "mongodb-00000-1"] == leaders

    async def test_a_service_restart_takes_the_store_down(self) -> None:
        """While it runs the datastore is gone; in the end it is back."""
        async with simulation(wire=Wire.A, settings=SLOW) as fleet:
            node = fleet.node()
            url = f"{node.url}{ROOT}/actions/schedule/replicante.io%2Fservice.restart"
            (await fleet.client.post(url, json={})).raise_for_status()
            await until(lambda: not node.store_up)
            down = (await fleet.get(node, "/info/datastore")).status_code
            for _ in range(2):
                fleet.do("restart", nodes=[node.name])
                await until(lambda: node.turn is not None or not node.book.queue)
            await until(lambda: node.store_up)

            assert (500, 200) == (down, (await fleet.get(node, "/info/datastore")).status_code)

    async def test_a_store_that_is_down_fails_its_actions(self) -> None:
        """Actions on the store need one; test actions do not."""
        async with simulation() as fleet:
            node = fleet.node()
            fleet.do("store_down", nodes=[node.name])
            states = [
                (await run(fleet, node, 1, kind=STEP_DOWN))["state"],
                (await run(fleet, node, 2, kind=SUCCESS))["state"],
            ]

        assert ["FAILED", "DONE"] == [state["phase"] for state in states]


class TestProtocolA:
    async def test_an_action_and_its_history(self) -> None:
        """Whole seconds, a wrapper around the arguments, newest transition first, newest finished first."""
        async with simulation(Kind.ZOOKEEPER, wire=Wire.A) as fleet:
            node = fleet.node()
            for number, kind in ((1, SUCCESS), (2, "agent.replicante.io/test.fail")):
                url = f"{node.url}{ROOT}/actions/schedule/{kind}"
                body = {"action_id": action_id(number), "args": {"a": 1}, "created_ts": "2026-03-01T13:00:00.5+01:00"}
                (await fleet.client.post(url, json=body)).raise_for_status()
            await until(lambda: len(node.book.finished) == 2)

            finished = await fleet.told(node, "/actions/finished")
            told = await fleet.told(node, f"/actions/info/{action_id(2)}")
        assert [action_id(2), action_id(1)] == [item["id"] for item in finished]
        assert ("2026-03-01T12:00:00Z", {"a": 1}) == (told["action"]["created_ts"], told["action"]["args"])
        assert ["FAILED", "RUNNING", "NEW"] == [item["state"] for item in told["history"]]
        assert {"error", "layers", "trace", "variant"} == set(told["action"]["state_payload"])

    @pytest.mark.parametrize(
        ("path", "body", "expected"),
        [
            ("/actions/schedule/no.such", {}, (400, "ActionNotAvailable")),
            (f"/actions/schedule/{SUCCESS}", {"action_id": action_id(1)}, (409, "ActionAlreadyExists")),
            (f"/actions/schedule/{SUCCESS}", {"action_id": "x"}, (400, None)),
            (f"/actions/schedule/{SUCCESS}", [], (400, None)),
            ("/actions/elsewhere", {}, (404, None)),
        ],
    )
    async def test_refusals(self, path: str, body: Any, expected: tuple[int, str | None]) -> None:
        """In the words of protocol A: a variant where it has one, else plain text or nothing."""
        async with simulation(wire=Wire.A) as fleet:
            node = fleet.node()
            first = {"action_id": action_id(1)}
            await fleet.client.post(f"{node.url}{ROOT}/actions/schedule/{SUCCESS}", json=first)
            answer = await fleet.client.post(f"{node.url}{ROOT}{path}", json=body)

        json = answer.headers.get("content-type") == "application/json"
        assert expected == (answer.status_code, answer.json()["variant"] if json else None)

    async def test_the_other_agent_knows_nothing_of_it(self) -> None:
        """An agent that is upgraded answers in protocol B, and 404 for what protocol A had."""
        async with simulation(wire=Wire.A) as fleet:
            node = fleet.node()
            await fleet.client.post(f"{node.url}{ROOT}/actions/schedule/{SUCCESS}", json={"action_id": action_id(1)})
            fleet.do("upgrade", nodes=[node.name])

            statuses = [
                (await fleet.get(node, path)).status_code
                for path in ("/info/agent", "/info/node", f"/action/{action_id(1)}")
            ]
        assert [404, 200, 404] == statuses
