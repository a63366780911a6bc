"""The agents' actions: order, steps, restarts, deadlines, pruning."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from infra.agents.kit.actions import Limits
from infra.agents.kit.database import open_database
from infra.agents.kit.errors import ActionError, StartError
from infra.agents.kit.handlers import Step, StepContext, done, running
from infra.agents.kit.models import Json, Phase
from infra.agents.testing import LocalAgent, StubStore, TestClock, api

SUCCESS = "agent.replicante.io/test.success"
FAIL = "agent.replicante.io/test.fail"
LOOP = "agent.replicante.io/test.loop"


def scripted(*steps: Step | BaseException) -> StubStore:
    """Return a store whose action ``stub/scripted`` takes these steps."""
    script = iter(steps)

    class Scripted:
        async def step(self, args: Json, payload: Json, ctx: StepContext) -> Step:
            del args, payload, ctx
            step = next(script)
            if isinstance(step, BaseException):
                raise step
            return step

    return StubStore(handlers={"stub/scripted": Scripted()})


async def scheduled(agent: LocalAgent, kind: str, args: object = None) -> str:
    """Schedule an action and return its id."""
    answer = await agent.schedule(kind=kind, args=args)
    action_id: str = answer.json()["id"]
    return action_id


async def state(agent: LocalAgent, action_id: str) -> dict[str, Any]:
    """Return an action's state."""
    body: dict[str, dict[str, Any]] = (await agent.client.get(f"/action/{action_id}")).json()
    return body["state"]


class TestTestActions:
    """The three kinds that every agent has."""

    async def test_success(self, tmp_path: Path) -> None:
        """test.success is DONE after one step."""
        async with api(tmp_path) as agent:
            action_id = await scheduled(agent, SUCCESS)
            await agent.executor.turn()
            found = await state(agent, action_id)

        assert {"phase": "DONE", "payload": None, "error": None} == found

    async def test_fail(self, tmp_path: Path) -> None:
        """test.fail is FAILED with an error in protocol B's form, without the key that requests have."""
        async with api(tmp_path) as agent:
            action_id = await scheduled(agent, FAIL)
            await agent.executor.turn()
            found = await state(agent, action_id)

        assert {
            "phase": "FAILED",
            "payload": None,
            "error": {"error_msg": "the action agent.replicante.io/test.fail always fails"},
        } == found

    async def test_loop(self, tmp_path: Path) -> None:
        """test.loop counts one per step up to its target."""
        async with api(tmp_path) as agent:
            action_id = await scheduled(agent, LOOP, {"target": 3})
            states = []
            while await agent.executor.turn():
                states.append(await state(agent, action_id))

        assert [
            {"phase": "RUNNING", "payload": {"count": 1, "target": 3}, "error": None},
            {"phase": "RUNNING", "payload": {"count": 2, "target": 3}, "error": None},
            {"phase": "DONE", "payload": {"count": 3, "target": 3}, "error": None},
        ] == states

    @pytest.mark.parametrize("args", [None, {}, "x", {"target": "many"}, {"target": -1}, {"target": True}, [1]])
    async def test_loop_default(self, tmp_path: Path, args: object) -> None:
        """Without a sensible target test.loop counts to ten."""
        async with api(tmp_path) as agent:
            action_id = await scheduled(agent, LOOP, args)
            await agent.settle()
            found = await state(agent, action_id)

        assert {"phase": "DONE", "payload": {"count": 10, "target": 10}, "error": None} == found


