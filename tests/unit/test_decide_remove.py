from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import RefusedError
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.event import EventType
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.node import Node
from blocks.models.platform import PlatformRef
from blocks.models.record import RecordKey
from blocks.models.report import Report
from blocks.models.rolling import RollingState
from blocks.models.source import HttpDiscovery, PlatformApi, Source
from blocks.models.tls import Sensitive, Tls
from doubles.actions import make_action
from doubles.rollings import make_rolling
from doubles.views import NOW, REF, discovery, intent, make_node
from tasks.decide.going import namespace_closed, namespace_emptied, namespace_freed
from tasks.decide.remove import (
    CHUNK_MAX,
    NAMED_MAX,
    Order,
    Remains,
    cluster_removed,
    comes_back,
    leftovers_removed,
    refuse_under_way,
)
from tasks.decide.remove_source import platform_key, refuse_named_platforms, source_deleted
from tasks.decide.secret_names import own_secrets

S = ActionState
ANN = Order(by="ann", reason="retired")
FORCED = Order(by="ann", reason="burnt down", force=True)
SPEC = ClusterSpec(namespace="prod", cluster_id="orders", version=4)


def source(name: str = "inventory", *secrets: str) -> Source:
    """A source that names these secrets."""
    headers = {f"h{number}": Sensitive(secret=secret) for number, secret in enumerate(secrets)}
    http = HttpDiscovery.model_validate({"url": "http://inventory.test/", "headers": headers})
    return Source(namespace="prod", name=name, http=http, version=2)


@pytest.mark.parametrize(
    ("action", "busy"),
    [
        (make_action(state=S.PENDING_APPROVE), False),
        (make_action(state=S.PENDING_SCHEDULE), False),
        (make_action(state=S.PENDING_SCHEDULE, intent=intent()), True),
        (make_action(state=S.NEW), True),
        (make_action(state=S.RUNNING), True),
        (make_action(state=S.DONE, intent=intent()), False),
        (make_action(state=S.CANCELLED, intent=intent()), False),
        (make_action(state=S.CANCELLED, left_running=True), True),
    ],
)
def test_what_an_agent_may_be_at_work_on(action: Action, busy: bool) -> None:
    """It has it, or a request may have reached it; of what is final only what was cancelled while it had it."""
    assert busy == action.under_way


def test_a_refusal_names_some_and_counts_the_rest() -> None:
    """However many are under way, the sentence stays readable."""
    actions = [make_action(number, state=S.RUNNING) for number in range(NAMED_MAX + 5)]
    with pytest.raises(RefusedError, match="and 5 more") as caught:
        refuse_under_way("cluster prod/orders", actions, [], ANN)

    assert NAMED_MAX == str(caught.value).count("RUNNING")
    refuse_under_way("cluster prod/orders", actions, [make_rolling()], FORCED)


def test_what_was_cancelled_here_only_is_called_so() -> None:
    """Its agent may go on with it."""
    with pytest.raises(RefusedError, match="CANCELLED here, prod/orders/n1"):
        refuse_under_way("cluster prod/orders", [make_action(state=S.CANCELLED, left_running=True)], [], ANN)


@pytest.mark.parametrize("state", list(RollingState))
def test_a_rolling_action_is_in_the_way_while_it_goes_on(state: RollingState) -> None:
    """Between two batches no agent has anything of it; one that waits for a person, or has ended, is in nobody's way."""
    rolling = make_rolling(state=state)
    if state is not RollingState.RUNNING:
        refuse_under_way("cluster prod/orders", [], [rolling], ANN)
        return
    with pytest.raises(RefusedError, match="is gone through by rolling action") as caught:
        refuse_under_way("cluster prod/orders", [make_action(state=S.RUNNING)], [rolling], ANN)

    assert (True, True) == (rolling.rolling_id in str(caught.value), "an agent has" in str(caught.value))


@given(nodes=st.integers(0, 2 * CHUNK_MAX + 1), actions=st.integers(0, 3))
def test_all_goes_once_and_what_makes_it_a_cluster_last(nodes: int, actions: int) -> None:
    """Every node and action in exactly one transaction of bounded size; spec, discovery, state, report and event in the last."""
    remains = Remains(
        REF,
        spec=SPEC,
        discovery=discovery(),
        nodes=[make_node(f"m{number}") for number in range(nodes)],
        actions=[make_action(number) for number in range(actions)],
    )
    changes = cluster_removed(remains, ANN, now=NOW)
    deleted = [key.key for change in changes for key in change.deletes if key.record_type is Node]
    cancelled = [one for change in changes for one in change.swaps if isinstance(one, Action)]

    assert sorted(node.key for node in remains.nodes) == sorted(deleted)
    assert {S.CANCELLED} >= {one.state for one in cancelled}
    assert actions == len(cancelled)
    assert max(len(change.deletes) + len(change.swaps) for change in changes) <= CHUNK_MAX + 5
    assert {(ClusterSpec, REF.key), (Discovery, REF.key), (ClusterState, REF.key), (Report, REF.key)} <= {
        (key.record_type, key.key) for key in changes[-1].deletes
    }
    assert [EventType.CLUSTER_DELETED] == [
        told.type for change in changes for told in change.drafts if told.type is not EventType.ACTION_FINISHED
    ]
    assert EventType.CLUSTER_DELETED is changes[-1].drafts[-1].type


