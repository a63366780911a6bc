"""Symptoms under their cause, as the table of rules says: so that one incident is one problem with what comes of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

from blocks.models.problem import Problem
from tasks.decide.rules.table import RULES

T = TypeVar("T")

UNDER = {rule.code: rule.under for rule in RULES if rule.under}


def folded(problems: Iterable[Problem], nodes: Mapping[str, AbstractSet[str]] | None = None) -> tuple[Problem, ...]:
    """The same problems in the same order; each symptom with its cause, each cause with the number of its symptoms.

    A cause stands for itself: what is a symptom of a symptom is folded under the first of them all.

    Args:
        problems: all of a cluster.
        nodes: by code of a problem of the cluster, the nodes that it may come of; one that is not here may come of any.
    """
    nodes = nodes or {}
    by_place = {(problem.code, problem.node_id): problem for problem in problems}
    if len(by_place) <= 1:
        return tuple(problem.model_copy(update={"cause": None, "symptoms": 0}) for problem in by_place.values())
    causes = {place: _root(place, by_place, nodes) for place in by_place}
    symptoms = Counter(cause for place, cause in causes.items() if cause != place)
    return tuple(
        problem.model_copy(
            update={
                "cause": cause[0] if cause != place else None,
                "cause_node_id": cause[1] if cause != place else None,
                "symptoms": symptoms[place],
            }
        )
        for place, problem in by_place.items()
        for cause in (causes[place],)
    )


def families(
    rows: Sequence[T], place: Callable[[T], Hashable], place_of_cause: Callable[[T], Hashable]
) -> list[tuple[T, list[T]]]:
    """Problems that stand for themselves, each with its symptoms, all in the order given; a symptom whose cause is not among
    them stands for itself.

    Args:
        rows: problems in some form.
        place: where a problem is.
        place_of_cause: where that is of which it is a symptom; no place of any for one that stands for itself.
    """
    there = {place(row) for row in rows}
    under: dict[Hashable, list[T]] = defaultdict(list)
    tops = []
    for row in rows:
        if place_of_cause(row) in there:
            under[place_of_cause(row)].append(row)
        else:
            tops.append(row)
    return [(row, under[place(row)]) for row in tops]


Place = tuple[str, str | None]


def _root(place: Place, there: dict[Place, Problem], nodes: Mapping[str, AbstractSet[str]]) -> Place:
    for _ in RULES:  # the table has no circles, and no way through it is longer than it
        code, node_id = place
        may_be = nodes.get(code) if node_id is None else None
        wider = (candidate for cause in UNDER.get(code, ()) for candidate in _places(cause, node_id, there, may_be))
        above = next((candidate for candidate in wider if candidate in there and candidate != place), None)
        if above is None:
            return place
        place = above
    return place


def _places(
    code: str, node_id: str | None, there: dict[Place, Problem], nodes: AbstractSet[str] | None
) -> tuple[Place, ...]:
    """Where a cause may be: on the same node or of the cluster; what is about the cluster may come of any of its nodes."""
    if node_id is not None:
        return ((code, node_id), (code, None))
    on_nodes = (place for place in there if place[0] == code and place[1] is not None)
    return ((code, None), *(place for place in on_nodes if nodes is None or place[1] in nodes))
