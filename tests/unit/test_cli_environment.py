from __future__ import annotations

import os
from pathlib import Path

import pytest

from blocks.errors import InvalidInputError
from blocks.fleet import Fleet
from deployments.cli.environment import DEADLINES, SERVERS, load, set_deadline
from deployments.cli.world import hurried

TEXT = """# local
PREFECT_API_URL=http://127.0.0.1:1/api
REPLICORE_MONGODB_URI=mongodb://127.0.0.1:2/?replicaSet=x
REPLICORE_STACK_STATUS=/x/status.json
LD_PRELOAD=/tmp/evil.so

no pair
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder deep in a project with a local stack."""
    (tmp_path / ".stack").mkdir()
    (tmp_path / ".stack" / "env").write_text(TEXT)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    return below


def test_file_is_found_above(folder: Path, tmp_path: Path) -> None:
    """The file of a folder above is taken, with what is ours in it, and only that."""
    environ: dict[str, str] = {}
    found = load(environ, folder)

    assert tmp_path / ".stack" / "env" == found
    assert {
        "PREFECT_API_URL": "http://127.0.0.1:1/api",
        "REPLICORE_MONGODB_URI": "mongodb://127.0.0.1:2/?replicaSet=x",
        "REPLICORE_STACK_STATUS": "/x/status.json",
    } == environ


@pytest.mark.parametrize("name", SERVERS)
def test_environment_that_names_another_server_wins_as_a_whole(folder: Path, name: str) -> None:
    """With any server named otherwise, nothing of the file is mixed in."""
    environ = {name: "elsewhere"}

    assert load(environ, folder) is None
    assert {name: "elsewhere"} == environ


def test_same_server_is_no_contradiction(folder: Path) -> None:
    """Who has loaded the file into a shell, or changed what names no server, gets the rest of it."""
    environ = {"PREFECT_API_URL": "http://127.0.0.1:1/api", "REPLICORE_STACK_STATUS": "mine"}
    load(environ, folder)

    assert "mongodb://127.0.0.1:2/?replicaSet=x" == environ["REPLICORE_MONGODB_URI"]
    assert "mine" == environ["REPLICORE_STACK_STATUS"]


def test_no_file(tmp_path: Path) -> None:
    """Without a file nothing is taken."""
    environ: dict[str, str] = {}

    assert load(environ, tmp_path) is None
    assert {} == environ


def test_unreadable_file(folder: Path, tmp_path: Path) -> None:
    """A file that is not text is named."""
    (tmp_path / ".stack" / "env").write_bytes(b"\xff\xfe")

    with pytest.raises(InvalidInputError, match=r"\.stack/env cannot be read"):
        load({}, folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_file_of_another_user_is_not_trusted(folder: Path, tmp_path: Path) -> None:
    """A file that somebody else has put there must not lead us to their servers."""
    os.chown(tmp_path / ".stack" / "env", 12_345, 12_345)

    with pytest.raises(InvalidInputError, match="belongs to another user"):
        load({}, folder)


def test_deadlines_are_settings() -> None:
    """Each variable that `--timeout` sets is a setting of the fleet, and takes effect."""
    environ: dict[str, str] = {}
    set_deadline(environ, 2.5)
    fleet = Fleet().with_environment(environ)

    assert len(DEADLINES) == len(environ)
    assert (2.5, 2.5) == (fleet.zookeeper.connect_timeout_s, fleet.zookeeper.request_timeout_s)
    assert (2.5, 2.5) == (fleet.kafka.request_timeout_s, fleet.kafka.message_timeout_s)
    assert 2.5 == fleet.mongodb.timeout_s


def test_longest_deadline_fits_every_setting() -> None:
    """The longest `--timeout` (of `wait`) is cut to what every setting takes."""
    environ: dict[str, str] = {}
    set_deadline(environ, 600)

    assert 120 == Fleet().with_environment(environ).zookeeper.request_timeout_s


def test_hurried_only_shortens() -> None:
    """`status` shortens deadlines and never makes one longer."""
    fleet = Fleet()

    assert 1.0 == hurried(fleet, 1.0).mongodb.timeout_s
    assert fleet == hurried(fleet, 1_000)
