"""Every rule of chaos runs: a good history passes, a bad one is caught, and what the promises allow is let go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from infra.chaos.history import Final, History, Inflicted, Order, Pulse, Span, Step, Told, Write
from infra.chaos.rules import RULES, judge

CLUSTER, NODE, ACTION = "strict/c1", "c1-0", "a1"
OLD, NEW = (1, 10), (1, 20)
BETWEEN = "2 of 3 workers"


def fence(at: float, transaction: str, token: int | None = None, key: str = CLUSTER) -> Write:
    """A holder passes; its token is told when it is new."""
    document = {"passed": 1} if token is None else {"generation": 1, "token": token, "passed": 1}
    return Write(at, "fences", "update", key, transaction, document)


def saved(at: float, transaction: str | None, state: str, intent: tuple[int, int] | None = None) -> Write:
    """The action as it was written."""
    told = None if intent is None else {"generation": intent[0], "token": intent[1]}
    return Write(at, "actions", "replace", ACTION, transaction, {"state": state, "intent": told})


def told(sequence: int, type_: str = "x.v1", digest: str = "", **data: object) -> Told:
    """An event of the cluster's stream."""
    return Told(f"e{sequence}", f"io.replicante.{type_}", CLUSTER, sequence, digest or f"d{sequence}", data)


def moved(sequence: int, state: str, what: str = "changed") -> Told:
    """The event of the action's move."""
    return told(sequence, f"action.{what}.v1", action_id=ACTION, state=state)


GOOD = History(
    steps=(
        Step(12.0, NODE, ACTION, "NEW", OLD, order=1),
        Step(12.1, NODE, ACTION, "RUNNING", OLD, order=1),
        Step(13.0, NODE, ACTION, "DONE", OLD, order=1),
    ),
    writes=(
        fence(10.0, "t1", 10),
        Write(10.5, "states", "replace", CLUSTER, "t2"),
        fence(10.5, "t2"),
        fence(11.0, "t3"),
        saved(11.0, "t3", "PENDING_SCHEDULE", OLD),
        fence(14.0, "t4", 20),
        fence(15.0, "t5"),
        saved(15.0, "t5", "DONE", OLD),
        Write(15.0, "nodes", "replace", f"{CLUSTER}/{NODE}", "t5"),
    ),
    told=(
        told(1, "node.added.v1", node_id=NODE, status="HEALTHY"),
        told(2, "cluster.health-changed.v1", after="HEALTHY"),
        moved(3, "PENDING_SCHEDULE", "created"),
        moved(4, "DONE", "finished"),
        moved(4, "DONE", "finished"),
    ),
    spans=(Span(CLUSTER, 20.0, 40.0),),
    orders=(Order(1, ACTION, accepted=True),),
    faults=(Inflicted(1, "WORKER_KILL", "w", 11.0, 30.0),),
    pulses=(Pulse(29.0, ("ill",)), Pulse(31.0, ("ill",)), Pulse(40.0), Pulse(50.0)),
    final=Final(
        actions={ACTION: "DONE"},
        nodes={f"{CLUSTER}/{NODE}": "HEALTHY"},
        healths={CLUSTER: "HEALTHY"},
        unseen_s={CLUSTER: 3.0},
        streams={CLUSTER: 4},
    ),
    homes={NODE: CLUSTER, "c1-1": CLUSTER, "c1-2": CLUSTER},
    budgets={"strict": 1},
)


def steps(*more: Step, after: int = 3) -> History:
    """The good history with other steps at the end."""
    return replace(GOOD, steps=(*GOOD.steps[:after], *more))


def final(**changes: object) -> History:
    """The good history with another end."""
    return replace(GOOD, final=replace(GOOD.final, **changes))  # type: ignore[arg-type]


