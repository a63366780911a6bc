from __future__ import annotations

import itertools
from uuid import uuid4

import pytest
from pydantic import SecretStr

from blocks.errors import ConflictError, DependencyUnavailableError, InvalidInputError
from blocks.models.namespace import Namespace
from blocks.models.source import Source
from blocks.models.submission import Applied, Effect
from blocks.models.tls import Sensitive
from doubles.world import World
from tasks.apply import Replacing, apply_wanted, plan
from tasks.decide.documents import read_documents
from tasks.decide.manifests import EVERYWHERE, Asked
from tasks.shelter import Sheltered, applied_with, keep_again, shelter

SOURCE = """
apiVersion: replicante.io/v0
kind: DiscoverySettings
metadata: {namespace: prod, name: inventory}
spec: {interval: 60, url: "http://inventory.test/", headers: HEADERS}
"""
ONE = SOURCE.replace("HEADERS", "{token: hunter2}")
OTHER = SOURCE.replace("HEADERS", "{token: hunter3}")
NONE = SOURCE.replace("HEADERS", "{}")


@pytest.fixture
async def numbers(world: World) -> itertools.count[int]:
    """What tells values apart; there is a namespace."""
    await world.save(Namespace(name="prod", version=1))
    return itertools.count(1)


async def _sheltered(world: World, text: str, numbers: itertools.count[int]) -> Sheltered:
    asked = Asked(who="ann", now=world.clock(), new_id=uuid4)
    documents = read_documents(text)
    return await shelter.fn(
        world.store, world.secrets, documents, asked, EVERYWHERE, new_value=lambda: f"{next(numbers):012x}"
    )


async def _apply(world: World, text: str, numbers: itertools.count[int]) -> tuple[Applied, ...]:
    given = await _sheltered(world, text, numbers)
    return await applied_with(
        world.store,
        world.secrets,
        given,
        lambda replacing: apply_wanted.fn(world.store, given.wanted, "ann", world.clock(), None, replacing),
    )


async def _in_force(world: World) -> str:
    source = await world.store.get(Source, "prod/inventory")
    assert source is not None
    assert source.http is not None
    return await world.secrets.read(str(source.http.headers["token"].secret))


async def test_a_value_is_kept_and_only_named(world: World, numbers: itertools.count[int]) -> None:
    """Where secrets are kept it is under the name that the record has."""
    (applied,) = await _apply(world, ONE, numbers)

    assert (Effect.CREATED, "hunter2") == (applied.effect, await _in_force(world))
    assert "hunter2" not in repr(await world.store.find(Source))


async def test_the_same_value_is_unchanged(world: World, numbers: itertools.count[int]) -> None:
    """It keeps its name, so that the object is as it was; nothing is kept anew."""
    await _apply(world, ONE, numbers)
    before = dict(world.secrets.texts)
    (applied,) = await _apply(world, ONE, numbers)

    assert (Effect.UNCHANGED, before) == (applied.effect, world.secrets.texts)


async def test_another_value_is_a_change(world: World, numbers: itertools.count[int]) -> None:
    """A rotated secret alone changes its object, and what it replaced is forgotten."""
    await _apply(world, ONE, numbers)
    (applied,) = await _apply(world, OTHER, numbers)
    (difference,) = applied.differences

    assert (Effect.CHANGED, "http.headers.token.secret") == (applied.effect, difference.path)
    assert ["hunter3"] == list(world.secrets.texts.values())
    assert "hunter3" == await _in_force(world)


async def test_a_dry_run_tells_the_same(world: World, numbers: itertools.count[int]) -> None:
    """Unchanged for a value that is kept already, changed for another; nothing is kept."""
    await _apply(world, ONE, numbers)
    effects = []
    for text in (ONE, OTHER):
        given = await _sheltered(world, text, numbers)
        made = await plan.fn(world.store, given.wanted, "ann")
        effects += [one.effect for one in made.applied]

    assert [Effect.UNCHANGED, Effect.CHANGED] == effects
    assert ["hunter2"] == list(world.secrets.texts.values())


async def test_what_is_refused_leaves_the_old_value_in_force(world: World, numbers: itertools.count[int]) -> None:
    """All or nothing holds for secrets, too: the new one is gone again."""
    await _apply(world, ONE, numbers)
    with pytest.raises(InvalidInputError):
        await _apply(world, OTHER + "---" + NONE.replace("namespace: prod", "namespace: nowhere"), numbers)

    assert ["hunter2"] == list(world.secrets.texts.values())
    assert "hunter2" == await _in_force(world)


