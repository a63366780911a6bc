"""Where the truth is kept: settings of the MongoDB adapter."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, SecretStr

from blocks.settings import Settings

Days = Annotated[int, Field(ge=1, le=3_650)]


class MongoDb(Settings):
    """How to reach our MongoDB: a replica set (of one or more) or a sharded cluster, never a lone mongod."""

    _block_type_name = "Replicore MongoDB"
    _block_type_slug = "replicore-mongodb"
    _description = "The store of clusters, nodes, actions, work and events."
    part: ClassVar[str] = "MONGODB"

    uri: SecretStr = SecretStr("mongodb://127.0.0.1:27017/?replicaSet=replicore")
    """`mongodb://` or `mongodb+srv://`; what the fields below say wins over what it says."""
    database: Annotated[str, Field(min_length=1, max_length=63, pattern=r'^[^/\\. "$*<>:|?\x00]+$')] = "replicore"
    user: str | None = None
    password: SecretStr | None = None
    tls: bool = False
    """True encrypts; False leaves it to the URI."""
    ca_file: str | None = None
    """PEM file of the certificates to trust; None means the system's."""
    cert_key_file: str | None = None
    """PEM file with our own certificate and its key, where the server asks for one."""
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    """Deadline of one call of the store, in seconds; looking for a server that takes writes and retries included."""
    pool_size_max: Annotated[int, Field(ge=1, le=1_000)] = 50
    """Connections of one process to one server, at most."""
    events_keep_days: Days = 14
    """Published events are removed after so many days; unpublished ones never are."""
    actions_keep_days: Days = 14
    """Finished actions are removed after so many days."""

    @property
    def endpoint(self) -> str:
        """Hosts and ports, without credentials and options."""
        without_scheme = self.uri.get_secret_value().partition("://")[2]
        without_credentials = without_scheme.rpartition("@")[2]
        return without_credentials.partition("/")[0].partition("?")[0] or "an address that cannot be read"
