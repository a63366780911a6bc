"""What may start on a whole cluster: the original's blocking table, one at a time, and nobody starves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.action import Action, ActionState, Transition
from blocks.models.namespace import Namespace, NamespaceSettings, NamespaceStatus
from blocks.models.node import NodeStatus
from blocks.models.report import Choice
from blocks.models.view import ClusterView
from doubles.actions import action_id, make_action
from doubles.views import NODES, NOW, intent, later, make_node, make_view
from tasks.cluster_actions.table import CATALOGUE
from tasks.decide.choose import Chosen, choose
from tasks.decide.cluster_kinds import Mode, mode_of

S = ActionState
P, R = S.PENDING_SCHEDULE, S.RUNNING
EXCLUSIVE, PARALLEL = "core.replicante.io/test.loop", "core.replicante.io/platform.provision"
TAKING = "core.replicante.io/platform.deprovision"
NODE_PENDING, NODE_RUNNING = "FOUND_NODE_PENDING", "FOUND_NODE_RUNNING"
EXCL_PENDING, EXCL_RUNNING = "FOUND_ORCHESTRATOR_EXCLUSIVE_PENDING", "FOUND_ORCHESTRATOR_EXCLUSIVE_RUNNING"


def made(nodes: list[S], exclusive: list[S] | None = None, parallel: list[S] | None = None) -> list[Action]:
    """Actions in these states; the exclusive ones came first."""
    on_cluster = [(EXCLUSIVE, state) for state in exclusive or []] + [(PARALLEL, state) for state in parallel or []]
    found = [
        make_action(number, node_id=None, kind=kind, state=state, args=None, created_at=later(number))
        for number, (kind, state) in enumerate(on_cluster, start=1)
    ]
    more = enumerate(zip(NODES, nodes, strict=False), start=50)
    return [*found, *(make_action(number, node_id=name, state=state) for number, (name, state) in more)]


def chosen(actions: list[Action], at: float = 10) -> Chosen:
    """What is chosen on a healthy cluster."""
    return choose(make_view(*map(make_node, NODES), actions=actions), CATALOGUE, now=later(at))


@pytest.mark.parametrize(
    ("nodes", "exclusive", "blocked", "reasons"),
    [
        pytest.param([], [], (False, False), [], id="nothing"),
        pytest.param([P], [], (False, True), [NODE_PENDING], id="node pending"),
        pytest.param([R], [], (False, True), [NODE_RUNNING], id="node running"),
        pytest.param([R], [P], (False, True), [NODE_RUNNING, EXCL_PENDING], id="node running, exclusive pending"),
        pytest.param([R], [R], (True, True), [NODE_RUNNING, EXCL_RUNNING], id="node running, exclusive running"),
        pytest.param([R, P], [], (False, True), [NODE_PENDING, NODE_RUNNING], id="nodes running and pending"),
        pytest.param([], [P], (False, False), [EXCL_PENDING], id="exclusive pending"),
        pytest.param([], [R], (True, True), [EXCL_RUNNING], id="exclusive running"),
        pytest.param([P], [R], (True, True), [NODE_PENDING, EXCL_RUNNING], id="node pending, exclusive running"),
        pytest.param([], [R, P], (True, True), [EXCL_PENDING, EXCL_RUNNING], id="exclusive running and pending"),
    ],
)
def test_the_originals_cases(
    nodes: list[S], exclusive: list[S], blocked: tuple[bool, bool], reasons: list[str]
) -> None:
    """All recorded cases: what blocks nodes, what blocks exclusive ones, and the reasons in their order."""
    choice = chosen(made(nodes, exclusive)).choice

    assert blocked == (choice.block_nodes, choice.block_exclusive)
    assert ("DEFAULT_TO_ALL", *reasons) == choice.reasons


@pytest.mark.parametrize(
    ("nodes", "exclusive", "parallel", "expected"),
    [
        pytest.param([R], [], [P], (False, True, False), id="nodes do not block it"),
        pytest.param([P], [], [R], (False, True, True), id="running it blocks the cluster, not nodes"),
        pytest.param([], [P], [P], (False, False, True), id="an exclusive one that waits goes first"),
        pytest.param([], [R], [P], (True, True, True), id="an exclusive one that runs blocks all"),
        pytest.param([], [], [P], (False, False, False), id="waiting, it blocks nothing"),
    ],
)
def test_beside_nodes(nodes: list[S], exclusive: list[S], parallel: list[S], expected: tuple[bool, bool, bool]) -> None:
    """The mode that was planned: exclusive on the cluster, beside actions on its nodes."""
    choice = chosen(made(nodes, exclusive, parallel)).choice

    assert expected == (choice.block_nodes, choice.block_exclusive, choice.block_parallel)


def test_an_exclusive_one_that_waited_long_has_its_turn() -> None:
    """Actions on nodes keep coming: after a while none begins any more, and it starts when those under way have ended."""
    waiting = made([R, P], [P])
    early, late = chosen(waiting, at=599), chosen(waiting, at=700)
    after = chosen(made([S.DONE, P], [P]), at=700)

    assert ((True, None), ((), None)) == ((bool(early.actions), early.start), (late.actions, late.start))
    assert "EXCLUSIVE_WAITED_LONG" in late.choice.reasons
    assert EXCLUSIVE == getattr(after.start, "kind", None)
    assert () == after.actions


def test_waiting_counts_from_the_approval() -> None:
    """One that waited a day for its approval has not waited for its turn."""
    exclusive, node = made([P], [P])
    approved = Transition(at=later(690), before=S.PENDING_APPROVE, after=P, who="ann")

    assert "EXCLUSIVE_WAITED_LONG" not in chosen([exclusive.evolve(history=(approved,)), node], at=700).choice.reasons


def test_what_may_be_on_a_node_already_counts_as_running() -> None:
    """An action on a node whose request may have arrived keeps an exclusive one from starting, however long that waits."""
    exclusive, node = made([P], [P])
    doubt = node.evolve(intent=intent(later(690), answer_by=later(720)))

    assert None is chosen([exclusive, doubt], at=700).start
    assert EXCLUSIVE == getattr(chosen([exclusive, doubt], at=730).start, "kind", None)


def test_what_was_cancelled_and_goes_on_at_its_agent_counts_as_running() -> None:
    """Nothing more begins on its node, and nothing exclusive, until it has ended there; beside it others go on."""
    exclusive, on_n1, on_n2 = made([P, P], [P])
    left = make_action(9, state=S.CANCELLED, left_running=True)
    waiting = chosen([exclusive, on_n1, on_n2, left])
    alone = chosen([exclusive, left])

    assert ((on_n2,), None) == (waiting.actions, waiting.start)
    assert (None, True, NODE_RUNNING) == (alone.start, alone.choice.block_exclusive, alone.choice.reasons[1])
    assert (on_n1, on_n2) == chosen([on_n1, on_n2, left.evolve(left_running=False)]).actions


@pytest.mark.parametrize(("silent_s", "starts"), [(599, False), (600, True)])
def test_what_was_given_up_on_a_silent_agent_holds_for_so_long_only(silent_s: float, starts: bool) -> None:
    """An agent that is gone for good must not keep the cluster's exclusive actions back for ever, once somebody gave its action up."""
    left = make_action(9, state=S.CANCELLED, left_running=True)
    silent = make_node("n1", status=NodeStatus.UNREACHABLE, actions_stale_since=NOW)
    exclusive, on_n1 = made([P], [P])
    view = make_view(silent, make_node("n2"), actions=[left, exclusive])

    assert starts is (choose(view, CATALOGUE, now=later(silent_s)).start is not None)
    assert () == choose(make_view(silent, actions=[left, on_n1]), CATALOGUE, now=later(silent_s)).actions


