from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from blocks.errors import InvalidInputError
from blocks.models.action import Action
from blocks.models.base import Json
from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.platform import PlatformRef
from blocks.models.source import Source
from blocks.models.submission import Effect
from doubles.actions import make_action
from doubles.views import discovery
from tasks.cluster_actions.table import CATALOGUE
from tasks.decide.manifests import Wanted
from tasks.decide.plan import Stored, planned

PROD = Namespace(name="prod", version=3)
PLATFORM = Source.model_validate(
    {"namespace": "prod", "name": "metal", "platform": {"base_url": "http://metal.test/"}, "version": 1}
)
HTTP = Source.model_validate({"namespace": "prod", "name": "metal", "http": {"url": "http://inventory.test/?key=k"}})
SPEC = ClusterSpec(namespace="prod", cluster_id="orders", version=4)


def _stored(*, status: NamespaceStatus = NamespaceStatus.ACTIVE, **parts: Any) -> Stored:
    return Stored(namespaces={"prod": PROD.evolve(status=status)}, **parts)


def _faults(stored: Stored, *wanted: Wanted) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInputError, match="nothing was applied") as caught:
        planned(wanted, stored, "ann", CATALOGUE)
    return [tuple(fault) for fault in caught.value.faults]


def test_equal_objects_are_left_alone() -> None:
    """The stored version does not count: nothing is written, nothing told."""
    made = planned([PROD.evolve(version=0), SPEC.evolve(version=0)], _stored(specs={SPEC.key: SPEC}), "ann", CATALOGUE)

    assert (True, {Effect.UNCHANGED}) == (made.change.empty, {one.effect for one in made.applied})


def test_what_differs_is_named_field_by_field() -> None:
    """By dotted path, before and after; the next version is written where the stored one is."""
    after = SPEC.evolve(version=0, interval=5.0, labels={"env": "prod"})
    made = planned([after], _stored(specs={SPEC.key: SPEC}), "ann", CATALOGUE)
    (one,) = made.applied

    assert [("interval", None, 5.0), ("labels.env", None, "prod")] == [
        (each.path, each.before, each.after) for each in one.differences
    ]
    assert [5] == [record.version for record in made.change.swaps]


@pytest.mark.parametrize(("was", "wanted"), [(1, True), (True, 1), (1, 1.0)])
def test_a_value_of_another_type_is_another_value(was: Json, wanted: Json) -> None:
    """1 and true are equal to Python, and not to a source."""
    before, after = (
        Source.model_validate(
            {
                "namespace": "prod",
                "name": "api",
                "http": {"url": "http://x.test/", "method": "POST", "body": {"all": value}},
            }
        )
        for value in (was, wanted)
    )
    made = planned([after], _stored(sources={before.key: before.evolve(version=4)}), "ann", CATALOGUE)
    (one,) = made.applied

    assert (Effect.CHANGED, [True]) == (one.effect, [each.hidden for each in one.differences])


def test_a_change_that_must_not_be_shown_is_still_a_change() -> None:
    """Another secret in the same place: changed, said without a value; the event masks it too."""
    before = Source.model_validate(
        {**dict(HTTP), "http": {"url": "http://i.test/", "headers": {"t": "one"}}, "version": 1}
    )
    after = Source.model_validate({**dict(HTTP), "http": {"url": "http://i.test/", "headers": {"t": "two"}}})
    made = planned([after], _stored(sources={before.key: before}), "ann", CATALOGUE)

    assert [("http.headers.t.text", True)] == [(each.path, each.hidden) for each in made.applied[0].differences]
    assert not {"one", "two"} & set(str(made.change.drafts).replace('"', "'").split("'"))


def test_the_query_of_a_url_is_not_told() -> None:
    """It may hold a key."""
    made = planned([HTTP], _stored(), "ann", CATALOGUE)

    assert "key=k" not in str(made.change.drafts)


@pytest.mark.parametrize("status", [NamespaceStatus.DELETING, NamespaceStatus.DELETED])
@pytest.mark.parametrize(
    "wanted", [HTTP, PLATFORM.evolve(version=0, name="new"), SPEC.evolve(interval=9.0), make_action(0)]
)
def test_nothing_is_added_to_what_goes(status: NamespaceStatus, wanted: Wanted) -> None:
    """A namespace that is being deleted, or is deleted, takes no object of any kind; one that is there unchanged is fine."""
    stored = _stored(status=status, specs={SPEC.key: SPEC}, discoveries={"prod/orders": discovery()})
    made = planned([SPEC.evolve(version=0)], stored, "ann", CATALOGUE)

    assert [
        ("document 1: metadata.namespace", f"namespace 'prod' is {status}: nothing is added to it or changed in it")
    ] == (_faults(stored, wanted))
    assert made.change.empty


@pytest.mark.parametrize("status", [NamespaceStatus.DELETING, NamespaceStatus.DELETED])
def test_what_goes_does_not_come_back(status: NamespaceStatus) -> None:
    """The status of a going namespace cannot be changed by a manifest; the manifest that says the same is fine."""
    ((where, reason),) = _faults(_stored(status=status), PROD.evolve(version=0))
    same = planned([PROD.evolve(version=0, status=status)], _stored(status=status), "ann", CATALOGUE)

    assert ("document 1: spec.status", True) == (where, reason.startswith(f"it is {status} and never comes back"))
    assert same.change.empty


