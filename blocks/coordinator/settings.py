"""Where ZooKeeper is and how to speak with it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, SecretStr, field_validator

from blocks.settings import Settings


class ZooKeeper(Settings):
    """The ZooKeeper ensemble that coordinates workers. Environment: `REPLICORE_ZOOKEEPER_<FIELD>`."""

    _block_type_name = "Replicore ZooKeeper"
    _block_type_slug = "replicore-zookeeper"

    part: ClassVar[str] = "ZOOKEEPER"

    hosts: str = Field(
        default="127.0.0.1:2181",
        description="HOST:PORT, several with commas between; a path at the end (chroot) is put before the root and created.",
    )
    root: str = Field(
        default="/replicore", description="The folder of this fleet; fleets that share an ensemble need different ones."
    )
    session_timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=120,
        description="After how much silence the server gives our claims to others; it may clamp this.",
    )
    request_timeout_s: float = Field(
        default=5.0, gt=0, le=120, description="How long one call waits for the server, reconnects included."
    )
    connect_timeout_s: float = Field(default=10.0, gt=0, le=120, description="How long the first connection may take.")
    tls: bool = Field(default=False, description="Encrypt, and verify the server (port `secureClientPort`).")
    ca_file: str | None = Field(
        default=None, description="PEM file of the authorities to trust; without it those of the system."
    )
    cert_file: str | None = Field(default=None, description="PEM file of our certificate, where the server wants one.")
    key_file: str | None = Field(default=None, description="PEM file of its key; without it the key is in `cert_file`.")
    verify_host_name: bool = Field(
        default=True, description="The server's certificate must be for the host that we asked for."
    )
    sasl_user: str | None = Field(
        default=None,
        description="User for SASL DIGEST-MD5. What this user creates, only this user can read and change.",
    )
    sasl_password: SecretStr | None = Field(default=None, description="The user's password.")

    @field_validator("hosts")
    @classmethod
    def _check_hosts(cls, value: str) -> str:
        ensemble, _, _ = value.partition("/")
        if not all(host.strip() for host in ensemble.split(",")):
            msg = "needs HOST:PORT, several with commas between"
            raise ValueError(msg)
        return value

    @field_validator("root")
    @classmethod
    def _check_root(cls, value: str) -> str:
        parts = value.strip("/").split("/")
        if not value.startswith("/") or not all(parts) or {".", ".."} & set(parts):
            msg = "needs an absolute path such as /replicore"
            raise ValueError(msg)
        return "/" + "/".join(parts)

    @property
    def ensemble(self) -> str:
        """The hosts without a chroot."""
        return self.hosts.partition("/")[0]

    @property
    def base(self) -> str:
        """The root with the chroot before it: the folder as the server knows it."""
        chroot = self.hosts.partition("/")[2].strip("/")
        return f"/{chroot}{self.root}" if chroot else self.root
