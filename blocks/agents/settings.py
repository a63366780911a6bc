"""How agents are asked: limits and deadlines that hold for the whole fleet."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, ValidationError

from blocks.models.tls import Tls
from blocks.settings import Settings


def _tls_from_text(value: object) -> object:
    """Let an environment variable say it as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return Tls.model_validate_json(value)
    except ValidationError:
        msg = 'it must be JSON such as {"ca_bundle": {"file": "/etc/ssl/agents.pem"}}'
        raise ValueError(msg) from None


class AgentsSettings(Settings):
    """How the agents of the fleet are asked."""

    _block_type_name = "Replicore Agents"
    _block_type_slug = "replicore-agents"
    part: ClassVar[str] = "AGENTS"

    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 100
    """How many nodes are looked at at the same time; as many again may be sent actions. Each takes one connection."""
    silent_max: Annotated[int, Field(ge=1, le=10_000)] = 300
    """How many nodes that let us wait may be waited for beside those. Each takes one connection, and no place of others."""
    connect_timeout_s: Annotated[float, Field(gt=0, le=60)] = 3.0
    """Deadline of a connection, TLS handshake included, in seconds; a host that is gone is given up after this."""
    keepalive_s: Annotated[float, Field(ge=0, le=3_600)] = 4.0
    """How long an idle connection is kept, in seconds. Agents close theirs after 5; a longer time pays off only over TLS
    (a handshake costs 1.3 ms of CPU, a kept connection up to 0.4 MB) and where agents keep theirs longer still."""
    dns_cache_s: Annotated[int, Field(ge=0, le=3_600)] = 30
    """How long a resolved name is believed, in seconds."""
    body_bytes_max: Annotated[int, Field(ge=1_024, le=1_073_741_824)] = 16 * 1024 * 1024
    """The largest answer that is read, in bytes after decompression."""
    remembered_max: Annotated[int, Field(ge=0, le=10_000_000)] = 50_000
    """Of how many answers to probes it is remembered what they meant, by their digest; about 0.7 KB each. An answer that is
    what it was costs 1 us per 10 KB then, instead of 6 us per shard. Two per watched node are enough."""
    details_max: Annotated[int, Field(ge=1, le=1_000)] = 100
    """How many actions are read by id in one look; those asked for come first."""
    tls: Annotated[Tls | None, BeforeValidator(_tls_from_text)] = None
    """For nodes whose namespace says nothing of TLS; None means the system's certificates."""