STATES = st.lists(st.sampled_from(list(ActionState)), max_size=3)


@given(STATES, STATES, STATES, st.floats(0, 2_000))
def test_never_two_that_exclude_each_other(nodes: list[S], exclusive: list[S], parallel: list[S], at: float) -> None:
    """Whatever there is: one at most is started on the cluster, and never beside what its mode excludes."""
    actions = made(nodes, exclusive, parallel)
    found = chosen(actions, at=at)
    running = [action for action in actions if action.state.on_agent]
    if found.start is None:
        return
    mode = mode_of(found.start, CATALOGUE)

    assert found.start.state is P
    assert all(action.node_id is not None for action in running)
    assert mode is Mode.NODE_PARALLEL or (not running and not found.actions)


@given(STATES, STATES, STATES)
def test_something_may_always_begin(nodes: list[S], exclusive: list[S], parallel: list[S]) -> None:
    """Where nothing runs and something waits, something begins: no two kinds wait for each other."""
    actions = made(nodes, exclusive, parallel)
    waits = any(action.state is P for action in actions)
    runs = any(action.state.on_agent for action in actions)
    found = chosen(actions)

    assert runs or waits == bool(found.actions or found.start)


def test_an_unknown_kind_is_exclusive() -> None:
    """It is started alone, to be told that it is unknown."""
    action = make_action(1, node_id=None, kind="core.replicante.io/of-tomorrow")

    assert action == chosen([action]).start
    assert None is chosen([action, *made([R])]).start


