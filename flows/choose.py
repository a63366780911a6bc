"""A form with choices: which actions are approved, rejected, cancelled or ordered once more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

from prefect import flow

from blocks.errors import RefusedError, ReplicoreError
from blocks.fleet import Connections
from blocks.models.action import Action
from blocks.models.rolling import Rolling
from blocks.store.protocol import Where
from flows.approve import approve
from flows.cancel import cancel
from flows.entry import FLEET, run, utc_now
from flows.forms import WITHIN_S, filled_in, form_of
from flows.reject import reject
from flows.retry import retry
from tasks.decide.offers import OFFERED_MAX, Doing, offers


@flow(name="choose", flow_run_name="choose what to {what}")
def choose(
    what: Doing = Doing.APPROVE,
    namespace: str | None = None,
    cluster: str | None = None,
    within_s: int = WITHIN_S,
    fleet: str = FLEET,
) -> list[Action | Rolling]:
    """List actions, and rolling actions, that can be approved (or rejected, cancelled, retried) as choices of a form, wait, and do it.

    The run pauses: "Resume" in the Prefect UI shows the form.

    Args:
        what: what is done with those that are chosen.
        namespace: only actions in it.
        cluster: only actions on the cluster of this id.
        within_s: how many seconds the form waits, at most a day.
        fleet: name of the Fleet block.

    Raises:
        RefusedError: nobody chose in time, or some could not be done; the others are done.
    """

    async def known(connections: Connections) -> dict[str, str]:
        store, where = await connections.store(), Where(namespace=namespace, cluster_id=cluster)
        actions = await store.find(Action, where.evolve(action_states=what.states), limit=OFFERED_MAX)
        rollings = await store.find(Rolling, where.evolve(rolling_states=what.rolling_states), limit=OFFERED_MAX)
        return offers((*actions, *rollings), utc_now())

    offered = run(known, fleet)
    if not offered:
        return []
    chosen = filled_in(form_of(what, offered), within_s)
    return _done(what, [offered[choice.value] for choice in chosen.actions], chosen.comment, chosen.who or None, fleet)


def _done(what: Doing, ids: list[str], comment: str, who: str | None, fleet: str) -> list[Action | Rolling]:
    verbs: Mapping[Doing, Callable[..., Action | Rolling]] = {
        Doing.APPROVE: approve,
        Doing.REJECT: reject,
        Doing.CANCEL: cancel,
        Doing.RETRY: retry,
    }
    done: list[Action | Rolling] = []
    failures: list[str] = []
    for action_id in dict.fromkeys(ids):
        try:
            done.append(verbs[what](UUID(action_id), comment=comment, by=who, fleet=fleet))
        except ReplicoreError as error:
            failures.append(f"{action_id}: {error}")
    if failures:
        message = f"{len(done)} done; not done: {'; '.join(failures)}"
        raise RefusedError(message)
    return done
