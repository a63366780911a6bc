"""From what people write to the names of clusters and sources."""

from __future__ import annotations

import typer

from blocks.errors import InvalidInputError, NotFoundError
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.ids import ClusterRef, SourceRef
from blocks.models.source import Source
from blocks.store.protocol import EventQuery, Store, Where


async def known_cluster(store: Store, text: str, namespace: str | None) -> ClusterRef:
    """The cluster that is meant: `namespace/cluster`, or its id alone where that leaves no doubt.

    Raises:
        NotFoundError: there is no such cluster.
        InvalidInputError: there are several of that id.
        typer.BadParameter: this is no cluster's name.
    """
    if "/" not in text and namespace is None:
        return await _by_id(store, text)
    ref = cluster_name(text, namespace)
    for record_type in (ClusterSpec, Discovery, ClusterState):
        if await store.get(record_type, ref.key) is not None:
            return ref
    raise _unknown(str(ref))


async def remembered_cluster(store: Store, text: str, namespace: str | None) -> ClusterRef:
    """The cluster that is meant, also one that was deleted and of which events are left.

    Raises:
        NotFoundError: nothing is known of it.
        InvalidInputError: there are several of that id.
        typer.BadParameter: this is no cluster's name.
    """
    try:
        return await known_cluster(store, text, namespace)
    except NotFoundError:
        if "/" not in text and namespace is None:
            raise
        ref = cluster_name(text, namespace)
        if not await store.events(EventQuery(stream=ref.key, newest=1)):
            raise
        return ref


async def _by_id(store: Store, text: str) -> ClusterRef:
    specs = await store.find(ClusterSpec, Where(cluster_id=text), limit=100)
    if not specs:
        raise _unknown(text)
    if len(specs) > 1:
        message = f"there are several clusters {text!r}: write one of {', '.join(str(spec.ref) for spec in specs)}"
        raise InvalidInputError(message)
    return specs[0].ref


async def known_source(store: Store, text: str, namespace: str | None) -> SourceRef:
    """The source that is meant: `namespace/source`, or its name alone where that leaves no doubt.

    Raises:
        NotFoundError: there is no such source.
        InvalidInputError: there are several of that name.
        typer.BadParameter: this is no source's name.
    """
    if "/" in text or namespace is not None:
        try:
            return SourceRef.parse(text, namespace)
        except InvalidInputError as error:
            raise typer.BadParameter(str(error)) from error
    refs = [source.ref for source in await store.find(Source, limit=100_000) if source.name == text]
    if not refs:
        message = f"there is no source {text}; `replictl sources` lists those that are known"
        raise NotFoundError(message)
    if len(refs) > 1:
        message = f"there are several sources {text!r}: write one of {', '.join(str(ref) for ref in refs)}"
        raise InvalidInputError(message)
    return refs[0]


def cluster_name(text: str, namespace: str | None) -> ClusterRef:
    """A cluster's name, known or not.

    Raises:
        typer.BadParameter: this is none.
    """
    try:
        return ClusterRef.parse(text, namespace)
    except InvalidInputError as error:
        raise typer.BadParameter(str(error)) from error


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(f"there is no cluster {name}; `replictl clusters` lists those that are known")
