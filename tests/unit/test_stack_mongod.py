import os
import subprocess
from pathlib import Path

import pytest

from infra.stack import mongod
from infra.stack.errors import StackError

LDD = """
\tlinux-vdso.so.1 (0x00007ffd)
\tlibcurl.so.4 => not found
\tlibssl.so.3 => /lib/x86_64-linux-gnu/libssl.so.3 (0x00007f)
mongod: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by mongod)
mongod: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.33' not found (required by mongod)
"""


def test_absent_and_old_libraries_are_found() -> None:
    """Libraries that are absent and those of too old a version are told apart from good ones."""
    assert ("libcurl.so.4", "libc.so.6") == mongod.missing_in(LDD)


def test_libraries_of_wheels_run_mongod(tmp_path: Path) -> None:
    """With the copies that wheels bring along every one of the four libraries is taken from there, and mongod runs."""
    mongod.link_from_wheels(("libcurl.so.4", "libssl.so.3", "libcrypto.so.3", "liblzma.so.5"), tmp_path)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    ldd, version = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30).stdout
        for command in (["/usr/bin/ldd", str(mongod.binary())], [str(mongod.binary()), "--version"])
    )
    ours = {line.split()[0] for line in ldd.splitlines() if str(tmp_path) in line}

    assert {"libcurl.so.4", "libssl.so.3", "libcrypto.so.3", "liblzma.so.5"} <= ours
    assert version.startswith("db version v6.0.5")


@pytest.mark.parametrize(("library", "said"), [("libgcc_s.so.1", "libgcc-s1"), ("libc.so.6", "glibc 2.34 or newer")])
def test_library_without_a_cure_is_named_with_the_package(tmp_path: Path, library: str, said: str) -> None:
    """What no wheel brings is asked of the person, by name."""
    with pytest.raises(StackError, match=said):
        mongod.link_from_wheels((library,), tmp_path)
