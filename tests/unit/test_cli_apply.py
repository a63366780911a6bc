from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from blocks.models.submission import Applied, Effect
from deployments.cli.manifest_files import gather, joined
from doubles.cli import Outside

NAMESPACE = "apiVersion: replicante.io/v0\nkind: Namespace\nmetadata: {name: %s}\n"


@pytest.fixture
def outside() -> Outside:
    """A world whose `apply` says that all was created."""

    def applied(manifests: str, **_: Any) -> Sequence[Applied]:
        documents = [document for document in yaml.safe_load_all(manifests) if document is not None]
        return [Applied(kind=one["kind"], name=one["metadata"]["name"], effect=Effect.CREATED) for one in documents]

    return Outside(flows={"apply": applied})


def write(folder: Path, name: str, text: str) -> Path:
    """A file."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_files_and_folders_together(outside: Outside, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Several files, and the manifests of a folder, are one call of the flow, in the name of who gave the command."""
    write(tmp_path, "d/1.yaml", NAMESPACE % "a" + "---\n" + NAMESPACE % "b")
    write(tmp_path, "d/2.json", '{"apiVersion": "replicante.io/v0", "kind": "Namespace", "metadata": {"name": "c"}}')
    write(tmp_path, "d/notes.txt", "no manifest")
    extra = write(tmp_path, "x.yml", "%YAML 1.1\n---\n# first\n---\n" + NAMESPACE % "d")
    code = outside.replictl("apply", "-f", str(tmp_path / "d"), "-f", str(extra), "-o", "yaml")

    assert 0 == code
    assert ["a", "b", "c", "d"] == [row["name"] for row in yaml.safe_load(capsys.readouterr().out)]
    ((name, parameters),) = outside.called
    assert ("apply", "ann@here", "replicore") == (name, parameters["by"], parameters["fleet"])


def test_recursion(tmp_path: Path) -> None:
    """What is below a folder counts only with `-r`."""
    write(tmp_path, "1.yaml", NAMESPACE % "a")
    write(tmp_path, "below/2.yaml", NAMESPACE % "b")

    assert 1 == len(gather([str(tmp_path)], recursive=False))
    assert 2 == len(gather([str(tmp_path)], recursive=True))


def test_one_file_is_sent_as_it_was_written(tmp_path: Path) -> None:
    """The flow run keeps a single file with its comments."""
    text = "# why\n" + NAMESPACE % "a"
    path = write(tmp_path, "1.yaml", text)

    assert text == joined(gather([str(path)], recursive=False))


def test_every_fault_has_file_document_and_path(
    outside: Outside, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Faults of all files are told, each with its file, its document in there, its path and the reason; nothing is run."""
    good = write(tmp_path, "good.yaml", NAMESPACE % "a" + "---\n" + NAMESPACE % "b")
    bad = write(
        tmp_path,
        "bad.yaml",
        NAMESPACE % "c" + "---\n" + NAMESPACE % "NOT-LOWER" + "spec: {colour: red}\n---\nkind: 7\n",
    )
    code = outside.replictl("apply", "-f", str(good), "-f", str(bad))
    lines = capsys.readouterr().err.splitlines()

    assert (1, []) == (code, outside.called)
    assert "nothing was applied" in lines[0]
    assert any(line.startswith(f"  {bad}: document 2: metadata.name: ") for line in lines)
    assert f"  {bad}: document 2: spec.colour: unknown field" in lines
    assert any(line.startswith(f"  {bad}: document 3: apiVersion: ") for line in lines)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: [", "is not YAML"),
        (b"\xff\xfe\xff", "not UTF-8"),
        (b"", "there is no document"),
        (b"- 1", "a manifest is a mapping"),
        (b"a: \x00", "is not YAML"),
        (b"x" * (4 * 1024 * 1024 + 1), "larger than"),
    ],
)
def test_bad_files(
    outside: Outside, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, said: str
) -> None:
    """What is no manifest is named with the reason, without a traceback."""
    (tmp_path / "bad.yaml").write_bytes(content)
    code = outside.replictl("apply", "-f", str(tmp_path / "bad.yaml"))
    error = capsys.readouterr().err

    assert (1, []) == (code, outside.called)
    assert said in error
    assert "Traceback" not in error


def test_absent_file_and_empty_folder(outside: Outside, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both are named at once."""
    code = outside.replictl("apply", "-f", str(tmp_path / "nofile"), "-f", str(tmp_path))
    error = capsys.readouterr().err

    assert 1 == code
    assert "nofile: No such file or directory" in error
    assert f"{tmp_path}: there is no .json, .yaml, .yml file in it (see -r)" in error
