"""Restart a mongod: make way if it is the primary, shut down cleanly, and wait until another process is a member again.

The agent does not start processes: whatever keeps this mongod alive (a service manager, the stack's supervisor) starts it
when it has ended. So it must be set to start it after a clean end too (systemd: ``Restart=always``); where nothing does, the
action is FAILED after five minutes.

Each process of mongod has an id of its own, which `hello` tells. It is stored before anything is done: whoever repeats a step
after a crash sees by it whether the mongod that answers is the one to be shut down, or already the next one.
"""

from infra.agents.kit.errors import ActionError, StoreDownError
from infra.agents.kit.handlers import Step, StepContext, as_object, done, running
from infra.agents.kit.models import Json
from infra.agents.mongodb.actions import COMMAND_SECONDS, NOT_PRIMARY, TRY_AGAIN, again, since, waited
from infra.agents.mongodb.client import Commands, Document, MongoCommandError
from infra.agents.mongodb.status import INVALID_CONFIG, NOT_YET_INITIALIZED, SECONDARY

AWAY_SECONDS = 60
"""For so long a primary that stepped down is not elected again: until long after it was shut down."""
CATCH_UP_SECONDS = 10
QUIESCE_SECONDS = 1
"""So long mongod tells its clients that it is going, before it goes."""
START_PATIENCE_SECONDS = 300
DEAF_SECONDS = 30
"""A process that still answers so long after it was told to shut down is told again."""
LATE_SECONDS = 600
"""The whole of it never takes longer."""
EXCEEDED_TIME_LIMIT = 262
"""No secondary has caught up: it stays the primary, and is asked again."""
PRIMARY, ARBITER = 1, 7
MEMBER = {PRIMARY, SECONDARY, ARBITER}


class Restart:
    """``node.restart`` {} or null: ends when another process of mongod is PRIMARY or SECONDARY (or ARBITER)."""

    def __init__(self, mongod: Commands) -> None:
        """Act on `mongod`."""
        self._mongod = mongod

    async def step(self, args: Json, payload: Json, ctx: StepContext) -> Step:
        """Note which process it is, make way, shut down, wait for the next process."""
        as_object(args, "args")
        progress = as_object(payload, "payload")
        if not progress:
            return await self._note(ctx)
        _not_too_late(progress, ctx)
        try:
            hello = await self._mongod.command("hello")
        except StoreDownError as error:
            return again(progress, ctx, error, START_PATIENCE_SECONDS)
        if _process(hello) != progress["process"]:
            return await self._started(progress, ctx, _process(hello))
        return await self._same(progress, hello, ctx)

    async def _same(self, progress: dict[str, Json], hello: Document, ctx: StepContext) -> Step:
        """The process that is to end answers."""
        if progress["stage"] == "stepdown":
            return await self._make_way(progress, hello, ctx)
        if progress["stage"] == "shutdown":
            return await self._shut_down(progress, hello, ctx)
        if waited(progress, ctx) > DEAF_SECONDS:  # what told it to shut down never arrived
            return running(since({**progress, "stage": "shutdown"}, ctx))
        return again(progress, ctx, ActionError("told to shut down, but the same process still answers"))

    async def _note(self, ctx: StepContext) -> Step:
        """Remember which process is to end, and whether it leads others."""
        hello = await self._mongod.command("hello")
        stage = "stepdown" if _leads_others(hello) else "shutdown"
        progress: dict[str, Json] = {
            "stage": stage, "process": _process(hello), "member": "setName" in hello, "begun": ctx.now.timestamp(),
        }  # fmt: skip
        return running(since(progress, ctx))

    async def _make_way(self, progress: dict[str, Json], hello: Document, ctx: StepContext) -> Step:
        """Step down, and go on when another primary is seen."""
        if not hello.get("isWritablePrimary"):
            if hello.get("primary") not in {None, hello.get("me")}:
                return running(since({**progress, "stage": "shutdown"}, ctx))
            return again(progress, ctx, ActionError("stepped down, but no other primary is seen yet"))
        try:
            await self._mongod.command(
                "replSetStepDown", AWAY_SECONDS, seconds=COMMAND_SECONDS, secondaryCatchUpPeriodSecs=CATCH_UP_SECONDS
            )
        except MongoCommandError as error:
            if error.code not in {*NOT_PRIMARY, *TRY_AGAIN, EXCEEDED_TIME_LIMIT}:
                raise
            return again(progress, ctx, error)
        except StoreDownError as error:
            return again(progress, ctx, error)
        return again(progress, ctx, ActionError("told to step down"))

    async def _shut_down(self, progress: dict[str, Json], hello: Document, ctx: StepContext) -> Step:
        """Shut down; no answer is the answer. One that leads again makes way once more."""
        if _leads_others(hello):
            return running(since({**progress, "stage": "stepdown"}, ctx))
        try:
            await self._mongod.command(
                "shutdown", seconds=COMMAND_SECONDS, timeoutSecs=QUIESCE_SECONDS, force=_leads_alone(hello)
            )
        except MongoCommandError as error:
            if error.code not in TRY_AGAIN:
                raise
            return again(progress, ctx, error)
        except StoreDownError:
            pass
        return running(since({**progress, "stage": "start"}, ctx))

    async def _started(self, progress: dict[str, Json], ctx: StepContext, process: str) -> Step:
        """End when the next process is a member as the last one was."""
        if progress["stage"] != "start":
            return running(since({**progress, "stage": "start"}, ctx))
        result: dict[str, Json] = {"stage": "done", "process": process, "before": progress["process"]}
        try:
            status = await self._mongod.command("replSetGetStatus")
        except StoreDownError as error:
            return again(progress, ctx, error, START_PATIENCE_SECONDS)
        except MongoCommandError as error:
            never = error.code in {NOT_YET_INITIALIZED, INVALID_CONFIG} and not progress["member"]
            if never:
                return done({**result, "state": None})
            return again(progress, ctx, error, START_PATIENCE_SECONDS)
        state = int(status["myState"])
        if state not in MEMBER:
            recovering = ActionError(f"another process runs, but its member state is {state}")
            return again(progress, ctx, recovering, START_PATIENCE_SECONDS)
        return done({**result, "state": state})


def _process(hello: Document) -> str:
    """Return the id of the process that answers.

    Raises:
        ActionError: It does not tell: older than MongoDB 4.4.
    """
    process = hello.get("topologyVersion", {}).get("processId")
    if process is None:
        message = (
            "this mongod does not tell which process it is (MongoDB 4.4 or newer does): a restart could not be seen"
        )
        raise ActionError(message)
    return str(process)


def _leads_others(hello: Document) -> bool:
    """Say whether there is somebody to make way for."""
    others = {*hello.get("hosts", ()), *hello.get("passives", ())} - {hello.get("me")}
    return bool(hello.get("isWritablePrimary")) and bool(others)


def _leads_alone(hello: Document) -> bool:
    """Say whether it is the primary of a set that has nobody else: only by force it shuts down."""
    return bool(hello.get("isWritablePrimary")) and not _leads_others(hello)


def _not_too_late(progress: dict[str, Json], ctx: StepContext) -> None:
    """Give up when all of it took too long, whatever it is at.

    Raises:
        ActionError: It did.
    """
    begun = progress["begun"]
    if isinstance(begun, int | float) and ctx.now.timestamp() - begun > LATE_SECONDS:
        message = f"not restarted within {LATE_SECONDS} s; it was at {progress['stage']}: {progress.get('reason')}"
        raise ActionError(message)
