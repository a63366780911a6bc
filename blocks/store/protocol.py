"""What flows need of a store: the only truth about clusters, nodes, actions, work and events.

Guarantees:
- `commit` is one transaction {fence check, records, events, new work}: all or nothing, and nothing at all for a superseded holder.
- Events get their place in their stream (1, 2, 3 ... without holes) in that transaction. They are history and outbox.
- Work items are changed by compare-and-set on their state and owner.
- What `commit` returned without error survives the loss of any minority of servers.

A call that ends in `DependencyUnavailableError` may still have been applied: read again before deciding again. One whose
caller is cancelled may still be applied later, within its deadline; only `release_work` comes after all of those.
Any call may end in `RecordError`: a record that cannot be stored, or a stored one that this version cannot read. Not so
with many at once whose readers must go on: an unreadable work item is left alone by all but `drop_work`, and logged; an
unreadable event holds up its own stream only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from blocks.models.action import ActionState
from blocks.models.base import Fact
from blocks.models.event import Event, EventDraft
from blocks.models.ids import ClusterRef
from blocks.models.record import Change, Fence, Record, Seen
from blocks.models.request import Ended, Priority, Request, WorkState
from blocks.models.rolling import RollingState
from blocks.models.view import ClusterView

R = TypeVar("R", bound=Record)
Told = Callable[[Request], EventDraft]
"""What to tell of a work item that has just become dead, or was paused."""


class Where(Fact):
    """Which records to list. Every field narrows; None leaves it open."""

    namespace: str | None = None
    cluster_id: str | None = None
    node_id: str | None = None
    source: str | None = None
    """Only for discoveries: the key of the source that owns them."""
    files: bool = False
    """Only for sources: those that are files."""
    action_states: tuple[ActionState, ...] | None = None
    """Only for actions."""
    left_running: bool = False
    """Only for actions: those that were cancelled here and may go on at their agents."""
    rolling_states: tuple[RollingState, ...] | None = None
    """Only for rolling actions."""


class EventQuery(Fact):
    """Which events to list, oldest first."""

    stream: str | None = None
    namespace: str | None = None
    """Only streams of it: its own, and those of its clusters."""
    since: datetime | None = None
    """Not before this moment."""
    until: datetime | None = None
    """Before this moment."""
    types: tuple[str, ...] | None = None
    newest: int = 100
    """At most so many, the newest ones."""


class RetryPolicy(Fact):
    """How failed work is tried again: each time after twice the wait, half of it spread.

    What is on the timetable never waits for longer than its interval (or `backoff_base_s`), and never dies of failures.
    """

    attempts_max: int = 8
    """After so many failures in a row, transient ones not counted, an item without interval is dead."""
    backoff_base_s: float = 1.0
    backoff_max_s: float = 300.0
    transient_max_s: float = 10.0
    """The longest wait after a transient failure: what was away is used again soon after it is back."""


class WorkCounts(Fact):
    """How much work stands where."""

    idle: int = 0
    queued: int = 0
    claimed: int = 0
    retrying: int = 0
    """Those of the queued ones that wait for their `not_before`."""
    dead: int = 0
    late_worst_s: float = 0.0
    """How long the latest queued item has been waiting past its wanted start."""


class Store(Protocol):
    """The truth. Every call has a deadline of its own (a setting)."""

    async def ready(self) -> None:
        """Return when the server answers and takes writes.

        Raises:
            DependencyUnavailableError: it does not, within the deadline.
        """

    async def prepare(self) -> None:
        """Create collections and indexes, or bring them up to date; harmless when repeated or done by many at once. Has a
        deadline of minutes, because an index over much data takes its time.
        """

    async def faults(self, most: int = 100) -> list[str]:
        """What is wrong with what is stored, at most `most` sentences: not prepared, of another version, indexes that are
        missing or other ones, and records that cannot be read (of events the newest ten thousand are looked at). Reads
        everything else that is stored: for a person who asks.
        """

    # -- records ------------------------------------------------------------------------------------------------------

    async def get(self, type_: type[R], key: str) -> R | None:
        """One record, or None."""

    async def find(self, type_: type[R], where: Where | None = None, *, limit: int = 10_000) -> list[R]:
        """Records in the order of their keys (actions and rolling actions: newest first), at most `limit`."""

    async def readable(
        self, type_: type[R], where: Where | None = None, *, limit: int = 10_000
    ) -> tuple[list[R], list[str]]:
        """Like `find`, but what cannot be read is left out and named: one broken record stops nothing but itself."""

    def pages(self, type_: type[R], where: Where | None = None) -> AsyncIterator[tuple[list[R], list[str]]]:
        """All records in the order of their keys, however many, piece by piece, each with the keys of those of it that cannot
        be read. Each piece has a deadline of its own.

        What changes meanwhile is among them as it was or as it is.
        """

    async def get_many(self, type_: type[R], keys: Collection[str]) -> dict[str, R]:
        """By key, those records of `keys` that exist."""

    async def readable_many(self, type_: type[R], keys: Collection[str]) -> tuple[dict[str, R], list[str]]:
        """Like `get_many`, but what cannot be read is left out and named."""

    async def existing(self, type_: type[R], keys: Collection[str]) -> set[str]:
        """Which of `keys` have a record; reads no record."""

    async def versions(self, type_: type[R], *, limit: int = 10_000) -> dict[str, int]:
        """By key, the version of every record, at most `limit`; reads no record. Only for types that are changed by `swaps`."""

    async def views(self, clusters: Sequence[ClusterRef]) -> dict[str, ClusterView]:
        """By cluster key, the views of those clusters that have a spec and a namespace; one query per collection."""

    async def claim(self, fences: Sequence[Fence]) -> set[str]:
        """Announce new holders, before they read. Returns the subjects for which a newer one has already been seen."""

    async def newest_fence(self) -> Fence | None:
        """Of all holders ever announced, the newest; None before the first. Looks at all fences: not for every turn."""

    async def commit(self, change: Change, *, now: datetime, fence: Fence | None = None) -> tuple[Event, ...]:
        """Make one change, with the events that tell of it, in their order.

        Raises:
            FencedError: `fence` is older than the newest seen for its subject; nothing was written.
            ConflictError: one of the swaps met another version than it expected; nothing was written.
        """

    async def seen(self, seen: Sequence[Seen]) -> set[str]:
        """Save that clusters were seen unchanged, in one transaction where all fences hold.

        Returns the subjects that were left out because a newer holder has been seen for them.
        """

    # -- events -------------------------------------------------------------------------------------------------------

    async def events(self, query: EventQuery) -> list[Event]:
        """History, oldest first."""

    async def unpublished(self, limit: int, *, per_stream: int = 100, skip: Collection[str] = ()) -> list[Event]:
        """Events that wait for the bus, at most `limit` of them and `per_stream` of one stream: the oldest of each, in its
        order, without a gap. Streams whose oldest event waits longest are served first, those in `skip` not at all.
        However much waits in one stream, the call costs the same, and the others are not kept from it.
        """

    async def mark_published(self, event_ids: Sequence[str]) -> None:
        """These are on the bus for good."""

    async def published_since(self, since: datetime, *, limit: int) -> int:
        """How many events of this moment and later are on the bus, counted up to `limit`."""

    async def republish(self, since: datetime, *, limit: int) -> int:
        """Have events of this moment and later that are on the bus go there once more, with the same ids and places: they
        wait in the outbox again. The oldest first, at most `limit`; returns how many. Has a deadline of minutes; after an
        error call it again.
        """

    async def read_back(self, events: Sequence[Event]) -> int:
        """Keep events of ours that others have and this store has lost, as published ones; those that are there stay. Their
        streams go on behind them, so that no place is given twice. Returns how many were lost. Only while nobody writes.
        """

    async def outbox_size(self) -> tuple[int, datetime | None]:
        """How many events wait for the bus, and the time of the oldest."""

    # -- work ---------------------------------------------------------------------------------------------------------

    async def ensure_work(self, items: Sequence[Request], now: datetime) -> int:
        """Put items on the timetable, the first turn within one interval from now, spread by key, or when `next_at` says.
        An item already there only takes `interval` and `active` from the given one, and its turn comes forward when
        the new interval says so, but not into a pause. Returns how many were new or changed.
        """

    async def drop_work(self, keys: Sequence[str], *, spare_claimed: bool = False) -> int:
        """Take items off the timetable, whatever their state, or all but those that a worker has. Returns how many."""

    async def on_timetable(self, kinds: Sequence[str]) -> set[str]:
        """The keys of all items of these kinds that have an interval and that no worker has."""

    async def pause_work(
        self,
        key: str,
        until: datetime | None,
        by: str | None,
        why: str | None,
        now: datetime,
        told: Told | None = None,
    ) -> Request | None:
        """Have the timetable leave an item alone until then; None (or a moment that has passed) ends a pause now.

        A queued item goes back to the timetable unless a person asked for it; a claimed one finishes. While it is paused
        it runs only when asked for by a person or urgently, and a turn that fails is not tried again. When the pause
        ends, its next turn lies within one interval, spread by its key. Returns the item as it now is; None when there is
        none. What is `told` of a change (of the item as it now is) is an event, written with it or not at all.

        Raises:
            RecordError: the item is there, and this version cannot read it.
        """

    async def paused(self, now: datetime) -> set[str]:
        """The keys of all items that are paused now."""

    async def ask(self, kind: str, subject: str, priority: Priority, now: datetime) -> Request:
        """Ask for work now: queues the item (makes it if there is none), or marks a claimed one to run once more.
        A queued one becomes as urgent as asked. Routine leaves a paused one alone. Only a person ends the waiting of a
        failed one (also one that fails after having been asked for) and wakes a dead one. Returns the item as it now is.

        Raises:
            RecordError: the item is there, and this version cannot read it.
        """

    async def ask_many(self, kind: str, subjects: Collection[str], priority: Priority, now: datetime) -> int:
        """Ask for many at once, each as `ask` does; those that this version cannot read are left alone. Returns how many
        were changed by it.
        """

    async def queue_due(self, now: datetime, limit: int) -> int:
        """Queue active idle items whose `next_at` has come, most overdue first; dead ones stay dead, paused ones idle.
        Returns how many.
        """

    async def unsent(self, now: datetime, resend_after_s: float, limit: int) -> list[Request]:
        """Queued items that may be claimed now and whose pointer was never sent, or so long ago that it may be lost;
        by priority, then wanted start.
        """

    async def mark_sent(self, keys: Sequence[str], now: datetime) -> None:
        """Their pointers are on the queue."""

    async def claim_work(self, keys: Sequence[str], owner: str, now: datetime) -> list[Request]:
        """Claim those of `keys` that are queued and may run now; the others are duplicates or done, and are dropped."""

    async def claim_any(self, kinds: Sequence[str], owner: str, now: datetime, limit: int) -> list[Request]:
        """Claim up to `limit` queued items without asking for a pointer, sent or not: the way without a queue. By
        priority, then wanted start.
        """

    async def finish_work(
        self, ended: Sequence[Ended], owner: str, now: datetime, policy: RetryPolicy, told: Told | None = None
    ) -> list[Request]:
        """End claimed items: success back to the timetable (`next_at` one interval after the last wanted start, in the
        future), failure back to the queue with jittered backoff, or dead as `policy` says. Items that `owner` no longer
        holds are left alone. Returns those that became dead; what is `told` of them is an event, written with them or not
        at all.
        """

    async def release_work(self, owner: str, now: datetime) -> int:
        """Give back everything `owner` has claimed, unfinished, to be run at once by others. Returns how many."""

    async def claimed_by(self) -> set[str]:
        """The owners of all claimed items. To find out who of them is dead, ask for this first and then for who is alive:
        a worker announces itself before it claims.
        """

    async def requeue_of(
        self, owners: Collection[str], now: datetime, *, orphaned_max: int = 5, told: Told | None = None
    ) -> int:
        """Queue again what is claimed by `owners`, who are dead; what has so been taken from dead workers more than
        `orphaned_max` times since its last success becomes dead, with what is `told` of it (see `finish_work`). Returns
        how many were queued again or became dead.
        """

    async def retry_work(self, keys: Sequence[str], now: datetime) -> int:
        """Queue dead items again, with a clean slate, by order of a person. Returns how many."""

    async def list_work(self, states: Sequence[WorkState] | None = None, *, limit: int = 1_000) -> list[Request]:
        """Work items, most overdue first."""

    async def count_work(self, now: datetime) -> WorkCounts:
        """How much work stands where."""
