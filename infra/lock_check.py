"""Whether ``requirements.lock`` fits ``pyproject.toml``: every dependency pinned, in range and hashed.

    python -m infra.lock_check

Needs no network: it compares the two files. It does not look for newer releases.
"""

import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)")


def read_pins(lock: str) -> dict[str, tuple[Version, bool]]:
    """Return name -> (version, whether it has a hash) of a lock file."""
    pins: dict[str, tuple[Version, bool]] = {}
    name = ""
    for line in lock.splitlines():
        found = _PIN.match(line)
        if found:
            name = canonicalize_name(found[1])
            pins[name] = (Version(found[2]), False)
        elif line.strip().startswith("--hash=sha256:") and name:
            pins[name] = (pins[name][0], True)
    return pins


def faults(project: str, lock: str) -> list[str]:
    """Return a sentence for each thing in the lock file that does not fit the project."""
    table = tomllib.loads(project)["project"]
    groups = [table["dependencies"], *table.get("optional-dependencies", {}).values()]
    pins = read_pins(lock)
    found = [f"{name} {version} has no hash" for name, (version, hashed) in pins.items() if not hashed]
    for text in sorted({text for group in groups for text in group}):
        wanted = Requirement(text)
        pin = pins.get(canonicalize_name(wanted.name))
        if pin is None:
            found.append(f"{text} is not in the lock file")
        elif not wanted.specifier.contains(pin[0], prereleases=True):
            found.append(f"{text} is locked at {pin[0]}")
    return found


def main() -> int:
    """Print the faults; return the exit status."""
    root = Path(__file__).resolve().parents[1]
    project = (root / "pyproject.toml").read_text(encoding="utf-8")
    found = faults(project, (root / "requirements.lock").read_text(encoding="utf-8"))
    for sentence in found:
        print(f"requirements.lock: {sentence}", file=sys.stderr)  # noqa: T201  # a command line
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
