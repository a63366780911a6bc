"""The kinds of actions on clusters: a registry without doubles, and how arguments are read."""

from __future__ import annotations

import pytest

from blocks.errors import InvalidInputError
from blocks.models.base import Json
from doubles.actions import make_action
from tasks.cluster_actions.base import ClusterAction
from tasks.cluster_actions.table import ACTIONS, BY_NAME, CATALOGUE
from tasks.decide.cluster_kinds import ClusterKind, Mode, catalogue, mode_of, taken_node, timeout_of

KIND = ClusterKind("core.replicante.io/x", "does x", timeout_s=60)


def test_two_of_one_name_are_an_error() -> None:
    """Nobody overrides a kind by accident."""
    with pytest.raises(ValueError, match="two kinds of actions are called"):
        catalogue([KIND, KIND])


def test_an_empty_catalogue() -> None:
    """No kinds, no entries."""
    assert {} == dict(catalogue([]))


def test_look_up_and_iteration() -> None:
    """By name, in the order in which they were given."""
    other = ClusterKind("core.replicante.io/a", "does a")
    found = catalogue([KIND, other])

    assert ([KIND.name, other.name], KIND, None) == (list(found), found[KIND.name], found.get("b"))


def test_ours() -> None:
    """Every kind of the original is there, says what it does, and has a limit of time."""
    names = {name.rpartition("/")[2] for name in CATALOGUE}

    assert {
        "debug.success", "debug.fail", "debug.ping", "debug.counting", "test.success", "test.fail", "test.loop",
        "http", "node.provision", "platform.provision", "platform.deprovision",
    } == names  # fmt: skip
    assert len(ACTIONS) == len(BY_NAME)
    assert all(kind.summary and 0 < kind.timeout_s <= 86_400 for kind in CATALOGUE.values())
    assert all(action.kind.args.model_json_schema() for action in ACTIONS)


def test_its_own_limit_goes_before_that_of_its_kind() -> None:
    """An action may say how long it may take; an unknown kind has a day, and runs alone."""
    kinds = catalogue([KIND])
    mine = make_action(node_id=None, kind=KIND.name)
    other = make_action(node_id=None, kind="core.replicante.io/unknown")

    assert (60, 5, 86_400) == (
        timeout_of(mine, kinds),
        timeout_of(mine.evolve(timeout_s=5), kinds),
        timeout_of(other, kinds),
    )
    assert Mode.EXCLUSIVE is mode_of(other, kinds)


def test_arguments_that_do_not_fit() -> None:
    """Everything that is wrong is said, and nothing of what was given."""
    kind = CATALOGUE["core.replicante.io/platform.provision"]
    with pytest.raises(InvalidInputError) as error:
        kind.read({"request": {"count": "geheim"}, "more": 1})

    assert {"request.node_group_id: Field required", "more: Extra inputs are not permitted"} <= set(
        str(error.value).partition("provision: ")[2].split("; ")
    )
    assert "geheim" not in str(error.value)


@pytest.mark.parametrize("args", [{"node_id": "n3"}, {"node_id": 3}, {}, None, "n3", {"node_id": "n3", "x": 1}])
def test_which_node_is_taken_away(args: Json) -> None:
    """As the kind reads its arguments; those that do not fit name none, and neither do other kinds."""
    name = "core.replicante.io/platform.deprovision"
    action = make_action(node_id=None, kind=name, args=args)
    others = (
        action.evolve(kind="core.replicante.io/debug.ping"),
        action.evolve(kind="unknown"),
        action.evolve(node_id="n1"),
    )

    assert ("n3" if args == {"node_id": "n3"} else None) == taken_node(action, CATALOGUE)
    assert {None} == {taken_node(other, CATALOGUE) for other in others}


@pytest.mark.parametrize(("mode", "effect"), [(Mode.NODE_PARALLEL, True), (Mode.EXCLUSIVE, False)])
def test_what_takes_a_node_away_runs_alone(mode: Mode, effect: bool) -> None:
    """Or its gates would not hold beside others, nor its room be saved before it."""
    kind = ClusterKind("core.replicante.io/x", "does x", mode=mode, takes="node_id")
    with pytest.raises(ValueError, match="takes a node away"):
        ClusterAction(kind, BY_NAME["core.replicante.io/debug.success"].handler, effect=effect)