BAD: dict[str, tuple[int, History]] = {
    "begun twice": (1, steps(Step(13.5, NODE, ACTION, "NEW", OLD), Step(13.6, NODE, ACTION, "RUNNING", OLD))),
    "ended twice": (1, steps(Step(13.5, NODE, ACTION, "DONE", OLD))),
    "of another order's number": (1, replace(GOOD, steps=(*GOOD.steps, replace(GOOD.steps[0], action="a2")), final=replace(GOOD.final, actions={ACTION: "DONE", "a2": "DONE"}))),
    "unknown": (1, final(actions={})),
    "without a token": (2, steps(replace(GOOD.steps[0], fence=None), *GOOD.steps[1:], after=0)),
    "without an intent": (2, replace(GOOD, writes=tuple(one for one in GOOD.writes if one.at != 11.0))),
    "before its intent": (2, steps(*(replace(one, at=one.at - 4.0) for one in GOOD.steps), after=0)),
    "after a newer holder": (2, steps(*(replace(one, at=one.at + 5.0) for one in GOOD.steps), after=0)),
    "in a freeze": (3, replace(GOOD, spans=(Span("everything", 1.0, 14.0),))),
    "against the budget": (3, steps(*GOOD.steps[:2], Step(12.5, "c1-1", ACTION, "NEW", OLD), after=0)),
    "lost order": (4, replace(GOOD, orders=(*GOOD.orders, Order(2, "a9", accepted=True)))),
    "waits without a reason": (4, final(actions={ACTION: "NEW"})),
    "cluster that nobody saw": (4, final(unseen_s={CLUSTER: 60.0})),
    "cluster never seen": (4, final(unseen_s={CLUSTER: None})),
    "dead work": (4, final(stuck={"orchestrate:x": "dead"})),
    "hole": (5, replace(GOOD, told=(*GOOD.told[:1], *GOOD.told[2:]))),
    "event not on the bus": (5, final(streams={CLUSTER: 5})),
    "event that neither is on the bus nor waits": (5, replace(GOOD, told=GOOD.told[:2], final=replace(GOOD.final, untold=(GOOD.told[3],)))),
    "copy that differs": (5, replace(GOOD, told=(*GOOD.told, replace(GOOD.told[-1], digest="other")))),
    "out of order": (5, replace(GOOD, told=(GOOD.told[1], GOOD.told[0], *GOOD.told[2:]))),
    "state without event": (5, final(nodes={f"{CLUSTER}/{NODE}": "UNREACHABLE"})),
    "write without fence": (6, replace(GOOD, writes=(*GOOD.writes, Write(16.0, "states", "replace", CLUSTER, "t6")))),
    "write outside a transaction": (6, replace(GOOD, writes=(*GOOD.writes, Write(16.0, "nodes", "replace", f"{CLUSTER}/{NODE}", None)))),
    "older holder writes": (6, replace(GOOD, writes=(*GOOD.writes, fence(16.0, "t6", 10)))),
    "final state moved": (7, replace(GOOD, writes=(*GOOD.writes, saved(16.0, "t6", "RUNNING"), fence(16.0, "t6")))),
    "told of as something else": (7, replace(GOOD, told=(*GOOD.told, moved(5, "FAILED", "finished")))),
    "well too late": (8, replace(GOOD, pulses=(Pulse(31.0, ("ill",)), Pulse(50.0)))),
    "never well": (8, replace(GOOD, pulses=(Pulse(31.0, ("ill",)),))),
    "ill again": (8, replace(GOOD, pulses=(Pulse(31.0), Pulse(50.0, ("ill",)), Pulse(50.5)))),
    "ill while handing over": (8, replace(GOOD, pulses=(Pulse(31.0), Pulse(50.0, ("ill", BETWEEN), (BETWEEN,)), Pulse(50.5)))),
    "hands over for long": (8, replace(GOOD, pulses=(Pulse(31.0), *(Pulse(at, (BETWEEN,), (BETWEEN,)) for at in (50.0, 53.0))))),
    "unhealthy at the end": (8, final(healths={CLUSTER: "DEGRADED"})),
    "incomplete record": (8, replace(GOOD, holes=("the oplog was too small",))),
}  # fmt: skip


def test_good_history_passes() -> None:
    """A history in which everything went as it should breaks no rule."""
    assert () == judge(GOOD)


@pytest.mark.parametrize("case", BAD)
def test_bad_history_is_caught_by_its_rule(case: str) -> None:
    """Each kind of wrong is found by the rule it belongs to."""
    number, history = BAD[case]

    assert [] != list(RULES[number](history))


def test_what_is_ill_does_not_hide_what_is_ill_at_the_end() -> None:
    """Each is told of."""
    bad = replace(final(healths={CLUSTER: "DEGRADED"}), pulses=(Pulse(31.0), Pulse(50.0, ("ill",))))

    assert ["everything", CLUSTER] == [violation.subject for violation in RULES[8](bad)]


TOLERATED: dict[str, Callable[[], History]] = {
    "sent before the gate, held by the network": lambda: replace(
        GOOD,
        spans=(Span("strict", 1.0, 14.0),),
        steps=(replace(GOOD.steps[0], sent_at=0.5), *GOOD.steps[1:]),
        writes=tuple(replace(one, at=one.at - 11.0) for one in GOOD.writes[:5]) + GOOD.writes[5:],
    ),
    "under way when the gate came": lambda: replace(GOOD, spans=(Span("strict", 10.0, 14.0),)),
    "gate of others": lambda: replace(GOOD, spans=(Span("free", 1.0, 14.0),)),
    "order of which nobody knows whether it was taken": lambda: replace(
        GOOD, orders=(*GOOD.orders, Order(2, "a9", accepted=None))
    ),
    "refused order": lambda: replace(GOOD, orders=(*GOOD.orders, Order(2, "a9", accepted=False))),
    "action that waits and says why": lambda: replace(
        GOOD,
        told=(*GOOD.told[:3],),
        steps=GOOD.steps[:2],
        writes=GOOD.writes[:5],
        final=replace(
            GOOD.final, actions={ACTION: "PENDING_SCHEDULE"}, waiting={ACTION: ("FREEZE",)}, streams={CLUSTER: 3}
        ),
    ),
    "record deleted without a fence": lambda: replace(
        GOOD, writes=(*GOOD.writes, Write(16.0, "nodes", "delete", f"{CLUSTER}/{NODE}", None))
    ),
    "event that waits for the next worker": lambda: replace(
        GOOD, told=GOOD.told[:3], final=replace(GOOD.final, untold=(GOOD.told[3],))
    ),
    "event on the bus of which that is not known": lambda: replace(
        GOOD, final=replace(GOOD.final, untold=(GOOD.told[3],))
    ),
    "handing over": lambda: replace(GOOD, pulses=(*GOOD.pulses, Pulse(55.0, (BETWEEN,), (BETWEEN,)), Pulse(55.5))),
    "fault that was skipped": lambda: replace(
        GOOD, faults=(*GOOD.faults, Inflicted(2, "WORKER_KILL", "", 45.0, 49.5, "skipped"))
    ),
}


@pytest.mark.parametrize("case", TOLERATED)
def test_what_is_allowed_is_no_violation(case: str) -> None:
    """What the product's promises allow is not held against it."""
    assert () == judge(TOLERATED[case]())
