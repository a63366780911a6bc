"""The form with choices in the Prefect UI, against Prefect's own server."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect import flow, pause_flow_run
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from blocks.errors import NotFoundError
from blocks.models.action import ActionState
from blocks.models.cluster import ClusterSpec
from blocks.models.rolling import RollingState
from doubles.actions import make_action
from doubles.rollings import RESTART, make_rolling
from doubles.views import NOW, REF, discovery, make_node, make_view
from doubles.world import World
from flows.choose_roll import clusters_offered, rolls_offered
from flows.forms import cluster_form, filled_in, form_of, roll_form
from tasks.cluster_actions.table import CATALOGUE
from tasks.decide.offers import Doing, RollOffers, offers, roll_offers

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


async def test_what_a_rolling_action_can_be(world: World) -> None:
    """Clusters that are active; of one the kinds of node actions that were done before, its nodes as they are, its labels."""
    ref = await world.declare()
    await world.declare("billing", ("b1",))
    off = ClusterSpec(namespace="prod", cluster_id="off", active=False, version=1)
    tagged = ClusterSpec(namespace="prod", cluster_id="orders", version=2, node_labels={"n2": {"zone": "a"}})
    await world.save(
        off, tagged, make_node("n1"), make_action(1, kind="x/compact"), make_action(2, node_id=None, kind="x/y")
    )
    names, offered = await clusters_offered(world.store, "prod"), await rolls_offered(world.store, ref)
    schema = roll_form(offered).model_json_schema()

    assert ["prod/billing", "prod/orders"] == names
    assert (RESTART, "x/compact") == offered.kinds
    assert {
        "n1 (HEALTHY, primary)": "n1",
        "n2 (not looked at yet)": "n2",
        "n3 (not looked at yet)": "n3",
    } == offered.nodes
    assert (("zone",), ["kind"]) == (offered.labels, schema["required"])
    assert [list(offered.kinds), list(offered.nodes)] == [schema["$defs"][name]["enum"] for name in ("Kind", "Node")]
    assert names == cluster_form(names).model_json_schema()["$defs"]["Cluster"]["enum"]


async def test_nothing_to_roll(world: World) -> None:
    """Said, instead of a form that nobody can fill in."""
    with pytest.raises(NotFoundError, match="no active cluster in namespace prod"):
        await clusters_offered(world.store, "prod")
    with pytest.raises(NotFoundError, match="no cluster prod/orders"):
        await rolls_offered(world.store, REF)
    await world.declare(node_ids=())
    with pytest.raises(NotFoundError, match="no source tells of a node"):
        await rolls_offered(world.store, REF)


@given(st.lists(st.sampled_from([f"x/{number}" for number in range(300)])), st.integers(0, 700))
def test_offers_are_bounded(kinds: list[str], count: int) -> None:
    """Whatever there is."""
    view = make_view(discovery=discovery([f"n{number}" for number in range(count)]))
    found = roll_offers(view, [make_action(1, kind=kind) for kind in kinds], CATALOGUE)

    assert (min(count, 500), min(len({RESTART, *kinds}), 100)) == (len(found.nodes), len(found.kinds))


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

    label = next(iter(offered))
    wrong, right = {"actions": ["nothing of the kind"]}, {"actions": [label], "comment": "go"}
    run = asyncio.create_task(asyncio.to_thread(asks))
    answers = await _answered(ids, [wrong, right])

    assert ["REJECT", "ACCEPT"] == answers
    assert [label, "go"] == await run


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_person_fills_in_one_form_after_the_other() -> None:
    """Of a rolling action: the cluster, then what is done where; what has a default may be left out."""
    nodes = {"n1 (HEALTHY)": "n1", "n2 (HEALTHY)": "n2"}
    offered, ids = RollOffers(kinds=(RESTART,), nodes=nodes, labels=("zone",)), list[UUID]()

    @flow(name="asks twice")
    def asks() -> list[object]:
        ids.append(UUID(str(flow_run.id)))
        cluster = filled_in(cluster_form(["prod/orders"]), 60).cluster.value
        chosen = filled_in(roll_form(offered), 60)
        return [cluster, chosen.kind.value, [one.value for one in chosen.nodes], chosen.by, chosen.batch]

    run = asyncio.create_task(asyncio.to_thread(asks))
    answers = await _answered(ids, [{"cluster": "prod/billing"}, {"cluster": "prod/orders"}])
    answers += await _answered(ids, [{"kind": "x/y"}, {"kind": RESTART, "nodes": ["n2 (HEALTHY)"]}])

    assert ["REJECT", "ACCEPT"] * 2 == answers
    assert ["prod/orders", RESTART, ["n2 (HEALTHY)"], None, 1] == await run


async def _answered(ids: list[UUID], answers: list[dict[str, Any]]) -> list[str]:
    """What Prefect makes of a person's answers to the form for which the run waits."""
    async with asyncio.timeout(50), get_client() as client:

        async def paused() -> bool:
            state = (await client.read_flow_run(ids[0])).state if ids else None
            return state is not None and state.is_paused()

        while not await paused():  # noqa: ASYNC110 - Prefect tells nobody
            await asyncio.sleep(0.1)
        return [(await client.resume_flow_run(ids[0], run_input=answer)).status.value for answer in answers]
