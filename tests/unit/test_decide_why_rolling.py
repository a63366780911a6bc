"""Why a rolling action stands where it stands: every state and phase has an answer, and every rule is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from blocks.models.action import ActionState
from blocks.models.cluster import Health
from blocks.models.gate import Gate, GateKind
from blocks.models.namespace import Namespace, NamespaceSettings, NamespaceStatus
from blocks.models.node import NodeStatus
from blocks.models.request import Request, WorkKind, WorkState
from blocks.models.rolling import Rolling, RollingPhase, RollingState, RollingStep
from blocks.models.view import ClusterView
from doubles.rollings import make_rolling
from doubles.views import NODES, NOW, discovery, later, make_node, make_view, state
from tasks.cluster_actions.table import CATALOGUE
from tasks.decide.reasons import Circumstances, Reason
from tasks.decide.rolling import actions_of
from tasks.decide.why_rolling import why_rolling, why_rollings

S, P, A = RollingState, RollingPhase, ActionState
ITEM = Request(kind=WorkKind.ORCHESTRATE, subject="prod/orders", next_at=later(30), interval=60)
AROUND = Circumstances(now=NOW, kinds=CATALOGUE, item=ITEM)
FREEZE = Gate(name="g", kind=GateKind.FREEZE, reason="disk", owner="ann", created_at=later(-9), created_by="ann")
DEAD = replace(AROUND, item=ITEM.evolve(state=WorkState.DEAD, error="it kills its workers"))


def view_of(*rollings: Rolling, **parts: Any) -> ClusterView:
    """A healthy cluster with these rolling actions."""
    basics = {"state": state(health=Health.HEALTHY), "rollings": {one.rolling_id: one for one in rollings}}
    return make_view(*parts.pop("nodes", [make_node(n) for n in NODES]), **{**basics, **parts})


def told(rolling: Rolling, around: Circumstances = AROUND, **parts: Any) -> list[Reason]:
    """Why it stands where it stands, with its actions as they were made."""
    made = {a.action_id: a for a in actions_of(rolling, now=NOW)} if rolling.phase is P.ACTING else {}
    return list(why_rolling(view_of(rolling, **{"actions": made.values(), **parts}), rolling, made, around))


@pytest.mark.parametrize("phase", list(P))
@pytest.mark.parametrize("state_", list(S))
def test_every_state_has_an_answer(state_: RollingState, phase: RollingPhase) -> None:
    """In every phase: one reason at least, in words."""
    reasons = told(make_rolling(state=state_, phase=phase, error="no disk"))

    assert reasons
    assert all(reason.rule and len(reason.text) > 10 for reason in reasons)


NS = Namespace(name="prod")
PICKY = Namespace(name="prod", settings=NamespaceSettings(approver_must_differ=True))
SICK = [make_node("n1"), make_node("n2", status=NodeStatus.UNAVAILABLE), make_node("n3")]
ACTING = make_rolling(phase=P.ACTING, since=NOW)
SETTLING = make_rolling(phase=P.SETTLING, since=NOW, healthy_since=NOW)
STEP = RollingStep(at=NOW, before=S.RUNNING, after=S.PAUSED, who="eve", why="lunch")


@pytest.mark.parametrize(
    ("rolling", "parts", "rules", "text"),
    [
        (make_rolling(state=S.PENDING_APPROVE), {}, ["APPROVAL", "LAPSES"], "replictl approve"),
        (make_rolling(state=S.PENDING_APPROVE), {"namespace": PICKY}, ["APPROVAL", "LAPSES"], "somebody else than ann"),
        (make_rolling(state=S.PENDING_APPROVE), {"discovery": discovery(("n1", "n2"))}, ["TOPOLOGY", "APPROVAL", "LAPSES"], "n3 went"),
        (make_rolling(), {}, ["TURN"], "next cycle"),
        (make_rolling(), {"around": DEAD}, ["WORK_DEAD"], "kills its workers"),
        (make_rolling(), {"gates": (FREEZE,)}, ["FREEZE"], "disk"),
        (make_rolling(), {"namespace": NS.evolve(status=NamespaceStatus.OBSERVED)}, ["NAMESPACE"], "Observed"),
        (make_rolling(), {"nodes": SICK}, ["HEALTH"], "n2 is UNAVAILABLE"),
        (make_rolling(), {"discovery": discovery((*NODES, "n4"))}, ["TOPOLOGY", "HEALTH"], "n4 came"),
        (ACTING, {}, ["TURN", "BATCH"], "on n2: nothing keeps it"),
        (ACTING, {"gates": (FREEZE,)}, ["FREEZE", "BATCH"], "on n2: everything is frozen"),
        (SETTLING, {}, ["SETTLING"], "must stay healthy"),
        (SETTLING, {"nodes": SICK}, ["HEALTH"], "n2 is UNAVAILABLE"),
        (make_rolling(state=S.PAUSED, history=(STEP,)), {}, ["PAUSED"], "by eve: lunch; `replictl resume"),
        (make_rolling(state=S.FAILED, history=(STEP,)), {}, ["FAILED"], "replictl retry"),
        (make_rolling(state=S.DONE), {}, ["DONE"], "never moves again"),
    ],
)  # fmt: skip
def test_rules(rolling: Rolling, parts: dict[str, Any], rules: list[str], text: str) -> None:
    """Each is named, the first is the one to do something about."""
    reasons = told(rolling, **parts)

    assert rules == [reason.rule for reason in reasons]
    assert text in reasons[0].text


@pytest.mark.parametrize(
    ("rolling", "parts", "until"),
    [
        (make_rolling(state=S.PENDING_APPROVE), {}, later(7 * 86_400)),
        (SETTLING, {}, later(10)),
        (SETTLING, {"nodes": SICK}, later(600)),
        (ACTING, {}, later(3_600)),
    ],
)
def test_until_when(rolling: Rolling, parts: dict[str, Any], until: object) -> None:
    """What has an end says it."""
    assert until == told(rolling, **parts)[-1].until


def test_one_waits_for_the_other() -> None:
    """The oldest approved one goes first, paused or not."""
    old, young = make_rolling(state=S.PAUSED), make_rolling(rolling_id=str(UUID(int=100)))
    view = view_of(old, young)
    [reason] = why_rolling(view, young, {}, AROUND)

    assert ("QUEUED", True) == (reason.rule, old.rolling_id in reason.text)
    assert ["PAUSED", "QUEUED"] == [one.rule for one in why_rollings(view, AROUND)]
    assert [old.rolling_id, young.rolling_id] == [one.about for one in why_rollings(view, AROUND)]
