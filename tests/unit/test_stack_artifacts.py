import errno
import hashlib
import os
import threading
from pathlib import Path

import pytest

from infra.stack import artifacts
from infra.stack.artifacts import Jar, JarStore
from infra.stack.errors import ArtifactError

GOOD = b"a jar"
JAR = Jar("kafka", "org.example", "thing", "1.0", hashlib.sha256(GOOD).hexdigest())
OTHER = Jar("kafka", "org.example", "other", "2.0", hashlib.sha256(GOOD).hexdigest())


class Maven:
    """A repository in memory that counts what is asked of it."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, jar: Jar, folder: Path) -> Path:
        """Give the next answer; the last one for ever."""
        with self._lock:
            self.asked.append(jar.coordinates)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        path = folder / "downloaded.jar"
        path.write_bytes(answer)
        return path


def cached(cache: Path) -> list[str]:
    """List what is in the cache."""
    return sorted(path.name for path in (cache / "jars").iterdir())


def test_missing_jars_are_fetched_and_form_the_class_path_in_order(tmp_path: Path) -> None:
    """The class path lists the jars as the lock file does, each in the cache."""
    class_path = JarStore(tmp_path, Maven(GOOD)).class_path([JAR, OTHER])

    assert [str(tmp_path / "jars" / jar.file_name) for jar in (JAR, OTHER)] == class_path.split(":")
    assert sorted([JAR.file_name, OTHER.file_name]) == cached(tmp_path)


def test_complete_cache_needs_no_network(tmp_path: Path) -> None:
    """With every jar in the cache nothing is fetched."""
    JarStore(tmp_path, Maven(GOOD)).class_path([JAR])
    offline = Maven(ConnectionError("no network"))

    JarStore(tmp_path, offline).class_path([JAR])

    assert [] == offline.asked


def test_corrupt_file_in_the_cache_is_replaced(tmp_path: Path) -> None:
    """A jar whose bytes changed on disk is removed and fetched again."""
    store = JarStore(tmp_path, Maven(GOOD))
    store.class_path([JAR])
    path = tmp_path / "jars" / JAR.file_name
    path.write_bytes(b"bit rot")

    store.class_path([JAR])

    assert GOOD == path.read_bytes()


def test_corrupt_download_is_tried_again(tmp_path: Path) -> None:
    """One bad download does no harm."""
    maven = Maven(b"truncat", GOOD)

    JarStore(tmp_path, maven).class_path([JAR])

    assert [JAR.coordinates] * 2 == maven.asked


def test_wrong_hash_names_the_file_and_both_hashes(tmp_path: Path) -> None:
    """A file that stays wrong is refused with its name, the expected and the found hash, and leaves nothing."""
    with pytest.raises(ArtifactError) as caught:
        JarStore(tmp_path, Maven(b"evil")).class_path([JAR])

    message = str(caught.value)
    assert [] == [
        part for part in (JAR.file_name, JAR.sha256, hashlib.sha256(b"evil").hexdigest()) if part not in message
    ]
    assert [] == cached(tmp_path)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (ConnectionError("refused"), "check the network"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "no space left for org.example.thing-1.0.jar"),
        (RuntimeError("404"), "Maven Central has no org.example:thing:1.0"),
    ],
)
def test_each_failure_says_what_to_do(tmp_path: Path, failure: Exception, said: str) -> None:
    """No network, a full disk and an unknown jar are told apart, and leave nothing half done."""
    with pytest.raises(ArtifactError, match=said):
        JarStore(tmp_path, Maven(failure)).class_path([JAR])

    assert [] == cached(tmp_path)


def test_unusable_cache_folder_is_an_error(tmp_path: Path) -> None:
    """A cache that cannot be made is named."""
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ArtifactError, match="cannot be made"):
        JarStore(tmp_path / "file", Maven(GOOD)).class_path([JAR])


def test_cache_follows_the_xdg_convention(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache lies in XDG_CACHE_HOME, else in ~/.cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")

    assert Path("/somewhere/replicore") == artifacts.default_cache()


def test_lock_file_is_exact() -> None:
    """Every jar of the lock has one version and a SHA-256, and no jar is named twice for one use."""
    jars = artifacts.read_lock()

    assert [] == [jar for jar in jars if len(jar.sha256) != 64 or not jar.version[0].isdigit()]
    assert len(jars) == len({(jar.use, jar.group, jar.artifact) for jar in jars})


def test_jars_of_a_feature_are_fetched_only_when_asked_for() -> None:
    """TLS of ZooKeeper adds its jars to those of the plain server, and changes none of them."""
    plain, secure = artifacts.select("zookeeper"), artifacts.select("zookeeper", "tls")

    assert {"io.netty"} == {jar.group for jar in set(secure) - set(plain)}
    assert set() == set(plain) - set(secure)
