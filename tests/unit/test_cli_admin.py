from __future__ import annotations

import asyncio

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.models.event import EventType
from blocks.models.record import Change, Fence
from blocks.store.protocol import EventQuery
from doubles.actions import action_id, make_action
from doubles.cli import Outside, replictl
from doubles.store_samples import draft, later


async def test_coordinator_reset_raises_the_generation_and_is_told() -> None:
    """A reset raises the generation, and is an event that says who and why."""
    outside = Outside()
    code = await asyncio.to_thread(outside.replictl, "admin", "coordinator-reset", "--reason", "rebuilt")
    claim = await outside.coordinator_.take(ClaimKind.LOCK, "prod/orders", "")
    event, given = await outside.store_.events(EventQuery())

    assert (0, 2, EventType.COMMAND_GIVEN) == (code, claim.generation, given.type)
    assert (EventType.COORDINATOR_RESET, "rebuilt", 2) == (event.type, event.data["why"], event.data["generation"])


@pytest.mark.parametrize(("above", "raised"), [((), 8), (("--above", "20"), 21)])
async def test_coordinator_reset_goes_above_what_is_known(above: tuple[str, ...], raised: int) -> None:
    """A ZooKeeper that lost the generation too begins with 1: the store knows of more, and agents may know of more still."""
    outside = Outside()
    await outside.store_.claim([Fence(subject="prod/orders", generation=7, token=900)])
    await replictl(outside, "admin", "coordinator-reset", "--reason", "rebuilt", *above)
    claim = await outside.coordinator_.take(ClaimKind.LOCK, "prod/orders", "")

    assert raised == claim.generation


async def _told(outside: Outside) -> None:
    """Four events, ten minutes apart, the last one now; all are on the bus."""
    for minutes in (30, 20, 10, 0):
        await outside.store_.commit(Change(drafts=(draft(minutes),)), now=later(-60 * minutes))
    await outside.store_.mark_published([event.event_id for event in outside.store_.log])


async def test_events_are_replayed_from_a_moment(capsys: pytest.CaptureFixture[str]) -> None:
    """What was told since then waits for the bus once more, as it was; the command is in the audit."""
    outside = Outside()
    await _told(outside)
    code = await replictl(outside, "admin", "events-replay", "--since", "10m", "--reason", "Kafka burned")
    *waiting, audit = await outside.store_.unpublished(10)

    assert (0, [3, 4]) == (code, [event.sequence for event in waiting])
    assert (EventType.COMMAND_GIVEN, "admin events-replay") == (audit.type, audit.data["command"])
    assert "2 events wait in the outbox once more" in capsys.readouterr().err


async def test_a_replay_may_be_tried_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is sent, and no reason is needed."""
    outside = Outside()
    await _told(outside)
    code = await replictl(outside, "admin", "events-replay", "--since", "25m", "--dry-run")

    assert (0, (0, None)) == (code, await outside.store_.outbox_size())
    assert "3 events would be sent once more" in capsys.readouterr().err


async def test_a_replay_needs_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a reason nothing is sent again, and that is wrong usage."""
    outside = Outside()
    await _told(outside)
    code = await replictl(outside, "admin", "events-replay", "--since", "1h")

    assert (2, (0, None)) == (code, await outside.store_.outbox_size())
    assert "--reason" in capsys.readouterr().err


async def test_coordinator_reset_needs_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a reason nothing is raised, and that is wrong usage."""
    outside = Outside()
    code = await asyncio.to_thread(outside.replictl, "admin", "coordinator-reset")

    assert 2 == code
    assert "--reason" in capsys.readouterr().err


async def test_a_restored_store_is_made_safe_by_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """It says what was done, what nobody can be asked about, and how to go on; the command is in the audit."""
    outside = Outside()
    await outside.put(make_action(1), make_action(2, node_id=None))
    code = await replictl(outside, "admin", "store-restored", "--at", "2h", "--reason", "the disk burned")
    said = capsys.readouterr().err
    audit = outside.store_.log[-1]

    assert (0, "admin store-restored") == (code, audit.data["command"])
    assert "0 events read back from the bus; 1 action will be asked for" in said
    assert f"action {action_id(2)} is on a whole cluster" in said
    assert "replictl unfreeze" in said


async def test_a_store_is_not_made_safe_under_workers(capsys: pytest.CaptureFixture[str]) -> None:
    """Refused, with who works and where."""
    outside = Outside()
    await outside.coordinator_.take(ClaimKind.WORKER, "worker-1", "")
    code = await replictl(outside, "admin", "store-restored", "--at", "2h", "--reason", "the disk burned")

    assert 1 == code
    assert "1 workers are running" in capsys.readouterr().err
