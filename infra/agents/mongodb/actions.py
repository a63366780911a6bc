"""What the agent can do to a replica set: initialise it, add a member, make the primary step down (restart.py: restart it).

Each action writes what it is about to do into its payload in one step and does it in the next, so that a repeated step
recognises its own effect (handlers.py). What may need time is tried again, for a minute at most.
"""

import re
from datetime import datetime

from infra.agents.kit.errors import ActionError, StoreDownError, describe
from infra.agents.kit.handlers import Step, StepContext, as_object, done, running
from infra.agents.kit.models import Json
from infra.agents.mongodb.client import Commands, Document, MongoCommandError
from infra.agents.mongodb.status import INVALID_CONFIG, NOT_YET_INITIALIZED

PATIENCE_SECONDS = 60
COMMAND_SECONDS = 20.0
HOST_MAX = 255
STEPDOWN_SECONDS = 10
STEPDOWN_SECONDS_MAX = 3600
CATCH_UP_SECONDS = 10

ALREADY_INITIALIZED = 23
NODE_NOT_FOUND = 74
NEW_CONFIG_INCOMPATIBLE = 103
TRY_AGAIN = {
    NODE_NOT_FOUND,  # the new member does not answer its heartbeat yet
    NEW_CONFIG_INCOMPATIBLE,  # somebody else (or mongod itself) changed the configuration since we read it
    109,  # ConfigurationInProgress
    189,  # PrimarySteppedDown
    308,  # CurrentConfigNotCommittedYet
    10107,  # NotWritablePrimary
    11602,  # InterruptedDueToReplStateChange
    13435,  # NotPrimaryNoSecondaryOk
}
NOT_PRIMARY = {189, 10107, 11602, 13435}
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")


class ClusterInit:
    """``cluster.init`` {settings?} or null: a new set whose only member is this mongod; ends when it is the primary."""

    def __init__(self, mongod: Commands, cluster_id: str, member: str) -> None:
        """Initialise `mongod` under the address `member`."""
        self._mongod = mongod
        self._cluster_id = cluster_id
        self._member = member

    async def step(self, args: Json, payload: Json, ctx: StepContext) -> Step:
        """Look, initialise, or wait for the election."""
        progress = as_object(payload, "payload")
        settings = as_object(as_object(args, "args").get("settings"), "args.settings")
        stage = progress.get("stage")
        if stage is None:
            return await self._look(ctx)
        if stage == "initiate":
            return await self._initiate(progress, settings, ctx)
        return await self._wait(progress, ctx)

    async def _look(self, ctx: StepContext) -> Step:
        """Refuse a mongod that already has a set; note what is about to be done."""
        config = await _config(self._mongod)
        if config is not None:
            message = f"already initialised: a member of {config['_id']} with {len(config['members'])} members"
            raise ActionError(message)
        progress: dict[str, Json] = {"stage": "initiate", "set": await self._set_name(), "member": self._member}
        return running(since(progress, ctx))

    async def _initiate(self, progress: dict[str, Json], settings: dict[str, Json], ctx: StepContext) -> Step:
        """Initialise; a set with this one member is taken for what an earlier try of this action left."""
        config = {"_id": progress["set"], "members": [{"_id": 0, "host": self._member}], "settings": settings}
        try:
            await self._mongod.command("replSetInitiate", config, seconds=COMMAND_SECONDS)
        except MongoCommandError as error:
            if error.code != ALREADY_INITIALIZED or not await self._ours():
                raise
        except StoreDownError as error:
            return again(progress, ctx, error)
        return running(since({**progress, "stage": "elect"}, ctx))

    async def _wait(self, progress: dict[str, Json], ctx: StepContext) -> Step:
        """End when this mongod may be written to."""
        try:
            hello = await self._mongod.command("hello")
        except StoreDownError as error:
            return again(progress, ctx, error)
        if hello.get("isWritablePrimary"):
            return done({"stage": "done", "set": progress["set"], "member": self._member})
        return again(progress, ctx, ActionError("initialised, but not yet the primary"))

    async def _ours(self) -> bool:
        """Say whether the set is the one that this action makes."""
        config = await _config(self._mongod)
        return config is not None and [member["host"] for member in config["members"]] == [self._member]

    async def _set_name(self) -> str:
        """Return the name mongod was started with; the cluster's id where it does not tell."""
        try:
            parsed = (await self._mongod.command("getCmdLineOpts")).get("parsed", {})
        except MongoCommandError:
            return self._cluster_id
        replication = parsed.get("replication", {})
        name = replication.get("replSetName") or replication.get("replSet") or self._cluster_id
        return str(name).partition("/")[0]