class TestOrder:
    """One at a time, RUNNING before NEW, then oldest scheduled first."""

    async def test_oldest_first(self, tmp_path: Path) -> None:
        """An action runs to its end before the next begins, in the order they were scheduled."""
        clock = TestClock()
        async with api(tmp_path, clock=clock) as agent:
            first = await scheduled(agent, LOOP, {"target": 2})
            clock.advance(seconds=1)
            second = await scheduled(agent, SUCCESS)
            await agent.executor.turn()
            phases = [(await state(agent, action_id))["phase"] for action_id in (first, second)]
            queue = (await agent.client.get("/actions/queue")).json()
            await agent.settle()
            finished = (await agent.client.get("/actions/finished")).json()

        assert ["RUNNING", "NEW"] == phases
        assert [first, second] == [action["id"] for action in queue["actions"]]
        assert {"id": first, "kind": LOOP, "phase": "RUNNING"} == queue["actions"][0]
        assert [first, second] == [action["id"] for action in finished["actions"]]

    async def test_running_before_older(self, tmp_path: Path) -> None:
        """A running action goes on although the clock went back and an 'older' one came in."""
        clock = TestClock()
        async with api(tmp_path, clock=clock) as agent:
            running_id = await scheduled(agent, LOOP, {"target": 3})
            await agent.executor.turn()
            clock.advance(hours=-1)
            await scheduled(agent, SUCCESS)
            await agent.executor.turn()
            found = await state(agent, running_id)

        assert {"count": 2, "target": 3} == found["payload"]

    async def test_lists_are_cut_at_50(self, tmp_path: Path) -> None:
        """Both lists have the 50 oldest; the newest is found by id only."""
        async with api(tmp_path) as agent:
            ids = [await scheduled(agent, SUCCESS) for _ in range(60)]
            queue = (await agent.client.get("/actions/queue")).json()["actions"]
            await agent.settle()
            finished = (await agent.client.get("/actions/finished")).json()["actions"]
            newest = await state(agent, ids[-1])

        assert ids[:50] == [action["id"] for action in queue]
        assert ids[:50] == [action["id"] for action in finished]
        assert "DONE" == newest["phase"]

    async def test_full_queue(self, tmp_path: Path) -> None:
        """A queue at its limit refuses more with 503 until something is done."""
        async with api(tmp_path, limits=Limits(queue=2)) as agent:
            answers = [(await agent.schedule(kind=SUCCESS)).status_code for _ in range(3)]
            await agent.executor.turn()
            after = await agent.schedule(kind=SUCCESS)

        assert [200, 200, 503] == answers
        assert 200 == after.status_code


class TestSteps:
    """Whatever a handler does, its action ends well defined."""

    async def test_raises(self, tmp_path: Path) -> None:
        """An exception ends the action FAILED with its causes, and keeps the last payload."""
        error = RuntimeError("boom")
        error.__cause__ = OSError("disk")
        async with api(tmp_path, scripted(running({"n": 1}), error)) as agent:
            action_id = await scheduled(agent, "stub/scripted")
            await agent.settle()
            found = await state(agent, action_id)

        assert {
            "phase": "FAILED",
            "payload": {"n": 1},
            "error": {"error_msg": "RuntimeError: boom", "error_cause": "OSError: disk"},
        } == found

    @pytest.mark.parametrize(
        ("step", "message"),
        [
            (Step(Phase.NEW), "the step set its action back to NEW"),
            (done("x" * 300_000), "the step's payload is 300009 bytes; the limit is 262144"),
            (done(object()), "the step's payload is not JSON"),  # type: ignore[arg-type]
            (asyncio.CancelledError(), "the step cancelled itself"),
        ],
    )
    async def test_impossible(self, tmp_path: Path, step: Step | BaseException, message: str) -> None:
        """A step that cannot be stored ends its action FAILED."""
        async with api(tmp_path, scripted(step)) as agent:
            action_id = await scheduled(agent, "stub/scripted")
            await agent.settle()
            found = await state(agent, action_id)

        assert "FAILED" == found["phase"]
        assert message == found["error"]["error_msg"]

    async def test_hangs(self, tmp_path: Path) -> None:
        """A step that hangs, even one that ignores being cancelled, is given up at its deadline."""
        release = asyncio.Event()

        class Stubborn:
            async def step(self, args: Json, payload: Json, ctx: StepContext) -> Step:
                del args, payload, ctx
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    await release.wait()
                return done()

        async with api(tmp_path, StubStore(handlers={"stub/stubborn": Stubborn()}), deadline=0.02) as agent:
            action_id = await scheduled(agent, "stub/stubborn")
            await agent.executor.turn()
            found = await state(agent, action_id)
            release.set()
            await asyncio.sleep(0)

        assert {
            "phase": "FAILED",
            "payload": None,
            "error": {"error_msg": "the step took longer than 0.02 s; whether it had an effect is not known"},
        } == found

    async def test_running_before_the_first_step(self, tmp_path: Path) -> None:
        """An action is stored as RUNNING before its handler does anything."""
        seen: list[object] = []

        class Looks:
            async def step(self, args: Json, payload: Json, ctx: StepContext) -> Step:
                del args, payload
                seen.append((await state(agent, ctx.action_id))["phase"])
                return done()

        async with api(tmp_path, StubStore(handlers={"stub/looks": Looks()})) as agent:
            await scheduled(agent, "stub/looks")
            await agent.settle()

        assert ["RUNNING"] == seen


