"""Whatever an agent may answer: Hypothesis strategies for bytes, JSON of the right words in wrong places, and statuses."""

from __future__ import annotations

import orjson
from hypothesis import strategies as st

from blocks.agents.answers import Answer
from doubles.actions import action_id

FIELDS = [
    "id",
    "shard_id",
    "role",
    "commit_offset",
    "lag",
    "unit",
    "value",
    "shards",
    "actions",
    "state",
    "phase",
    "payload",
    "error",
    "error_msg",
    "error_cause",
    "layers",
    "kind",
    "args",
    "metadata",
    "created_time",
    "node_status",
    "node_id",
    "address",
    "attributes",
    "agent_version",
    "number",
    "store_version",
    "cluster_id",
    "version",
    "action",
    "headers",
    "trace",
    "stage",
    "state_payload",
    "created_ts",
]
WORDS = [
    "HEALTHY",
    "UNKNOWN",
    "Primary",
    "Other",
    "seconds",
    "NEW",
    "DONE",
    "a.b/c",
    action_id(1),
    "2026-03-01T00:00:00Z",
]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.sampled_from(WORDS)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS) | st.text("\x00.$a"), inner, max_size=6)
    ),
    max_leaves=30,
)
statuses = st.sampled_from([200, 200, 200, 201, 204, 302, 400, 404, 405, 409, 412, 429, 500, 503])


def encode(value: object) -> bytes:
    """A value as JSON, integers beyond 64 bits included."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return str(value).encode()


bodies = st.binary(max_size=200) | values.map(encode)
answers = st.builds(Answer, statuses, bodies)
