"""Jars from Maven Central: exact coordinates, no dependency resolution, every byte checked.

``jars.lock.txt`` names each jar with its SHA-256. A jar comes from the per-user cache when its hash
is right; otherwise it is fetched into a temporary folder, checked, and moved into the cache in one
step. So the cache never holds half a file, works offline once complete, and may be shared by
processes that run at the same time.
"""

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from infra.stack.errors import ArtifactError

LOCK_FILE = Path(__file__).with_name("jars.lock.txt")
_THREADS = 4
_TIMEOUT_S = 60
_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock file."""

    use: str
    """``kafka``, ``zookeeper``, or with a feature that needs it: ``zookeeper+tls``."""
    group: str
    artifact: str
    version: str
    sha256: str

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read ``USE GROUP:ARTIFACT:VERSION SHA256``."""
        use, coordinates, sha256 = line.split()
        group, artifact, version = coordinates.split(":")
        return cls(use, group, artifact, version, sha256)

    @property
    def coordinates(self) -> str:
        """What Maven calls it."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        """Its name in the cache."""
        return f"{self.group}.{self.artifact}-{self.version}.jar"


Fetch = Callable[[Jar, Path], Path]
"""Downloads a jar into a folder and returns the file; raises OSError or RuntimeError."""


def read_lock(path: Path = LOCK_FILE) -> list[Jar]:
    """Return the jars of the lock file, in class path order."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Jar.parse(line) for line in lines if line.strip() and not line.startswith("#")]


def default_cache() -> Path:
    """Return the cache folder of this user."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "replicore"


def fetch_with_jgo(jar: Jar, folder: Path) -> Path:
    """Download one jar, without its dependencies (jgo's own resolution mixes versions)."""
    from jgo.maven import MavenContext  # noqa: PLC0415  # slow to import, needed once per user

    context = MavenContext(repo_cache=folder, timeout=_TIMEOUT_S)
    return Path(context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve())


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class JarStore:
    """The verified jars of one user."""

    def __init__(self, cache: Path | None = None, fetch: Fetch = fetch_with_jgo) -> None:
        self._folder = (cache or default_cache()) / "jars"
        self._fetch = fetch

    def class_path(self, jars: list[Jar], progress: Callable[[int, int], None] | None = None) -> str:
        """Return the class path made of these jars, all verified now.

        Raises:
            ArtifactError: a jar cannot be had, or is not the one that the lock file names.
        """
        self._make_folder()
        missing = [jar for jar in jars if not self._is_good(jar)]
        with ThreadPoolExecutor(_THREADS) as pool:
            for done, _ in enumerate(pool.map(self._obtain, missing), 1):
                if progress:
                    progress(done, len(missing))
        return ":".join(str(self._folder / jar.file_name) for jar in jars)

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"the cache folder {self._folder} cannot be made: {error.strerror}"
            raise ArtifactError(message) from error

    def _is_good(self, jar: Jar) -> bool:
        path = self._folder / jar.file_name
        try:
            good = sha256_of(path) == jar.sha256
        except OSError:
            return False
        if not good:
            path.unlink(missing_ok=True)
        return good

    def _obtain(self, jar: Jar) -> None:
        got = ""
        for _ in range(_ATTEMPTS):
            with tempfile.TemporaryDirectory(dir=self._folder, prefix=".fetch-") as folder:
                path = self._download(jar, Path(folder))
                got = sha256_of(path)
                if got == jar.sha256:
                    path.replace(self._folder / jar.file_name)
                    return
        message = (
            f"{jar.file_name} ({jar.coordinates}) is not the file it should be: "
            f"expected SHA-256 {jar.sha256}, got {got}, {_ATTEMPTS} times; it was removed. "
            "A proxy or mirror may be changing files"
        )
        raise ArtifactError(message)

    def _download(self, jar: Jar, folder: Path) -> Path:
        try:
            return self._fetch(jar, folder)
        except (OSError, RuntimeError) as error:
            if getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}:
                message = f"no space left for {jar.file_name} in {self._folder}: free some and run again"
            elif isinstance(error, RuntimeError):
                message = f"Maven Central has no {jar.coordinates}: {error}"
            else:
                message = (
                    f"{jar.coordinates} is not in the cache {self._folder} and could not be downloaded "
                    f"from Maven Central ({type(error).__name__}): check the network or the proxy"
                )
            raise ArtifactError(message) from error


def select(server: str, *features: str, lock: Path = LOCK_FILE) -> list[Jar]:
    """Return the jars that a server needs, with those of the features asked for."""
    uses = {server, *(f"{server}+{feature}" for feature in features)}
    return [jar for jar in read_lock(lock) if jar.use in uses]
