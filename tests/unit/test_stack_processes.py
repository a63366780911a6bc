import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.stack import processes
from infra.stack.processes import Process


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Run something harmless."""
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        yield child
        child.kill()


def living(child: subprocess.Popen[bytes]) -> Process:
    """Return the child as a process of ours."""
    process = Process.of(child.pid)
    assert process is not None
    return process


def test_recycled_pid_is_another_process(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    """A pid file whose process is gone and whose pid belongs to another one names nobody, and nobody is killed."""
    stranger = replace(living(sleeper), identity="boot/1")
    stranger.write(tmp_path / "a.pid")

    assert Process.read(tmp_path / "a.pid") is None
    assert not stranger.send(signal.SIGKILL)
    assert sleeper.poll() is None


def test_pid_file_is_read_back(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    """A pid file of a living process gives that process with the description it was started from."""
    process = replace(living(sleeper), spec="digest")
    process.write(tmp_path / "a.pid")

    assert process == Process.read(tmp_path / "a.pid")


@pytest.mark.parametrize("content", ["", "12", "{}", '{"pid": "x", "identity": "y"}'])
def test_damaged_pid_file_names_nobody(tmp_path: Path, content: str) -> None:
    """A pid file without sense is as good as none."""
    (tmp_path / "a.pid").write_text(content)

    assert Process.read(tmp_path / "a.pid") is None


def test_zombie_is_dead(sleeper: subprocess.Popen[bytes]) -> None:
    """A process that has ended and was not reaped yet does not count as alive."""
    process = living(sleeper)
    process.send(signal.SIGKILL)

    assert process.wait(10)
    assert not process.alive


async def test_end_of_a_process_is_noticed(sleeper: subprocess.Popen[bytes]) -> None:
    """Waiting for the end of a process that is not ours to reap returns when it ends."""
    process = living(sleeper)
    asyncio.get_running_loop().call_soon(process.send, signal.SIGKILL)
    async with asyncio.timeout(10):
        await process.gone()

    assert not process.alive


def test_wait_is_bounded(sleeper: subprocess.Popen[bytes]) -> None:
    """Waiting for a process that goes on gives up in time."""
    assert not living(sleeper).wait(0.01)


def test_processes_of_a_stack_are_found_by_their_mark(tmp_path: Path) -> None:
    """A process is found by the stack and by the service it was started for, and by no other."""
    environment = {**os.environ, processes.MARK: f"{tmp_path}:a"}
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"], env=environment, stdin=-1, stdout=-1
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = [processes.marked(tmp_path, name) for name in (None, "a", "b")]
        child.kill()

    assert [[child.pid], [child.pid], []] == found
