"""JSON Schema (2020-12) of manifests, in all spellings that are read, so that an editor flags nothing that is accepted.

Made from the models and spellings of the kinds; descriptions are the models' docstrings.
"""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from types import ModuleType
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from blocks.models.base import Json
from blocks.models.search import Matcher
from blocks.models.tls import Sensitive, Tls
from tasks.decide.kinds.base import API_VERSION, Kind, Path, Spelling
from tasks.decide.kinds.http import PEM, TLS_PARTS
from tasks.decide.manifest_kinds import KINDS
from tasks.decide.manifest_spelling import alternatives

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_STATUS: Schema = {"description": "What `replictl get` shows beside the object; left out when it is applied."}


def schema_of(kind: Kind) -> dict[str, Json]:
    """The schema of one kind; names that the command line can give (namespace, cluster, node) may be missing."""
    return {"$schema": DIALECT, "$id": _id(kind.name), **_body(kind)}


def all_schemas() -> dict[str, Json]:
    """One schema of all kinds, which picks by `kind`."""
    names = [name for kind in KINDS for name in (kind.name, *kind.aliases)]
    cases = [
        {
            "if": {"properties": {"kind": {"pattern": _pattern(kind)}}, "required": ["kind"]},
            "then": {"$ref": f"#/$defs/{kind.name}"},
        }
        for kind in KINDS
    ]
    schema: Schema = {
        "$schema": DIALECT,
        "$id": _id("Manifest"),
        "title": "Manifest",
        "description": "What exists, what is wanted, or what shall be done.",
        "type": "object",
        "properties": {"apiVersion": {"const": API_VERSION}, "kind": _kind_names(names, _any_case(names))},
        "required": ["apiVersion", "kind"],
        "allOf": cases,
        "$defs": {kind.name: _body(kind) for kind in KINDS},
    }
    return schema


def _id(name: str) -> str:
    return f"urn:replicante:v0:{name}"


def _body(kind: Kind) -> Schema:
    schema = _inlined(kind.model.model_json_schema(schema_generator=_Generator))
    for part in ("metadata", "spec"):  # what is needed may be in either, or come from the command line
        schema["properties"][part].pop("required", None)
    for spelling in reversed(kind.spellings):
        _spelled(schema, spelling)
    schema["properties"]["kind"] = _kind_names((kind.name, *kind.aliases), _pattern(kind))
    needed = [{"anyOf": [_with(place) for place in _places(group, kind.spellings)]} for group in kind.needed]
    return {
        "title": kind.name,
        "description": schema["description"],
        "type": "object",
        "properties": {**schema["properties"], "status": _STATUS},
        "required": ["apiVersion", "kind"],
        "additionalProperties": False,
        **({"allOf": needed} if needed else {}),
    }


def _kind_names(names: Iterable[str], pattern: str) -> Schema:
    return {"description": "In any case.", "anyOf": [{"enum": list(names)}, {"type": "string", "pattern": pattern}]}


def _pattern(kind: Kind) -> str:
    return _any_case((kind.name, *kind.aliases))


def _any_case(names: Iterable[str]) -> str:
    words = ("".join(f"[{letter.upper()}{letter.lower()}]" for letter in name) for name in names)
    return f"^({'|'.join(words)})$"


def _places(group: Iterable[Path], spellings: Iterable[Spelling]) -> Iterator[Path]:
    for path in group:
        yield from alternatives(path, spellings)


def _with(path: Path) -> Schema:
    """That there is something at a place."""
    rest = {path[0]: _with(path[1:])} if len(path) > 1 else {}
    return {"required": [path[0]], **({"properties": rest} if rest else {})}


def _spelled(schema: Schema, spelling: Spelling) -> None:
    """Allow another spelling of a field."""
    form = copy.deepcopy(_at(schema, spelling.meant))
    if spelling.via is not None:
        form = {"anyOf": [dict(spelling.via.schema), form]}
    if spelling.written != spelling.meant:
        _free(schema, spelling.meant)
    _object_at(schema, spelling.written[:-1])["properties"][spelling.written[-1]] = form


