"""Places for looks: who has one, who waits, and who moves out of the way."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from blocks.agents.places import Lane, PlaceError, Places

SOON_S = 0.01
LONG_S = 60.0


async def until_waiting() -> None:
    """Let tasks that were just made come to where they wait."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_places_are_given_in_order() -> None:
    """Who waits longest has the next place, and nobody who comes later."""
    lane, order = Lane(1), list[int]()
    await lane.take()

    async def want(number: int) -> None:
        await lane.take()
        order.append(number)
        lane.give_back()

    tasks = [asyncio.create_task(want(number)) for number in range(3)]
    await until_waiting()
    lane.give_back()
    jumped = lane.taken_at_once()
    await asyncio.gather(*tasks)

    assert (False, [0, 1, 2]) == (jumped, order)


@pytest.mark.parametrize("given_first", [True, False])
async def test_who_gives_up_waiting_keeps_no_place(given_first: bool) -> None:
    """Whether a place was just given to it or not."""
    lane = Lane(1)
    await lane.take()
    task = asyncio.create_task(lane.take())
    await until_waiting()
    if given_first:
        lane.give_back()
    task.cancel()
    if not given_first:
        lane.give_back()
    await asyncio.gather(task, return_exceptions=True)

    assert [True, False] == [lane.taken_at_once(), lane.taken_at_once()]


async def test_who_is_silent_makes_room() -> None:
    """A look whose agent says nothing leaves its place to the next, and still counts among the silent."""
    places = Places(1, 1, SOON_S)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(places.one(silent=False))
        async with asyncio.timeout(5):
            await stack.enter_async_context(places.one(silent=False))

        with pytest.raises(PlaceError):
            await stack.enter_async_context(places.one(silent=True, wait_s=SOON_S))


async def test_who_answers_keeps_its_place() -> None:
    """Each answer is a new beginning; whoever is heard of in time does not move."""
    places = Places(1, 1, LONG_S)
    async with places.one(silent=False) as place, places.one(silent=True):
        place.answered()

        with pytest.raises(PlaceError):
            await places.one(silent=False, wait_s=SOON_S).__aenter__()


async def test_the_silent_take_no_place_of_others() -> None:
    """With every place for silent nodes taken there is one for a node that answers, and the other way round."""
    places = Places(1, 1, LONG_S)
    async with places.one(silent=True, wait_s=SOON_S), places.one(silent=False, wait_s=SOON_S):
        with pytest.raises(PlaceError, match="too many other silent nodes"):
            await places.one(silent=True, wait_s=SOON_S).__aenter__()


async def test_with_no_room_beside_it_a_silent_one_stays() -> None:
    """Silent nodes are bounded: when their places are taken too, the next node waits until one is done."""
    places = Places(1, 1, SOON_S)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(places.one(silent=True))
        async with places.one(silent=False):
            with pytest.raises(PlaceError):
                await stack.enter_async_context(places.one(silent=False, wait_s=5 * SOON_S))
        async with asyncio.timeout(5):
            await stack.enter_async_context(places.one(silent=False))
