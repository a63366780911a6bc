"""What every command works with: its surroundings, the global options, and the ways to read, watch and change."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import typer

from blocks.errors import DependencyUnavailableError, PermanentError, ReplicoreError
from deployments.cli.output import Answer, Format, say, show
from deployments.cli.screen import Screen
from deployments.cli.world import Parts, World
from tasks.decide.audit import Command

T = TypeVar("T")

PREFECT_WITHIN_S = 5.0
KEPT_WITHIN_S = 5.0
"""So long at most each call waits that keeps a refusal: a person waits for the answer."""


@dataclass(frozen=True, slots=True)
class Cli:
    """What every command works with: its surroundings and the global options."""

    world: World
    form: Format
    namespace: str | None
    fleet: str
    timeout_s: float | None
    verbose: bool
    namespace_given: bool = False
    """The namespace stands on the command line: it is meant for this very command, and not only a habit."""

    @classmethod
    def of(cls, context: typer.Context) -> Cli:
        """What the command's context holds."""
        found = context.find_object(cls)
        if found is None:
            message = "a command ran without its global options"
            raise RuntimeError(message)
        return found

    def run(self, job: Callable[[Parts], Coroutine[Any, Any, T]]) -> T:
        """Connect, do something with the parts, let go of them."""

        async def main() -> T:
            async with self.world.connect(self.fleet, None) as parts:
                return await job(parts)

        return asyncio.run(main())

    def answer(self, read: Callable[[Parts], Coroutine[Any, Any, Answer]], watch_s: float | None = None) -> None:
        """Read something and show it, once or again and again.

        Raises:
            typer.Exit: what was read calls for an exit code other than 0.
        """
        if watch_s is not None:
            self.run(lambda parts: self._watch(parts, read, watch_s))
        answer = self.run(read)
        show(answer, self.form)
        if answer.code:
            raise typer.Exit(answer.code)

    async def _watch(self, parts: Parts, read: Callable[[Parts], Awaitable[Answer]], every_s: float) -> None:
        """Until interrupted. An absent server is said, and tried again."""
        with Screen(self.form) as put:
            last: Answer | None = None
            while True:
                try:
                    last = await read(parts)
                    trouble = ""
                except DependencyUnavailableError as error:
                    trouble = str(error)
                put(last, trouble)
                await asyncio.sleep(every_s)

    def run_flow(self, name: str, /, **parameters: Any) -> Any:
        """Run a flow in this process."""
        return self.world.flow(name)(**parameters, fleet=self.fleet)

    @contextlib.contextmanager
    def keeping_refusals(self, name: str, subject: str, **arguments: object) -> Iterator[None]:
        """Keep in the audit what is refused here, before the flow that would have kept it begins.

        What the command line itself has wrong (`typer.BadParameter`) is not kept.
        """
        try:
            yield
        except PermanentError as error:
            self._keep(Command(name, subject, self.world.user, arguments), error)
            raise

    def _keep(self, command: Command, error: PermanentError) -> None:
        async def refuse() -> None:
            from flows.audit import audited  # noqa: PLC0415 - imports Prefect

            async with (
                self.world.connect(self.fleet, KEPT_WITHIN_S) as parts,
                audited(await parts.store(), command, self.world.clock),
            ):
                raise error

        try:
            asyncio.run(refuse())
        except ReplicoreError as trouble:
            if trouble is not error:
                say(f"note: that it was refused is not in the audit: {trouble}")

    def need_prefect(self) -> None:
        """Make sure, before a change, that the Prefect API answers: without it Prefect would start a server of its own.

        Raises:
            DependencyUnavailableError: it does not.
        """
        within_s = PREFECT_WITHIN_S if self.timeout_s is None else self.timeout_s

        async def ask() -> None:
            await self.world.prefect(within_s)

        asyncio.run(ask())
