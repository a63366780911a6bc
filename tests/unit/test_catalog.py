from __future__ import annotations

import ast
import importlib
import json
from pathlib import Path

import pytest
from prefect import Flow, Task
from prefect.cache_policies import NO_CACHE
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from deployments.catalog import CATALOG, Entry, as_prefect_yaml
from deployments.serve import deployment

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for name in ("tasks", "flows")
    for path in (ROOT / name).rglob("*.py")
    if path.name != "__init__.py"
)
FLOWS = [entry.flow for entry in CATALOG]


@pytest.mark.parametrize("entry", CATALOG, ids=FLOWS)
def test_every_entry_loads_by_its_module_path(entry: Entry) -> None:
    """No placeholder: the real flow, of the deployment's name, the very object that Python imports."""
    flow = load_flow_from_entrypoint(entry.entrypoint, use_placeholder_flow=False)

    assert flow is getattr(importlib.import_module(f"flows.{entry.flow}"), entry.flow)
    assert entry.flow == flow.name


@pytest.mark.parametrize("entry", CATALOG, ids=FLOWS)
def test_every_flow_has_a_form(entry: Entry) -> None:
    """Parameters are a JSON schema with a description each; parameters of the catalog fit; the fleet is always chosen by name."""
    flow = load_flow_from_entrypoint(entry.entrypoint, use_placeholder_flow=False)
    schema = parameter_schema(flow)
    properties = schema.properties

    assert json.loads(schema.model_dump_json())["properties"]
    assert "replicore" == properties["fleet"]["default"]
    assert [] == [name for name, field in properties.items() if not field.get("description")]
    assert entry.parameters.keys() <= properties.keys()


@pytest.mark.parametrize("entry", CATALOG, ids=FLOWS)
def test_every_entry_makes_a_deployment(entry: Entry) -> None:
    """What the serving process registers: by module path, with its timetable."""
    made = deployment(entry)

    assert (entry.entrypoint, entry.flow) == (made.entrypoint, made.flow_name)
    assert [entry.every] == [schedule.schedule.interval for schedule in made.schedules] or entry.every is None


def test_every_flow_is_in_the_catalog() -> None:
    """No flow is forgotten, none is listed twice."""
    flows = {
        value.name
        for module in MODULES
        for value in vars(importlib.import_module(module)).values()
        if isinstance(value, Flow)
    }

    assert sorted(flows) == sorted(FLOWS)


def test_the_file_for_the_work_pool_is_the_catalog() -> None:
    """`deployments/prefect.yaml` is made from the catalog and says the same."""
    assert as_prefect_yaml() == (ROOT / "deployments" / "prefect.yaml").read_text()


def _decorated(module: str) -> set[str]:
    """Names of functions that a module makes into tasks, by its text."""
    tree = ast.parse((ROOT / Path(*module.split("."))).with_suffix(".py").read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)]
    return {node.name for node in functions if any(ast.unparse(one).startswith("task") for one in node.decorator_list)}


@pytest.mark.parametrize("module", MODULES)
def test_no_task_is_cached(module: str) -> None:
    """Tasks take live services: caching their inputs would fail on every call, caching results would be wrong."""
    values = vars(importlib.import_module(module))
    tasks = {name: value for name, value in values.items() if isinstance(value, Task) and value.fn.__module__ == module}

    assert _decorated(module) == tasks.keys()
    assert dict.fromkeys(tasks, NO_CACHE) == {name: value.cache_policy for name, value in tasks.items()}
    assert {False} >= {bool(value.persist_result) for value in tasks.values()}


def test_no_class_is_defined_in_a_flow_that_is_loaded_twice() -> None:
    """Modules of the catalog define no classes: a second copy of one would be another class."""
    for entry in CATALOG:
        tree = ast.parse((ROOT / "flows" / f"{entry.flow}.py").read_text())

        assert [] == [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
