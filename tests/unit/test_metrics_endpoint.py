from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.errors import InvalidInputError
from blocks.metrics.endpoint import REQUESTS_MAX, Endpoint
from blocks.metrics.settings import CLIENT_FOLDER, FOLDER, MetricsSettings
from doubles.eventually import until

ROOT = Path(__file__).parents[2]
WORKER = """
import sys
from prometheus_client import Counter
from blocks.metrics.prometheus import PrometheusMetrics
metrics = PrometheusMetrics()
Counter("prefect_of_somebody_else", "Not ours.").inc()
metrics.looked("complete", 0.2)
metrics.shift("working")
metrics.degraded("NO_QUEUE", on=True)
print("counted", flush=True)
sys.stdin.readline()
"""


class Worker:
    """A process that counts one look, works, and waits."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER], env=environ, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert b"counted\n" == self.process.stdout.readline()

    def kill(self) -> None:
        """End it as nothing expects."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=10)


class Served:
    """An endpoint in a folder of its own."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.environ = dict(os.environ)
        self.folder = folder
        self.workers: list[Worker] = []
        made = MetricsSettings().model_copy(update=settings)
        self.endpoint = Endpoint(made, self.environ, folder)

    def worker(self) -> Worker:
        """A process that it starts."""
        worker = Worker(self.environ)
        self.workers.append(worker)
        return worker

    def get(self, path: str = "/metrics") -> str:
        """What it answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.endpoint.port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def value(self, series: str) -> float | None:
        """A series, by its name and labels without the prefix."""
        found = re.search(rf"^replicore_{re.escape(series)} (\S+)$", self.get(), re.MULTILINE)
        return None if found is None else float(found[1])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """An endpoint; processes that a test left are killed."""
    served = Served(tmp_path / "counted")
    with served.endpoint:
        yield served
    for worker in served.workers:
        if worker.process.returncode is None:
            worker.kill()


LOOKS = 'looks_total{outcome="complete"}'
WORKING = 'shifts{state="working"}'
DEGRADED = 'degraded{mode="NO_QUEUE"}'


def test_processes_are_added_up(served: Served) -> None:
    """Counters and histograms and working shifts are sums, a degraded mode is 1 however many are in it."""
    served.worker(), served.worker()

    assert (2, 2, 1) == (served.value(LOOKS), served.value(WORKING), served.value(DEGRADED))
    assert (2, 0) == tuple(served.value(f'look_duration_seconds_bucket{{le="{le}"}}') for le in ("0.25", "0.1"))
    assert served.value("look_duration_seconds_sum") == pytest.approx(0.4)


def test_what_a_killed_process_counted_is_kept(served: Served) -> None:
    """A kill -9: its counts stay, it is no working shift any more; what others of its kind counted comes on top."""
    served.worker().kill()
    first = served.value(LOOKS), served.value(WORKING)
    served.worker()
    second = served.value(LOOKS), served.value(WORKING)
    served.workers[-1].kill()

    assert ((1, None), (2, 1)) == (first, second)
    assert (2, 2) == (served.value(LOOKS), served.value('look_duration_seconds_bucket{le="0.25"}'))
    assert 2 == served.value("look_duration_seconds_count")


def test_the_dead_take_little_room(served: Served) -> None:
    """However many processes there were, they leave two files, also when nobody scrapes."""
    for _ in range(3):
        served.worker().kill()
    served.endpoint.fold()
    served.endpoint.fold()

    assert {"counter_0.db", "histogram_0.db"} == {file.name for file in served.folder.iterdir()}
    assert 3 == served.value(LOOKS)


def test_only_what_is_ours(served: Served) -> None:
    """Metrics of libraries in the same processes are not told, before and after they are gone."""
    worker = served.worker()
    alive = served.get()
    worker.kill()

    assert "somebody_else" not in alive + served.get()


