"""The demo fleet, the product's own servers included, and the process that serves the product."""

import hashlib
import json
import sys
from collections.abc import Callable
from functools import partial

from infra.stack import endpoints, kafka, mongod, prefect_server, zookeeper
from infra.stack.context import Context
from infra.stack.layout import PROJECT, write_atomic
from infra.stack.service import Probe, Service
from infra.stack.settings import StackSettings

ORDERS = ("orders-1", "orders-2", "orders-3")
DISCOVERY = "discovery"
PLATFORM = "platform"
SERVE = "serve"


def _code(*packages: str) -> dict[str, str]:
    """Return a variable that changes with the source of these packages: `up` restarts what runs old code."""
    paths = sorted(path for package in packages for path in (PROJECT / package).rglob("*.py"))
    states = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in paths]
    return {"REPLICORE_STACK_CODE": hashlib.sha256(repr(states).encode()).hexdigest()[:16]}


def _port(settings: StackSettings, name: str) -> int:
    return int(getattr(settings, name.replace("-", "_") + "_port"))


def _member(name: str, context: Context) -> Service:
    return mongod.empty_member(context, name, _port(context.settings, name), "orders")


def _agent(name: str, context: Context) -> Service:
    """Describe the agent of one node: name, kind, node id, cluster and store come from the table."""
    kind, node, cluster = _AGENTS[name]
    extra = ("--store-version", kafka.version()) if kind == "kafka" else ()
    address = _store(context.settings, name)
    return agent(context, name, _port(context.settings, name), kind, address, node, cluster, *extra)


def agent(
    context: Context, name: str, port: int, kind: str, store: str, node: str, cluster: str, *extra: str
) -> Service:
    """Describe an agent of kind `kind` for the store at `store`, on `port`; `extra` goes to its command line."""
    host = context.settings.host
    command = (
        *(sys.executable, "-m", "infra.agents", kind, "--listen", f"{host}:{port}"),
        *("--store", store, "--cluster-id", cluster, "--node-id", node),
        *("--data", str(context.layout.data(name)), "--execute-interval", "0.2", *extra),
    )
    probe = Probe("http", host, port, expect="/api/unstable/info/node")
    return Service(name, command, probe, (port,), _code("infra/agents"), str(PROJECT))


def _store(settings: StackSettings, agent: str) -> str:
    if agent == "agent-zookeeper":
        return f"{settings.host}:{settings.zookeeper_port}"
    if agent == "agent-kafka":
        return f"{settings.host}:{settings.kafka_port}"
    return f"mongodb://{settings.host}:{_port(settings, agent.removeprefix('agent-'))}"


_AGENTS = {
    **{f"agent-{name}": ("mongodb", name, "orders") for name in ORDERS},
    "agent-zookeeper": ("zookeeper", "zookeeper-1", "coordination"),
    "agent-kafka": ("kafka", "kafka-1", "queue"),
}
"""Agent -> kind of store, node id, cluster id."""


def discovery(context: Context) -> Service:
    """Write the list of agents by cluster, and describe the endpoint that serves it."""
    settings = context.settings
    listed: dict[str, list[dict[str, str | None]]] = {}
    for name, (kind, node, cluster) in _AGENTS.items():
        address = f"http://{settings.host}:{_port(settings, name)}"
        described = {"agent_address": address, "node_id": node, "node_class": kind, "node_group": None}
        listed.setdefault(cluster, []).append(described)
    clusters = [{"cluster_id": cluster, "nodes": nodes} for cluster, nodes in listed.items()]
    path = context.layout.root / "fleet.json"
    write_atomic(path, json.dumps({"clusters": clusters}, indent=1) + "\n")
    command = (
        *(sys.executable, "-m", "infra.agents", "discovery"),
        *("--listen", f"{settings.host}:{settings.discovery_port}", "--file", str(path)),
    )
    probe = Probe("http", settings.host, settings.discovery_port, expect="/discover")
    return Service(DISCOVERY, command, probe, (settings.discovery_port,), _code("infra/agents"), str(PROJECT))


def platform(context: Context) -> Service:
    """Describe the platform that provisions machines on loopback; what it started ends with it."""
    settings, host = context.settings, context.settings.loopback
    own = {"REPLICORE_STACK_HOST": host, "REPLICORE_STACK_FOLDER": str(context.layout.root)}
    return Service(
        name=PLATFORM,
        command=(sys.executable, "-m", "infra.platform"),
        probe=Probe("http", host, settings.platform_port, expect="/discover"),
        ports=(settings.platform_port,),
        env={**settings.as_environment(), **own, **_code("infra/platform", "infra/stack", "infra/agents/kit")},
        cwd=str(PROJECT),
        stop_within=30,  # its machines end first
    )


def serve(context: Context) -> Service:
    """Describe the product: the one process that serves all deployments."""
    ready = context.layout.run / "serve.ready"
    return Service(
        name=SERVE,
        command=(sys.executable, "-m", "deployments.serve"),
        probe=Probe("file", expect=str(ready)),
        ports=(context.settings.serve_metrics_port,),
        env={
            **endpoints.environment(context.settings, context.security),
            **_code("deployments", "flows", "tasks", "blocks"),
            "REPLICORE_READY_FILE": str(ready),
            "REPLICORE_METRICS_PORT": str(context.settings.serve_metrics_port),
            "REPLICORE_METRICS_HOST": context.settings.loopback,
        },
        cwd=str(PROJECT),
        after=(prefect_server.NAME, mongod.NAME, zookeeper.NAME, kafka.NAME),
        stop_within=30,  # it lets its runs hand over first
    )


BUILDERS: dict[str, Callable[[Context], Service]] = {
    **{name: partial(_member, name) for name in ORDERS},
    **{name: partial(_agent, name) for name in _AGENTS},
    DISCOVERY: discovery,
    PLATFORM: platform,
    SERVE: serve,
}
NAMES = (*ORDERS, *_AGENTS, DISCOVERY, PLATFORM)
