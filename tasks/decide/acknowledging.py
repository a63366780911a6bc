"""A person has seen a problem: who and why stands beside it until it is over, and what only tells of the past is over by that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from blocks.errors import NotFoundError
from blocks.models.event import EventType
from blocks.models.problem import Acknowledgement, Problem
from blocks.models.record import Change
from blocks.models.view import ClusterView
from tasks.decide.aggregate import aggregate
from tasks.decide.diff import about_problem, diff
from tasks.decide.rules.table import REWOUND


def acknowledged(view: ClusterView, seen: Sequence[Problem], word: Acknowledgement) -> Change:
    """What to save when problems of a cluster are acknowledged, with its events. The cluster is judged again by what is known.

    Args:
        view: as stored.
        seen: problems of it, as `problems_of` finds them.
        word: who has seen them, when and why; what was said before is replaced.
    """
    if view.state is None:
        return Change()
    places = {problem.identity for problem in seen}
    forgotten = {problem.node_id for problem in seen if problem.code == REWOUND}
    nodes = {key: node.evolve(rewinds=()) if key in forgotten else node for key, node in view.nodes.items()}
    problems = tuple(
        problem.evolve(acknowledged=word) if problem.identity in places else problem for problem in view.state.problems
    )
    after = replace(view, nodes=nodes, state=view.state.evolve(problems=problems))
    judged = aggregate(after, now=word.at)
    after = replace(after, state=judged.evolve(observed_at=view.state.observed_at, offsets_at=view.state.offsets_at))
    told = tuple(
        about_problem(view.ref, EventType.PROBLEM_ACKNOWLEDGED, problem, who=word.who, why=word.why) for problem in seen
    )
    changed = tuple(node for key, node in nodes.items() if key in forgotten)
    state = () if after.state is None else (after.state,)
    return Change(puts=(*changed, *state), drafts=(*told, *diff(view, after)))


def problems_of(view: ClusterView, code: str, node_id: str | None) -> tuple[Problem, ...]:
    """The problems of a cluster with a code: of one node, or of all and of the cluster itself.

    Raises:
        NotFoundError: there is none.
    """
    there = view.state.problems if view.state is not None else ()
    found = tuple(one for one in there if one.code == code and node_id in {None, one.node_id})
    if not found:
        where = f"{view.ref}, node {node_id}," if node_id is not None else f"{view.ref}"
        codes = ", ".join(sorted({one.code for one in there})) or "none"
        message = f"{where} has no problem {code}; its problems are: {codes}"
        raise NotFoundError(message)
    return found
