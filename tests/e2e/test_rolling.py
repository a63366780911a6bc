"""Rolling restarts of the demo fleet's replica set by replictl: one done under load, one refused, one lapsed, one cancelled."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prefect.client.orchestration import PrefectClient

from deployments.catalog import NAME
from doubles.prefect_api import asking, start
from doubles.product import Product
from doubles.waiting import until
from doubles.writer import writing
from infra.stack.fleet import ORDERS
from infra.stack.layout import write_atomic

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

RESTART = "agent.replicante.io/node.restart"
ROLL = ("roll", "demo/orders", RESTART, "--settle", "1s", "-m", "new certificates")
GAP_MAX_S = 20.0


def addresses(product: Product) -> str:
    """Where the members of the set are."""
    settings = product.stack.settings
    return ",".join(f"{settings.host}:{getattr(settings, name.replace('-', '_') + '_port')}" for name in ORDERS)


def pids(product: Product) -> list[int]:
    """The processes of the members."""
    return [product.stack.pid(name) for name in ORDERS]


def healthy(product: Product) -> bool:
    """Whether the cluster is said to be well, with nobody missing."""
    rows = product.rows("clusters", "--where", "cluster=orders,namespace=demo")
    nodes = product.rows("nodes", "demo/orders")
    return rows[0]["health"] == "HEALTHY" and [row["status"] for row in nodes] == ["HEALTHY"] * len(ORDERS)


def state_of(product: Product, rolling_id: str) -> str:
    """Where a rolling action stands."""
    return str(product.rows("rolling", rolling_id)["state"])


def ended(product: Product, rolling_id: str, within_s: float = 60) -> dict[str, Any]:
    """A rolling action once it is over."""

    def look() -> dict[str, Any] | None:
        row: dict[str, Any] = product.rows("rolling", rolling_id)
        return row if row["finished_at"] else None

    found = until(look, within_s=within_s, what="the end of the rolling action")
    assert found is not None
    return found


@pytest.fixture
def calm(product: Product) -> Product:
    """The product with a healthy set of three."""
    until(lambda: healthy(product), within_s=90, what="a healthy cluster")
    return product


@contextmanager
def frozen(product: Product) -> Iterator[None]:
    """Nothing begins on the cluster meanwhile."""
    product.rows("freeze", "demo/orders", "--reason", "a test")
    try:
        yield
    finally:
        product.rows("unfreeze", "demo/orders")


def test_a_rolling_restart_under_load(calm: Product, record_property: Callable[[str, object], None]) -> None:
    """Shown, ordered, approved, done: each member is another process, the primary was last, and no write was lost."""
    before = pids(calm)
    shown = calm.rows(*ROLL, "--dry-run")
    with writing(addresses(calm)) as writer:
        ordered = calm.rows(*ROLL, "--digest", shown["digest"])
        waits = calm.rows("why", ordered["rolling_id"])
        calm.rows("approve", ordered["rolling_id"], "--digest", shown["digest"], "-m", "go")
        row = ended(calm, ordered["rolling_id"], within_s=180)
    commands = calm.rows("audit")
    record_property("longest_write_gap_s", round(writer.longest_gap_s, 3))
    leader = [node for node in calm.rows("nodes", "demo/orders") if node["roles"] == {"primary": 1}]

    assert ("PENDING_APPROVE", "APPROVAL") == (ordered["state"], waits["reasons"][0]["rule"])
    assert ("DONE", None, ["DONE"] * 3) == (row["state"], row["error"], [node["state"] for node in row["progress"]])
    kept = [one["arguments"] for one in commands if one["arguments"].get("digest") == shown["digest"]]
    assert ("go", shown["pace"]) == (kept[-1]["comment"], {**kept[-2]["pace"], "by": None})
    assert not set(before) & set(pids(calm))
    assert leader
    assert leader[0]["node"] != shown["plan"][-1]["node"]
    assert [] == writer.refused
    assert 0 < writer.longest_gap_s < GAP_MAX_S


def test_it_is_ordered_by_forms(calm: Product) -> None:
    """In the Prefect UI: the cluster is chosen, then kind and nodes; what comes of it waits for approval, and is in the audit."""
    run = asking(calm, lambda client: start(client, f"choose_roll/{NAME}", {"namespace": "demo"}))

    def resumed(**answer: Any) -> None:
        async def give(client: PrefectClient) -> bool:
            return (await client.resume_flow_run(run, run_input=answer)).status.value == "ACCEPT"

        until(lambda: asking(calm, give), within_s=90, what="a form that takes the answer")

    resumed(cluster="demo/orders")
    labels = {
        row["node"]: f"{row['node']} (HEALTHY, {next(iter(row['roles']))})" for row in calm.rows("nodes", "demo/orders")
    }
    resumed(kind=RESTART, nodes=[labels["orders-3"]], reason="by form", who="ann")
    [rolling] = until(lambda: calm.rows("rolling"), within_s=60, what="the order") or []
    calm.rows("cancel", rolling["rolling_id"])
    kept = [one for one in calm.rows("audit") if one["command"] == "roll"][-1]

    assert ("PENDING_APPROVE", 1, "by form") == (rolling["state"], rolling["nodes"], rolling["reason"])
    assert (["orders-3"], "ann") == (kept["arguments"]["nodes"], kept["who"])


def test_it_is_refused_while_a_member_is_down(calm: Product) -> None:
    """With the member and what to do; nothing was ordered, nobody else was touched."""
    others = pids(calm)[:2]
    calm.stack.stop("orders-3")
    try:
        until(lambda: not healthy(calm), within_s=60, what="the loss is seen")
        done = calm.replictl(*ROLL)
        known = calm.rows("rolling")
    finally:
        calm.stack.start("orders-3")

    assert 1 == done.returncode
    assert "is not fit for a rolling action: node orders-3 is UNAVAILABLE" in done.stderr
    assert ([], others) == (known, pids(calm)[:2])


def test_it_lapses_when_a_member_is_added(calm: Product) -> None:
    """Approved, and before it could begin the source tells of another node: over, and nobody is touched."""
    before, path = pids(calm), calm.stack.layout.root / "fleet.json"
    text = path.read_text()
    fleet = json.loads(text)
    [orders] = [cluster for cluster in fleet["clusters"] if cluster["cluster_id"] == "orders"]
    orders["nodes"].append({**orders["nodes"][0], "node_id": "orders-4", "agent_address": "http://127.0.0.1:9"})
    with frozen(calm):
        rolling_id = calm.rows(*ROLL)["rolling_id"]
        calm.rows("approve", rolling_id)
        kept = state_of(calm, rolling_id)
        try:
            write_atomic(path, json.dumps(fleet))
            calm.rows("discover", "demo/local", "--wait", "30")
            row = ended(calm, rolling_id)
        finally:
            write_atomic(path, text)
            calm.rows("discover", "demo/local", "--wait", "30")

    assert ("RUNNING", "LAPSED") == (kept, row["state"])
    assert "orders-4 came" in row["error"]
    assert before == pids(calm)


def test_a_cancelled_one_touches_nobody(calm: Product) -> None:
    """Approved, and cancelled before it could begin: also when nothing keeps it any more."""
    before = pids(calm)
    with frozen(calm):
        rolling_id = calm.rows(*ROLL)["rolling_id"]
        calm.rows("approve", rolling_id)
        kept = calm.rows("why", rolling_id)["reasons"][0]["rule"]
        calm.rows("cancel", rolling_id, "-m", "not today")
    calm.rows("orchestrate", "demo/orders", "--wait", "30")
    row = calm.rows("rolling", rolling_id)

    assert ("FREEZE", "CANCELLED", "not today") == (kept, row["state"], row["history"][-1]["why"])
    assert ["not done"] * 3 == [node["state"] for node in row["progress"]]
    assert before == pids(calm)
