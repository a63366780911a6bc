"""What must last before it is said: shards one by one, and nodes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from blocks.models.node import ShardRole
from blocks.models.problem import PENDING_SHARDS_MAX, Pending, Problem
from blocks.models.view import ClusterView
from doubles.views import NODES, NOW, later, make_node, make_view, shard, state
from tasks.decide.problems import find_problems as found_in
from tasks.decide.problems import pending_ends
from tasks.decide.rules.base import EXAMPLES_MAX, scene_of

P, R = ShardRole.PRIMARY, ShardRole.SECONDARY


def find_problems(view: ClusterView, *, now: datetime) -> tuple[tuple[Problem, ...], tuple[Pending, ...]]:
    """What is wrong with a cluster, and what is to be remembered."""
    return found_in(scene_of(view, now=now))


@pytest.mark.parametrize("primaries", [0, 2])
def test_an_election_is_no_problem(primaries: int) -> None:
    """No primary, or two, is said only when it has lasted for the namespace's grace; then since it was first seen."""
    nodes = [make_node(f"n{number}", shards=(shard(P if number < primaries else R),)) for number in range(3)]
    first, pending = find_problems(make_view(*nodes), now=NOW)
    view = make_view(*nodes, state=state(pending=pending))
    still, same = find_problems(view, now=later(9.9))
    (said,), kept = find_problems(view, now=later(10))
    after, over = find_problems(make_view(*map(make_node, NODES), state=state(pending=pending)), now=later(5))

    assert ((), (), ()) == (first, still, after + over)
    assert ([None], [{"rs0": NOW}]) == ([one.until for one in kept], [dict(one.shards) for one in kept])
    assert (pending, later(10)) == (same, pending_ends(view))
    assert (NOW, said.code) == (said.since, pending[0].code)


def test_every_shard_has_its_own_grace() -> None:
    """Elections one after another are no problem; of several shards only those that lasted are named, the oldest's `since`."""

    def at(seconds: float, view: ClusterView, **roles: ShardRole) -> ClusterView:
        node = make_node("n1", shards=tuple(shard(role, name) for name, role in roles.items()))
        problems, pending = find_problems(replace(view, nodes={"n1": node}), now=later(seconds))
        return replace(view, state=state(problems=problems, pending=pending))

    def said(view: ClusterView) -> list[tuple[str, datetime]]:
        assert view.state is not None
        return [(one.evidence, one.since) for one in view.state.problems]

    first = at(6, at(0, make_view(), a=R, b=P), a=R, b=P)
    second = at(12, at(7, first, a=P, b=R), a=P, b=R)
    both = at(14, second, a=R, b=R)
    one = at(17, both, a=R, b=R)
    two = at(24, one, a=R, b=R)
    other = at(25, two, a=R, b=P)

    assert ([], [], []) == (said(first), said(second), said(both))
    assert [("no primary for: b", later(7))] == said(one)
    assert [("no primary for: a, b", later(7))] == said(two)
    assert [("no primary for: a", later(7))] == said(other)  # the same problem: it matched all the time
    assert (later(24), None) == (pending_ends(one), pending_ends(two))


def test_what_is_remembered_of_shards_is_bounded() -> None:
    """Beyond so many shards the rest has one beginning, and is said with it."""
    names = [f"s{number:04}" for number in range(PENDING_SHARDS_MAX + 5)]
    view = make_view(make_node("n1", shards=tuple(shard(R, name) for name in names)))
    _, (pending,) = find_problems(view, now=NOW)
    (problem,), (kept,) = find_problems(replace(view, state=state(pending=(pending,))), now=later(10))

    assert (PENDING_SHARDS_MAX, NOW, later(10)) == (len(pending.shards), pending.rest_since, pending.until)
    assert problem.evidence.endswith(f"and {len(names) - EXAMPLES_MAX} more")
    assert pending.evolve(until=None) == kept


def test_lag_comes_and_goes_slowly() -> None:
    """It is said of a node when it was above the limit for long enough, and is over well below the limit only."""

    def at(seconds: float, lag_s: int, view: ClusterView) -> ClusterView:
        nodes = {"n1": make_node("n1"), "n2": make_node("n2", shards=(shard(R, lag_s=lag_s),))}
        problems, pending = find_problems(replace(view, nodes=nodes), now=later(seconds))
        return replace(view, state=state(problems=problems, pending=pending))

    def said(view: ClusterView) -> list[tuple[str | None, datetime]]:
        assert view.state is not None
        return [(one.node_id, one.since) for one in view.state.problems if one.code == "LAG_ABOVE_LIMIT"]

    flaps = make_view()
    for number in range(21):
        flaps = at(number * 10, 29 + 2 * (number % 2), flaps)
        assert [] == said(flaps)
    lasts = at(240, 31, at(210, 31, flaps))
    around = at(250, 29, lasts)
    over = at(260, 24, around)

    assert ([("n2", later(210))], [("n2", later(210))], []) == (said(lasts), said(around), said(over))
