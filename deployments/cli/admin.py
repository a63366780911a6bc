"""What only the keeper of the installation does: rare, and told of as an event."""

from __future__ import annotations

from typing import Annotated

import typer

from blocks.models.base import Json
from blocks.models.event import SYSTEM_STREAM, EventDraft, EventType
from blocks.models.record import Change
from deployments.cli.output import say
from deployments.cli.session import Cli
from deployments.cli.world import Parts
from tasks.decide.audit import Command

admin_app = typer.Typer(no_args_is_help=True, help="For the keeper of the installation.")


@admin_app.command("coordinator-reset")
def coordinator_reset(
    context: typer.Context, reason: Annotated[str, typer.Option(help="Why; kept in the event.", min=1)] = ""
) -> None:
    """After ZooKeeper lost its data: raise the generation, so that the store believes its new locks."""
    if not reason.strip():
        message = "say why with --reason"
        raise typer.BadParameter(message)
    cli = Cli.of(context)

    async def reset(parts: Parts) -> int:
        from flows.audit import audited  # noqa: PLC0415 - imports Prefect

        command = Command("admin coordinator-reset", "coordinator", cli.world.user, {"reason": reason})
        async with audited(await parts.store(), command, cli.world.clock):
            return await _reset(cli, parts, reason)

    say(f"the generation is now {cli.run(reset)}; workers take it up within seconds")


async def _reset(cli: Cli, parts: Parts, reason: str) -> int:
    generation = await (await parts.coordinator()).raise_generation()
    data: dict[str, Json] = {"generation": generation, "who": cli.world.user, "why": reason}
    told = EventDraft(type=EventType.COORDINATOR_RESET, stream=SYSTEM_STREAM, subject="coordinator", data=data)
    await (await parts.store()).commit(Change(drafts=(told,)), now=cli.world.clock())
    return generation
