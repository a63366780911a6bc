"""From text to documents: YAML or JSON, one or many, nothing in it that could be meant in two ways."""

from __future__ import annotations

from collections.abc import Iterable

from blocks.documents import DocumentError, read_json_texts, read_yaml
from blocks.errors import InvalidInputError
from blocks.models.base import clean_text

TEXT_MAX = 4 * 1024 * 1024
"""So many characters may be applied at once, each YAML alias counted as often as it repeats them."""


def read_documents(text: str) -> list[object]:
    """The documents in a text, of which empty ones are left out. Some seconds for the longest: run it in a thread where
    others wait.

    Raises:
        InvalidInputError: it is neither YAML nor JSON, says something twice, is far too long or would unfold to far too much.
    """
    if len(text) > TEXT_MAX:
        message = (
            f"{len(text)} characters are more than the {TEXT_MAX} that can be applied at once; nothing was applied"
        )
        raise InvalidInputError(message)
    texts = _json(text)
    if texts is not None:
        return _each(texts)
    try:
        documents = read_yaml(text, TEXT_MAX)
    except DocumentError as error:
        named = "" if error.key is None else f" (the key '{clean_text(error.key, 100)}' is given twice)"
        message = f"document {error.document} cannot be read, nothing was applied: {error}{named}"
        raise InvalidInputError(message) from None
    return _each(document for document in documents if document is not None)


def _each(documents: Iterable[object]) -> list[object]:
    """Documents, and those in a list of them: `export -o json` and `get -o yaml` write such lists."""
    found: list[object] = []
    for document in documents:
        many = isinstance(document, list) and document and all(isinstance(one, dict) for one in document)
        found += document if many and isinstance(document, list) else [document]
    return found


def _json(text: str) -> list[object] | None:
    """The objects and lists in a text of JSON texts: JSON's numbers and escapes are not all YAML's. None where it is not
    just that.
    """
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return read_json_texts(text)
    except DocumentError:  # as YAML it is read, or said to be wrong
        return None
