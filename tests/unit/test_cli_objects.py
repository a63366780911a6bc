from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from blocks.models.action import ActionState
from blocks.models.cluster import ClusterSpec, Discovery
from blocks.models.event import EventDraft, EventType
from blocks.models.namespace import Namespace, NamespaceStatus
from blocks.models.platform import PlatformRef
from blocks.models.record import Change
from blocks.models.report import CycleOutcome, Report
from blocks.models.request import Request, WorkKind
from blocks.models.source import PlatformApi, Rejected, Source, SourceReport
from blocks.models.tls import Sensitive, Tls
from deployments.cli.export import IN_ORDER, parts
from doubles.cli import Outside, replictl
from doubles.labelled import labelled, listed
from doubles.store_samples import KEY, NOW, action, later, source, spec
from tasks.decide.documents import read_documents
from tasks.decide.manifests import Asked, parse
from tasks.decide.remove import Removed, Thing

ID = str(UUID(int=1))
METAL = Source(
    namespace="prod", name="metal", platform=PlatformApi.model_validate({"base_url": "http://metal.test/"}), version=1
)


@pytest.fixture
async def outside() -> Outside:
    """Two clusters, a platform and a source without secrets of its own, a cluster that only a source declared."""
    outside = await labelled()
    inventory = source()
    assert inventory.http is not None
    named = inventory.http.evolve(headers={"token": Sensitive(secret="replicore-x")}, body={}, tls=None)
    await outside.put(
        inventory.evolve(http=named, labels={"env": "inventory"}),
        METAL,
        spec(cluster_id="other").evolve(platform=PlatformRef(name="metal")),
        ClusterSpec(namespace="prod", cluster_id="found", synthetic=True, version=1),
    )
    return outside


# -- get -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "titles", "first"),
    [
        ("ns", "NAMESPACE STATUS CLUSTERS SOURCES ACTIONS NOTE", "prod Active 3 2 2"),
        (
            "Clusters",
            "NAMESPACE CLUSTER DECLARED BY EVERY PLATFORM HEALTH NODES NOTE",
            "prod found source 60s - UNKNOWN",
        ),
        ("platform", "NAMESPACE SOURCE KIND ENABLED", "prod metal platform yes"),
        ("discovery-settings", "NAMESPACE SOURCE KIND ENABLED", "prod inventory http yes"),
        ("NodeActions", "ID TARGET KIND STATE", f"{UUID(int=2)} prod/other/n1"),
        ("oa", "no OrchestratorAction", ""),
    ],
)
async def test_get_is_a_table_for_people(
    outside: Outside, capsys: pytest.CaptureFixture[str], kind: str, titles: str, first: str
) -> None:
    """Each kind, in any spelling, with the fields that matter of it."""
    code = await replictl(outside, "get", kind)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    assert 0 == code
    assert lines[0].startswith(titles)
    assert [*lines, ""][1].startswith(first)


