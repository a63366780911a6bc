"""From text to documents: YAML or JSON, one or many, nothing in it that could be meant in two ways."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from blocks.errors import InvalidInputError

TEXT_MAX = 4 * 1024 * 1024


_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


class _TwiceError(yaml.constructor.ConstructorError):
    """A key is given twice."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice: YAML would keep the last one in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    problem = f"the key {key.value!r} is given twice"
                    raise _TwiceError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return dict(super().construct_mapping(node, deep=deep))


def read_documents(text: str) -> list[object]:
    """The documents in a text, of which empty ones are left out.

    Raises:
        InvalidInputError: it is neither YAML nor JSON, says something twice, or is far too long.
    """
    if len(text) > TEXT_MAX:
        message = (
            f"{len(text)} characters are more than the {TEXT_MAX} that can be applied at once; nothing was applied"
        )
        raise InvalidInputError(message)
    whole = _json(text)
    if whole is not None:
        return [whole]
    documents: list[object] = []
    try:
        for document in yaml.load_all(text, Loader=_Loader):
            documents.append(document)  # noqa: PERF402 - their count says which one is broken
    except RecursionError as error:
        message = f"document {len(documents) + 1} is nested too deeply, nothing was applied"
        raise InvalidInputError(message) from error
    except (yaml.YAMLError, ValueError) as error:
        message = f"document {len(documents) + 1} is not YAML, nothing was applied: {_why(error)}"
        raise InvalidInputError(message) from None  # the cause repeats lines of the text, which may hold secrets
    return [document for document in documents if document is not None]


def _json(text: str) -> object | None:
    """The object in a JSON text: JSON's numbers and escapes are not all YAML's. None where the text is not just that."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        whole: object = json.loads(text, object_pairs_hook=_object, parse_constant=_refused)
    except (ValueError, RecursionError):  # as YAML it is read, or said to be wrong
        return None
    return whole


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        msg = "a key is given twice"
        raise ValueError(msg)
    return made


def _refused(constant: str) -> object:
    msg = f"{constant} is not JSON"
    raise ValueError(msg)


def _why(error: Exception) -> str:
    """What is wrong, and where; nothing of what is written there."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())[:500]
    problem = error.problem or error.context or "it cannot be read"
    mark = error.problem_mark or error.context_mark
    where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    return (problem if isinstance(error, _TwiceError) else _QUOTED.sub("...", problem)) + where
