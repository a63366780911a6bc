"""`node.restart` of the MongoDB agent against a mongod that steps down, ends and comes back as another process."""

from dataclasses import dataclass, field

import pytest

from infra.agents.kit.errors import ActionError, StoreDownError
from infra.agents.kit.handlers import Step, StepContext
from infra.agents.kit.models import Json, Phase
from infra.agents.mongodb.client import Document, MongoCommandError
from infra.agents.mongodb.restart import Restart
from infra.agents.testing import TestClock

ME, OTHER = "127.0.0.1:1", "127.0.0.1:2"
LIMIT = 1_000


@dataclass
class Member:
    """A mongod: its process, its role, and how long things take it, in steps."""

    process: int = 1
    leads: bool = False
    alone: bool = False
    initialised: bool = True
    away: int = 3
    """For so many questions after a shutdown nothing listens; negative: for ever."""
    elects: int = 2
    """So many questions after it stepped down another primary is seen; negative: never."""
    recovering: int = 2
    """So many questions after its start it is not a member yet."""
    stepdown_error: Exception | None = None
    shutdown_error: Exception | None = None
    deaf: bool = False
    """It does not end when told to."""
    commands: list[str] = field(default_factory=list)
    address: str = ME
    down: int = 0

    async def command(
        self, name: str, value: object = 1, *, database: str = "admin", seconds: float = 1.0, **fields: object
    ) -> Document:
        """Do what is asked."""
        del value, database, seconds
        if name not in {"hello", "replSetGetStatus"}:
            self.commands.append(f"{name} {self.process}{' force' if fields.get('force') else ''}")
        if self.down != 0:
            self.down -= 1
            message = "mongod does not listen"
            raise StoreDownError(message)
        return getattr(self, f"_{name}")()

    async def close(self) -> None:
        """Do nothing."""

    def _hello(self) -> Document:
        answer: Document = {"topologyVersion": {"processId": f"p{self.process}"}, "isWritablePrimary": self.leads}
        if not self.initialised:
            return answer
        hosts = [ME] if self.alone else [ME, OTHER]
        if not self.leads and self.elects > 0:
            self.elects -= 1
        primary = ME if self.leads else OTHER if self.elects == 0 else None
        return {**answer, "setName": "orders", "me": ME, "hosts": hosts, "primary": primary}

    def _replSetStepDown(self) -> Document:  # noqa: N802 - a command's name
        if self.stepdown_error is not None:
            raise self.stepdown_error
        self.leads = False
        return {"ok": 1}

    def _shutdown(self) -> Document:
        if self.shutdown_error is not None:
            raise self.shutdown_error
        if not self.deaf:
            self.process += 1
            self.down = self.away
        message = "the connection was closed"
        raise StoreDownError(message)

    def _replSetGetStatus(self) -> Document:  # noqa: N802 - the same
        if not self.initialised:
            raise MongoCommandError(94, "no replset config has been received")
        self.recovering -= self.process > 1
        return {"myState": 3 if self.recovering > 0 else 1 if self.leads else 2}


async def run(member: Member, args: Json = None, *, twice: bool = False) -> list[Step]:
    """Step the action to its end; `twice`: each step is repeated, as after a crash before it was stored."""
    clock, payload, steps = TestClock(), None, list[Step]()
    handler = Restart(member)
    for _ in range(LIMIT):
        for _ in range(1 + twice):
            step = await handler.step(args, payload, StepContext("id", clock.now))
        steps.append(step)
        if step.phase.final:
            return steps
        payload = step.payload
        clock.advance(seconds=1)
    return steps


@pytest.mark.parametrize("twice", [False, True], ids=["once", "each step repeated"])
async def test_a_secondary(twice: bool) -> None:
    """Shut down once, never the process that came after it, and DONE when that is a member again."""
    member = Member()
    steps = await run(member, twice=twice)

    assert ["shutdown 1"] == member.commands
    assert {"stage": "done", "process": "p2", "before": "p1", "state": 2} == steps[-1].payload
    assert 2 < len(steps)


@pytest.mark.parametrize("twice", [False, True], ids=["once", "each step repeated"])
async def test_a_primary_makes_way_first(twice: bool) -> None:
    """It steps down, and is only shut down when another primary is seen."""
    member = Member(leads=True, elects=4)
    steps = await run(member, twice=twice)

    assert ["replSetStepDown 1", "shutdown 1"] == member.commands
    assert Phase.DONE is steps[-1].phase


