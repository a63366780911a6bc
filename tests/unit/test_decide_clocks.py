from __future__ import annotations

from datetime import timedelta

import pytest

from blocks.models.action import Action, ActionState
from blocks.models.look import AgentAction
from blocks.models.node import ClockOff
from doubles.actions import action_id, make_action
from doubles.views import NOW, intent, later, word
from tasks.decide.clocks import Limits, clock_off

LIMITS = Limits(skew_s=60.0, look_s=20.0)


def _sent(attempt: int = 1) -> Action:
    return make_action(1, state=ActionState.RUNNING, intent=intent(NOW).evolve(attempt=attempt))


def _told(**times: float) -> AgentAction:
    return word(_sent(), **{name: later(at) for name, at in times.items()})


def _off(
    told: AgentAction, sent: Action | None = None, at: float = 30, before: ClockOff | None = None
) -> ClockOff | None:
    known = {sent.action_id: sent} if sent is not None else {}
    return clock_off(before, [told], known, LIMITS, now=later(at))


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ({"scheduled_at": 1}, None),
        ({"scheduled_at": -60}, None),
        ({"scheduled_at": -61}, -61.0),
        ({"scheduled_at": 60 + 61}, 71.0),
        ({"scheduled_at": 60 + 50}, None),
        ({"scheduled_at": 1, "finished_at": 30 + 20 + 61}, 61.0),
        ({"scheduled_at": 1, "finished_at": 30 + 20 + 60}, None),
    ],
)
def test_what_is_certain_is_judged(times: dict[str, float], seconds: float | None) -> None:
    """Received before we sent it, or after it could still be on its way, or told from our future: beyond the limit."""
    found = _off(_told(**times), _sent())

    assert seconds == (None if found is None else found.seconds)


@pytest.mark.parametrize("sent", [None, _sent(attempt=2), make_action(1, state=ActionState.RUNNING)])
def test_what_is_not_certain_is_no_alarm(sent: Action | None) -> None:
    """An agent's own action, a second attempt, one whose intent is not known: long ago may be right."""
    assert None is _off(_told(scheduled_at=-86_400), sent)


def test_the_future_is_wrong_whoever_began_it() -> None:
    """A time to come is judged of any action."""
    found = _off(_told(scheduled_at=3_600))

    assert found is not None
    assert (3_550.0, later(30)) == (found.seconds, found.at)


def test_the_same_action_seen_again_is_the_same_finding() -> None:
    """It does not move with the present, and its own times ending up in the past prove nothing."""
    first = _off(_told(scheduled_at=3_600))

    assert first is _off(_told(scheduled_at=3_600), at=60, before=first)
    assert first is _off(_told(scheduled_at=3_600), at=3_590, before=first)


def test_it_ends_when_another_action_agrees_or_after_an_hour() -> None:
    """A clock that was set right is believed; without any news it is forgotten."""
    before = ClockOff(action_id=action_id(9), seconds=100.0, at=NOW)

    assert None is _off(_told(scheduled_at=1), _sent(), before=before)
    assert before == clock_off(before, [], {}, LIMITS, now=NOW + timedelta(minutes=59))
    assert None is clock_off(before, [], {}, LIMITS, now=NOW + timedelta(minutes=60))


def test_an_action_does_not_speak_against_itself() -> None:
    """A time that was in our future and no longer is, and that fits the moment of sending, still was in our future."""
    sent = make_action(1, state=ActionState.RUNNING, intent=intent(NOW, answer_by=later(7_200)))
    first = _off(_told(scheduled_at=3_600), sent)

    assert first is not None
    assert first is _off(_told(scheduled_at=3_600), sent, at=3_590, before=first)
