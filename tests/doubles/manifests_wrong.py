"""Manifests with one thing wrong, and with one thing changed."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from doubles.manifests import PUBLIC_PEM, SAME, URL, manifest

_SOURCE = {"namespace": "prod", "name": "dc1"}
_CLUSTER = {"namespace": "prod", "cluster": "orders"}
_NODE = {**_CLUSTER, "node": "n1"}

WRONG: list[tuple[dict[str, Any], str]] = [
    (manifest("Namespace", {"name": "prod", "colour": 1}), "metadata.colour"),
    (manifest("Namespace", {"name": "prod"}, {"settings": {"agent_timout": 3}}), "spec.settings.agent_timout"),
    (manifest("Namespace", {"name": "prod"}, {"settings": {"agent_timeout": "3"}}), "spec.settings.agent_timeout"),
    (manifest("Namespace", {"name": "prod"}, {"tls": {"ca": "x"}}), "spec.tls.ca"),
    (manifest("Namespace", {"name": "prod"}, {"tls": {"ca_bundle": "ca.pem"}}), "spec.tls.ca_bundle"),
    (
        manifest("Namespace", {"name": "prod"}, {"https_transport": {"ca_bundle": "ca.pem"}}),
        "spec.https_transport.ca_bundle",
    ),
    (manifest("Namespace", {"name": "prod"}, {"https_transport": {"colour": 1}}), "spec.https_transport.colour"),
    (
        manifest("Namespace", {"name": "prod"}, {"https_transport": {"client_key_id": 5}}),
        "spec.https_transport.client_key_id",
    ),
    (
        manifest("Namespace", {"name": "prod"}, {"settings": {"orchestrate": {"max_naction_schedule_attempts": 0}}}),
        "spec.settings.orchestrate.max_naction_schedule_attempts",
    ),
    (
        manifest("Namespace", {"name": "prod"}, {"settings": {"orchestrate": {"colour": 0}}}),
        "spec.settings.orchestrate",
    ),
    (manifest("Namespace", {"name": "prod"}, {"status": "active"}), "spec.status"),
    (manifest("Namespace", {"name": "prod", "labels": {"a b": "c"}}), "metadata.labels.a b"),
    (manifest("DiscoverySettings", _SOURCE, {"url": URL, "tls": {"ca_cert": 5}}), "spec.tls.ca_cert"),
    (manifest("DiscoverySettings", _SOURCE, {"url": URL, "tls": {"client_cert": "a.pem"}}), "spec.tls.client_cert"),
    (manifest("DiscoverySettings", _SOURCE, {"url": URL, "headers": {"a": 5}}), "spec.headers.a"),
    (manifest("DiscoverySettings", _SOURCE, {"url": URL, "method": "PUT"}), "spec.method"),
    (manifest("DiscoverySettings", _SOURCE, {"interval": 5}), "spec.url"),
    (manifest("DiscoverySettings", _SOURCE, {"timeout": 50}), "spec.url"),
    (manifest("DiscoverySettings", _SOURCE, {"backend": "file"}), "spec.path"),
    (manifest("DiscoverySettings", _SOURCE, {"path": "relative"}), "spec.path"),
    (manifest("DiscoverySettings", _SOURCE, {"url": URL, "backend": "kubernetes"}), "spec.backend"),
    (manifest("Platform", _SOURCE, {"url": {"base_url": 5}}), "spec.url.base_url"),
    (
        manifest("Platform", _SOURCE, {"url": {"base_url": URL, "tls_ca_bundle": "ca.pem"}}),
        "spec.url.tls_ca_bundle",
    ),
    (manifest("Platform", _SOURCE, {"url": {"base_url": URL, "colour": 1}}), "spec.url.colour"),
    (manifest("Platform", _SOURCE, {"discovery": {"interval": 1}}), "spec.transport"),
    (manifest("ClusterSpec", _CLUSTER, {"interval": "often"}), "spec.interval"),
    (manifest("ClusterSpec", _CLUSTER, {"active": "yes"}), "spec.active"),
    (manifest("ClusterSpec", _CLUSTER, {"synthetic": True}), "spec.synthetic"),
    (manifest("ClusterSpec", _CLUSTER, {"declaration": {"grace_up": "5"}}), "spec.declaration.grace_up"),
    (
        manifest("ClusterSpec", _CLUSTER, {"declaration": {"initialise": {"mode": "add"}}}),
        "spec.declaration.initialise.mode",
    ),
    (
        manifest("ClusterSpec", _CLUSTER, {"declaration": {"expand": {"target_member": {"colour": 1}}}}),
        "spec.declaration.expand.target_member.colour",
    ),
    (manifest("ClusterSpec", _CLUSTER, {"nodes": {"n1": {"colour": 1}}}), "spec.nodes.n1.colour"),
    (manifest("NodeAction", _NODE, {"args": 1}), "spec.action"),
    (manifest("NodeAction", _NODE, {"action": "x", "metadata": {"a": 1}}), "spec.metadata.a"),
    (manifest("NodeAction", _NODE, {"action": "x", "timeout": 5}), "spec.timeout"),
    (manifest("NodeAction", _NODE, {"action": "x", "approval": "yes"}), "spec.approval"),
    (manifest("OrchestratorAction", _NODE, {"action": "x"}), "metadata.node"),
    (manifest("OrchestratorAction", _CLUSTER, {"action": "x", "timeout": "soon"}), "spec.timeout"),
    (manifest("OrchestratorAction", _CLUSTER, {"action": "x", "timeout": {"secs": "5"}}), "spec.timeout"),
    (manifest("OrchestratorAction", _CLUSTER, {"action": "x", "timeout": 0}), "spec.timeout"),
    ({**manifest("OAction", _CLUSTER, {"action": "x"}), "approved": True}, "approved"),
]
"""Documents with one fault each that a schema can see as well, and where it is."""


def _places(value: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    inner = (
        [place for name, item in value.items() for place in _places(item, (*path, name))]
        if isinstance(value, dict)
        else []
    )
    return [path, *inner] if path else inner


def _changed(value: dict[str, Any], path: tuple[str, ...], change: list[Any]) -> dict[str, Any]:
    first, *rest = path
    if rest:
        return {**value, first: _changed(value[first], tuple(rest), change)}
    others = {name: item for name, item in value.items() if name != first}
    return {**others, first: change[0]} if change else others


@st.composite
def distorted(draw: st.DrawFn) -> dict[str, Any]:
    """A good manifest in which one value is missing or another, or which has one more field."""
    document = draw(st.sampled_from([one for same in SAME.values() for one in same]))
    path = draw(st.sampled_from([place for place in _places(document) if place[0] != "kind"]))
    values = st.sampled_from(
        [None, True, 0, 7, 0.5, "", "x", "10m", "single-node", PUBLIC_PEM, [], [1], {}, {"a": "b"}, {"secret": "x"}]
    )
    if draw(st.booleans()):
        words = sorted({word for same in SAME.values() for one in same for place in _places(one) for word in place})
        path = (*path[:-1], draw(st.sampled_from(words).filter(lambda word: word != "kind" or len(path) > 1)))
        return _changed(document, path, [draw(values)])
    return _changed(document, path, draw(st.lists(values, max_size=1)))
