"""Throw-away certificates, and TLS servers that are as strict, old or wrong as a test wants."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import trustme

from blocks.models.tls import Sensitive, Tls


@dataclass
class Authority:
    """A CA with certificates for servers and clients."""

    ca: trustme.CA = field(default_factory=trustme.CA)

    @property
    def pem(self) -> str:
        """Its own certificate."""
        return self.ca.cert_pem.bytes().decode()

    def server(
        self,
        *names: str,
        clients: Authority | None = None,
        not_after: datetime | None = None,
        versions: tuple[ssl.TLSVersion, ssl.TLSVersion] = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
    ) -> ssl.SSLContext:
        """A server for `names`; with `clients`, one that wants a certificate of theirs."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = versions
        self.ca.issue_cert(*(names or ("127.0.0.1",)), not_after=not_after).configure_cert(context)
        if clients is not None:
            clients.ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client(self, not_after: datetime | None = None) -> tuple[str, str]:
        """A client's certificate and key."""
        issued = self.ca.issue_cert("client@replicore.test", not_after=not_after)
        return "".join(
            blob.bytes().decode() for blob in issued.cert_chain_pems
        ), issued.private_key_pem.bytes().decode()

    def tls(self, identity: tuple[str, str] | None = None) -> Tls:
        """How to trust it, and show a client's certificate and key."""
        certificate, key = identity or (None, None)
        return Tls.model_validate({"ca_bundle": self.pem, "client_cert": certificate, "client_key": key})

    def files(self, folder: Path, names: tuple[str, ...] = ("127.0.0.1",)) -> tuple[Path, Path, Path]:
        """A server's certificate, its key and this CA, as files."""
        issued = self.ca.issue_cert(*names)
        certificate, key, authority = folder / "server.pem", folder / "server.key", folder / "ca.pem"
        certificate.write_text("".join(blob.bytes().decode() for blob in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        authority.write_text(self.pem)
        return certificate, key, authority


def in_file(path: Path) -> Sensitive:
    """PEM that is in a file."""
    return Sensitive(file=str(path))


LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
