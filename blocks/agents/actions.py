"""Actions, as far as both protocols agree: lists, details, and what the answer to a sent one means."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence

import orjson

from blocks.agents import facts
from blocks.agents.answers import NOT_FOUND, Answer, failure_of, json_items, json_object
from blocks.agents.dialect import Ask, read
from blocks.models.action import ActionState
from blocks.models.look import ActionsInfo, AgentAction, Failure
from blocks.models.sent import Sent

CONFLICT = 409
SUPERSEDED = 412
REFUSED = frozenset({400, 413, 422})
MAYBE_SENT = frozenset(range(500, 600))
SWITCHED_OFF = "the agent has its actions switched off"

STATES = {state.value: state for state in (ActionState.NEW, ActionState.RUNNING, ActionState.DONE, ActionState.FAILED)}
"""What an agent may say of an action, by its word."""

ReadOne = Callable[[str], Awaitable[AgentAction | Failure | None]]
"""Read an action by id; None when the agent does not know it."""


def unknown(answer: Answer) -> bool:
    """Whether an agent says that there is no such thing; a proxy's page says nothing."""
    return answer.status == NOT_FOUND and not answer.html


def listed_ids(answer: Answer) -> tuple[str, ...] | Failure | None:
    """The ids in a list of actions; None when there is no such list, because actions are switched off."""
    if unknown(answer):
        return None
    items = json_items(answer, "actions")
    return items if isinstance(items, Failure) else facts.action_ids(items)


async def read_actions(
    ask: Ask, read_one: ReadOne, asked: Sequence[str], details_max: int
) -> tuple[ActionsInfo | Failure, dict[str, AgentAction | Failure | None]]:
    """The lists of actions, and the agent's word on each action asked for or listed as unfinished.

    What is in both lists ended between the two questions: it counts as finished, and is read by id all the same.
    """
    actions = await _lists(ask)
    listed = () if isinstance(actions, Failure) else actions.queue
    wanted = tuple(dict.fromkeys((*asked, *listed)))
    if isinstance(actions, Failure):
        return actions, await _details(read_one, wanted, details_max)
    if not actions.enabled:
        return actions, dict.fromkeys(wanted, Failure(reason=SWITCHED_OFF))
    over = set(actions.finished).intersection(actions.queue)
    queue = tuple(action_id for action_id in actions.queue if action_id not in over)
    return actions.evolve(queue=queue), await _details(read_one, wanted, details_max)


async def _lists(ask: Ask) -> ActionsInfo | Failure:
    queue = await read(ask, "actions/queue", listed_ids)
    if isinstance(queue, Failure):
        return queue
    if queue is None:
        return ActionsInfo(enabled=False)
    # The queue is read first: what finishes in between is then in both lists, never in none.
    finished = await read(ask, "actions/finished", listed_ids)
    return finished if isinstance(finished, Failure) else ActionsInfo(queue=queue, finished=finished or ())


async def _details(
    read_one: ReadOne, wanted: Sequence[str], details_max: int
) -> dict[str, AgentAction | Failure | None]:
    """What was not asked for want of room is a `Failure`, never None: None would say that the action is gone."""
    found: dict[str, AgentAction | Failure | None] = {}
    for action_id in wanted[:details_max]:
        found[action_id] = await read_one(action_id)
    left = Failure(reason=f"not asked: one look reads at most {details_max} actions")
    found.update(dict.fromkeys(wanted[details_max:], left))
    return found


def encoded(body: Mapping[str, object]) -> bytes:
    """A request's body as JSON, integers beyond 64 bits and halves of surrogate pairs included."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        return json.dumps(body).encode()


def sent(answer: Answer, action_id: str) -> Sent:
    """What the answer to a sent action means; a success that names another action, or is no JSON, proves nothing."""
    if answer.status == CONFLICT:
        return Sent(accepted=True)
    if answer.ok:
        return _confirmed(answer, action_id)
    failure = failure_of(answer)
    if answer.status == SUPERSEDED:
        return Sent(accepted=False, superseded=True)
    if answer.status in REFUSED:
        return Sent(accepted=False, refused=failure.reason)
    return Sent(accepted=False, failed=failure.reason, maybe_sent=answer.status in MAYBE_SENT)


def _confirmed(answer: Answer, action_id: str) -> Sent:
    if not answer.body.strip():
        return Sent(accepted=True)
    value = json_object(answer)
    if not isinstance(value, Failure) and facts.action_id(value.get("id")) == facts.action_id(action_id):
        return Sent(accepted=True)
    reason = value.reason if isinstance(value, Failure) else "the answer is about another action"
    return Sent(accepted=False, failed=reason, maybe_sent=True)
