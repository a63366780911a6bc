from __future__ import annotations

import importlib
import os
import subprocess
import sys
import zipfile
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("blocks", "deployments", "flows", "tasks")
DISTRIBUTION = "replicante-core"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The project as it is installed somewhere else."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60, env=dict(os.environ))
    return zipfile.ZipFile(next(folder.glob("*.whl")))


@pytest.mark.parametrize("name", PACKAGES)
def test_no_other_distribution_has_our_names(name: str) -> None:
    """`flows` and the like are words that others may install too: pip would overwrite files without a word."""
    owners = set(packages_distributions().get(name, ()))
    place = importlib.import_module(name).__file__

    # An editable installation names no packages; ours is found by where the package comes from.
    assert owners <= {DISTRIBUTION}
    assert str(ROOT / name / "__init__.py") == place


def test_we_are_installed() -> None:
    """Without an installation of ours the names could be anybody's."""
    assert DISTRIBUTION == distribution(DISTRIBUTION).metadata["Name"]


def test_wheel_holds_our_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """Neither tests nor the local stack are installed."""
    tops = {name.partition("/")[0] for name in wheel.namelist()}

    assert set(PACKAGES) == {top for top in tops if not top.endswith(".dist-info")}


def test_wheel_holds_every_module(wheel: zipfile.ZipFile) -> None:
    """What is in the tree is in the wheel."""
    modules = {str(path.relative_to(ROOT)) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}

    assert set() == modules - set(wheel.namelist())


@pytest.mark.parametrize("name", PACKAGES)
def test_no_namespace_packages(name: str) -> None:
    """Every folder with modules has an `__init__.py`: a namespace package would merge with a stranger's."""
    folders = {path.parent for path in (ROOT / name).rglob("*.py")}

    assert [] == sorted(str(folder) for folder in folders if not (folder / "__init__.py").exists())


def test_the_wheel_gives_the_command(wheel: zipfile.ZipFile) -> None:
    """`replictl` is installed with it."""
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))

    assert "replictl = deployments.cli.main:run" in wheel.read(name).decode()