async def test_a_conflict_leaves_no_secret_behind(world: World, numbers: itertools.count[int]) -> None:
    """Others were quicker: nothing was changed, nothing is kept."""

    async def beaten(_: Replacing) -> None:
        message = "others were quicker"
        raise ConflictError(message)

    given = await _sheltered(world, ONE, numbers)
    with pytest.raises(ConflictError):
        await applied_with(world.store, world.secrets, given, beaten)

    assert {} == world.secrets.texts


async def test_an_unknown_end_keeps_both(world: World, numbers: itertools.count[int]) -> None:
    """The store's answer was lost: either record may be the one that counts, so neither secret is forgotten."""

    async def lost(_: Replacing) -> None:
        given = await _sheltered(world, OTHER, numbers)
        await apply_wanted.fn(world.store, given.wanted, "ann", world.clock())
        raise DependencyUnavailableError("MongoDB", "memory", "the answer was lost", "")

    await _apply(world, ONE, numbers)
    given = await _sheltered(world, OTHER, numbers)
    with pytest.raises(DependencyUnavailableError):
        await applied_with(world.store, world.secrets, given, lost)

    assert {"hunter2", "hunter3"} == set(world.secrets.texts.values())


async def test_a_header_that_is_taken_out_takes_its_secret_along(world: World, numbers: itertools.count[int]) -> None:
    """Nothing names it any more."""
    await _apply(world, ONE, numbers)
    await _apply(world, NONE, numbers)

    assert {} == world.secrets.texts


async def test_others_at_the_same_moment_leave_no_secret_behind(world: World, numbers: itertools.count[int]) -> None:
    """What somebody else kept between our reading and our writing is what we replace, and it is forgotten."""

    async def second(replacing: Replacing) -> tuple[Applied, ...]:
        await _apply(world, OTHER, numbers)
        return await apply_wanted.fn(world.store, given.wanted, "ann", world.clock(), None, replacing)

    await _apply(world, ONE, numbers)
    given = await _sheltered(world, ONE.replace("hunter2", "hunter4"), numbers)
    await applied_with(world.store, world.secrets, given, second)

    assert (["hunter4"], "hunter4") == (list(world.secrets.texts.values()), await _in_force(world))


async def test_a_secret_that_others_name_stays(world: World, numbers: itertools.count[int]) -> None:
    """An exported manifest that was applied elsewhere names the same one; secrets of others are never touched."""
    await _apply(world, ONE, numbers)
    (name,) = world.secrets.texts
    await _apply(world, NONE.replace("inventory", "copy").replace("{}", f"{{token: {{secret: {name}}}}}"), numbers)
    await _apply(world, NONE, numbers)

    assert {name: "hunter2"} == world.secrets.texts


async def test_nothing_is_applied_while_secrets_cannot_be_kept(world: World, numbers: itertools.count[int]) -> None:
    """Whoever keeps them is away: said, and the record is as before."""
    await _apply(world, NONE, numbers)
    given = await _sheltered(world, ONE, numbers)
    world.secrets.away = True
    with pytest.raises(DependencyUnavailableError):
        await applied_with(
            world.store,
            world.secrets,
            given,
            lambda replacing: apply_wanted.fn(world.store, given.wanted, "ann", world.clock(), None, replacing),
        )

    assert [1] == [source.version for source in await world.store.find(Source)]


async def test_tidying_that_fails_undoes_nothing(world: World, numbers: itertools.count[int]) -> None:
    """What was applied is applied; the secret of no use stays for the next time."""
    await _apply(world, ONE, numbers)
    given = await _sheltered(world, NONE, numbers)

    async def save(replacing: Replacing) -> tuple[Applied, ...]:
        world.secrets.away = True
        return await apply_wanted.fn(world.store, given.wanted, "ann", world.clock(), None, replacing)

    (applied,) = await applied_with(world.store, world.secrets, given, save)

    assert (Effect.CHANGED, ["hunter2"]) == (applied.effect, list(world.secrets.texts.values()))


async def test_a_secret_that_was_forgotten_meanwhile_is_kept_again(world: World) -> None:
    """Somebody replaced it at the same moment, and this set put it back in force."""
    await keep_again(world.secrets, {"replicore-x": SecretStr("hunter2")})

    assert {"replicore-x": "hunter2"} == world.secrets.texts


def test_the_name_fits() -> None:
    """The longest name of a place, and what tells its values apart, is a name that a record takes."""
    assert Sensitive(secret="x" * 100 + "-" + "0" * 12)
