"""Manifests as people write them: by what they mean, in all their spellings."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from doubles.views import NOW
from tasks.decide.kinds.base import API_VERSION
from tasks.decide.manifests import Asked

ID = UUID(int=42)
ASKED = Asked(who="ann", now=NOW, new_id=lambda: ID)

PUBLIC_PEM = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"
PRIVATE_PEM = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n"

URL = "http://inventory.test:8080/clusters"
DEFINITION = {
    "cluster_id": "orders",
    "store": "mongo/rs",
    "store_version": "4.2.0",
    "nodes": {"default": {"desired_count": 3, "node_class": "small"}},
}


def manifest(kind: str, metadata: object = None, spec: object = None) -> dict[str, Any]:
    """A manifest."""
    document: dict[str, Any] = {"apiVersion": API_VERSION, "kind": kind}
    return document | {name: part for name, part in (("metadata", metadata), ("spec", spec)) if part is not None}


SAME: dict[str, list[dict[str, Any]]] = {
    "namespace": [
        manifest("Namespace", {"name": "prod"}),
        manifest("namespace", {}, {"id": "prod"}),
        manifest("NAMESPACE", None, {"ns_id": "prod", "status": "Active"}),
    ],
    "namespace that has all": [
        manifest(
            "Namespace",
            {"name": "prod", "labels": {"team": "data"}},
            {
                "status": "Observed",
                "tls": {"ca_bundle": PUBLIC_PEM, "client_cert": {"secret": "both"}},
                "settings": {"schedule_attempts_max": 3},
            },
        ),
        manifest(
            "Namespace",
            {"name": "prod"},
            {
                "labels": {"team": "data"},
                "status": "Observed",
                "https_transport": {"ca_bundle": PUBLIC_PEM, "client_key_id": "both"},
                "settings": {"orchestrate": {"max_naction_schedule_attempts": 3}},
            },
        ),
    ],
    "namespace with empty TLS": [
        manifest("Namespace", {"name": "prod"}, {"https_transport": {"ca_bundle": None, "client_key_id": None}}),
        manifest("Namespace", None, {"id": "prod", "tls": {"ca_bundle": None}}),
    ],
    "HTTP source": [
        manifest("DiscoverySettings", {"namespace": "prod", "name": "dc1"}, {"interval": 60, "http": {"url": URL}}),
        manifest("DiscoverySettings", {"namespace": "prod", "name": "dc1"}, {"interval": 60, "url": URL}),
        manifest(
            "discoverysettings", None, {"ns_id": "prod", "name": "dc1", "backend": "http", "interval": 60, "url": URL}
        ),
    ],
    "HTTP source with files": [
        manifest(
            "DiscoverySettings",
            {"namespace": "prod", "name": "dc1"},
            {
                "enabled": False,
                "http": {
                    "url": URL,
                    "method": "GET",
                    "body": {"a": [1, None]},
                    "headers": {"X-Token": {"secret": "token"}},
                    "timeout": 500,
                    "tls": {"ca_bundle": {"file": "ca.pem"}, "client_cert": {"file": "/etc/both.pem"}},
                },
            },
        ),
        manifest(
            "DiscoverySettings",
            {"namespace": "prod", "name": "dc1"},
            {
                "backend": "http",
                "enabled": False,
                "url": URL,
                "method": "GET",
                "body": {"a": [1, None]},
                "headers": {"X-Token": {"secret": "token"}},
                "timeout": 500,
                "tls": {"ca_cert": "ca.pem", "client_cert": "/etc/both.pem"},
            },
        ),
    ],
    "file source": [
        manifest("DiscoverySettings", {"namespace": "prod", "name": "f"}, {"backend": "file", "path": "/etc/clusters"}),
        manifest("DiscoverySettings", {"namespace": "prod", "name": "f"}, {"file": {"path": "/etc/clusters"}}),
    ],
    "platform": [
        manifest(
            "Platform",
            {"namespace": "prod", "name": "play"},
            {"discovery": {"interval": 10}, "transport": {"http": {"base_url": "http://localhost:9876/"}}},
        ),
        manifest(
            "Platform",
            None,
            {
                "ns_id": "prod",
                "name": "play",
                "active": True,
                "discovery": {"interval": 10},
                "url": {"base_url": "http://localhost:9876/"},
            },
        ),
        manifest(
            "platform",
            {"namespace": "prod", "name": "play"},
            {"discovery": {"interval": 10}, "http": {"base_url": "http://localhost:9876/"}},
        ),
        manifest(
            "Platform",
            {"namespace": "prod", "name": "play"},
            {"discovery": {"interval": 10}, "transport": {"url": {"base_url": "http://localhost:9876"}}},
        ),
    ],
    "platform with TLS": [
        manifest(
            "Platform",
            {"namespace": "prod", "name": "play"},
            {
                "active": False,
                "transport": {
                    "http": {
                        "base_url": "https://play.test/api/",
                        "tls": {"ca_bundle": PUBLIC_PEM, "insecure_skip_verify": True},
                    }
                },
            },
        ),
        manifest(
            "Platform",
            {"namespace": "prod", "name": "play"},
            {
                "active": False,
                "url": {
                    "base_url": "https://play.test/api/",
                    "tls_ca_bundle": PUBLIC_PEM,
                    "tls_insecure_skip_verify": True,
                },
            },
        ),
    ],
    "cluster": [
        manifest("ClusterSpec", {"namespace": "prod", "cluster": "orders"}, {"interval": 5, "active": False}),
        manifest("ClusterSpec", {"namespace": "prod", "name": "orders"}, {"interval": 5, "active": False}),
        manifest("clusterSpec", {}, {"ns_id": "prod", "cluster_id": "orders", "interval": 5, "active": False}),
    ],
    "declared cluster": [
        manifest(
            "ClusterSpec",
            {"namespace": "prod", "cluster": "orders", "labels": {"env": "prod"}},
            {
                "probe_interval": 0,
                "lag_limit_s": 5,
                "nodes": {"n 1": {"labels": {"zone": "a"}}},
                "platform": {"ns_id": "shared", "name": "play"},
                "declaration": {
                    "definition": DEFINITION,
                    "approval": "required",
                    "graces": {"scale_up": 7},
                    "initialise": {"mode": "SingleNode", "search": {"matches": {"node_class": "small"}}},
                    "expand": {"mode": "Add", "target_member": {"matches": {"a": [1, 2], "b": {"op": "unset"}}}},
                },
            },
        ),
        manifest(
            "ClusterSpec",
            None,
            {
                "ns_id": "prod",
                "cluster_id": "orders",
                "labels": {"env": "prod"},
                "probe_interval": 0,
                "lag_limit_s": 5.0,
                "nodes": {"n 1": {"labels": {"zone": "a"}}},
                "platform": {"namespace": "shared", "name": "play"},
                "declaration": {
                    "definition": DEFINITION,
                    "approval": "required",
                    "grace_up": 7,
                    "initialise": {
                        "mode": "single-node",
                        "search": {"matches": {"node_class": {"op": "eq", "value": "small"}}},
                    },
                    "expand": {
                        "mode": "add",
                        "target_member": {"matches": {"a": {"op": "in", "values": [1, 2]}, "b": {"op": "unset"}}},
                    },
                },
            },
        ),
    ],
    "node action": [
        manifest(
            "NodeAction",
            {"namespace": "prod", "cluster": "orders", "node": "n1"},
            {"action": "agent.replicante.io/test.success", "args": {"n": 1}},
        ),
        manifest(
            "AgentAction",
            {"namespace": "prod", "cluster": "orders", "node": "n1", "approval": "required"},
            {"action": "agent.replicante.io/test.success", "args": {"n": 1}},
        ),
        manifest(
            "NAction",
            None,
            {
                "ns_id": "prod",
                "cluster_id": "orders",
                "node_id": "n1",
                "kind": "agent.replicante.io/test.success",
                "args": {"n": 1},
            },
        ),
    ],
    "orchestrator action": [
        manifest(
            "OrchestratorAction",
            {"namespace": "prod", "cluster": "orders", "approval": "granted"},
            {
                "action": "core.replicante.io/debug.ping",
                "timeout": {"secs": 5400, "nanos": 0},
                "metadata": {"why": "x"},
            },
        ),
        manifest(
            "OAction",
            None,
            {
                "ns_id": "prod",
                "cluster_id": "orders",
                "kind": "core.replicante.io/debug.ping",
                "approval": "granted",
                "timeout": "1h30m",
                "metadata": {"why": "x"},
            },
        ),
        manifest(
            "oaction",
            {"namespace": "prod", "cluster": "orders"},
            {
                "approval": "granted",
                "action": "core.replicante.io/debug.ping",
                "timeout": 5400,
                "metadata": {"why": "x"},
            },
        ),
    ],
}
"""By what they mean, documents that all mean the same."""
