"""Everything an agent can fail with, and the JSON that protocol B uses to say so.

An answer to a request carries ``{"error": true, "error_msg": ...}``; a failed action carries the same keys without
``error``. Exceptions of a store's client library are turned into `StoreError` where they happen; none leaves an agent.
"""

from collections.abc import Iterator

ERROR_TEXT_MAX = 2000
ERROR_LAYERS_MAX = 8


class AgentError(Exception):
    """Any failure that has a sentence for the caller."""


class StartError(AgentError):
    """The agent cannot start: bad option, port taken, data folder in use."""


class StoreError(AgentError):
    """The store answered, but not with what was asked for."""


class StoreDownError(StoreError):
    """The store does not answer: refused, reset, or silent past the deadline."""


class ActionError(AgentError):
    """An action cannot go on; it ends FAILED with this text."""


class RequestError(AgentError):
    """A request is refused with a status and a JSON body of protocol B."""

    def __init__(self, status: int, message: str) -> None:
        """Remember the HTTP `status` next to the sentence."""
        super().__init__(message)
        self.status = status


class MalformedError(AgentError):
    """A request cannot be read at all; protocol B answers 400 and plain text."""


def clip(text: str, limit: int = ERROR_TEXT_MAX) -> str:
    """Return `text` cut to `limit` characters: nothing a store says may grow without bound."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def describe(error: BaseException) -> str:
    """Return the sentence for one exception: its text, or its class where it has none."""
    text = str(error).strip()
    if isinstance(error, AgentError):
        return clip(text)
    name = type(error).__name__
    return clip(f"{name}: {text}" if text else name)


def error_details(error: BaseException) -> dict[str, object]:
    """Return the body of ``state.error``: the sentence, its root cause, and the trail when there are more layers.

    Args:
        error: What was raised; its chain of causes is followed, bounded.
    """
    layers = [describe(layer) for layer in _chain(error)]
    details: dict[str, object] = {"error_msg": layers[0]}
    if len(layers) > 1:
        details["error_cause"] = layers[-1]
    if len(layers) > 2:  # noqa: PLR2004 - the wire format: a trail only when it says more than message and cause
        details["error_trail"] = layers
    return details


def error_body(error: BaseException) -> dict[str, object]:
    """Return the JSON body of a failed request."""
    return {"error": True, **error_details(error)}


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Walk from an exception to its first cause."""
    layer: BaseException | None = error
    for _ in range(ERROR_LAYERS_MAX):
        if layer is None:
            return
        yield layer
        layer = layer.__cause__ or (None if layer.__suppress_context__ else layer.__context__)
