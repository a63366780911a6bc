"""What removing a source or a platform means: whether it is refused, what changes, and what is told of it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from blocks.errors import RefusedError
from blocks.models.base import Json
from blocks.models.cluster import ClusterSpec
from blocks.models.event import EventDraft, EventType
from blocks.models.ids import SourceRef
from blocks.models.record import Change, RecordKey
from blocks.models.source import Source, SourceReport
from tasks.decide.remove import Order, Thing, listed


def source_deleted(source: Source, order: Order, *, clusters: int, secrets: Sequence[str]) -> Change:
    """The change that removes a source itself, after its clusters were marked missing.

    Args:
        source: as stored.
        order: who wants that, and why.
        clusters: how many clusters went missing by it.
        secrets: which secrets were forgotten with it.
    """
    thing = Thing.SOURCE if source.platform is None else Thing.PLATFORM
    swap = Change(swaps=(source.evolve(version=source.version + 1),))
    return swap + _no_source(source.ref, thing, order, clusters, secrets)


def unread_source_deleted(source: SourceRef, thing: Thing, order: Order, clusters: int) -> Change:
    """The same of a source that cannot be read, by its key; `thing` is what it is taken for."""
    return _no_source(source, thing, order, clusters, ())


def _no_source(source: SourceRef, thing: Thing, order: Order, clusters: int, secrets: Sequence[str]) -> Change:
    data: dict[str, Json] = {
        **order.told,
        "kind": "Platform" if thing is Thing.PLATFORM else "DiscoverySettings",
        "clusters_missing": clusters,
        "secrets_forgotten": list(secrets),
    }
    told = EventDraft(type=EventType.SOURCE_DELETED, stream=source.namespace, subject=source.key, data=data)
    return Change(deletes=(RecordKey(Source, source.key), RecordKey(SourceReport, source.key)), drafts=(told,))


def refuse_named_platforms(what: str, platforms: Collection[str], specs: Iterable[ClusterSpec], order: Order) -> None:
    """Refuse to delete platforms that clusters name, unless forced.

    Args:
        what: what is to be deleted.
        platforms: keys of the platforms that go with it.
        specs: clusters that stay.
        order: who wants that, and whether by force.

    Raises:
        RefusedError: with the clusters.
    """
    if order.force:
        return
    clusters = [str(spec.ref) for spec in specs if platform_key(spec) in platforms]
    if clusters:
        message = (
            f"{what} is not deleted: its machines are those of cluster{'s' if len(clusters) > 1 else ''} {listed(clusters)}. "
            "Change their ClusterSpecs first, or delete it by force with a reason"
        )
        raise RefusedError(message)


def platform_key(spec: ClusterSpec) -> str | None:
    """The key of the platform that a cluster names."""
    return None if spec.platform is None else f"{spec.platform.ns_id or spec.namespace}/{spec.platform.name}"
