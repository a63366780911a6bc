"""From text to documents: YAML or JSON, one or many, nothing in it that could be meant in two ways."""

from __future__ import annotations

from typing import Any

import yaml

from blocks.errors import InvalidInputError

TEXT_MAX = 4 * 1024 * 1024


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice: YAML would keep the last one in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    problem = f"the key {key.value!r} is given twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
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
    documents: list[object] = []
    try:
        for document in yaml.load_all(text, Loader=_Loader):
            documents.append(document)  # noqa: PERF402 - their count says which one is broken
    except RecursionError as error:
        message = f"document {len(documents) + 1} is nested too deeply, nothing was applied"
        raise InvalidInputError(message) from error
    except (yaml.YAMLError, ValueError) as error:
        message = (
            f"document {len(documents) + 1} is not YAML, nothing was applied: {' '.join(str(error).split())[:500]}"
        )
        raise InvalidInputError(message) from error
    return [document for document in documents if document is not None]
