"""Every command of a person is kept: who gave it, what, when, from where, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path

from prefect.runtime import deployment, flow_run

from blocks.account import account
from blocks.errors import PermanentError, ReplicoreError
from blocks.models.command import Outcome
from blocks.models.record import Change
from blocks.store.protocol import Store
from tasks.decide.audit import Command, command_given

WITHIN_S = 5.0
"""So long at most a command that has ended waits for its entry to be kept."""

_logger = logging.getLogger("replicore.audit")


def origin() -> str:
    """From where this process gives commands: program or deployment, user and host."""
    program = f"deployment {deployment.name}" if deployment.name else Path(sys.argv[0] or "python").name
    return f"{program}, {account()}@{socket.gethostname()}"


@contextlib.asynccontextmanager
async def audited(store: Store, command: Command, clock: Callable[[], datetime]) -> AsyncIterator[None]:
    """Keep a command with what comes of the body, as an event.

    The entry is kept after the body: what a command changes says who and why in the same transaction already. If it cannot
    be kept that is logged as an error, with all of it, and the command's own outcome stands.
    """
    outcome, reason = Outcome.DONE, None
    try:
        yield
    except PermanentError as error:
        outcome, reason = Outcome.REFUSED, str(error)
        raise
    except (Exception, asyncio.CancelledError) as error:
        outcome, reason = Outcome.FAILED, str(error) or type(error).__name__
        raise
    finally:
        draft = command_given(command, outcome, reason, origin(), flow_run.id)
        try:
            async with asyncio.timeout(WITHIN_S):
                await asyncio.shield(asyncio.ensure_future(store.commit(Change(drafts=(draft,)), now=clock())))
        except (ReplicoreError, TimeoutError) as error:
            _logger.error("this is not in the audit (%s): %s", error, draft.model_dump_json())  # noqa: TRY400
