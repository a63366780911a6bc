"""While Prefect is away, `sweep` does everything that does not need it."""

from __future__ import annotations

import asyncio

import pytest

from blocks.errors import DependencyUnavailableError
from blocks.models.action import ActionState
from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.source import FileDiscovery, HttpDiscovery, Source
from blocks.runs.protocol import Run
from doubles.actions import make_action
from doubles.runs import MemoryRuns
from doubles.secrets import MemorySecrets
from doubles.world import SOURCE, World
from flows.degraded import Degraded
from flows.duties import duties
from flows.emptying import empty_namespaces
from flows.steps import Steps

SECRET = "replicore-discoverysettings-a-inv-headers-x-2e47b3b2-33ef6b75c102"
HTTP = HttpDiscovery.model_validate({"url": "http://x/", "headers": {"X": {"secret": SECRET}}})


class Away(MemoryRuns):
    """Flow runs that cannot be asked for."""

    async def running(self, flow_name: str) -> list[Run]:
        """Fail."""
        raise DependencyUnavailableError("Prefect", "memory", "gone", "Check.")


class Counting(MemorySecrets):
    """Secrets that count how often they are asked for, or to be forgotten."""

    tries = 0

    async def read(self, name: str) -> str:
        """Give one."""
        self.tries += 1
        return await super().read(name)

    async def forget(self, names: object) -> None:
        """Forget them."""
        self.tries += 1
        await super().forget(names)  # type: ignore[arg-type]


async def _going(world: World) -> None:
    """Two namespaces that are to go: one with two sources that name a secret and one that names none, one with a cluster."""
    world.secrets = Counting(**{SECRET: "hunter2"})
    world.secrets.away = True
    named = [Source(namespace="a", name=name, http=HTTP, version=1) for name in ("inv", "other")]
    other = HTTP.evolve(headers={"X": HTTP.headers["X"].evolve(secret=SECRET.replace("33ef", "44ef"))})
    await world.save(
        *(Namespace(name=name, status=NamespaceStatus.DELETING, version=1) for name in ("a", "b")),
        named[0],
        named[1].evolve(http=other),
        SOURCE.evolve(namespace="a", name="plain", version=1),
        ClusterSpec(namespace="b", cluster_id="c", version=1),
    )


async def _turn(world: World) -> None:
    await empty_namespaces(await world.worker(), world.store, world.secrets, world.clock, Steps(), thorough=False)


async def test_what_names_no_secret_goes(world: World) -> None:
    """Also behind, and in other namespaces than, what waits for it; when it is back the rest goes."""
    await _going(world)
    for _ in range(2):
        await _turn(world)
    left = [source.name for source in await world.store.find(Source)]
    gone = await world.store.get(Namespace, "b")
    world.secrets.away = False
    for _ in range(2):
        await _turn(world)

    assert (["inv", "other"], NamespaceStatus.DELETED) == (left, gone.status)
    assert NamespaceStatus.DELETED is (await world.store.get(Namespace, "a")).status


async def test_it_is_asked_once_in_a_turn(world: World) -> None:
    """Each time may last for the whole deadline, and a turn has other things to do."""
    await _going(world)
    await _turn(world)

    assert 1 == world.secrets.tries


async def test_the_store_away_ends_the_turn(world: World) -> None:
    """Without it nothing goes."""
    await _going(world)
    world.store.down = True
    with pytest.raises(DependencyUnavailableError, match="MongoDB"):
        await _turn(world)


async def test_the_duty_does_all_the_rest(world: World) -> None:
    """Orphaned actions are cancelled, namespaces emptied, changed files asked; then it says that Prefect is away."""
    file = Source(namespace="prod", name="inventory", file=FileDiscovery(path="/inventory"), version=1)
    orphan = make_action(cluster_id="gone")
    await _going(world)
    await world.save(Namespace(name="prod", version=1), file, orphan)
    made = duties(
        await world.worker(), world.store, world.queue, world.bus, Away(), world.secrets, world.clock, asyncio.Event(),
        Degraded(world.store, world.clock, "worker-1"), world.sources,
    )  # fmt: skip
    (sweep,) = (duty for duty in made if duty.name == "sweep")
    asked = len(world.sources.stamps_asked)
    with pytest.raises(DependencyUnavailableError, match="Prefect"):
        await sweep.turn()

    assert ActionState.CANCELLED is await world.action_state(orphan)
    assert [] == await world.store.find(ClusterSpec)
    assert asked + 1 == len(world.sources.stamps_asked)
