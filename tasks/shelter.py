"""Keep the secrets that manifests give in clear, so that applying stays all or nothing for them, too.

Each value has a name of its own. A value that is kept already keeps its name; another one gets a new name, is kept before
the objects that name it are saved, and what it replaced is forgotten after that. So a record and its secret change at
the same moment, by the commit of the record.
"""

from __future__ import annotations

import asyncio
import logging
import secrets as randomness
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import SecretStr

from blocks.errors import ConflictError, DependencyUnavailableError, NotFoundError, PermanentError, RecordError
from blocks.models.namespace import Namespace
from blocks.models.source import Source
from blocks.secrets.protocol import Secrets
from blocks.store.protocol import Store
from tasks.apply import Replacing
from tasks.decide.manifests import Asked, Scope, Wanted, parse
from tasks.decide.secret_names import made_by_us, own_secrets
from tasks.decide.sheltering import kept_there, sheltered, value_name

log = logging.getLogger(__name__)

R = TypeVar("R")

READ_MAX = 100_000
READ_AT_ONCE = 8
VALUE_BYTES = 6


@dataclass(frozen=True, slots=True)
class Sheltered:
    """Manifests that hold no secrets any more."""

    documents: Sequence[object]
    wanted: tuple[Wanted, ...]
    """What they mean."""
    new: Mapping[str, SecretStr] = field(default_factory=dict)
    """By name, what has to be kept before they are applied."""
    known: Mapping[str, SecretStr] = field(default_factory=dict)
    """By name, what is kept already."""


def new_value() -> str:
    """What tells one value of a place from the others."""
    return randomness.token_hex(VALUE_BYTES)


@task(name="shelter", cache_policy=NO_CACHE)
async def shelter(
    store: Store,
    secrets: Secrets,
    documents: Sequence[object],
    asked: Asked,
    scope: Scope,
    new_value: Callable[[], str] = new_value,
) -> Sheltered:
    """Name the secrets in manifests, by the name under which a value is kept already or by a new one; nothing is written.

    Raises:
        InvalidInputError: the manifests are wrong.
        DependencyUnavailableError: the store, or whoever keeps secrets; the latter is asked only if there are any.
    """
    placed, values = await asyncio.to_thread(sheltered, documents, scope)
    wanted = await asyncio.to_thread(parse, placed, asked, scope)
    if not values:
        return Sheltered(placed, wanted)
    names = made_by_us(await _stored(store, wanted))
    limit = asyncio.Semaphore(READ_AT_ONCE)

    async def found(place: str, value: SecretStr) -> str | None:
        for name in kept_there(place, names):
            async with limit:
                if await _read(secrets, name) == value.get_secret_value():
                    return name
        return None

    kept = await asyncio.gather(*(found(place, value) for place, value in values.items()))
    known = {place: name for place, name in zip(values, kept, strict=True) if name is not None}
    fresh = {place: value_name(place, new_value()) for place in values if place not in known}
    placed, values = await asyncio.to_thread(sheltered, documents, scope, known | fresh)
    wanted = await asyncio.to_thread(parse, placed, asked, scope)
    return Sheltered(
        placed,
        wanted,
        new={name: values[name] for name in fresh.values()},
        known={name: values[name] for name in known.values()},
    )


@task(name="keep secrets", cache_policy=NO_CACHE)
async def keep_secrets(secrets: Secrets, values: Mapping[str, SecretStr]) -> None:
    """Keep what manifests gave in clear where secrets are kept, under the names that the manifests now have instead.

    Raises:
        DependencyUnavailableError: not all are kept.
    """
    if values:
        await secrets.keep(values)


async def applied_with(
    store: Store, secrets: Secrets, given: Sheltered, apply: Callable[[Replacing], Awaitable[R]]
) -> R:
    """Keep the new secrets, apply, and forget those that are then named by nothing.

    Args:
        store: what is applied to.
        secrets: where secrets are kept.
        given: what is applied.
        apply: does it, all or nothing, and tells what it replaced: others may have changed that since anybody read it.

    Raises:
        DependencyUnavailableError: of those who keep secrets: nothing was applied.
        Exception: whatever `apply` raises. Where that is certain to have changed nothing, the new secrets are gone again.
    """
    replaced: list[Wanted] = []
    await keep_secrets.fn(secrets, given.new)
    try:
        applied = await apply(replaced.extend)
    except (PermanentError, ConflictError):
        await forget_unused(store, secrets, {*given.new, *made_by_us(replaced)})
        raise
    await forget_unused(store, secrets, made_by_us(replaced))
    await keep_again(secrets, given.known)
    return applied


async def own_names(store: Store, secrets: Secrets, going: Namespace | Source) -> tuple[str, ...]:
    """Names of the secrets that were made for an object and that no other names: they are to be forgotten once it is gone.
    While another object cannot be read, none: it may name them.

    Raises:
        DependencyUnavailableError: the store, or whoever keeps secrets: then they could not be forgotten.
    """
    objects = await all_that_name(store)
    if objects is None:
        return ()
    names = own_secrets(going, [one for one in objects if (type(one), one.key) != (type(going), going.key)])
    if names:
        await _read(secrets, names[0])
    return names


async def forget_unused(store: Store, secrets: Secrets, names: Collection[str]) -> tuple[str, ...]:
    """Forget those secrets that nothing names, and say which. It is tidying: if it cannot be done now, they stay and that is
    logged.
    """
    if not names:
        return ()
    try:
        objects = await all_that_name(store)
        if objects is None:
            log.warning(
                "%d secrets that may be of no use any more are still kept: not all objects can be read", len(names)
            )
            return ()
        if unused := sorted(set(names) - made_by_us(objects)):
            await secrets.forget(unused)
    except DependencyUnavailableError as error:
        log.warning("%d secrets that may be of no use any more are still kept: %s", len(names), error)
        return ()
    return tuple(unused)


async def all_that_name(store: Store) -> list[Namespace | Source] | None:
    """All objects that can name secrets; None while one of them cannot be read: what it names is not known."""
    namespaces, broken = await store.readable(Namespace)
    sources, more = await store.readable(Source, limit=READ_MAX)
    return None if broken or more else [*namespaces, *sources]


async def keep_again(secrets: Secrets, values: Mapping[str, SecretStr]) -> None:
    """Keep those that are gone: somebody may have replaced them, and forgotten them, at the same moment."""
    try:
        gone = {name: value for name, value in values.items() if await _read(secrets, name) is None}
        await keep_secrets.fn(secrets, gone)
    except DependencyUnavailableError as error:
        log.warning("whether %d secrets are still kept is not known: %s", len(values), error)


async def _read(secrets: Secrets, name: str) -> str | None:
    try:
        return await secrets.read(name)
    except (NotFoundError, RecordError):
        return None


async def _stored(store: Store, wanted: Iterable[Wanted]) -> list[Namespace | Source]:
    """What is stored of the objects that can name secrets."""
    objects = list(wanted)
    namespaces = {record.key for record in objects if isinstance(record, Namespace)}
    sources = {record.key for record in objects if isinstance(record, Source)}
    found: list[Namespace | Source] = []
    if namespaces:
        found += (await store.get_many(Namespace, namespaces)).values()
    if sources:
        found += (await store.get_many(Source, sources)).values()
    return found
