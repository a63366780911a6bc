"""Stored records that cannot be read refuse only the apply that is about them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import uuid4

import pytest

from blocks.errors import DependencyUnavailableError, RecordError
from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.request import Request
from blocks.models.source import HttpDiscovery, Source
from blocks.models.submission import Applied, Effect
from doubles.store import MemoryStore
from doubles.world import SOURCE, World
from tasks.apply import Replacing, apply_wanted
from tasks.decide.documents import read_documents
from tasks.decide.manifests import Asked, parse
from tasks.duties import mend_timetable
from tasks.shelter import Sheltered, applied_with

OBSERVED = "{apiVersion: replicante.io/v0, kind: Namespace, metadata: {name: prod}, spec: {status: Observed}}"
ZOO = "{apiVersion: replicante.io/v0, kind: ClusterSpec, metadata: {namespace: prod, cluster: zoo}}"
ORDERS = ClusterSpec(namespace="prod", cluster_id="orders", version=1)


SECRET = "replicore-discoverysettings-prod-inventory-headers-x-2e47b3b2-{}"


def _named(secret: str) -> Source:
    http = HttpDiscovery.model_validate({"url": "http://x/", "headers": {"X": {"secret": secret}}})
    return SOURCE.evolve(http=http, version=1)


class Timeless(MemoryStore):
    """A store whose timetable is away."""

    async def ensure_work(self, items: Sequence[Request], now: datetime) -> int:
        """Fail."""
        raise DependencyUnavailableError("MongoDB", "memory", "its timetable is away", "Wait.")


async def _apply(world: World, text: str) -> tuple[Applied, ...]:
    wanted = parse(read_documents(text), Asked(who="ann", now=world.clock(), new_id=uuid4))
    return await apply_wanted.fn(world.store, wanted, "ann", world.clock())


async def test_a_broken_namespace_is_in_nobody_elses_way(world: World) -> None:
    """What is applied to others is applied, and put to work."""
    await world.save(Namespace(name="prod", version=1), Namespace(name="other", version=1))
    world.store.broken = {"other"}
    (applied,) = await _apply(world, ZOO)

    assert (Effect.CREATED, ["orchestrate:prod/zoo"]) == (applied.effect, list(world.store.work))


async def test_what_is_about_a_broken_record_is_refused(world: World) -> None:
    """Nothing of it is applied."""
    await world.save(Namespace(name="prod", version=1))
    world.store.broken = {"prod"}
    with pytest.raises(RecordError, match="prod"):
        await _apply(world, ZOO)

    assert [] == await world.store.find(ClusterSpec)


async def test_a_namespace_with_broken_objects_is_applied(world: World) -> None:
    """And the timetable of the others in it brought in line."""
    await world.save(Namespace(name="prod", version=1), ORDERS, ORDERS.evolve(cluster_id="zoo"), SOURCE)
    world.store.broken = {(ClusterSpec, "prod/orders")}
    (applied,) = await _apply(world, OBSERVED)
    namespace = await world.store.get(Namespace, "prod")

    assert (Effect.CHANGED, NamespaceStatus.OBSERVED) == (applied.effect, namespace.status)
    assert {"orchestrate:prod/zoo", "discover:prod/inventory"} == world.store.work.keys()


async def test_a_secret_that_a_broken_source_may_name_is_kept(world: World) -> None:
    """The one that an apply has replaced; what is applied is applied, and its person told so."""
    old = SECRET.format("33ef6b75c102")
    await world.save(Namespace(name="prod", version=1), SOURCE.evolve(version=1), SOURCE.evolve(name="other"))
    wanted = (_named(SECRET.format("44ef6b75c102")),)
    await world.save(_named(old))
    world.secrets.texts[old] = "hunter2"
    world.store.broken = {(Source, "prod/other")}

    async def apply(replacing: Replacing) -> tuple[Applied, ...]:
        return await apply_wanted.fn(world.store, wanted, "ann", world.clock(), None, replacing)

    (applied,) = await applied_with(world.store, world.secrets, Sheltered((), wanted), apply)

    assert (Effect.CHANGED, [old]) == (applied.effect, list(world.secrets.texts))


async def test_a_timetable_that_cannot_be_reached_is_mended_later() -> None:
    """What is applied is applied, and its person told so; the next sweep puts it to work."""
    world = World(store=Timeless())
    await world.save(Namespace(name="prod", version=1))
    (applied,) = await _apply(world, ZOO)
    back = MemoryStore()
    back.__dict__ = world.store.__dict__
    before = list(back.work)
    await mend_timetable.fn(back, world.clock())

    assert (Effect.CREATED, [], ["orchestrate:prod/zoo"]) == (applied.effect, before, list(back.work))