async def test_get_gives_machines_manifests_with_a_status(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """A manifest that can be applied again, beside it what is known; one object by its name."""
    found = await listed(outside, capsys, "get", "clusters")
    orders = await listed(outside, capsys, "get", "cluster", "orders")
    code = await replictl(outside, "get", "ns", "prod", "-o", "yaml")
    namespace = yaml.safe_load(capsys.readouterr().out)

    assert ["found", "orders", "other"] == [one["metadata"]["cluster"] for one in found]
    assert ("ClusterSpec", "CRITICAL", 2) == (orders["kind"], orders["status"]["health"], orders["status"]["problems"])
    assert (0, "Namespace", "Active", 3) == (
        code, namespace["kind"], namespace["status"]["status"], namespace["status"]["clusters"],
    )  # fmt: skip


async def test_get_is_narrowed(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """By namespace, by labels, by conditions."""
    await outside.put(Namespace(name="test"), spec(namespace="test"))
    here = await listed(outside, capsys, "get", "clusters", "-n", "test")
    tagged = await listed(outside, capsys, "get", "clusters", "-l", "env=prod")
    where = await listed(outside, capsys, "get", "clusters", "--where", "platform=prod/metal")

    assert [["test"], ["orders"], ["other"]] == [
        [one["metadata"]["namespace"] for one in here],
        [one["metadata"]["cluster"] for one in tagged],
        [one["metadata"]["cluster"] for one in where],
    ]


async def test_namespaces_that_are_going(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """How much is left, and what to do with one that is gone."""
    await outside.put(
        Namespace(name="prod", status=NamespaceStatus.DELETING), Namespace(name="old", status=NamespaceStatus.DELETED)
    )
    await replictl(outside, "get", "namespaces")
    lines = capsys.readouterr().out.splitlines()

    assert lines[1].endswith("`replictl delete namespace old` frees the name")
    assert lines[2].endswith("going, 5 left in it")


async def test_a_secret_is_never_shown(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """What was stored with a secret in it (by an older version) is listed without its spec, and not exported."""
    key = Tls(client_cert=Sensitive.model_validate("C"), client_key=Sensitive.model_validate("hunter2"))
    await outside.put(Namespace(name="prod", tls=key))
    one = await listed(outside, capsys, "get", "ns", "prod")
    code = await replictl(outside, "export")
    out, err = capsys.readouterr()

    assert (False, True, 1) == ("spec" in one, "cannot be exported" in one["status"]["hidden"], code)
    assert "hunter2" not in f"{one}{out}{err}"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("get", "banana"), 1, "unknown kind 'banana'; known kinds are Namespace"),
        (("get", "cluster", "nope"), 1, "there is no cluster nope"),
        (("get", "cluster", "prod/told"), 1, "nobody has declared cluster prod/told, it was only discovered"),
        (("get", "source", "prod/nope"), 1, "there is no DiscoverySettings prod/nope"),
        (("get", "source", "metal"), 1, "metal is of kind Platform, not DiscoverySettings"),
        (("get", "ns", "nope"), 1, "there is no Namespace nope"),
        (("get", "ns", "No Name"), 2, "not the name of a namespace"),
        (("get", "na", "1"), 2, "not the id of an action"),
        (("get", "oa", ID), 1, f"{ID} is of kind NodeAction, not OrchestratorAction"),
        (("describe", "cluster", "prod/nope"), 1, "there is no cluster prod/nope"),
        (("describe", "ns", "nope"), 1, "there is no Namespace nope"),
        (("export", "cluster", "prod/nope"), 1, "there is no cluster prod/nope"),
        (("delete", "banana", "x", "--yes"), 1, "unknown kind"),
        (("delete", "cluster", "nope", "--yes"), 1, "there is no cluster nope"),
        (("delete", "action", ID, "--yes"), 1, f"not deleted but cancelled: `replictl cancel {ID}`"),
        (("delete", "cluster", "orders"), 2, "nobody can be asked here: say --yes"),
        (("delete", "cluster", "orders", "--yes", "--force"), 2, "--force needs --reason"),
        (("pause", "orders", "--for", "2h"), 2, "say why with --reason"),
        (("pause", "orders", "--reason", "x"), 2, "for how long or until when"),
        (("pause", "orders", "--reason", "x", "--for", "soon"), 2, "'soon' is no duration"),
        (("pause", "orders", "--reason", "x", "--until", "soon"), 2, "'soon' is no time"),
        (("pause", "orders", "--reason", "x", "--until", "2020-01-01T00:00:00Z"), 2, "ends in the future"),
        (("pause", "orders", "--reason", "x", "--for", "1d", "--kind", "namespace"), 2, "cannot be paused"),
        (("pause", "nope", "--reason", "x", "--for", "1d"), 1, "there is neither a cluster nor a source nope"),
        (("resume", "prod/nope", "--kind", "source"), 1, "there is no source prod/nope"),
    ],
)
async def test_what_is_not_there_or_not_meant(
    outside: Outside, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, said: str
) -> None:
    """A sentence on stderr, nothing on stdout, no flow run."""
    await outside.put(Discovery(namespace="prod", cluster_id="told", source="prod/inventory"))
    got = await replictl(outside, *arguments)
    out, err = capsys.readouterr()

    assert (code, "", []) == (got, out, outside.called)
    assert said in " ".join(err.split())


# -- export ----------------------------------------------------------------------------------------------------------------


def _applied(text: str) -> list[Any]:
    asked = Asked(who="ann", now=NOW, new_id=lambda: UUID(int=9))
    return list(parse(read_documents(text), asked))


async def test_export_is_what_apply_takes(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything that a person declared, in an order in which nothing names what comes after it; read again it is the same."""
    code = await replictl(outside, "export")
    text = capsys.readouterr().out
    kinds = [document["kind"] for document in yaml.safe_load_all(text)]
    records = _applied(text)

    assert (0, ["Namespace", "Platform", "DiscoverySettings", "ClusterSpec", "ClusterSpec"]) == (code, kinds)
    assert sorted(kinds, key=IN_ORDER.index) == kinds
    for record in records:
        stored = await outside.store_.get(type(record), record.key)
        assert stored == record.evolve(version=stored.version)


async def test_export_of_some(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """One kind, one object, with what only a source declared, or as JSON."""
    await replictl(outside, "export", "clusters", "--all")
    every = [one["metadata"]["cluster"] for one in yaml.safe_load_all(capsys.readouterr().out)]
    await replictl(outside, "export", "cluster", "found")
    (one,) = yaml.safe_load_all(capsys.readouterr().out)
    await replictl(outside, "export", "ns", "-o", "json")
    array = json.loads(capsys.readouterr().out)
    await replictl(outside, "export", "oactions")
    out, err = capsys.readouterr()

    assert ["found", "orders", "other"] == every
    assert ("found", ["Namespace"]) == (one["metadata"]["cluster"], [each["kind"] for each in array])
    assert ("", "nothing is declared\n") == (out, err)


async def test_what_is_going_is_not_exported(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """Namespaces that are being deleted, and what is in them, could not be applied; that is said."""
    await outside.put(Namespace(name="test"), Namespace(name="prod", status=NamespaceStatus.DELETING))
    await replictl(outside, "export")
    out, err = capsys.readouterr()

    assert ["test"] == [one["metadata"]["name"] for one in yaml.safe_load_all(out)]
    assert "6 objects of namespaces that are being deleted are left out" in err


async def test_platforms_that_are_gone_are_said(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """By force, or with their namespace: who exports a cluster that names one hears of it."""
    platform = PlatformApi.model_validate({"base_url": "http://metal.test/"})
    metal = Source(namespace="old", name="metal", platform=platform)
    spec = ClusterSpec(namespace="prod", cluster_id="lost", platform=PlatformRef(name="burnt"))
    left = spec.evolve(cluster_id="left", platform=PlatformRef(ns_id="old", name="metal"))
    await outside.put(Namespace(name="old", status=NamespaceStatus.DELETING), metal, spec, left)
    await replictl(outside, "export")
    every = capsys.readouterr().err
    await replictl(outside, "export", "cluster", "prod/lost")
    one = capsys.readouterr().err

    assert "platforms that are not there: prod/left (old/metal), prod/lost (prod/burnt);" in every
    assert "platforms that are not there: prod/lost (prod/burnt);" in one


async def test_a_platform_that_cannot_be_read_is_there(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """A cluster that names it is exported, and nobody is told that its platform is gone."""
    metal = Source(
        namespace="prod", name="metal", platform=PlatformApi.model_validate({"base_url": "http://metal.test/"})
    )
    spec = ClusterSpec(namespace="prod", cluster_id="left", platform=PlatformRef(name="metal"))
    await outside.put(metal, spec)
    outside.store_.broken = {(Source, metal.key)}
    code = await replictl(outside, "export", "cluster", "prod/left")

    assert (0, "") == (code, capsys.readouterr().err)


async def test_export_in_parts(outside: Outside, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Into a folder: read in the order of the files' names it is all there was; a folder with anything in it is refused."""
    code = await replictl(outside, "export", "--folder", str(tmp_path / "new"))
    out, err = capsys.readouterr()
    await replictl(outside, "export")
    whole = _applied(capsys.readouterr().out)
    again = await replictl(outside, "export", "--folder", str(tmp_path))
    (part,) = (tmp_path / "new").iterdir()

    assert (0, "", 2) == (code, out, again)
    assert "5 objects in 1 file; apply them in this order" in err
    assert (whole, "part-0001.yaml") == (_applied(part.read_text()), part.name)
    assert "is not an empty folder" in " ".join(capsys.readouterr().err.split())


@given(st.lists(st.text(max_size=30), max_size=20), st.integers(1, 5), st.integers(1, 200))
def test_parts(texts: list[str], documents_max: int, chars_max: int) -> None:
    """Together they are all documents in order; none is larger than it may be, but for a document that alone is larger."""
    documents = [{"a": text} for text in texts]
    written = list(parts(documents, documents_max, chars_max))
    read = [list(yaml.safe_load_all(part)) for part in written]

    assert documents == [document for part in read for document in part]
    assert all(len(part) <= documents_max for part in read)
    assert all(len(text) <= chars_max or len(part) == 1 for text, part in zip(written, read, strict=True))


# -- describe --------------------------------------------------------------------------------------------------------------


async def test_describe_a_cluster(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """Its health, timetable, pause, problems, actions, report and last events, on one page and for machines."""
    key = f"orchestrate:{KEY}"
    outside.store_.work[key] = outside.store_.work[key].evolve(
        next_at=later(40), started_at=NOW, late_s=2, paused_until=later(3_600), paused_by="ann", paused_why="move"
    )
    report = Report(
        namespace="prod", cluster_id="orders", started_at=NOW, outcome=CycleOutcome.FAILED, error="bad lock"
    )
    await outside.put(report)
    code = await replictl(outside, "describe", "cluster", "orders")
    page = capsys.readouterr().out
    value = await listed(outside, capsys, "describe", "cluster", "orders")
    same = await listed(outside, capsys, "cluster", "orders")

    assert (0, value) == (code, same)
    for said in (
        "cluster prod/orders", "CRITICAL", "declared by  a person", "prod/inventory", "env=prod,team=told",
        "+ discover and observe  + act  + apply", "until 2030-01-02T04:04:05Z by ann: move", "late        2.0 s",
        "in 60m", "Problems", "OF_n1", "Topology", "Unfinished actions", ID, "Last events", "node.changed", "bad lock",
    ):  # fmt: skip
        assert said in page
    assert ("ClusterSpec", 2, 1, "orchestrate", "failed") == (
        value["kind"], len(value["problems"]), len(value["actions"]), value["work"]["kind"], value["last_report"]["outcome"],
    )  # fmt: skip


async def test_describe_a_cluster_that_nobody_declared(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """What its source says, and that it is missing."""
    told = Discovery(namespace="prod", cluster_id="told", source="prod/inventory", missing_since=NOW)
    await outside.put(told)
    code = await replictl(outside, "describe", "cluster", "prod/told")
    page = capsys.readouterr().out

    assert 0 == code
    assert "nobody: discovered only" in page
    assert "missing since  2030-01-02T03:04:05.678Z" in page
    assert "it has no place there" in page


async def test_describe_a_source(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """Its last report with refused records, and only its own events."""
    rejected = (Rejected(what="cluster x", reason="no id"),)
    told = SourceReport(namespace="prod", name="inventory", at=NOW, duration_s=0.5, rejected=rejected, rejected_total=7)
    await outside.put(told)
    other = EventDraft(type=EventType.SOURCE_FAILED, stream="prod", subject="prod/metal", data={"error": "not mine"})
    await outside.store_.commit(Change(drafts=(other,)), now=NOW)
    await replictl(outside, "describe", "source", "inventory")
    page = capsys.readouterr().out
    value = await listed(outside, capsys, "describe", "source", "inventory")

    for said in (
        "DiscoverySettings prod/inventory",
        "Refused records, and parts of records (1 of 7)",
        "no id",
        "0s ago, 0.5 s",
    ):
        assert said in page
    assert "not mine" not in page
    assert ([{"what": "cluster x", "reason": "no id"}], 1) == (
        [{name: one[name] for name in ("what", "reason")} for one in value["rejected"]],
        len(value["events"]),
    )


@pytest.mark.parametrize(
    ("status", "allows"),
    [
        (NamespaceStatus.ACTIVE, "+ discover and observe  + act  + apply"),
        (NamespaceStatus.OBSERVED, "+ discover and observe  - act  + apply"),
        (NamespaceStatus.INACTIVE, "- discover and observe  - act  + apply"),
        (NamespaceStatus.DELETING, "- discover and observe  - act  - apply"),
    ],
)
async def test_describe_a_namespace(
    outside: Outside, capsys: pytest.CaptureFixture[str], status: NamespaceStatus, allows: str
) -> None:
    """What is in it and what its status allows."""
    await outside.put(Namespace(name="prod", status=status))
    await replictl(outside, "describe", "ns", "prod")
    page = capsys.readouterr().out

    for said in (str(status), allows, "clusters  3", "1 CRITICAL, 1 HEALTHY", "inventory", "metal", ID):
        assert said in page


async def test_describe_an_action(outside: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """As `replictl action` does."""
    code = await replictl(outside, "describe", "na", ID)

    assert (0, True) == (code, "RUNNING" in capsys.readouterr().out)


# -- delete ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "kind", "name"),
    [
        (("cluster", "orders"), "ClusterSpec", "prod/orders"),
        (("ClusterSpec", "prod/not-known-any-more"), "ClusterSpec", "prod/not-known-any-more"),
        (("clusters", "left", "-n", "prod"), "ClusterSpec", "prod/left"),
        (("source", "inventory"), "DiscoverySettings", "prod/inventory"),
        (("platform", "prod/metal"), "Platform", "prod/metal"),
        (("ns", "prod"), "Namespace", "prod"),
    ],
)
async def test_delete_runs_the_flow(
    outside: Outside, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], kind: str, name: str
) -> None:
    """With the full name, who, and why; what came of it and what a person should know is shown."""
    removed = Removed(kind=Thing.CLUSTER, name=name, nodes=3, secrets_forgotten=("a",), notes=("it comes back",))
    outside.flows["delete"] = lambda **_: removed
    code = await replictl(outside, "delete", *words, "--yes", "-m", "retired")
    out = capsys.readouterr().out
    ((flow, given),) = outside.called

    assert (0, "delete") == (code, flow)
    assert (kind, name, False, "retired", "ann@here", 30.0) == tuple(
        given[one] for one in ("kind", "name", "force", "reason", "by", "wait_s")
    )
    assert ["  it comes back", "  1 secret forgotten"] == out.splitlines()[-2:]


# -- pause and resume ------------------------------------------------------------------------------------------------------


@pytest.fixture
def pausing(outside: Outside) -> Outside:
    """Whose flows do as if."""
    paused = Request(
        kind=WorkKind.ORCHESTRATE, subject=KEY, interval=60, next_at=later(7_210), paused_until=later(7_200)
    )
    outside.flows["pause"] = lambda **_: paused.evolve(paused_by="ann", paused_why="move")
    outside.flows["resume"] = lambda **_: paused.evolve(paused_until=None, next_at=later(9))
    return outside


@pytest.mark.parametrize(
    ("words", "kind", "name", "for_s", "end"),
    [
        (("orders", "--for", "2h"), "cluster", "prod/orders", 7_200.0, None),
        (("inventory", "--for", "1d"), "source", "prod/inventory", 86_400.0, None),
        (("prod/orders", "--until", "2030-01-02T04:00:00+01:00"), "cluster", "prod/orders", None, None),
        (("prod/orders", "--until", "2030-01-03"), "cluster", "prod/orders", None, "2030-01-03T00:00:00+00:00"),
        (("metal", "--for", "5m", "--kind", "platform"), "source", "prod/metal", 300.0, None),
    ],
)
async def test_pause(
    pausing: Outside,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    kind: str,
    name: str,
    for_s: float | None,
    end: str | None,
) -> None:
    """The flow gets full name, kind, and end or duration; until when it lasts is shown."""
    pausing.now = NOW - timedelta(hours=1)
    code = await replictl(pausing, "pause", *words, "--reason", "move")
    ((flow, given),) = pausing.called

    assert (0, "pause", kind, name, "move", "ann@here") == (
        code, flow, given["kind"], given["name"], given["reason"], given["by"],
    )  # fmt: skip
    assert for_s == given["for_s"]
    assert end is None or end == given["until"].isoformat()
    assert "2030-01-02T05:04:05Z" in capsys.readouterr().out


async def test_a_name_of_both_needs_its_kind(pausing: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is guessed."""
    await pausing.put(spec(cluster_id="metal"))
    code = await replictl(pausing, "pause", "metal", "--for", "1h", "--reason", "move")
    err = capsys.readouterr().err
    second = await replictl(pausing, "pause", "metal", "--for", "1h", "--reason", "move", "--kind", "cluster")

    assert (1, True, 0) == (code, "say which with --kind" in err, second)


async def test_resume(pausing: Outside, capsys: pytest.CaptureFixture[str]) -> None:
    """Its next turn is shown; what is not paused is resumed all the same, and that is said."""
    code = await replictl(pausing, "resume", "orders")
    out, err = capsys.readouterr()
    await pausing.store_.pause_work(f"orchestrate:{KEY}", later(60), "ann", "move", NOW)
    await replictl(pausing, "resume", "orders")

    assert (0, ["resume", "resume"]) == (code, [name for name, _ in pausing.called])
    assert "note: cluster prod/orders is not paused" in err
    assert "in 9s" in out
    assert "" == capsys.readouterr().err


def test_actions_are_listed_unfinished_or_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Finished ones only when asked for."""
    outside = Outside()
    asyncio.run(outside.put(Namespace(name="prod"), action(1, ActionState.DONE), action(2, ActionState.RUNNING)))
    found = []
    for more in ((), ("--all",)):
        outside.replictl("get", "actions", *more, "-o", "json")
        found.append([one["status"]["state"] for one in json.loads(capsys.readouterr().out)])

    assert [["RUNNING"], ["RUNNING", "DONE"]] == found