def test_a_broken_file_costs_the_others_nothing(served: Served) -> None:
    """A file that its process has just made, or that is rubbish, is passed over."""
    served.worker()
    (served.folder / f"counter_{os.getpid()}.db").write_bytes(b"")
    (served.folder / f"histogram_{os.getpid()}.db").write_bytes(b"\xff" * 64)
    (served.folder / "counter_999999999.db").write_bytes(b"\xff" * 64)

    assert (1, 1) == (served.value(LOOKS), served.value("look_duration_seconds_count"))


def test_a_folder_that_somebody_removed(served: Served) -> None:
    """It is made again, so that processes which start can count."""
    served.folder.rmdir()
    served.endpoint.fold()
    served.worker()

    assert 1 == served.value(LOOKS)


def test_figures_are_told_until_others_are(served: Served) -> None:
    """What was read from the store, with its labels escaped; what is not told any more is absent, not stale."""
    served.endpoint.tell({"problems": {('A"B', "critical"): 2.0}, "outbox_age_seconds": {(): 1.5}})
    first = served.value('problems{code="A\\"B",severity="critical"}'), served.value("outbox_age_seconds")
    served.endpoint.tell({"fleet_readable": {(): 0.0}})

    assert (2, 1.5) == first
    assert (None, None, 0) == tuple(served.value(name) for name in ("problems", "outbox_age_seconds", "fleet_readable"))


def test_only_one_path(served: Served) -> None:
    """Anything else is not found."""
    with pytest.raises(urllib.error.HTTPError, match="404"):
        served.get("/")


async def test_slow_clients_delay_nobody(served: Served) -> None:
    """Clients that send nothing have a thread each, up to a number; more are turned away, and the others are served again."""

    def answers() -> bool:
        try:
            served.get()
        except OSError:
            return False
        return True

    with contextlib.ExitStack() as slow:

        def crowd(clients: int) -> None:
            for _ in range(clients):
                slow.enter_context(socket.create_connection(("127.0.0.1", served.endpoint.port)))

        def crowded_out() -> bool:  # they are cut when their time is over, so that each try needs new ones
            crowd(REQUESTS_MAX)
            return not answers()

        crowd(REQUESTS_MAX - 1)
        assert answers()
        await until(crowded_out)
    await until(answers)


def test_a_taken_port_is_said(served: Served, tmp_path: Path) -> None:
    """At the start, with address and port; nothing is left listening, no process is told to count."""
    other = Served(tmp_path / "other", port=served.endpoint.port)
    with pytest.raises(InvalidInputError, match=f"on 127.0.0.1 port {served.endpoint.port}: Address already in use"):
        other.endpoint.__enter__()

    assert FOLDER not in other.environ


def test_what_dead_processes_left_is_removed_at_the_start(tmp_path: Path) -> None:
    """Counters begin at zero; files of processes that live on (shifts of a killed predecessor) are still counted."""
    first = Served(tmp_path / "counted")
    with first.endpoint:
        first.worker().kill()
        alive = first.worker()
        assert 2 == first.value(LOOKS)
    second = Served(tmp_path / "counted")
    with second.endpoint:
        looks = second.value(LOOKS)
    alive.kill()

    assert 1 == looks


def test_processes_are_told_where_to_count(tmp_path: Path) -> None:
    """While it serves, by the two variables; the folder is ours alone."""
    served = Served(tmp_path / "counted")
    with served.endpoint:
        told = [served.environ[name] for name in (FOLDER, CLIENT_FOLDER)]

    assert [str(served.folder)] * 2 == told
    assert 0o700 == served.folder.stat().st_mode & 0o777
    assert set() == served.environ.keys() & {FOLDER, CLIENT_FOLDER}


@pytest.mark.parametrize("what", ["link", "file"])
def test_a_folder_that_is_not_ours(tmp_path: Path, what: str) -> None:
    """Something else of that name, put there by somebody: refused, in a sentence; nothing listens."""
    trap = tmp_path / "counted"
    (tmp_path / "elsewhere").mkdir()
    trap.symlink_to(tmp_path / "elsewhere") if what == "link" else trap.write_text("")
    with pytest.raises(InvalidInputError, match=r"the folder for metrics, .*counted, "):
        Served(trap).endpoint.__enter__()
