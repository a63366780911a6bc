"""Throw-away certificates and users, for stacks whose servers demand both."""

import secrets
from pathlib import Path

from infra.stack.context import Login, Security
from infra.stack.service import Tls

ADMINISTRATOR = "admin"
PRODUCT = "replicore"


def make(folder: Path) -> Security:
    """Write a CA, one certificate for all servers and one for clients; both name loopback only."""
    import trustme  # noqa: PLC0415  # a package of the tests: `make up` does without

    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("server", "client"):
        issued = authority.issue_cert("127.0.0.1", "localhost", common_name=name)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        key = _pkcs8(issued.private_key_pem.bytes())
        (folder / f"{name}.pem").write_bytes(chain)
        _write_secret(folder / f"{name}.key", key)
        _write_secret(folder / f"{name}-all.pem", chain + key)
    return Security(
        tls=Tls(str(folder / "ca.pem"), str(folder / "client.pem"), str(folder / "client.key")),
        server_certificate=str(folder / "server-all.pem"),
        user=ADMINISTRATOR,
        password=secrets.token_urlsafe(16),
        product=Login(PRODUCT, secrets.token_urlsafe(16)),
        prefect=Login(PRODUCT, secrets.token_urlsafe(16)),
    )


def _pkcs8(key: bytes) -> bytes:
    """Return the key in the one form that Java reads."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  # see above

    return serialization.load_pem_private_key(key, password=None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
