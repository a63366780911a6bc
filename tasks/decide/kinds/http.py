"""What kinds that speak HTTPS share: checks of TLS material and headers, and the original's spellings of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from blocks.models.base import Json
from tasks.decide.kinds.base import Check, Path, Via, peek

PEM = "-----BEGIN"
TLS_PARTS = ("ca_bundle", "client_cert", "client_key")

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")


def inline(value: object) -> str | None:
    """The text of what may be sensitive, where it is given in place."""
    text = value.get("text") if isinstance(value, Mapping) else value
    return text if isinstance(text, str) else None


def pem_check(tls: Path) -> Check:
    """That text given in place is PEM: a path or a name there is a slip."""

    def check(document: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        for name in TLS_PARTS:
            text = inline(peek(document, (*tls, name)))
            if text is not None and PEM not in text:
                yield (*tls, name), f"neither PEM text ({PEM} ...) nor {{file: PATH}} nor {{secret: NAME}}"

    return check


def header_check(headers: Path) -> Check:
    """That names and values given in place can travel as HTTP headers."""

    def check(document: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        written = peek(document, headers)
        for name, value in written.items() if isinstance(written, Mapping) else ():
            if not _HEADER_NAME.fullmatch(name):
                yield (*headers, name), "this is not the name of an HTTP header"
            if not _HEADER_VALUE.fullmatch(inline(value) or ""):
                yield (*headers, name), "the value of an HTTP header has no line breaks and no control characters"

    return check


def _file(value: Json) -> Json:
    return {"file": value} if isinstance(value, str) and PEM not in value else value


def _absolute_file(value: Json) -> Json:
    return _file(value) if isinstance(value, str) and value.startswith("/") else value


def _secret(value: Json) -> Json:
    return {"secret": value} if isinstance(value, str) else value


FILE = Via(_file, {"type": ["string", "null"], "description": "Path of a PEM file."})
ABSOLUTE_FILE = Via(_absolute_file, {"type": "string", "pattern": "^/", "description": "Path of a PEM file."})
SECRET = Via(
    _secret, {"type": ["string", "null"], "description": "Name of a secret that holds our certificate and its key."}
)