def test_nothing_starts_where_the_namespace_may_not_act() -> None:
    """Observed: neither on nodes nor on the cluster."""
    view = make_view(actions=made([], [P], [P]), namespace=Namespace(name="prod", status=NamespaceStatus.OBSERVED))
    found = choose(view, CATALOGUE, now=NOW)

    assert (
        None,
        Choice(block_nodes=True, block_exclusive=True, block_parallel=True, reasons=found.choice.reasons),
    ) == (
        found.start,
        found.choice,
    )


def test_what_the_cluster_cannot_spare_holds_nothing_back() -> None:
    """A node that cannot be taken away now: others on the cluster and on nodes begin, however long that waits."""
    nodes = [make_node("n1"), make_node("n2", status=NodeStatus.UNAVAILABLE), make_node("n3")]
    taking = make_action(1, node_id=None, kind=TAKING, args={"node_id": "n3"}, created_at=later(0))
    [parallel, on_node] = made([P], [], [P])
    view = make_view(*nodes, actions=[taking, parallel.evolve(action_id=action_id(2)), on_node])
    found = choose(view, CATALOGUE, now=later(9_999))

    assert (action_id(2), [on_node]) == (getattr(found.start, "action_id", None), list(found.actions))
    assert {taking.action_id: ["MAJORITY"]} == {
        key: [block.rule for block in why] for key, why in found.choice.blocked.items()
    }
    assert taking == choose(make_view(*map(make_node, NODES), actions=[taking]), CATALOGUE, now=NOW).start


# -- what a budget has no room for -----------------------------------------------------------------------------------------

TAKES = make_action(1, node_id=None, kind=TAKING, args={"node_id": "n3"}, created_at=later(0))
MENDS = make_action(2, node_id="n1", created_at=later(5))
OTHER = make_action(3, node_id=None, kind=EXCLUSIVE, args=None, created_at=later(6))
LEFT = make_action(9, node_id="n2", kind="x/restart", state=S.CANCELLED, left_running=True)
FIVE = (*NODES, "n4", "n5")
AGED = later(9_999)


def budgeted(*actions: Action, **settings: int) -> ClusterView:
    """A cluster of five with budgets; the agent of the second node has been silent for long."""
    nodes = [make_node(one, actions_stale_since=NOW if one == "n2" else None) for one in FIVE]
    home = Namespace(name="prod", settings=NamespaceSettings.model_validate({"status_hold": 0, **settings}))
    return make_view(*nodes, actions=actions, namespace=home)


@pytest.mark.parametrize(
    ("settings", "left", "holders"),
    [
        pytest.param({"disruption_max_cluster": 1}, (LEFT,), (), id="what was given up has the room of the cluster"),
        pytest.param({"disruption_max": 1}, (LEFT,), (LEFT.action_id,), id="and that of the namespace"),
        pytest.param({"disruption_max": 1}, (), (action_id(77),), id="another cluster has it"),
    ],
)
def test_what_a_budget_has_no_room_for_holds_nothing_back(
    settings: dict[str, int], left: tuple[Action, ...], holders: tuple[str, ...]
) -> None:
    """Nobody knows for how long: actions on nodes begin, and after them another exclusive one, however long it has waited."""
    on_node = choose(budgeted(TAKES, MENDS, *left, **settings), CATALOGUE, now=AGED, holders=holders)
    on_cluster = choose(budgeted(TAKES, OTHER, *left, **settings), CATALOGUE, now=AGED, holders=holders)

    assert ((MENDS,), OTHER) == (on_node.actions, on_cluster.start)
    assert ["BUDGET"] == [block.rule for block in on_node.choice.blocked[TAKES.action_id]]
    assert not {"EXCLUSIVE_WAITED_LONG", EXCL_PENDING} & set(on_node.choice.reasons)


@pytest.mark.parametrize("settings", [{"disruption_max_cluster": 1}, {"disruption_max": 1}])
def test_what_is_under_way_here_cannot_starve_it(settings: dict[str, int]) -> None:
    """Actions on nodes that take the room one after the other: none begins any more once it has waited long, and it has its turn."""
    runs = make_action(9, node_id="n4", kind="x/restart", state=R)
    holders = (runs.action_id,)
    waiting = choose(budgeted(TAKES, MENDS, runs, **settings), CATALOGUE, now=AGED, holders=holders)
    ended = choose(budgeted(TAKES, MENDS, **settings), CATALOGUE, now=AGED)

    assert ((), None, {}) == (waiting.actions, waiting.start, waiting.choice.blocked)
    assert TAKES == ended.start


def test_by_force_it_needs_no_room() -> None:
    """It waits for its turn like any other, and not for the budget."""
    forced = TAKES.evolve(forced="the machine burns")

    assert forced == choose(budgeted(forced, disruption_max=1), CATALOGUE, now=NOW, holders=(action_id(77),)).start
