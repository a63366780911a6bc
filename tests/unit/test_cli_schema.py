from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from deployments.cli.schema import files
from doubles.cli import Outside
from tasks.decide.manifest_kinds import kind_of
from tasks.decide.manifest_schema import all_schemas, schema_of

PUBLISHED = Path(__file__).parents[2] / "docs" / "schemas"


def test_the_schema_of_a_kind(capsys: pytest.CaptureFixture[str]) -> None:
    """By any of its names, as JSON for people and machines alike, or as YAML; no server is asked."""
    outside = Outside(prefect_down=True)

    assert 0 == outside.replictl("schema", "ns")
    assert schema_of(kind_of("ns")) == json.loads(capsys.readouterr().out)
    assert 0 == outside.replictl("schema", "-o", "yaml", "naction")
    assert schema_of(kind_of("naction")) == yaml.safe_load(capsys.readouterr().out)


def test_the_schema_of_all_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a kind."""
    assert 0 == Outside().replictl("schema")
    assert all_schemas() == json.loads(capsys.readouterr().out)


def test_an_unknown_kind(capsys: pytest.CaptureFixture[str]) -> None:
    """It is said which there are."""
    assert 1 == Outside().replictl("schema", "pod")
    assert "error: unknown kind 'pod'; known kinds are Namespace" in capsys.readouterr().err


def test_the_published_files_are_up_to_date(tmp_path: Path) -> None:
    """`replictl schema --folder docs/schemas` makes them; whoever changes a model runs it."""
    assert 0 == Outside().replictl("schema", "--folder", str(tmp_path / "new"))

    written = {path.name: path.read_text() for path in (tmp_path / "new").iterdir()}
    assert files() == written
    assert written == {path.name: path.read_text() for path in PUBLISHED.glob("*.json")}


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, with the reason."""
    (tmp_path / "file").write_text("")

    assert 1 == Outside().replictl("schema", "--folder", str(tmp_path / "file"))
    assert "cannot be written: File exists" in capsys.readouterr().err


def test_a_kind_and_a_folder(tmp_path: Path) -> None:
    """They do not go together."""
    assert 2 == Outside().replictl("schema", "ns", "--folder", str(tmp_path))
