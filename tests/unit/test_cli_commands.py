from __future__ import annotations

import json
from copy import deepcopy
from typing import Any
from uuid import UUID

import pytest

from blocks.errors import DependencyUnavailableError, Fault, InvalidInputError, NotFoundError, RefusedError, SourceError
from blocks.models.action import ActionState
from blocks.models.report import Choice, CycleOutcome, Report
from blocks.models.source import SourceReport
from doubles.cli import Outside, replictl
from doubles.store_samples import NOW, action, source, spec, state

ID = str(UUID(int=1))


def failing(error: Exception) -> Any:
    """A flow that fails."""

    def fail(**_: Any) -> None:
        raise error

    return fail


# -- what goes wrong -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NotFoundError("there is no such thing"), "error: there is no such thing\n"),
        (
            DependencyUnavailableError("MongoDB", "h:1", "refused", "Check it."),
            "MongoDB at h:1 is not available: refused. Check it.",
        ),
        (
            InvalidInputError("2 faults", (Fault("document 1", "bad"), Fault("x", "worse"))),
            "2 faults\n  document 1: bad\n  x: worse\n",
        ),
        (
            KeyError("oops"),
            "error: this is a bug in replictl, please report it: KeyError: 'oops'; --verbose shows where\n",
        ),
    ],
)
def test_failure_is_a_sentence(capsys: pytest.CaptureFixture[str], error: Exception, said: str) -> None:
    """Whatever fails is exit code 1 and a sentence on stderr, without a traceback and with nothing on stdout."""
    code = Outside(flows={"orchestrate": failing(error)}).replictl("orchestrate", "prod/orders")
    out, err = capsys.readouterr()

    assert (1, "") == (code, out)
    assert said in err
    assert "Traceback" not in err


def test_verbose_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """Where it happened, for who asks."""
    code = Outside(flows={"act": failing(ValueError("x"))}).replictl("act", "prod/orders", "--verbose")

    assert 1 == code
    assert "Traceback" in capsys.readouterr().err


def test_interrupted_is_130() -> None:
    """Ctrl-C ends without a word, with the code that shells know."""

    def interrupt(**_: Any) -> None:
        raise KeyboardInterrupt

    assert 130 == Outside(flows={"observe": interrupt}).replictl("observe", "prod/orders")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("frobnicate",),
        ("clusters", "--output", "xml"),
        ("clusters", "--bogus"),
        ("topology",),
        ("action", "not-a-uuid"),
        ("approve",),
        ("cancel", ID, "nope"),
        ("apply", "--dry"),
        ("events", "--since", "soon"),
        ("events", "--limit", "0"),
        ("orchestrate", "no/such/../", "--wait", "x"),
        ("orchestrate", "Bad Name/x"),
        ("discover", "Bad Name/x"),
        ("work", "--state", "lost"),
        ("work", "retry"),
        ("work", "retry", "k", "--all"),
        ("wait", "prod/orders", "--health", "fine"),
        ("clusters", "--timeout", "-1"),
    ],
)
def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    """Wrong words and wrong values are exit code 2, before anything is asked or run."""
    outside = Outside()
    code = outside.replictl(*arguments)

    assert (2, []) == (code, outside.called)
    assert "Traceback" not in capsys.readouterr().err


def test_markup_in_errors_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """What others wrote steers neither rich nor the terminal."""
    Outside(flows={"observe": failing(NotFoundError("[red]\x1b[2J[/nope]"))}).replictl("observe", "prod/orders")

    assert "error: [red]\N{REPLACEMENT CHARACTER}[2J[/nope]\n" == capsys.readouterr().err


def test_changes_need_prefect(capsys: pytest.CaptureFixture[str]) -> None:
    """Without the API no flow is begun (Prefect would start a server of its own), and the sentence names it."""
    outside = Outside(prefect_down=True)
    code = outside.replictl("approve", ID)

    assert (1, []) == (code, outside.called)
    assert "Prefect at http://prefect/api is not available" in capsys.readouterr().err


def test_timeout_reaches_the_settings() -> None:
    """`--timeout` shortens every call of this process."""
    outside = Outside()
    outside.replictl("clusters", "--timeout", "1.5")

    assert "1.5" == outside.environ["REPLICORE_MONGODB_TIMEOUT_S"]


# -- actions --------------------------------------------------------------------------------------------------------------


async def test_actions(capsys: pytest.CaptureFixture[str]) -> None:
    """Unfinished ones, the newest first; with `--all` every one; of one cluster where asked."""
    outside = Outside()
    await outside.put(spec(), action(1, ActionState.DONE), action(2, ActionState.RUNNING), action(3, ActionState.NEW))
    numbers = []
    for arguments in (("actions",), ("actions", "orders", "--all"), ("actions", "-n", "test")):
        assert 0 == await replictl(outside, *arguments, "-o", "json")
        numbers.append([UUID(row["action_id"]).int for row in json.loads(capsys.readouterr().out)])

    assert [[3, 2], [3, 2, 1], []] == numbers


