"""Settings of the metrics endpoint. Off unless a port is given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from blocks.settings import Settings

FOLDER = "REPLICORE_METRICS_FOLDER"
"""Variable by which a serving process tells the processes that it starts where to count."""
CLIENT_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The same for prometheus_client, which reads it when it is imported: Prefect imports it before us."""


class MetricsSettings(Settings):
    """Where a serving process offers its metrics."""

    _block_type_name = "Replicore Metrics"
    _block_type_slug = "replicore-metrics"
    _description = "Where the serving process tells Prometheus what its workers do."
    part = "METRICS"

    port: int = Field(default=0, ge=0, le=65_535, description="Port of the endpoint; 0 switches metrics off")
    host: str = Field(
        default="127.0.0.1", min_length=1, description="Address it listens on; nobody has to sign in, so mind who can reach it"
    )  # fmt: skip


def folder_of(environ: Mapping[str, str]) -> Path | None:
    """Where this process shall count; None when nobody wants to know."""
    folder = environ.get(FOLDER)
    if not folder or environ.get(CLIENT_FOLDER) != folder or not Path(folder).is_dir():
        return None
    return Path(folder)