def _free(schema: Schema, path: Path) -> None:
    """A field may be missing where it belongs, since it may be somewhere else."""
    required = _object_at(schema, path[:-1]).get("required", [])
    if path[-1] in required:
        required.remove(path[-1])


def _at(schema: Schema, path: Path) -> Schema:
    found: Schema = _object_at(schema, path[:-1])["properties"][path[-1]]
    return found


def _object_at(schema: Schema, path: Path) -> Schema:
    """The schema of the mapping at a place, made where there is none."""
    for part in path:
        fresh = {"type": "object", "properties": {}, "additionalProperties": False}
        schema = schema["properties"].setdefault(part, fresh)
        schema = next((choice for choice in schema.get("anyOf", ()) if "properties" in choice), schema)
    return schema


def _inlined(schema: Schema) -> Schema:
    """Without references: each place can then have spellings of its own."""
    definitions = schema.pop("$defs", {})

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(item) for item in value]
        if not isinstance(value, dict):
            return value
        rest = {name: resolved(item) for name, item in value.items() if name != "$ref"}
        name = value.get("$ref")
        if not isinstance(name, str):
            return rest
        return {**resolved(definitions[name.removeprefix("#/$defs/")]), **rest}

    inlined: Schema = resolved(schema)
    return inlined


class _Generator(GenerateJsonSchema):
    """Closed objects, docstrings of fields, and the short forms that validators accept."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """The schema of one model."""
        made = super().model_schema(schema)
        model = schema["cls"]
        made["additionalProperties"] = False
        made.pop("title", None)
        if isinstance(made.get("description"), str):
            made["description"] = " ".join(made["description"].split())
        for name, field in made.get("properties", {}).items():
            field.pop("title", None)
            if isinstance(field.get("default", {}), dict | None):
                field.pop("default", None)
            if name in (docs := _docstrings(model)):
                field["description"] = docs[name]
        if model is Sensitive:
            return _sensitive(made.get("description", ""))
        if model is Matcher:
            return _matcher(made)
        if model is Tls:
            _pem_texts(made)
        return made

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        """The values of an enumeration."""
        made = super().enum_schema(schema)
        made.pop("title", None)
        return made

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """A mapping; where keys have a form, others are refused."""
        made = super().dict_schema(schema)
        return {**made, "additionalProperties": False} if "patternProperties" in made else made


def _sensitive(description: str) -> Schema:
    words = {"text": "The text itself.", "file": "Path of a file.", "secret": "Name of a Prefect Secret block."}
    reference = {
        "type": "object",
        "properties": {name: {"type": ["string", "null"], "description": text} for name, text in words.items()},
        "oneOf": [{"required": [name], "properties": {name: {"type": "string"}}} for name in words],  # null is none
        "additionalProperties": False,
    }
    return {"description": description, "anyOf": [{"type": "string"}, reference]}


def _matcher(made: Schema) -> Schema:
    value = {"type": ["boolean", "integer", "number", "string", "null"]}
    return {"description": made.get("description", ""), "anyOf": [value, {"type": "array", "items": value}, made]}


def _pem_texts(made: Schema) -> None:
    for name in TLS_PARTS:
        made["properties"][name] = {"allOf": [made["properties"][name], {"pattern": PEM}]}


def _docstrings(model: type[BaseModel]) -> Mapping[str, str]:
    """By field, what the docstring below it says."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        module = inspect.getmodule(one)
        if issubclass(one, BaseModel) and module is not None:
            found |= _of_module(module).get(one.__name__, {})
    return found


@cache
def _of_module(module: ModuleType) -> Mapping[str, Mapping[str, str]]:
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError):  # no source is there: no descriptions
        return {}
    return {node.name: dict(_of_class(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _of_class(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            yield field.target.id, " ".join(text.value.value.split())
