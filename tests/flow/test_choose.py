"""The form with choices in the Prefect UI, against Prefect's own server."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from prefect import flow, pause_flow_run
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from blocks.models.action import ActionState
from blocks.models.rolling import RollingState
from doubles.actions import make_action
from doubles.rollings import make_rolling
from doubles.views import NOW
from flows.forms import form_of
from tasks.decide.offers import Doing, offers

ACTIONS = [make_action(number, created_by=f"ann {'x' * 500}" if number == 2 else "bob") for number in range(1, 4)]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Leave none of the sockets of Prefect's client to the tests of others."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_what_is_offered() -> None:
    """The newest actions with where, what, state, who and since when, each once; long names are cut, ids never."""
    offered = offers(ACTIONS, NOW)
    (newest,) = offers([*ACTIONS[:2], ACTIONS[2].evolve(created_at=NOW + timedelta(days=1))], NOW, most=1).values()

    assert {action.action_id for action in ACTIONS} == set(offered.values())
    assert ACTIONS[2].action_id == newest
    assert all(f"[{action_id}]" in label and len(label) < 220 for label, action_id in offered.items())


def test_rolling_actions_are_offered_too() -> None:
    """Beside actions, by their own ids."""
    rolling = make_rolling(state=RollingState.PENDING_APPROVE)
    offered = offers([*ACTIONS, rolling], NOW)
    (label,) = (label for label, key in offered.items() if key == rolling.rolling_id)

    assert "prod/orders: rolling " in label
    assert RollingState.PENDING_APPROVE in Doing.APPROVE.rolling_states
    assert not any(state.final for state in Doing.CANCEL.rolling_states)


@pytest.mark.parametrize("doing", Doing)
def test_only_what_can_be_done_is_offered(doing: Doing) -> None:
    """Final actions are ordered once more, others are not."""
    final = {state.final for state in doing.states}

    assert {doing is Doing.RETRY} == final
    assert (ActionState.RUNNING in doing.states) is (doing is Doing.CANCEL)


def test_the_form_has_choices() -> None:
    """A list of what is offered, at least one, beside a comment and a name."""
    offered = offers(ACTIONS, NOW)
    schema = form_of(Doing.APPROVE, offered).model_json_schema()

    assert sorted(offered) == sorted(schema["$defs"]["Offered"]["enum"])
    assert (1, True) == (schema["properties"]["actions"]["minItems"], schema["properties"]["actions"]["uniqueItems"])
    assert ["actions"] == schema["required"]


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_person_fills_in_the_form() -> None:
    """The run pauses with the form; what is no choice is refused there; resumed, it has what was chosen."""
    offered = offers(ACTIONS, NOW)
    ids: list[UUID] = []

    @flow(name="asks")
    def asks() -> list[str]:
        ids.append(UUID(str(flow_run.id)))
        chosen = pause_flow_run(wait_for_input=form_of(Doing.CANCEL, offered), timeout=60, poll_interval=1)
        return [*(choice.value for choice in chosen.actions), chosen.comment]  # type: ignore[attr-defined]

    run = asyncio.create_task(asyncio.to_thread(asks))
    label = next(iter(offered))
    async with asyncio.timeout(50), get_client() as client:

        async def paused() -> bool:
            state = (await client.read_flow_run(ids[0])).state if ids else None
            return state is not None and state.is_paused()

        while not await paused():  # noqa: ASYNC110 - Prefect tells nobody
            await asyncio.sleep(0.1)
        wrong = await client.resume_flow_run(ids[0], run_input={"actions": ["nothing of the kind"]})
        right = await client.resume_flow_run(ids[0], run_input={"actions": [label], "comment": "go"})
        result = await run

    assert ("REJECT", "ACCEPT") == (wrong.status.value, right.status.value)
    assert [label, "go"] == result
