import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.stack import ports
from infra.stack.errors import PortTakenError, StackError
from infra.stack.settings import StackSettings

HOST = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    """Listen somewhere."""
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


def test_taken_port_names_who_has_it(taken: int) -> None:
    """The error names the service, the port, and pid and program of its owner."""
    with pytest.raises(PortTakenError, match=rf"kafka needs port {taken} on {HOST}, but pid {os.getpid()} \(.*py"):
        ports.require_free(HOST, (taken,), "kafka")


def test_free_ports_are_accepted() -> None:
    """Ports from a free block are free."""
    first = ports.free_block(HOST, 3)

    ports.require_free(HOST, (first, first + 1, first + 2), "kafka")


def test_listener_is_told_from_a_stranger(taken: int) -> None:
    """A port counts as ours only when our process, or a child of it, listens there."""
    with subprocess.Popen(["/bin/sleep", "60"], start_new_session=True) as stranger:
        found = [ports.listens(pid, taken) for pid in (os.getpid(), stranger.pid)]
        stranger.kill()

    assert [True, False] == found


def test_settings_for_tests_have_ports_of_their_own(tmp_path: Path) -> None:
    """Free settings share no port with the defaults, and no port twice."""
    free, usual = StackSettings.free(tmp_path), StackSettings()
    names = [name for name in StackSettings.model_fields if name.endswith("_port")]
    numbers = {getattr(free, name) for name in names}

    assert len(names) == len(numbers)
    assert set() == numbers & {getattr(usual, name) for name in names}


def test_ports_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each port can be set in the environment, and a service knows all of its own."""
    monkeypatch.setenv("REPLICORE_STACK_KAFKA_PORT", "19092")

    assert (19092, 9093) == StackSettings().ports_of("kafka")


def test_no_free_block_is_an_error() -> None:
    """Asking for more ports than there are is refused in a sentence."""
    with pytest.raises((StackError, ValueError)):
        ports.free_block(HOST, 7_001)
