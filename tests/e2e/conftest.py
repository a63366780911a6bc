"""The whole product, started once for all end-to-end tests as `make up` does, on ports and in a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from doubles.product import Product
from infra.stack import control
from infra.stack.ports import FOR_PRODUCT
from infra.stack.processes import Process
from infra.stack.service import Plan
from infra.stack.settings import StackSettings
from infra.stack.testing import TestStack


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """Bring everything up, main job included; take it down at the end."""
    settings = StackSettings.free(tmp_path_factory.mktemp("product"), FOR_PRODUCT)
    ports = {name: value for name, value in settings.model_dump().items() if name.endswith("_port")}
    environment = {f"REPLICORE_STACK_{name.upper()}": str(value) for name, value in ports.items()}
    environment["REPLICORE_STACK_FOLDER"] = str(settings.folder)
    made = Product(TestStack(settings), environment)
    try:
        done = made.stack_command("up")
        if done.returncode != 0:
            pytest.fail(f"up failed with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        _die_with_us(made.stack)
        yield made
    finally:
        control.stop(settings.layout)


def _die_with_us(stack: TestStack) -> None:
    me = Process.of(os.getpid())
    plan = Plan.read(stack.layout.plan)
    mine = replace(plan, parent_pid=os.getpid(), parent_identity=me.identity if me else "")
    control.supervise(mine, stack.layout)
