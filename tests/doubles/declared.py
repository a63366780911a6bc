"""Hypothesis strategies for records that manifests ask for, with all that YAML could misread, and without inline secrets."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from blocks.models.action import Action, ActionState, Approval
from blocks.models.base import Json
from blocks.models.cluster import ClusterSpec
from blocks.models.declaration import Declaration, Expand, ExpandMode, Graces, Initialise, InitialiseMode
from blocks.models.namespace import Namespace, NamespaceSettings, NamespaceStatus
from blocks.models.node import Protocol
from blocks.models.platform import ClusterDefinition, NodeGroup, PlatformRef
from blocks.models.search import Matcher, MatchOp, NodeSearch
from blocks.models.source import FileDiscovery, HttpDiscovery, HttpMethod, PlatformApi, Source
from blocks.models.tls import Sensitive, Tls
from doubles.manifests import PUBLIC_PEM, URL
from doubles.views import NOW

names = st.from_regex(r"[a-z0-9]([-a-z0-9._]{0,8}[a-z0-9])?", fullmatch=True)
texts = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp")), max_size=12)
ids = texts.filter(lambda text: text and text == text.strip() and text not in {".", ".."})
labels = st.dictionaries(
    st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,8}[A-Za-z0-9])?", fullmatch=True),
    texts.map(str.strip),
    max_size=3,
)
seconds = st.integers(1, 1_000).map(float) | st.floats(0.1, 31 * 86_400)
json_texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12) | st.sampled_from(
    [
        "yes",
        "1e5",
        "0o7",
        "~",
        "<<",
        "=",
        "2024-01-01",
        "1:30",
        "- a",
        "\x85",
        "\x7f",
        "\N{PILE OF POO}",
        "a: b",
        "#",
        "\x00",
    ]
)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
jsons: st.SearchStrategy[Json] = st.recursive(
    scalars | json_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_texts, inner, max_size=3),
    max_leaves=6,
)
urls = st.sampled_from([URL, "https://a.test", "https://[::1]:9/x?y=%20z#f", "http://bücher.test/ä"])
kept = st.builds(Sensitive, file=texts) | st.builds(Sensitive, secret=texts)
public = st.just(Sensitive.model_validate(PUBLIC_PEM))
tls = st.builds(Tls, ca_bundle=st.none() | kept | public, insecure_skip_verify=st.booleans()) | st.builds(
    Tls, client_cert=kept | public, client_key=st.none() | kept
)
headers = st.dictionaries(st.from_regex(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,9}", fullmatch=True), kept, max_size=3)

namespaces = st.builds(
    Namespace,
    name=names,
    status=st.sampled_from(NamespaceStatus),
    tls=st.none() | tls,
    settings=st.builds(
        NamespaceSettings,
        schedule_attempts_max=st.integers(1, 100),
        agent_timeout=seconds,
        orchestrate_interval=seconds,
        probe_interval=st.floats(0, 3_600),
        probe_timeout=seconds,
        agent_protocol=st.none() | st.sampled_from(Protocol),
    ),
    labels=labels,
)
https = st.builds(
    HttpDiscovery,
    url=urls,
    method=st.sampled_from(HttpMethod),
    body=st.dictionaries(json_texts, jsons, max_size=3),
    headers=headers,
    timeout=st.integers(10, 120_000),
    tls=st.none() | tls,
)
files = st.builds(FileDiscovery, path=st.from_regex(r"/[^\x00\ud800-\udfff]{0,9}", fullmatch=True))
platforms = st.builds(
    PlatformApi, base_url=urls, headers=headers, timeout=st.integers(10, 600_000), tls=st.none() | tls
)
sources = st.one_of(
    *(
        st.builds(
            Source,
            namespace=names,
            name=names,
            enabled=st.booleans(),
            interval=st.none() | seconds,
            labels=labels,
            **{part: how},
        )
        for part, how in (("http", https), ("file", files), ("platform", platforms))
    )
)
attributes = scalars | json_texts
searches = st.builds(
    NodeSearch,
    matches=st.dictionaries(
        json_texts.filter(bool),
        st.builds(
            Matcher,
            op=st.sampled_from(MatchOp),
            value=attributes,
            values=st.none() | st.lists(attributes, max_size=3).map(tuple),
        ),
        max_size=3,
    ),
    max_results=st.none() | st.integers(1, 9),
    sort_by=st.lists(json_texts.filter(bool), max_size=2).map(tuple),
)
groups = st.builds(
    NodeGroup,
    desired_count=st.integers(0, 9),
    node_class=texts.filter(bool),
    attributes=st.dictionaries(json_texts, jsons, max_size=2),
    store_version=st.none() | texts,
)


def _cluster_spec(cluster_id: str, defined: ClusterDefinition | None, **fields: Any) -> ClusterSpec:
    declaration: Declaration = fields.pop("declaration")
    if defined is not None:
        fields["platform"] = PlatformRef(name="play")
        declaration = declaration.evolve(definition=defined.evolve(cluster_id=cluster_id))
    return ClusterSpec(cluster_id=cluster_id, declaration=declaration, **fields)


cluster_specs = st.builds(
    _cluster_spec,
    namespace=names,
    cluster_id=ids,
    active=st.booleans(),
    interval=st.none() | seconds,
    probe_interval=st.none() | st.floats(0, 3_600),
    lag_limit_s=st.floats(0, 1e9, exclude_min=True),
    lag_limits=st.dictionaries(st.sampled_from(["messages", "zxid", "bytes"]), st.integers(0, 2**63 - 1)),
    lag_grace=st.floats(0, 3_600),
    not_counted=st.lists(ids, max_size=3).map(tuple),
    labels=labels,
    node_labels=st.dictionaries(ids, labels, max_size=3),
    platform=st.none() | st.builds(PlatformRef, ns_id=st.none() | names, name=names),
    defined=st.none()
    | st.builds(
        ClusterDefinition,
        cluster_id=ids,
        store=texts.filter(bool),
        store_version=texts.filter(bool),
        attributes=st.dictionaries(json_texts, jsons, max_size=2),
        nodes=st.dictionaries(json_texts, groups, max_size=2),
    ),
    declaration=st.builds(
        Declaration,
        active=st.booleans(),
        approval=st.sampled_from(Approval),
        expand=st.builds(Expand, mode=st.sampled_from(ExpandMode), target_member=st.none() | searches),
        graces=st.builds(Graces, expand=st.integers(0, 9), scale_up=st.integers(0, 9)),
        initialise=st.builds(
            Initialise, action_args=jsons, mode=st.sampled_from(InitialiseMode), search=st.none() | searches
        ),
    ),
)
actions = st.builds(
    Action,
    action_id=st.uuids().map(str),
    namespace=names,
    cluster_id=ids,
    node_id=st.none() | ids,
    kind=st.just("agent.replicante.io/test.success"),
    args=jsons,
    metadata=st.dictionaries(json_texts, texts, max_size=3),
    state=st.sampled_from(ActionState),
    created_at=st.just(NOW),
    created_by=st.just("bob"),
    approved_by=st.none() | st.just("bob"),
)
declarative = st.one_of(namespaces, sources, cluster_specs)
"""Any record that a person declares, without inline secrets."""
