"""What a person declares: manifests, all or nothing."""

from __future__ import annotations

from uuid import uuid4

from prefect import flow

from blocks.fleet import Connections
from blocks.models.action import Action
from blocks.models.request import Priority, WorkKind
from blocks.models.source import Source
from flows.entry import FLEET, run, utc_now, who
from tasks.apply import Applied, apply_wanted
from tasks.decide.documents import read_documents
from tasks.decide.manifests import Asked, Wanted, parse
from tasks.request import request_work


@flow(name="apply")
def apply(manifests: str, by: str | None = None, fleet: str = FLEET) -> list[Applied]:
    """Apply manifests (`apiVersion: replicante.io/v0`): all of them, or none when anything is wrong with one.

    Args:
        manifests: YAML or JSON, one or many documents.
        by: who applies them; None means this flow run.
        fleet: name of the Fleet block.
    """
    wanted = parse(read_documents(manifests), Asked(who=who(by), now=utc_now(), new_id=uuid4))

    async def sentence(connections: Connections) -> list[Applied]:
        store = await connections.store()
        applied = await apply_wanted(store, wanted, who(by), utc_now())
        for kind, subject in _due_now(wanted):
            await request_work(store, await connections.work_queue(), kind, subject, Priority.PERSON, utc_now())
        return list(applied)

    return run(sentence, fleet)


def _due_now(wanted: tuple[Wanted, ...]) -> list[tuple[WorkKind, str]]:
    """Work that a person who applies these waits for."""
    sources = [(WorkKind.DISCOVER, record.key) for record in wanted if isinstance(record, Source) and record.enabled]
    clusters = {record.cluster.key for record in wanted if isinstance(record, Action)}
    return [*sources, *((WorkKind.ORCHESTRATE, key) for key in sorted(clusters))]