def test_a_namespace_is_not_deleted_by_a_manifest() -> None:
    """Deleting has checks of its own."""
    ((_, reason),) = _faults(_stored(), PROD.evolve(status=NamespaceStatus.DELETING))

    assert "`replictl delete namespace prod`" in reason


def test_sources_and_platforms_share_their_names() -> None:
    """One does not become the other."""
    ((where, reason),) = _faults(_stored(sources={PLATFORM.key: PLATFORM}), HTTP)

    assert ("document 1: metadata.name", True) == (where, reason.startswith("there is a Platform of that name already"))


def test_a_specs_platform_must_be_there() -> None:
    """Stored, or in the same set; in another namespace where it says so."""
    spec = SPEC.evolve(version=0, platform=PlatformRef(name="metal"))
    elsewhere = SPEC.evolve(version=0, platform=PlatformRef(ns_id="infra", name="metal"))
    ((where, reason),) = _faults(_stored(sources={PLATFORM.key: PLATFORM}), elsewhere)

    assert ("document 1: spec.platform", True) == (where, "there is no Platform infra/metal" in reason)
    assert not planned([spec], _stored(sources={PLATFORM.key: PLATFORM}), "ann", CATALOGUE).change.empty
    assert not planned([spec, PLATFORM.evolve(version=0)], _stored(), "ann", CATALOGUE).change.empty


def test_a_spec_that_is_unchanged_may_name_a_platform_that_is_gone() -> None:
    """One that was deleted by force: what was exported applies, and nothing else of it changes."""
    spec = SPEC.evolve(platform=PlatformRef(name="metal"))
    stored = _stored(specs={SPEC.key: spec})
    made = planned([spec.evolve(version=0)], stored, "ann", CATALOGUE)
    ((where, _),) = _faults(stored, spec.evolve(version=0, interval=9.0))

    assert (True, "document 1: spec.platform") == (made.change.empty, where)


def test_a_cluster_action_needs_its_cluster() -> None:
    """Declared or discovered is enough; an unknown one is said."""
    action: Action = make_action(0).evolve(node_id=None, kind="core.replicante.io/debug.ping")
    ((where, _),) = _faults(_stored(), action)

    assert "document 1: metadata.cluster" == where
    assert not planned([action], _stored(specs={SPEC.key: SPEC}), "ann", CATALOGUE).change.empty
    assert not planned([SPEC.evolve(version=0), action], _stored(), "ann", CATALOGUE).change.empty


@pytest.mark.parametrize(
    ("kind", "args", "where", "reason"),
    [
        ("core.replicante.io/nonsense", {}, "spec.action", "`replictl catalogue` lists them"),
        ("core.replicante.io/debug.counting", None, "spec.args", "count: Field required"),
        ("core.replicante.io/debug.counting", {"count": 0}, "spec.args", "count: Input should be greater"),
        ("core.replicante.io/test.success", {"x": 1}, "spec.args", "x: Extra inputs are not permitted"),
        ("core.replicante.io/http", {"remote": {"url": "ftp://x"}}, "spec.args", "remote.url: URL scheme"),
        (
            "core.replicante.io/http",
            {"remote": {"url": "http://x", "headers": {"Authorization": "Bearer hunter22"}}},
            "spec.args",
            "give {secret: NAME}",
        ),
    ],
)
def test_a_cluster_action_fits_its_kind(kind: str, args: Json, where: str, reason: str) -> None:
    """Unknown kinds and arguments that do not fit are refused before anything is stored; what was given is not repeated."""
    action = make_action(0).evolve(node_id=None, kind=kind, args=args)
    ((place, why),) = _faults(_stored(specs={SPEC.key: SPEC}), action)

    assert f"document 1: {where}" == place
    assert reason in why
    assert "hunter22" not in why


def test_every_fault_is_found() -> None:
    """One for each object, with the place of its document."""
    faults = _faults(Stored(), SPEC, HTTP, PROD.evolve(status=NamespaceStatus.DELETED))

    assert ["document 3: spec.status"] == [where for where, _ in faults]


def test_declaring_what_a_source_told_of_says_so() -> None:
    """The usual first step: the difference is that a person declares it from now on."""
    synthetic = ClusterSpec(namespace="prod", cluster_id="orders", synthetic=True, version=1)
    stored = Stored(namespaces={"prod": Namespace(name="prod", version=1)}, specs={synthetic.key: synthetic})
    declared = ClusterSpec(namespace="prod", cluster_id="orders")
    (applied,) = planned([declared], stored, "ann", CATALOGUE).applied

    assert [("synthetic", True, False)] == [(one.path, one.before, one.after) for one in applied.differences]


def test_a_moment_of_ours_is_no_difference() -> None:
    """While somebody tries to delete a namespace it is marked for a minute; applying it unchanged changes nothing."""
    before = Namespace(name="prod", closing_until=datetime(2026, 1, 1, tzinfo=UTC), version=3)
    made = planned([Namespace(name="prod")], Stored(namespaces={"prod": before}), "ann", CATALOGUE)

    assert (Effect.UNCHANGED, True) == (made.applied[0].effect, made.change.empty)
