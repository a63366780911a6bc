"""Whether an agent's clock agrees with ours, judged by the times of actions: the only times of their own that agents tell.

Two things are certain. What an agent tells as past is not in our future. What we sent lies between the moment when we
intended to and the last one at which the request could still be on its way - of the first attempt only: a later one may
find what an earlier one has left. Times are judged here and nowhere else: nothing is ordered or expires by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from blocks.models.action import Action
from blocks.models.look import AgentAction
from blocks.models.node import ClockOff

KEPT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Limits:
    """How far clocks may differ."""

    skew_s: float = 60.0
    look_s: float = 20.0
    """How long after its beginning a look may still bring answers."""


def clock_off(
    before: ClockOff | None, words: Iterable[object], sent: Mapping[str, Action], limits: Limits, *, now: datetime
) -> ClockOff | None:
    """What is known of an agent's clock after a look; None when it agrees, or nothing is known.

    Args:
        before: what was known.
        words: what the agent told of actions; what is no `AgentAction` tells nothing.
        sent: by id, actions that we know.
        limits: how far clocks may differ.
        now: when the look began.
    """
    agrees = False
    for word in words:
        if not isinstance(word, AgentAction):
            continue
        off = _off(word, sent.get(word.action_id), limits, now)
        same = before is not None and before.action_id == word.action_id
        if off is not None and abs(off) > limits.skew_s:
            return before if same else ClockOff(action_id=word.action_id, seconds=round(off, 1), at=now)
        agrees = agrees or (off is not None and not same)
    return None if agrees or before is None or now - before.at >= KEPT else before


def _off(word: AgentAction, sent: Action | None, limits: Limits, now: datetime) -> float | None:
    """How far ahead (or, negative, behind) the agent's clock is at least, in seconds; None when that cannot be told."""
    times = [at for at in (word.scheduled_at, word.finished_at) if at is not None]
    ahead = max(((at - now).total_seconds() - limits.look_s for at in times), default=0.0)
    if ahead > limits.skew_s:
        return ahead
    if word.scheduled_at is None or sent is None or sent.intent is None or sent.intent.attempt != 1:
        return None
    if word.scheduled_at < sent.intent.at:
        return (word.scheduled_at - sent.intent.at).total_seconds()
    return max(0.0, (word.scheduled_at - sent.intent.answer_by).total_seconds())
