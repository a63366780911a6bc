"""Which wire protocol an agent speaks. The remembered one is tried first, so that knowing it costs no request.

Only a clear answer decides: 404 and 405 mean "not this one", a recognised body means "this one", everything else is a
failure of the node and says nothing about the protocol. The probe is the first request of every look, so an agent that was
upgraded in place (or back) is asked in its new protocol by the very look that notices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from blocks.agents.answers import Answer, excerpt, failure_of, json_of
from blocks.agents.dialect import Ask
from blocks.models.look import Failure
from blocks.models.node import Protocol

NOT_HERE = frozenset({404, 405})
"""The statuses of a path that this agent does not have."""


@dataclass(frozen=True, slots=True)
class Detected:
    """The protocol, and the answer that showed it."""

    protocol: Protocol
    path: str
    answer: Answer

    def replayed(self, ask: Ask) -> Ask:
        """Like `ask`, but without asking again for what was answered already."""

        async def replay(path: str) -> Answer | Failure:
            return self.answer if path == self.path else await ask(path)

        return replay


def _is_b(value: dict[str, object]) -> bool:
    failed = value.get("error") is True and isinstance(value.get("error_msg"), str)
    return failed or "node_status" in value


def _is_a(value: dict[str, object]) -> bool:
    version = value.get("version")
    failed = isinstance(value.get("layers"), list) and isinstance(value.get("error"), str)
    return failed or (isinstance(version, dict) and "number" in version)


_PROBES: dict[Protocol, tuple[str, Callable[[dict[str, object]], bool]]] = {
    Protocol.B: ("info/node", _is_b),
    Protocol.A: ("info/agent", _is_a),
}


async def detect(ask: Ask, remembered: Protocol | None, only: Protocol | None = None) -> Detected | Failure:
    """Find out which protocol an agent speaks, or why that cannot be said.

    Args:
        ask: how the agent is asked.
        remembered: what it spoke last time; tried first.
        only: what it must speak; nothing else is tried.
    """
    last = Answer(404)
    for protocol in sorted(_PROBES, key=lambda candidate: candidate is not (remembered or Protocol.B)):
        if only not in {None, protocol}:
            continue
        path, recognises = _PROBES[protocol]
        answer = await ask(path)
        if isinstance(answer, Failure):
            return answer
        if _speaks(answer, recognises):
            return Detected(protocol, path, answer)
        if answer.status not in NOT_HERE:
            return _stranger(answer)
        last = answer
    if only is not None:
        path = _PROBES[only][0]
        return Failure(
            reason=f"no agent of protocol {only}, which its namespace demands: no /{path}", status=last.status
        )
    return Failure(reason="not an agent: it knows neither /info/node nor /info/agent", status=last.status)


def _speaks(answer: Answer, recognises: Callable[[dict[str, object]], bool]) -> bool:
    try:
        value = json_of(answer)
    except ValueError:
        return False
    return isinstance(value, dict) and recognises(value)


def _stranger(answer: Answer) -> Failure:
    if not answer.ok:
        return failure_of(answer)
    return Failure(reason=f"not an agent: it answers with {excerpt(answer.body)}", status=answer.status)