class ClusterAdd:
    """``cluster.add`` {host} (or {node}): adds a member to the set this mongod leads; ends when the set accepted it."""

    def __init__(self, mongod: Commands) -> None:
        """Reconfigure the set of `mongod`."""
        self._mongod = mongod

    async def step(self, args: Json, payload: Json, ctx: StepContext) -> Step:
        """Add the member, or find it added."""
        host = _host(as_object(args, "args"))
        progress = as_object(payload, "payload")
        if not progress:
            return running(since({"host": host, "tried": False}, ctx))
        try:
            return await self._add(host, progress, ctx)
        except MongoCommandError as error:
            if error.code not in TRY_AGAIN:
                raise
            return again(progress, ctx, error)
        except StoreDownError as error:
            return again(progress, ctx, error)

    async def _add(self, host: str, progress: dict[str, Json], ctx: StepContext) -> Step:
        """Read the configuration, append, write it back one version later."""
        config = await _config(self._mongod)
        if config is None:
            message = "this mongod is not a member of a replica set: nothing to add to"
            raise ActionError(message)
        members = config["members"]
        if any(member["host"] == host for member in members):
            result = "added" if progress["tried"] else "already a member"
            return done({"host": host, "set": config["_id"], "members": len(members), "result": result})
        if not (await self._mongod.command("hello")).get("isWritablePrimary"):
            return again(progress, ctx, ActionError("this mongod is not the primary: add members through the primary"))
        if not progress["tried"]:
            # Stored before the effect: "already a member" would be a lie about a member we added before a crash.
            return running({**progress, "tried": True})
        config["version"] += 1
        members.append({"_id": max(member["_id"] for member in members) + 1, "host": host})
        await self._mongod.command("replSetReconfig", config, seconds=COMMAND_SECONDS)
        return done({"host": host, "set": config["_id"], "members": len(members), "result": "added"})


class StepDown:
    """``node.stepdown`` {seconds?: 10} or null: the primary makes way; judged by looking, not by the answer."""

    def __init__(self, mongod: Commands) -> None:
        """Act on `mongod`."""
        self._mongod = mongod

    async def step(self, args: Json, payload: Json, ctx: StepContext) -> Step:
        """Note the term, step down, look."""
        seconds = _stepdown_seconds(as_object(args, "args"))
        progress = as_object(payload, "payload")
        stage = progress.get("stage")
        if stage is None:
            return await self._note(ctx, seconds)
        try:
            term = await self._primary_term()
            if term != progress["term"]:
                return done({"stage": "done", "seconds": seconds, "primary": term is not None})
            if stage == "confirm":
                return again(progress, ctx, ActionError("told to step down, but still the primary"))
            return await self._step_down(progress, ctx, seconds)
        except StoreDownError as error:
            return again(progress, ctx, error)

    async def _note(self, ctx: StepContext, seconds: int) -> Step:
        """Refuse a mongod that is not the primary; remember which election it won."""
        term = await self._primary_term()
        if term is None:
            message = "this mongod is not the primary: there is nothing to step down from"
            raise ActionError(message)
        return running(since({"stage": "stepdown", "term": term, "seconds": seconds}, ctx))

    async def _step_down(self, progress: dict[str, Json], ctx: StepContext, seconds: int) -> Step:
        """Tell the primary to step down; no answer is not a failure."""
        catch_up = max(min(CATCH_UP_SECONDS, seconds - 1), 0)
        try:
            await self._mongod.command(
                "replSetStepDown", seconds, seconds=COMMAND_SECONDS, secondaryCatchUpPeriodSecs=catch_up
            )
        except MongoCommandError as error:
            if error.code not in NOT_PRIMARY:
                raise
        except StoreDownError:
            pass
        return running(since({**progress, "stage": "confirm"}, ctx))

    async def _primary_term(self) -> str | None:
        """Return the election this mongod leads by, or None when it does not lead."""
        hello = await self._mongod.command("hello")
        return str(hello.get("electionId")) if hello.get("isWritablePrimary") else None


async def _config(mongod: Commands) -> Document | None:
    """Return the set's configuration, or None when there is none."""
    try:
        config: Document = (await mongod.command("replSetGetConfig"))["config"]
    except MongoCommandError as error:
        if error.code in {NOT_YET_INITIALIZED, INVALID_CONFIG}:
            return None
        raise
    return config


def _host(args: dict[str, Json]) -> str:
    """Return the address of the member to add."""
    host = args.get("host", args.get("node"))
    match = _HOST.fullmatch(host) if isinstance(host, str) and len(host) <= HOST_MAX else None
    if match is None or not isinstance(host, str) or not 0 < int(match[2]) <= 65_535:  # noqa: PLR2004 - a port
        message = 'args must be {"host": "HOST:PORT"}, the address of the member to add'
        raise ActionError(message)
    return host


def _stepdown_seconds(args: dict[str, Json]) -> int:
    """Return how long the primary stays away."""
    seconds = args.get("seconds", STEPDOWN_SECONDS)
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 1 <= seconds <= STEPDOWN_SECONDS_MAX:
        message = f"args.seconds must be a whole number from 1 to {STEPDOWN_SECONDS_MAX}"
        raise ActionError(message)
    return seconds


def since(progress: dict[str, Json], ctx: StepContext) -> dict[str, Json]:
    """Start the clock of a stage."""
    return {**progress, "since": ctx.now.isoformat(), "attempts": 0, "reason": None}


def waited(progress: dict[str, Json], ctx: StepContext) -> float:
    """Return the seconds since the stage began."""
    return (ctx.now - datetime.fromisoformat(str(progress["since"]))).total_seconds()


def again(
    progress: dict[str, Json], ctx: StepContext, reason: Exception, patience_seconds: float = PATIENCE_SECONDS
) -> Step:
    """Try the same stage again at the next step, and say why.

    Raises:
        ActionError: The stage has been tried for so long, a minute unless told otherwise.
    """
    if waited(progress, ctx) > patience_seconds:
        message = f"gave up after {waited(progress, ctx):.0f} s: {describe(reason)}"
        raise ActionError(message) from reason
    attempts = progress.get("attempts")
    return running(
        {**progress, "attempts": (attempts if isinstance(attempts, int) else 0) + 1, "reason": describe(reason)}
    )