async def test_action(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything about one, for machines and for people; an unknown one is exit code 1."""
    outside = Outside()
    await outside.put(action(1).evolve(args={"a": [1, None]}))
    codes = [await replictl(outside, "action", ID, "-o", "json")]
    found = json.loads(capsys.readouterr().out)
    codes += [await replictl(outside, "action", ID), await replictl(outside, "action", str(UUID(int=9)))]
    out, err = capsys.readouterr()

    assert [0, 0, 1] == codes
    assert ({"a": [1, None]}, [], "NEW") == (found["args"], found["history"], found["state"])
    assert 'args        {"a": [1, null]}' in out
    assert "there is no action" in err


@pytest.mark.parametrize("name", ["approve", "reject", "cancel"])
def test_orders_run_the_flow(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Each id is one flow run, by who gave the command; an id given twice is ordered once."""
    outside = Outside(flows={name: lambda action_id, **_: action(action_id.int)})
    code = outside.replictl(name, ID, str(UUID(int=2)), ID, "--comment", "go", "-o", "json")

    parameters = {"comment": "go", "by": "ann@here", "fleet": "replicore"}
    assert 0 == code
    assert [(name, {"action_id": UUID(int=n), **parameters}) for n in (1, 2)] == outside.called
    assert [ID, str(UUID(int=2))] == [row["action_id"] for row in json.loads(capsys.readouterr().out)]


def test_one_refused_order_stops_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    """What can be done is done and shown; what cannot is said; the exit code is 1."""

    def approve(action_id: UUID, **_: Any) -> Any:
        if action_id.int == 1:
            message = f"action {action_id} is DONE"
            raise RefusedError(message)
        return action(action_id.int)

    code = Outside(flows={"approve": approve}).replictl("approve", ID, str(UUID(int=2)))
    out, err = capsys.readouterr()

    assert 1 == code
    assert f"error: action {ID} is DONE\n" == err
    assert str(UUID(int=2)) in out


# -- cycles and discovery -------------------------------------------------------------------------------------------------


def report(**fields: Any) -> Report:
    """A report of `prod/orders`."""
    basics = {"namespace": "prod", "cluster_id": "orders", "started_at": NOW, "outcome": CycleOutcome.SUCCESS}
    return Report.model_validate({**basics, **fields})


@pytest.mark.parametrize("name", ["orchestrate", "observe", "act"])
async def test_cycles(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """The flow runs with the whole name of the cluster, its id being enough; the report is printed."""
    outside = Outside(flows={name: lambda **_: report(nodes_synced=3, phases_ms={"poll": 12.5}, events=2)})
    await outside.put(spec())
    code = await replictl(outside, name, "orders", "--wait", "5")

    assert [(name, {"cluster": "prod/orders", "wait_s": 5.0, "fleet": "replicore"})] == outside.called
    assert (0, ["prod/orders  success", "  3 nodes answered; 0 actions sent; 2 events", "  poll 12ms"]) == (
        code,
        capsys.readouterr().out.splitlines(),
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"outcome": CycleOutcome.SKIPPED, "notes": ("it is not active",)},
            "prod/orders was skipped: it is not active",
        ),
        ({"outcome": CycleOutcome.FAILED, "error": "fenced"}, "prod/orders was failed: fenced"),
    ],
)
def test_cycle_that_did_nothing_is_a_failure(capsys: pytest.CaptureFixture[str], fields: Any, said: str) -> None:
    """The report is printed all the same; the exit code is 1 and stderr says why."""
    code = Outside(flows={"act": lambda **_: report(**fields)}).replictl("act", "prod/orders", "-o", "json")
    out, err = capsys.readouterr()

    assert (1, fields["outcome"]) == (code, json.loads(out)["outcome"])
    assert f"error: {said}\n" == err


def test_what_is_held_back_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A person who asks for action learns what was not started, and why."""
    choice = Choice(block_nodes=True, reasons=("NAMESPACE_OBSERVED",))
    Outside(flows={"act": lambda **_: report(choice=choice)}).replictl("act", "prod/orders")

    assert "  held back: node actions (NAMESPACE_OBSERVED)" in capsys.readouterr().out


@pytest.mark.parametrize(("error", "code"), [(None, 0), ("the source gave no answer", 1)])
async def test_discover(capsys: pytest.CaptureFixture[str], error: str | None, code: int) -> None:
    """The source's name alone is enough; a source that fails is exit code 1 and its reason."""
    told = SourceReport(namespace="prod", name="inventory", at=NOW, duration_s=0.1, error=error, clusters=3)

    def run(**_: Any) -> SourceReport:
        if error is not None:
            raise SourceError(error)
        return told

    outside = Outside(flows={"discover": run})
    await outside.put(source(), told)

    assert code == await replictl(outside, "discover", "inventory")
    assert [("discover", {"source": "prod/inventory", "wait_s": 30.0, "fleet": "replicore"})] == outside.called
    assert ("" if error is None else f"error: {error}\n") == capsys.readouterr().err


async def test_sources_hide_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    """Sources are shown without query and headers, which may be secrets."""
    outside = Outside()
    await outside.put(source())
    for form in ("table", "json"):
        assert 0 == await replictl(outside, "sources", "-o", form)
        out = capsys.readouterr().out
        assert "https://inventory:8443/path" in out
        assert not [secret for secret in ("a=b", "sesame", "CERTIFICATE") if secret in out]


async def test_reading_changes_nothing() -> None:
    """Reading commands change nothing."""
    outside = Outside()
    await outside.put(spec(), state(), action())
    before = deepcopy(outside.store_.records), list(outside.store_.log), dict(outside.store_.work)
    for command in ("clusters", "nodes", "problems", "actions", "events", "sources", "locks", "work", "status"):
        await replictl(outside, command)

    assert before == (outside.store_.records, outside.store_.log, outside.store_.work)
