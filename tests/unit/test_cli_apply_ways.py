from __future__ import annotations

import asyncio
import io
import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from blocks.errors import InvalidInputError
from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import Namespace
from blocks.models.request import WorkKind
from blocks.models.source import HttpDiscovery, Source
from blocks.models.submission import Submission
from blocks.models.tls import Sensitive
from deployments.cli.apply import PARAMETER_CHARS_MAX
from doubles.cli import Outside

NAMESPACE = "apiVersion: replicante.io/v0\nkind: Namespace\nmetadata: {name: prod}\n"
SPEC = "apiVersion: replicante.io/v0\nkind: ClusterSpec\nmetadata: {cluster: orders}\nspec: {interval: 9}\n"
SOURCE = """
apiVersion: replicante.io/v0
kind: DiscoverySettings
metadata: {namespace: prod, name: inventory}
spec: {interval: 60, url: "http://inventory.test/", headers: {token: hunter2}}
"""


@pytest.fixture
def outside() -> Outside:
    """A world with a namespace, whose `apply` applies nothing."""
    world = Outside(flows={"apply": lambda **_: []})
    asyncio.run(world.put(Namespace(name="prod", version=1)))
    return world


def _write(folder: Path, text: str) -> str:
    path = folder / "one.yaml"
    path.write_text(text)
    return str(path)


def _parameters(outside: Outside) -> dict[str, Any]:
    ((_, parameters),) = outside.called
    return parameters