def test_a_spec_is_deleted_as_it_was_read() -> None:
    """One that was applied since then is read first: its version is expected."""
    (change,) = cluster_removed(Remains(REF, spec=SPEC), ANN, now=NOW)

    assert (SPEC.evolve(version=5),) == change.swaps


def test_leftovers_are_told_of_as_actions_only() -> None:
    """That the cluster is gone has been told."""
    (change,) = leftovers_removed(Remains(REF, actions=[make_action()]), ANN, now=NOW)

    assert [EventType.ACTION_FINISHED] == [told.type for told in change.drafts]
    assert () == leftovers_removed(Remains(REF), ANN, now=NOW)


@pytest.mark.parametrize(
    ("remains", "back"),
    [
        (Remains(REF, discovery=discovery(), source=source()), True),
        (Remains(REF, discovery=discovery(missing_since=NOW), source=source()), False),
        (Remains(REF, discovery=discovery(), source=source().evolve(enabled=False)), False),
        (Remains(REF, discovery=discovery()), False),
        (Remains(REF, spec=SPEC), False),
    ],
    ids=["told of", "missing", "source off", "source gone", "spec only"],
)
def test_what_comes_back(remains: Remains, back: bool) -> None:
    """Only what a source that is asked still tells of."""
    assert back == bool(comes_back(remains))


def test_own_secrets() -> None:
    """Those that were made for it and that nobody else names, in headers and TLS of sources and namespaces."""
    tls = Tls(client_cert=Sensitive(file="/c"), client_key=Sensitive(secret="replicore-shared-0123abcd"))
    going = source("a", "replicore-own-0123abcd", "replicore-shared-0123abcd", "mine")
    home = Namespace(name="prod", tls=tls)

    assert ("replicore-own-0123abcd",) == own_secrets(going, [home, source("b", "replicore-other-0123abcd")])
    assert ("replicore-own-0123abcd", "replicore-shared-0123abcd") == own_secrets(going, [])
    assert ("replicore-shared-0123abcd",) == own_secrets(home, [])


@pytest.mark.parametrize(
    ("named", "key"),
    [(None, None), (PlatformRef(name="metal"), "prod/metal"), (PlatformRef(ns_id="hw", name="metal"), "hw/metal")],
)
def test_platform_key(named: PlatformRef | None, key: str | None) -> None:
    """Without a namespace it is one of the cluster's own."""
    assert key == platform_key(SPEC.evolve(platform=named))


def test_platforms_that_are_named() -> None:
    """Refused with the cluster; not by force, and not for others."""
    spec = SPEC.evolve(platform=PlatformRef(name="metal"))
    with pytest.raises(RefusedError, match=r"those of cluster prod/orders\. Change"):
        refuse_named_platforms("platform prod/metal", {"prod/metal"}, [SPEC, spec], ANN)

    refuse_named_platforms("platform prod/metal", {"prod/metal"}, [SPEC, spec], FORCED)
    refuse_named_platforms("platform prod/other", {"prod/other"}, [SPEC, spec], ANN)


def test_a_source_is_deleted_as_it_was_read() -> None:
    """Its event names its kind, and no secret's text."""
    http, platform = source(), PlatformApi.model_validate({"base_url": "http://metal.test/"})
    changes = [
        source_deleted(one, ANN, clusters=2, secrets=["a"]) for one in (http, http.evolve(http=None, platform=platform))
    ]

    assert [3, 3] == [change.swaps[0].version for change in changes]
    assert ["DiscoverySettings", "Platform"] == [change.drafts[0].data["kind"] for change in changes]
    assert RecordKey(Source, "prod/inventory") in changes[0].deletes


def test_the_steps_of_a_namespace() -> None:
    """Each is a compare-and-set with its event; the last frees the name."""
    namespace = Namespace(name="prod", version=2, tls=Tls(ca_bundle=Sensitive(file="/ca")))
    closed, emptied, freed = (
        namespace_closed(namespace, ANN),
        namespace_emptied(namespace),
        namespace_freed(namespace, ANN),
    )

    assert [(NamespaceStatus.DELETING, 3), (NamespaceStatus.DELETED, 3)] == [
        (one.status, one.version) for one in (*closed.swaps, *emptied.swaps) if isinstance(one, Namespace)
    ]
    assert [EventType.NAMESPACE_APPLIED, EventType.NAMESPACE_DELETED, EventType.NAMESPACE_DELETED] == [
        change.drafts[0].type for change in (closed, emptied, freed)
    ]
    assert (RecordKey(Namespace, "prod"),) == freed.deletes
    assert [False, True] == [change.drafts[0].data["name_free"] for change in (emptied, freed)]
