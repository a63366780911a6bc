"""Bad input and absent servers: one clear sentence, the right exit code, nothing changed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest

from doubles.product import Product
from infra.stack.keeper import clean_environment

pytestmark = pytest.mark.real

ONE_BAD = """
apiVersion: replicante.io/v0
kind: Namespace
metadata: {name: would-be-new}
---
apiVersion: replicante.io/v0
kind: NodeAction
metadata: {namespace: demo, cluster: orders}
spec: {action: 7}
---
apiVersion: replicante.io/v0
kind: Nonsense
"""

UNKNOWN_NODE = """
apiVersion: replicante.io/v0
kind: NodeAction
metadata: {namespace: demo, cluster: orders, node: nobody}
spec: {action: agent.replicante.io/test.success}
"""


def test_one_bad_document_applies_nothing(product: Product) -> None:
    """Of several documents with bad ones nothing is applied, and each fault is named with document, path and reason."""
    events = len(product.rows("events", "--limit", "1000"))
    done = product.replictl("apply", "-f", "-", stdin=ONE_BAD)

    assert 1 == done.returncode
    for wanted in ("document 2: metadata.node", "document 2: spec.action", "document 3: unknown kind 'Nonsense'"):
        assert wanted in done.stderr
    told = product.rows("events", "--limit", "1000")[events:]
    assert not [event for event in told if "would-be-new" in event["subject"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "not YAML"), ("", "no document"), ("- 1", "document 1"), (UNKNOWN_NODE, "no node 'nobody'")],
)
def test_bad_manifest_is_said(product: Product, text: str, said: str) -> None:
    """What is no manifest, or names what does not exist, is refused with the reason."""
    done = product.replictl("apply", "-f", "-", stdin=text)

    assert 1 == done.returncode
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("orchestrate", "demo/nobody"),
        ("topology", "demo/nobody"),
        ("nodes", "demo/nobody"),
        ("approve", str(uuid4())),
        ("discover", "demo/nobody"),
    ],
)
def test_unknown_names_are_one_sentence(product: Product, command: tuple[str, ...]) -> None:
    """An unknown cluster, node, source or action: exit code 1 and one sentence on stderr."""
    done = product.replictl(*command)

    assert 1 == done.returncode
    assert 1 == len(done.stderr.strip().splitlines()), done.stderr


@pytest.mark.parametrize(
    "command", [("nonsense",), ("approve", "no-id"), ("clusters", "--output", "xml"), ("apply", "--dry")]
)
def test_wrong_usage_is_exit_code_2(product: Product, command: tuple[str, ...]) -> None:
    """Wrong usage is exit code 2."""
    done = product.replictl(*command)

    assert 2 == done.returncode, done.stderr


def test_absent_store_is_said_in_time(tmp_path: Path) -> None:
    """With nothing listening, a command says which server, where and what to check, within its deadline."""
    environment = {
        **clean_environment(),
        "REPLICORE_MONGODB_URI": "mongodb://127.0.0.1:1/?directConnection=true",
        "REPLICORE_ZOOKEEPER_HOSTS": "127.0.0.1:1",
        "REPLICORE_KAFKA_BOOTSTRAP": "127.0.0.1:1",
    }
    begun = time.monotonic()
    done = subprocess.run(
        [str(Path(sys.executable).parent / "replictl"), "clusters"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )

    assert 1 == done.returncode
    assert "MongoDB at 127.0.0.1:1" in done.stderr
    assert 25 > time.monotonic() - begun