def test_a_dry_run_needs_no_prefect(outside: Outside, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what would be created and changed, field by field, and runs and writes nothing."""
    asyncio.run(outside.put(ClusterSpec(namespace="prod", cluster_id="orders", interval=5.0, version=1)))
    outside.prefect_down = True
    path = _write(tmp_path, SPEC)
    code = outside.replictl("apply", path, "--dry-run", "-n", "prod", "-o", "json")
    (row,) = json.loads(capsys.readouterr().out)
    outside.replictl("apply", path, "--dry-run", "-n", "prod")
    text = capsys.readouterr().out
    stored = asyncio.run(outside.store_.get(ClusterSpec, "prod/orders"))

    assert (0, "changed", []) == (code, row["effect"], outside.called)
    assert [{"path": "interval", "before": 5.0, "after": 9.0, "hidden": False}] == row["differences"]
    assert 0 == row["more"]
    assert "ClusterSpec prod/orders  interval: 5.0 -> 9.0\ndry run: nothing was applied" in text
    assert stored is not None
    assert 5.0 == stored.interval


def test_a_dry_run_hides_no_change(outside: Outside, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not shown is named, and what is beyond the first hundred is counted."""
    http = HttpDiscovery(url="http://inventory.test/?k=1")
    source = Source(namespace="prod", name="inventory", interval=5.0, http=http, version=1)
    asyncio.run(outside.put(source))
    asyncio.run(outside.put(ClusterSpec(namespace="prod", cluster_id="orders", version=1)))
    labels = {f"n{number}": {"labels": {"a": "b"}} for number in range(102)}
    spec = {"kind": "ClusterSpec", "metadata": {"namespace": "prod", "cluster": "orders"}, "spec": {"nodes": labels}}
    other = {"kind": "DiscoverySettings", "metadata": {"namespace": "prod", "name": "inventory"}}
    other["spec"] = {"interval": 6, "http": {"url": "http://inventory.test/?k=2"}}
    text = "---\n".join(json.dumps({"apiVersion": "replicante.io/v0", **one}) + "\n" for one in (spec, other))
    outside.replictl("apply", _write(tmp_path, text), "--dry-run")
    told = capsys.readouterr().out

    assert "  DiscoverySettings prod/inventory  http.url: changed, not shown\n" in told
    assert "  DiscoverySettings prod/inventory  interval: 5.0 -> 6.0\n" in told
    assert "  ClusterSpec prod/orders  and 2 more\n" in told


def test_names_on_the_command_line_are_meant_instead(outside: Outside, tmp_path: Path) -> None:
    """`--namespace`, `--cluster` and `--node` go to the flow as what is meant instead."""
    code = outside.replictl("apply", "-f", _write(tmp_path, SPEC), "-n", "other", "--cluster", "c", "--node", "n")
    given = _parameters(outside)

    assert (0, "other", "c", "n", None) == (
        code, given["namespace"], given["cluster"], given["node"], given["default_namespace"],
    )  # fmt: skip


def test_a_namespace_of_the_environment_only_fills_in(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A habit does not move what names its namespace."""
    monkeypatch.setenv("REPLICTL_NAMESPACE", "other")
    code = outside.replictl("apply", "-f", _write(tmp_path, SPEC))
    given = _parameters(outside)

    assert (0, None, "other") == (code, given["namespace"], given["default_namespace"])


def test_secrets_are_kept_before_the_run(outside: Outside, tmp_path: Path) -> None:
    """The run's parameters name the secret; its text is where secrets are kept."""
    code = outside.replictl("apply", "-f", _write(tmp_path, SOURCE))
    given = _parameters(outside)["manifests"]
    name = yaml.safe_load(given)["spec"]["headers"]["token"]["secret"]

    assert (0, {name: "hunter2"}) == (code, outside.secrets_.texts)
    assert "hunter2" not in given


def test_no_secret_is_kept_for_what_cannot_be_applied(outside: Outside, tmp_path: Path) -> None:
    """What the store will refuse is refused first."""
    code = outside.replictl("apply", "-f", _write(tmp_path, SOURCE.replace("namespace: prod", "namespace: nowhere")))

    assert (1, {}, []) == (code, outside.secrets_.texts, outside.called)


def test_manifests_on_stdin(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no file named they are read from stdin."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(NAMESPACE.encode())))
    code = outside.replictl("apply")

    assert (0, NAMESPACE) == (code, _parameters(outside)["manifests"])


def test_the_queue_takes_them_without_prefect(
    outside: Outside, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Handed in with a work item and its pointer; while no worker takes it, that is said, with where it waits."""
    outside.prefect_down = True
    code = outside.replictl("apply", "-f", _write(tmp_path, NAMESPACE), "--queue", "--timeout", "0.1")
    error = capsys.readouterr().err
    (handed_in,) = asyncio.run(outside.store_.find(Submission))

    assert (1, "ann@here") == (code, handed_in.by)
    assert f"`replictl work` shows apply:{handed_in.key}" in error
    assert [WorkKind.APPLY] == [item.kind for item in outside.store_.work.values()]
    assert 1 == len(outside.queue.waiting)


def test_the_same_id_hands_them_in_once(outside: Outside, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer of the store was lost: the error names the id, under which they are handed in again, not twice."""
    path = _write(tmp_path, NAMESPACE)
    outside.store_.lost_answers.add("commit")
    outside.replictl("apply", "-f", path, "--queue", "--timeout", "0.1")
    found = re.search(r"--id ([-0-9a-f]{36})", " ".join(capsys.readouterr().err.split()))
    assert found is not None
    outside.replictl("apply", "-f", path, "--queue", "--timeout", "0.1", "--id", found[1])
    (handed_in,) = asyncio.run(outside.store_.find(Submission))

    assert (found[1], NAMESPACE) == (handed_in.key, handed_in.manifests)


def test_what_was_undone_is_said(outside: Outside, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker applied them, but for what was for a cluster that was deleted at that moment."""
    path = _write(tmp_path, NAMESPACE)
    handed_in = str(uuid4())
    outside.replictl("apply", "-f", path, "--queue", "--timeout", "0.1", "--id", handed_in)
    kept = asyncio.run(outside.store_.get(Submission, handed_in))
    assert kept is not None
    asyncio.run(outside.put(kept.evolve(applied=(), ended_at=kept.at, error="prod/orders was deleted", version=2)))
    capsys.readouterr()
    code = outside.replictl("apply", "-f", path, "--queue", "--timeout", "0.1", "--id", handed_in)

    assert (1, True) == (code, "prod/orders was deleted" in capsys.readouterr().err)


def test_an_id_is_for_the_queue(outside: Outside, tmp_path: Path) -> None:
    """A flow run has one of its own."""
    assert 2 == outside.replictl("apply", "-f", _write(tmp_path, NAMESPACE), "--id", str(uuid4()))
    assert [] == outside.called


def test_what_is_too_large_for_a_parameter_is_handed_in(outside: Outside, tmp_path: Path) -> None:
    """Prefect takes no such parameters: the run only names what was handed in, whole and with its scope."""
    spec = (
        "apiVersion: replicante.io/v0\nkind: ClusterSpec\nmetadata: {namespace: other, cluster: c%d, labels: {a: %s}}\n"
    )
    text = "---\n".join(spec % (number, "x" * 250) for number in range(900))
    path = _write(tmp_path, text + "# " + "y" * PARAMETER_CHARS_MAX)
    code = outside.replictl("apply", "-f", path, "-n", "prod")
    given = _parameters(outside)
    (handed_in,) = asyncio.run(outside.store_.find(Submission))

    assert (0, handed_in.submission_id) == (code, str(given["submission"]))
    assert ("prod", "ann@here", Path(path).read_text()) == (handed_in.namespace, handed_in.by, handed_in.manifests)
    assert "manifests" not in given


def test_a_run_that_is_refused_leaves_no_secret(outside: Outside, tmp_path: Path) -> None:
    """What was kept for it is forgotten again; the same for one that a conflict ended."""

    def refuse(**_: Any) -> None:
        message = "the namespace went at the same moment"
        raise InvalidInputError(message)

    outside.flows["apply"] = refuse
    code = outside.replictl("apply", "-f", _write(tmp_path, SOURCE))

    assert (1, {}) == (code, outside.secrets_.texts)


def test_a_dry_run_compares_secrets(outside: Outside, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A value that is kept already is no difference."""
    outside.replictl("apply", "-f", _write(tmp_path, SOURCE))
    (name,) = outside.secrets_.texts
    headers = {"token": Sensitive(secret=name)}
    http = HttpDiscovery(url="http://inventory.test/", headers=headers)
    asyncio.run(outside.put(Source(namespace="prod", name="inventory", interval=60, http=http, version=1)))
    capsys.readouterr()
    told = []
    for text in (SOURCE, SOURCE.replace("hunter2", "hunter3")):
        outside.replictl("apply", _write(tmp_path, text), "--dry-run", "-o", "json")
        (row,) = json.loads(capsys.readouterr().out)
        told.append((row["effect"], [one["path"] for one in row["differences"]]))

    assert [("unchanged", []), ("changed", ["http.headers.token.secret"])] == told


def test_hidden_and_empty_files_of_a_folder_are_left_out(
    outside: Outside, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an editor leaves behind is not applied, and that is said; one that is named is meant."""
    (tmp_path / "one.yaml").write_text(NAMESPACE)
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "old.yaml").write_text(SPEC)
    code = outside.replictl("apply", "-f", str(tmp_path), "-r", "--dry-run")
    out, err = capsys.readouterr()
    named = outside.replictl("apply", str(tmp_path / "empty.yaml"))

    assert (0, 1) == (code, named)
    assert ("ClusterSpec" in out, "1 hidden file in" in err, "no document in" in err) == (False, True, True)
