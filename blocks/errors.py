"""What can go wrong, one class per thing a caller can do something about.

Two families: `TransientError` may succeed when tried again, `PermanentError` will not. Exceptions of client libraries end in the
adapter that raised them and are kept as `__cause__`.
"""

from __future__ import annotations

from typing import NamedTuple


class ReplicoreError(Exception):
    """Any failure that this project has a word for."""


class TransientError(ReplicoreError):
    """May succeed when tried again."""


class PermanentError(ReplicoreError):
    """Will fail in the same way when tried again."""


class DependencyUnavailableError(TransientError):
    """A server we depend on did not answer within the deadline, or refused us."""

    def __init__(self, component: str, endpoint: str, reason: str, hint: str) -> None:
        """Say which component, where it was sought, what happened, and what a person should check."""
        super().__init__(f"{component} at {endpoint} is not available: {reason}. {hint}")
        self.component = component
        self.endpoint = endpoint
        self.reason = reason
        self.hint = hint


class BusyError(TransientError):
    """Somebody else holds the lock, seat or duty."""

    def __init__(self, kind: str, name: str, holder: str) -> None:
        """Say what is held and by whom."""
        super().__init__(f"the {kind} of {name} is held by {holder}")
        self.kind = kind
        self.name = name
        self.holder = holder


class LockLostError(TransientError):
    """The lock is gone or can no longer be proven: nothing may be written or sent under it."""


class FencedError(TransientError):
    """A newer holder has written: this holder is superseded and has changed nothing."""


class ConflictError(TransientError):
    """A record changed between being read and being written; nothing was written."""


class PartlyUndoneError(PermanentError):
    """What was to be changed is changed, but for what was for something that was deleted at the same moment: it is undone."""


class NotFoundError(PermanentError):
    """There is no such namespace, source, cluster, node or action."""


class RefusedError(PermanentError):
    """The request is understood and not allowed in the present state; nothing was changed."""


class RecordError(PermanentError):
    """A record cannot be stored as it is, or what is stored cannot be read as the record it should be."""


class Fault(NamedTuple):
    """One thing that is wrong with what a person gave us."""

    where: str
    """Document and path, for example `document 2: spec.interval`."""
    reason: str


class InvalidInputError(PermanentError):
    """What a person or a file gave us is wrong; nothing was changed."""

    def __init__(self, message: str, faults: tuple[Fault, ...] = ()) -> None:
        """Take one sentence and, where there are several faults, each with its place."""
        lines = [message, *(f"  {fault.where}: {fault.reason}" for fault in faults)]
        super().__init__("\n".join(lines))
        self.message = message
        self.faults = faults


class AgentError(TransientError):
    """An agent could not be asked or did not understand; a fact about that node only."""

    def __init__(self, reason: str, *, status: int | None = None, sent: bool = False) -> None:
        """Take a short reason, the HTTP status if there was one, and whether the request may have had effect."""
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.sent = sent


class SourceError(TransientError):
    """A discovery source gave no complete answer."""

    def __init__(self, reason: str, *, kind: str | None = None) -> None:
        """Take one sentence, and the part of it that stays the same as long as the trouble does: None = all of it."""
        super().__init__(reason)
        self.kind = kind or reason


class PlatformError(TransientError):
    """A platform could not be asked, failed, or gave an answer that means nothing."""

    def __init__(self, reason: str, *, maybe_done: bool) -> None:
        """Take one sentence, and whether the request may have had effect all the same."""
        super().__init__(reason)
        self.reason = reason
        self.maybe_done = maybe_done


class PlatformRefusedError(PermanentError):
    """A platform understood a request and will not do it; nothing was changed."""

    def __init__(self, reason: str, *, maybe_done: bool = False) -> None:
        """Take one sentence; `maybe_done` is there so that both errors of platforms can be handled alike."""
        super().__init__(reason)
        self.reason = reason
        self.maybe_done = maybe_done