class TestRestart:
    """Everything is in the file."""

    async def test_resumes(self, tmp_path: Path) -> None:
        """A running action goes on from its payload, a new one stays queued, a finished one stays known."""
        async with api(tmp_path) as agent:
            finished_id = await scheduled(agent, SUCCESS)
            await agent.executor.turn()
            running_id = await scheduled(agent, LOOP, {"target": 3})
            await agent.executor.turn()
            new_id = await scheduled(agent, SUCCESS)
        async with api(tmp_path) as agent:
            before = [await state(agent, action_id) for action_id in (finished_id, running_id, new_id)]
            await agent.executor.turn()
            after = await state(agent, running_id)

        assert ["DONE", "RUNNING", "NEW"] == [found["phase"] for found in before]
        assert {"count": 2, "target": 3} == after["payload"]

    async def test_kind_gone(self, tmp_path: Path) -> None:
        """A stored action whose kind the agent no longer has ends FAILED and does not block the queue."""
        async with api(tmp_path, scripted(ActionError("never"))) as agent:
            action_id = await scheduled(agent, "stub/scripted")
        async with api(tmp_path) as agent:
            next_id = await scheduled(agent, SUCCESS)
            await agent.settle()
            found, following = await state(agent, action_id), await state(agent, next_id)

        assert {"error_msg": "this agent no longer knows actions of kind stub/scripted"} == found["error"]
        assert "DONE" == following["phase"]

    async def test_one_agent_per_folder(self, tmp_path: Path) -> None:
        """A second agent on the same folder is refused with a sentence."""
        database = await open_database(tmp_path)
        with pytest.raises(StartError, match=r"is another agent running on this folder\?"):
            await open_database(tmp_path)
        await database.close()

    async def test_not_a_database(self, tmp_path: Path) -> None:
        """A file that is not SQLite is refused with a sentence."""
        (tmp_path / "agent.db").write_bytes(b"nonsense " * 1000)

        with pytest.raises(StartError, match="file is not a database"):
            await open_database(tmp_path)


class TestPrune:
    """What is over is forgotten in the end."""

    async def test_after_14_days(self, tmp_path: Path) -> None:
        """A finished action is kept for 14 days after it finished; what is not over is kept for ever."""
        clock = TestClock()
        async with api(tmp_path, clock=clock) as agent:
            over = await scheduled(agent, SUCCESS)
            await agent.executor.turn()
            waiting = await scheduled(agent, SUCCESS)
            clock.advance(days=14)
            await agent.actions.prune(int(clock.now.timestamp()) * 1_000_000)
            kept = await agent.client.get(f"/action/{over}")
            clock.advance(seconds=1)
            await agent.actions.prune(int(clock.now.timestamp()) * 1_000_000)
            gone, still = await agent.client.get(f"/action/{over}"), await agent.client.get(f"/action/{waiting}")

        assert (200, 404, 200) == (kept.status_code, gone.status_code, still.status_code)

    async def test_bounded(self, tmp_path: Path) -> None:
        """Beyond the limit the oldest finished actions go first."""
        async with api(tmp_path, limits=Limits(finished=2)) as agent:
            ids = [await scheduled(agent, SUCCESS) for _ in range(4)]
            await agent.settle()
            await agent.actions.prune(int(agent.clock.now.timestamp()) * 1_000_000)
            finished = (await agent.client.get("/actions/finished")).json()["actions"]

        assert ids[2:] == [action["id"] for action in finished]


class TestBackground:
    """The executor's own loop."""

    async def test_works_when_nudged(self, tmp_path: Path) -> None:
        """An idle executor starts a new action at once and stops when told."""
        finished = asyncio.Event()

        class Signals:
            async def step(self, args: Json, payload: Json, ctx: StepContext) -> Step:
                del args, payload, ctx
                finished.set()
                return done()

        async with api(tmp_path, StubStore(handlers={"stub/signals": Signals()})) as agent:
            agent.executor.start()
            action_id = await scheduled(agent, "stub/signals")
            async with asyncio.timeout(5):
                await finished.wait()
            await agent.executor.stop()
            found = await state(agent, action_id)

        assert "DONE" == found["phase"]

    async def test_stops_in_a_step(self, tmp_path: Path) -> None:
        """A step that does not end is left behind RUNNING, for the next process."""
        started = asyncio.Event()

        class Waits:
            async def step(self, args: Json, payload: Json, ctx: StepContext) -> Step:
                del args, payload, ctx
                started.set()
                return await asyncio.Future()

        async with api(tmp_path, StubStore(handlers={"stub/waits": Waits()})) as agent:
            agent.executor.start()
            action_id = await scheduled(agent, "stub/waits")
            async with asyncio.timeout(5):
                await started.wait()
            await agent.executor.stop(grace=0.01)
            found = await state(agent, action_id)

        assert "RUNNING" == found["phase"]
