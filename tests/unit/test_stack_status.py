import os
from pathlib import Path

import pytest

from infra.stack.processes import identity
from infra.stack.status import ProcessStatus, State, Status


def me(state: State = State.READY, who: str | None = None) -> ProcessStatus:
    """Describe this very process."""
    return ProcessStatus("a", state, "2026-11-25T00:00:00+00:00", os.getpid(), who or identity(os.getpid()), rss=5)


def test_status_survives_its_file(tmp_path: Path) -> None:
    """What is written is read back equal."""
    status = Status("now", (me(), me(State.BACKOFF)))
    status.write(tmp_path / "status.json")

    assert status == Status.read(tmp_path / "status.json")


@pytest.mark.parametrize("content", [None, "", '{"updated": 1}', '{"updated": "x", "processes": [{"name": 1}]}'])
def test_damaged_status_knows_no_process(tmp_path: Path, content: str | None) -> None:
    """An absent or damaged file is a status without processes, not an error."""
    if content is not None:
        (tmp_path / "status.json").write_text(content)

    assert () == Status.read(tmp_path / "status.json").processes


def test_ready_means_ready_and_still_alive() -> None:
    """A process that has died since the status was written is not ready."""
    assert [True, False, False] == [me().is_ready, me(State.STARTING).is_ready, me(who="another").is_ready]


def test_memory_is_the_sum(tmp_path: Path) -> None:
    """The memory of the stack is that of all its processes."""
    assert 10 == Status("now", (me(), me())).rss
