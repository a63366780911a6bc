"""Bodies that no agent should send."""

from collections.abc import Iterator

import orjson

CHUNK = 256 * 1024
_FIXED = {
    "html": b"<!DOCTYPE html><html><body><h1>It works!</h1></body></html>",
    "text": b"no healthy upstream",
    "binary": bytes(range(256)) * 4,
    "nan": b'{"node_id": NaN, "node_status": NaN}',
    "empty": b"",
}
_START, _END = b'{"padding":"', b'"}'


def garbage(form: str, content: bytes) -> bytes:
    """Return a wrong body in place of `content`.

    Args:
        form: One of `Garbage.form`.
        content: What would have been right.
    """
    fixed = _FIXED.get(form)
    if fixed is not None:
        return fixed
    return content[: max(len(content) // 2, 1)] if form == "truncated" else orjson.dumps(_mistyped(content))


def huge(size: int) -> Iterator[bytes]:
    """Return a JSON object of exactly `size` bytes, in pieces."""
    yield _START
    left = size - len(_START) - len(_END)
    padding = b"x" * CHUNK
    while left > 0:
        yield padding[: min(left, CHUNK)]
        left -= CHUNK
    yield _END


def _mistyped(content: bytes) -> object:
    """Return the same keys with values of other types."""
    try:
        value = orjson.loads(content)
    except ValueError:
        return [content.decode("latin-1")]
    return {key: [0] for key in value} if isinstance(value, dict) else {"0": value}
