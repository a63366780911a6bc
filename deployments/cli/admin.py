"""What only the keeper of the installation does: rare, and told of as an event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Protocol

import typer

from blocks.errors import InvalidInputError, ReplicoreError
from blocks.models.base import Json
from blocks.models.event import SYSTEM_STREAM, EventDraft, EventType
from blocks.models.record import Change
from deployments.cli.events import parse_since
from deployments.cli.options import need_reason
from deployments.cli.output import Answer, Column, listing, say
from deployments.cli.session import PREFECT_WITHIN_S, Cli
from deployments.cli.words import plural
from deployments.cli.world import Parts
from tasks.decide.audit import Command
from tasks.decide.restoring import Restored

REPLAYED_MAX = 1_000_000
"""Events that are sent once more by one command."""

admin_app = typer.Typer(no_args_is_help=True, help="For the keeper of the installation.")


@admin_app.command("coordinator-reset")
def coordinator_reset(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Why; kept in the event.", min=1)] = "",
    above: Annotated[
        int, typer.Option(min=0, max=2**31, help="A generation that agents have seen and the store has not.")
    ] = 0,
) -> None:
    """After ZooKeeper lost its data: raise the generation, so that the store believes its new locks.

    It becomes one more than any that ZooKeeper and the store know of.
    """
    need_reason(reason)
    cli = Cli.of(context)

    async def reset(parts: Parts) -> int:
        from flows.audit import audited  # noqa: PLC0415 - imports Prefect

        command = Command("admin coordinator-reset", "coordinator", cli.world.user, {"reason": reason})
        async with audited(await parts.store(), command, cli.world.clock):
            return await _reset(cli, parts, reason, above)

    say(f"the generation is now {cli.run(reset)}; workers take it up within seconds")


async def _reset(cli: Cli, parts: Parts, reason: str, above: int) -> int:
    seen = await (await parts.store()).newest_fence()
    known = max(above, 0 if seen is None else seen.generation)
    generation = await (await parts.coordinator()).raise_generation(known)
    data: dict[str, Json] = {"generation": generation, "who": cli.world.user, "why": reason}
    told = EventDraft(type=EventType.COORDINATOR_RESET, stream=SYSTEM_STREAM, subject="coordinator", data=data)
    await (await parts.store()).commit(Change(drafts=(told,)), now=cli.world.clock())
    return generation


@admin_app.command("events-replay")
def events_replay(
    context: typer.Context,
    since: Annotated[str, typer.Option(metavar="AGO|TIME", help="Not before: 10m, 2h, 1d, or RFC 3339.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit.")] = "",
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many they are.")] = False,
) -> None:
    """After Kafka lost its data: have the events since then sent to the bus once more, each with its id and sequence.

    They wait in the outbox, and the relay sends them, those of a stream in their order. Give it before the topic is
    made anew, so that nothing newer is there before them (docs/backup.md).
    """
    cli = Cli.of(context)
    begin = parse_since(since, cli.world.clock())
    if not dry_run and not reason.strip():
        message = "say why with --reason"
        raise typer.BadParameter(message)

    async def replay(parts: Parts) -> str:
        from flows.audit import audited  # noqa: PLC0415 - imports Prefect

        store = await parts.store()
        if dry_run:
            return f"{_many(await store.published_since(begin, limit=REPLAYED_MAX + 1))} would be sent once more"
        command = Command(
            "admin events-replay", "events", cli.world.user, {"since": begin.isoformat(), "reason": reason}
        )
        async with audited(store, command, cli.world.clock):
            if await store.published_since(begin, limit=REPLAYED_MAX + 1) > REPLAYED_MAX:
                message = f"more than {REPLAYED_MAX:,} events since {begin.isoformat()}: give a later moment"
                raise InvalidInputError(message)
            done = await store.republish(begin, limit=REPLAYED_MAX)
        return f"{_many(done)} wait in the outbox once more; the relay sends them as soon as the topic is there"

    say(cli.run(replay))


@admin_app.command("store-restored")
def store_restored(
    context: typer.Context,
    at: Annotated[str, typer.Option(metavar="AGO|TIME", help="The moment of the backup: RFC 3339, or 2h, 1d ago.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the event and the freeze.")] = "",
) -> None:
    """After MongoDB was set back to an earlier moment, before any worker is started: make it safe to go on from there.

    Reads back from the bus what was told since, freezes everything, and has agents asked about every action that may have
    been sent since. Then look at what is lost (docs/backup.md), and lift the freeze. May be given again.
    """
    cli = Cli.of(context)
    moment = parse_since(at, cli.world.clock())
    if not reason.strip():
        message = "say why with --reason"
        raise typer.BadParameter(message)

    async def restore(parts: Parts) -> Restored:
        from flows.audit import audited  # noqa: PLC0415 - imports Prefect
        from flows.restored import restored  # noqa: PLC0415 - the same

        coordinator, store, bus = await parts.coordinator(), await parts.store(), await parts.event_bus()
        command = Command("admin store-restored", "store", cli.world.user, {"at": moment.isoformat(), "reason": reason})
        async with audited(store, command, cli.world.clock):
            return await restored(coordinator, store, bus, moment, cli.world.user, reason, cli.world.clock)

    done = cli.run(restore)
    say(
        f"{plural(done.read_back, 'event')} read back from the bus; {plural(done.doubted, 'action')} will be asked for at its "
        "agent before anything is sent; everything is frozen"
    )
    for action_id in done.on_clusters:
        say(f"action {action_id} is on a whole cluster and no agent knows of it: was it done since? Then cancel it")
    for rolling_id in done.rollings:
        say(
            f"rolling action {rolling_id} knows only what was done by then: stop it, or its nodes have their turn again"
        )
    say(
        f"`replictl audit --since {moment.isoformat()}` shows what people ordered since; start workers, look, `replictl unfreeze`"
    )


def _many(count: int) -> str:
    return f"more than {REPLAYED_MAX:,} events" if count > REPLAYED_MAX else plural(count, "event")


FAULT_COLUMNS = (Column("PART", lambda row: row["part"]), Column("FAULT", lambda row: row["fault"]))


@admin_app.command("validate")
def validate(context: typer.Context) -> None:
    """Look whether settings, indexes, topics, znodes, deployments and everything stored are as this version needs them.

    Reads all that is stored. Exit code 1: something is not.
    """
    cli = Cli.of(context)

    async def read(parts: Parts) -> Answer:
        asks: list[tuple[str, Callable[[], Awaitable[list[str]]]]] = [
            ("zookeeper", lambda: _of(parts.coordinator)),
            ("mongodb", lambda: _of(parts.store)),
            ("kafka: work", lambda: _of(parts.work_queue)),
            ("kafka: events", lambda: _of(parts.event_bus)),
            ("prefect", lambda: _of_prefect(cli)),
        ]
        rows: list[dict[str, str]] = []
        for part, ask in asks:
            try:
                rows += [{"part": part, "fault": fault} for fault in await ask()]
            except ReplicoreError as error:
                rows.append({"part": part, "fault": str(error)})
        return replace(listing(rows, FAULT_COLUMNS, "everything is as it should be"), code=1 if rows else 0)

    cli.answer(read)


class _Faulty(Protocol):
    async def faults(self) -> list[str]:
        """What is wrong with it."""


async def _of(part: Callable[[], Awaitable[_Faulty]]) -> list[str]:
    return await (await part()).faults()


async def _of_prefect(cli: Cli) -> list[str]:
    from deployments.prefect_api import missing_deployments  # noqa: PLC0415 - imports Prefect

    await cli.world.prefect(PREFECT_WITHIN_S)
    return [
        f"there is no deployment of the flow {name!r}: run `python -m deployments.register`, or serve"
        for name in await missing_deployments()
    ]
