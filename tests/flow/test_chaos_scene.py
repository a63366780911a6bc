"""Parts of chaos runs in memory: readers that are waited for, people who freeze, a nemesis that finds nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from blocks.models.gate import Gate
from doubles.world import World as Memory
from infra.chaos.callers import Callers
from infra.chaos.load import Load
from infra.chaos.nemesis import Nemesis
from infra.chaos.network import Network
from infra.chaos.plan import Fault, FaultKind
from infra.chaos.recorder import Reader, Recorder
from infra.chaos.settings import Part, Settings
from infra.chaos.world import World

WITHIN_S = 10.0


def noted(path: Path, what: str) -> list[dict[str, Any]]:
    """What was written down of a kind."""
    return [line for line in map(orjson.loads, path.read_bytes().splitlines()) if line["what"] == what]


# -- readers ---------------------------------------------------------------------------------------------------------------


class Counting(Reader):
    """Has read everything when it was asked so often."""

    def __init__(self, recorder: Recorder, times: int) -> None:
        super().__init__("counting", recorder)
        self._left = times

    def turn(self) -> None:
        """Nothing to read."""

    def _has_read(self, asked_at: float) -> bool:
        self._left -= 1
        return self._left <= 0


@pytest.mark.parametrize(("times", "expected"), [(3, True), (10_000, False)])
def test_a_reader_is_waited_for_until_it_has_read_everything(tmp_path: Path, times: int, *, expected: bool) -> None:
    """It is asked again and again, but not for ever."""
    recorder = Recorder(tmp_path / "h")
    done = Counting(recorder, times).read_up(1.0)
    recorder.close()

    assert expected is done


# -- people ----------------------------------------------------------------------------------------------------------------


async def test_a_freeze_holds_for_as_long_as_it_is_open_and_is_written_down(world: Memory, tmp_path: Path) -> None:
    """The history tells since when it is confirmed and when somebody began to lift it."""
    recorder = Recorder(tmp_path / "h")
    load = Load(world.store, world.queue, recorder, world.clock, 1, 1.0, {"n1": "prod/orders"}, closing=False)
    async with asyncio.timeout(WITHIN_S), load.frozen("proof") as since:
        during = await world.store.find(Gate)
    recorder.close()
    [gate] = noted(tmp_path / "h", "gate")

    assert (["everything"], []) == ([one.where for one in during], await world.store.find(Gate))
    assert (since, "everything") == (gate["placed"], gate["where"])
    assert since <= gate["lifting"]


# -- nemesis ---------------------------------------------------------------------------------------------------------------


async def test_prefect_is_only_killed_where_shifts_run_in_it(tmp_path: Path) -> None:
    """Workers of chaos runs ask it before every task: what they do without it says nothing of the product."""
    recorder, nobody = Recorder(tmp_path / "h"), cast("Any", None)
    async with Network(Callers(tmp_path)) as network:
        bare = World(Settings(seed=1, serving=0), nobody, network, nobody)
        fault = Fault(0, FaultKind.PREFECT_KILL, 0.0, 0.0, 0.0, "kafka", 0.0)
        await Nemesis(bare, Part("main", 1), nobody, recorder).carry_out([fault])
    recorder.close()

    assert ["skipped: there is no serving process"] == [one["outcome"] for one in noted(tmp_path / "h", "fault")]
