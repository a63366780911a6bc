"""`replictl` as a process of its own: what only that can show."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

REPLICTL = str(Path(sys.executable).parent / "replictl")
WITHIN_S = 60
"""For an interpreter to start on a busy machine, and the deadline of the call."""


def replictl(
    folder: Path, *arguments: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it without any settings of ours but those given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REPLI", "PREFECT"))}
    return subprocess.run(
        [REPLICTL, *arguments],
        env={**kept, "PREFECT_HOME": str(folder / "prefect"), **(environ or {})},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def servers(address: str) -> dict[str, str]:
    """The environment that names this address for everything."""
    return {
        "REPLICORE_MONGODB_URI": f"mongodb://ann:secret@{address}/?directConnection=true",
        "REPLICORE_ZOOKEEPER_HOSTS": address,
        "REPLICORE_KAFKA_BOOTSTRAP": address,
        "PREFECT_API_URL": f"http://{address}/api",
    }


def test_wrong_usage(tmp_path: Path) -> None:
    """Exit code 2 and a sentence on stderr, at once: nothing that is slow to import is imported for it."""
    done = replictl(tmp_path, "clusters", "--output", "xml", environ={"PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}

    assert (2, "") == (done.returncode, done.stdout)
    assert "'xml' is not one of 'table', 'json', 'yaml'" in done.stderr
    assert "deployments.cli.main" in imported
    assert not {"prefect", "kazoo.client", "pymongo", "confluent_kafka", "aiohttp"} & imported


def test_nothing_listens(tmp_path: Path) -> None:
    """With MongoDB away: within the deadline a sentence that says which, where, and what to check; never the password."""
    begun = time.monotonic()
    done = replictl(tmp_path, "clusters", "--timeout", "1", environ=servers("127.0.0.1:1"))

    assert (1, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("error: MongoDB at 127.0.0.1:1 is not available: ")
    assert "Check" in done.stderr
    assert 1 == len(done.stderr.splitlines())
    assert "secret" not in done.stderr
    assert 20 > time.monotonic() - begun


def test_status_when_all_is_silent(tmp_path: Path, silent: str) -> None:
    """Servers that take connections and never answer are named, all of them, each within its deadline."""
    done = replictl(tmp_path, "status", "--output", "json", "--timeout", "1", environ=servers(silent))
    value = json.loads(done.stdout)

    assert 1 == done.returncode
    assert ["NO_COORDINATOR", "NO_STORE", "NO_QUEUE", "NO_PREFECT"] == value["degraded"]
    assert all(row["ms"] < 6_000 for row in value["components"].values()), value["components"]
    assert "secret" not in done.stdout + done.stderr


def test_settings_from_prefect_need_prefect(tmp_path: Path) -> None:
    """Without settings in the environment or a file, Prefect is asked for them, and named when it is away."""
    done = replictl(tmp_path, "clusters", environ={"PREFECT_API_URL": "http://127.0.0.1:1/api"})

    assert (1, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("error: Prefect at http://127.0.0.1:1/api is not available")


def test_local_stack_file_is_found(tmp_path: Path) -> None:
    """In a folder below one with `.stack/env` the servers of that file are meant."""
    (tmp_path / ".stack").mkdir()
    lines = [f"{name}={value}\n" for name, value in servers("127.0.0.1:2").items()]
    (tmp_path / ".stack" / "env").write_text("".join(lines))
    below = tmp_path / "below"
    below.mkdir()
    done = replictl(below, "sources", "--timeout", "1")

    assert 1 == done.returncode
    assert "MongoDB at 127.0.0.1:2" in done.stderr


def test_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """When nobody reads our output any more (`replictl ... | head`), we end without a word."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [REPLICTL, "--help"], stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, timeout=WITHIN_S, check=False
        )
    finally:
        os.close(write)

    assert (1, b"") == (done.returncode, done.stderr)