async def test_alone() -> None:
    """A set of one has nobody to make way for; a mongod without a set is nobody's member before and after."""
    lonely, fresh = Member(leads=True, alone=True), Member(initialised=False)
    ends = [(await run(one))[-1].phase for one in (lonely, fresh)]

    assert [Phase.DONE, Phase.DONE] == ends
    assert (["shutdown 1 force"], ["shutdown 1"]) == (lonely.commands, fresh.commands)


async def test_elected_again_before_it_was_shut_down() -> None:
    """It makes way once more."""
    member = Member()
    handler, clock = Restart(member), TestClock()
    first = await handler.step(None, None, StepContext("id", clock.now))
    member.leads = True
    second = await handler.step(None, first.payload, StepContext("id", clock.now))
    steps = [second]
    while not steps[-1].phase.final:
        clock.advance(seconds=1)
        steps.append(await handler.step(None, steps[-1].payload, StepContext("id", clock.now)))

    assert ["replSetStepDown 1", "shutdown 1"] == member.commands


async def test_a_process_that_died_by_itself_is_not_shut_down() -> None:
    """The next one was started already: that is what was wanted."""
    member = Member()
    first = await Restart(member).step(None, None, StepContext("id", TestClock().now))
    member.process = 2
    second = await Restart(member).step(None, first.payload, StepContext("id", TestClock().now))

    assert ([], Phase.RUNNING) == (member.commands, second.phase)
    assert isinstance(second.payload, dict)
    assert "start" == second.payload["stage"]


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (Member(down=-1), "does not listen"),
        (Member(leads=True, elects=-1), "gave up after 61 s: stepped down, but no other primary is seen yet"),
        (
            Member(leads=True, stepdown_error=MongoCommandError(262, "No electable secondaries caught up")),
            "gave up after 61 s: No electable",
        ),
        (Member(leads=True, stepdown_error=MongoCommandError(13, "not allowed")), "not allowed"),
        (Member(shutdown_error=MongoCommandError(13, "not allowed")), "not allowed"),
        (Member(away=-1), "gave up after 301 s: mongod does not listen"),
        (Member(deaf=True), "not restarted within 600 s; it was at"),
        (Member(recovering=LIMIT), "gave up after 301 s: another process runs, but its member state is 3"),
    ],
    ids=[
        "down before",
        "no other primary",
        "nobody caught up",
        "no right",
        "no right to shut down",
        "not back",
        "deaf",
        "no member",
    ],
)
async def test_what_does_not_end_well_ends(member: Member, reason: str) -> None:
    """In bounded time, with the reason; a primary that cannot make way is never shut down."""
    with pytest.raises((ActionError, MongoCommandError, StoreDownError), match=reason):
        await run(member)

    assert not (member.leads and "shutdown 1" in member.commands)


async def test_a_shutdown_that_never_arrived_is_sent_again() -> None:
    """After half a minute; to that very process only."""
    member = Member(deaf=True)
    handler, clock = Restart(member), TestClock()
    step = await handler.step(None, None, StepContext("id", clock.now))
    while not step.phase.final:
        clock.advance(seconds=1)
        member.deaf = member.deaf and len(member.commands) < 1
        step = await handler.step(None, step.payload, StepContext("id", clock.now))

    assert ["shutdown 1", "shutdown 1"] == member.commands


async def test_all_of_it_is_bounded() -> None:
    """However often its stages begin anew."""
    first = await Restart(Member()).step(None, None, clock_at := StepContext("id", TestClock().now))
    late = TestClock()
    late.advance(seconds=601)
    with pytest.raises(ActionError, match="not restarted within 600 s; it was at shutdown"):
        await Restart(Member()).step(None, first.payload, StepContext("id", late.now))
    assert "id" == clock_at.action_id


async def test_a_mongod_that_does_not_tell_its_process() -> None:
    """It could not be seen that it was restarted."""

    class Old(Member):
        def _hello(self) -> Document:
            return {"isWritablePrimary": False}

    with pytest.raises(ActionError, match=r"4\.4 or newer"):
        await run(Old())


async def test_arguments_are_an_object() -> None:
    """Or nothing."""
    with pytest.raises(ActionError, match="args must be an object"):
        await run(Member(), [1])
