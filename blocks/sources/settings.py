"""How discovery sources are asked: limits and deadlines that hold for all of them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from blocks.settings import Settings


class SourcesSettings(Settings):
    """How discovery sources are asked."""

    _block_type_name = "Replicore Sources"
    _block_type_slug = "replicore-sources"
    part: ClassVar[str] = "SOURCES"

    total_s: Annotated[float, Field(gt=0, le=3_600)] = 120.0
    """Deadline of a whole answer, all its pages, in seconds; each page has the source's own `timeout`."""
    body_bytes_max: Annotated[int, Field(ge=1_024, le=1_073_741_824)] = 16 * 1024 * 1024
    """The largest page that is read, in bytes."""
    total_bytes_max: Annotated[int, Field(ge=1_024, le=17_179_869_184)] = 256 * 1024 * 1024
    """All pages of an answer together, in bytes; no more than that is kept of names, addresses and labels either."""
    pages_max: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    clusters_max: Annotated[int, Field(ge=1, le=1_000_000)] = 50_000
    nodes_max: Annotated[int, Field(ge=1, le=10_000_000)] = 500_000
    """How many nodes all clusters of a source may have together."""
    rejected_max: Annotated[int, Field(ge=0, le=100_000)] = 1_000
    """With more unusable records than this the whole answer is no answer."""
