"""What must last before it is said: since when it is seen, shard by shard, and from when on it is a problem."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from blocks.models.problem import PENDING_SHARDS_MAX, Pending
from tasks.decide.rules.base import Finding, listed


class Lasted(NamedTuple):
    """What of a finding has lasted."""

    finding: Finding | None
    """What is to be said now; None: nothing yet."""
    since: datetime
    """Since when that is seen."""
    pending: Pending | None
    """What is to be remembered; None: nothing."""


def lasted(
    code: str, finding: Finding, before: Pending | None, said: datetime | None, *, grace_s: float, now: datetime
) -> Lasted:
    """Judge a finding that must last.

    Args:
        code: of its rule.
        finding: what is seen now.
        before: what was remembered of it.
        said: since when it is a problem already; None: it is none.
        grace_s: for how many seconds it must last.
        now: the present.
    """
    grace = timedelta(seconds=grace_s)
    if finding.shards:
        return _shards(code, finding, before, said, grace, now)
    since = said or (before.since if before is not None else now)
    if said is not None or now - since >= grace:
        return Lasted(finding, since, None)
    return Lasted(None, since, Pending(code=code, node_id=finding.node_id, since=since, until=since + grace))


def _shards(
    code: str, finding: Finding, before: Pending | None, said: datetime | None, grace: timedelta, now: datetime
) -> Lasted:
    """Only shards that have lasted are named. The problem is as old as the oldest of these was when it was first said, and the
    same as long as one that was waited for or named before is among them, whichever else recover.
    """
    unnamed = said if before is None else before.rest_since if before.shards else before.since
    remembered = before.shards if before is not None else {}
    since = {shard: remembered.get(shard) or unnamed or now for shard in finding.shards}
    kept = sorted(since, key=lambda shard: shard not in remembered)[:PENDING_SHARDS_MAX]
    rest = since.keys() - set(kept)
    pending = Pending(
        code=code,
        node_id=finding.node_id,
        since=min(since.values()),
        until=min((at + grace for at in since.values() if now - at < grace), default=None),
        shards={shard: since[shard] for shard in kept},
        rest_since=min((since[shard] for shard in rest), default=None),
    )
    old = {shard: at for shard, at in since.items() if now - at >= grace}
    if not old:
        return Lasted(None, pending.since, pending)
    evidence = f"{finding.evidence}: {listed([finding.shards[shard] for shard in old])}"
    same = said is not None and any(shard in remembered for shard in old)
    return Lasted(
        replace(finding, evidence=evidence), said if said is not None and same else min(old.values()), pending
    )
