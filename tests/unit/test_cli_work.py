from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from blocks.coordinator.protocol import ClaimKind
from blocks.models.cluster import ClusterState, Health
from blocks.models.request import Ended, WorkState
from blocks.store.protocol import RetryPolicy
from deployments.cli.main import run
from deployments.cli.wait import NotInTimeError, until
from doubles.cli import Outside, replictl
from doubles.store_samples import NOW, item, spec, state


async def test_locks(capsys: pytest.CaptureFixture[str]) -> None:
    """Locks of clusters; with `--all` everything that is held."""
    outside = Outside()
    await outside.coordinator_.take(ClaimKind.LOCK, "prod/orders", "orchestrate")
    await outside.coordinator_.take(ClaimKind.SEAT, "seat-0", "works")
    shown = []
    for arguments in ((), ("--all",)):
        assert 0 == await replictl(outside, "locks", *arguments, "-o", "json")
        shown.append([(row["kind"], row["name"], row["owner"]) for row in json.loads(capsys.readouterr().out)])

    lock = ("lock", "prod/orders", "worker-1")
    assert [[lock], [lock, ("seat", "seat-0", "worker-1")]] == shown


async def _with_dead_work(outside: Outside, *subjects: str) -> None:
    """Work that has failed too often, and one item that has not."""
    await outside.store_.ensure_work([item(subject, None) for subject in (*subjects, "prod/well")], NOW)
    await outside.store_.queue_due(NOW, 10)
    keys = [item(subject).key for subject in subjects]
    await outside.store_.claim_work(keys, "w", NOW)
    ended = [Ended(key=key, error="[red]broken") for key in keys]
    await outside.store_.finish_work(ended, "w", NOW, RetryPolicy(attempts_max=1))


async def test_work(capsys: pytest.CaptureFixture[str]) -> None:
    """Work items, narrowed by state, with the error of dead ones as it is."""
    outside = Outside()
    await _with_dead_work(outside, "prod/a")
    await replictl(outside, "work", "-o", "json")
    rows = json.loads(capsys.readouterr().out)
    await replictl(outside, "work", "--state", "dead")
    lines = capsys.readouterr().out.splitlines()

    assert {"orchestrate:prod/a": "dead", "orchestrate:prod/well": "queued"} == {
        row["key"]: row["state"] for row in rows
    }
    assert 2 == len(lines)
    assert "[red]broken" in lines[1]


@pytest.mark.parametrize("arguments", [("orchestrate:prod/a", "orchestrate:prod/b"), ("--all",)])
async def test_work_retry(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    """Dead items are queued again, by key or all."""
    outside = Outside()
    await _with_dead_work(outside, "prod/a", "prod/b")
    code = await replictl(outside, "work", "retry", *arguments)

    assert 0 == code
    assert [] == await outside.store_.list_work([WorkState.DEAD])
    assert "orchestrate:prod/b" in capsys.readouterr().out


async def test_work_retry_of_what_is_not_dead(capsys: pytest.CaptureFixture[str]) -> None:
    """A key that is not dead is named, and nothing is queued."""
    outside = Outside()
    await _with_dead_work(outside, "prod/a")
    code = await replictl(outside, "work", "retry", "orchestrate:prod/a", "orchestrate:prod/well")

    assert 1 == code
    assert "orchestrate:prod/well: no dead work of that key" in capsys.readouterr().err
    assert 1 == len(await outside.store_.list_work([WorkState.DEAD]))


# -- waiting and watching --------------------------------------------------------------------------------------------------


async def test_wait_until_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    """Returns with the cluster's row once it has the health."""
    outside = Outside()
    await outside.put(spec(), state().evolve(health=Health.HEALTHY))
    code = await replictl(outside, "wait", "orders", "--health", "healthy", "-o", "json")

    assert (0, ["HEALTHY"]) == (code, [row["health"] for row in json.loads(capsys.readouterr().out)])


async def test_wait_survives_absence_and_sees_the_change() -> None:
    """A cluster that is not known yet, and a store that is away, are waited out."""
    outside = Outside()
    outside.store_.down = True
    waiting = asyncio.create_task(until(outside.store_, "prod/orders", None, None, 10.0))
    await asyncio.sleep(0)
    outside.store_.down = False
    await outside.put(spec(), state())

    assert isinstance(await waiting, ClusterState)


async def test_wait_in_vain() -> None:
    """When the time is over, the sentence says how the cluster is."""
    outside = Outside()
    await outside.put(spec(), state().evolve(health=Health.CRITICAL))

    with pytest.raises(NotInTimeError, match=r"prod/orders did not come to be HEALTHY within 0\.05 s: it is CRITICAL"):
        await until(outside.store_, "prod/orders", None, Health.HEALTHY, 0.05)


@pytest.mark.parametrize(
    ("form", "documents"),
    [
        ("json", lambda out: [json.loads(line) for line in out.splitlines()]),
        ("yaml", lambda out: list(yaml.safe_load_all(out))),
    ],
)
async def test_what_is_watched_can_be_told_apart(
    capsys: pytest.CaptureFixture[str], form: str, documents: Callable[[str], list[Any]]
) -> None:
    """Each look is a document of its own: a line of JSON, or what `---` begins in YAML."""
    outside = Outside()
    await outside.put(spec(), state())
    looks = 0

    def look() -> Any:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise KeyboardInterrupt
        return NOW

    world = dataclasses.replace(outside.world(), clock=look)
    await asyncio.to_thread(run, ["clusters", "-o", form, "--watch", "0.1"], world)

    assert [["orders"], ["orders"]] == [[row["cluster"] for row in one] for one in documents(capsys.readouterr().out)]


def test_watch_goes_on_until_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    """Off a terminal each look is printed, for machines one line each; an absent server is said and tried again."""
    outside = Outside()
    looks = 0

    def look() -> Any:
        nonlocal looks
        looks += 1
        outside.store_.down = looks == 1
        if looks == 4:
            raise KeyboardInterrupt
        return NOW

    world = dataclasses.replace(outside.world(), clock=look)
    code = run(["clusters", "-o", "json", "--watch", "0.1"], world)
    out, err = capsys.readouterr()

    assert 130 == code
    assert ["[]", "[]"] == out.splitlines()
    assert "MongoDB at memory is not available" in err
