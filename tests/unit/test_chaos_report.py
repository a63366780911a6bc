"""Figures and report of a chaos run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from infra.chaos.history import Failover, Final, History, Inflicted, Pulse, Span, Step, Told, read
from infra.chaos.report import figures, markdown, percentile, recoveries
from infra.chaos.rules import Violation, judge

HISTORY = History(
    steps=(Step(12.0, "n", "a", "NEW", (1, 1)), Step(12.5, "n", "a", "DONE", (1, 1))),
    told=(Told("e1", "x", "s", 1, "d"), Told("e1", "x", "s", 1, "d"), Told("e2", "x", "s", 2, "d")),
    faults=(
        Inflicted(1, "WORKER_KILL", "w1", 10.0, 10.0),
        Inflicted(2, "KAFKA_AWAY", "kafka", 11.0, 20.0),
        Inflicted(3, "MONGODB_KILL", "m1", 40.0, 40.0),
        Inflicted(4, "NET_CUT", "", 60.0, 60.0, "skipped: there is no worker"),
    ),
    pulses=(Pulse(11.0, ("2 of 3 workers",)), Pulse(21.0, ("x",)), Pulse(24.5), Pulse(41.0, ("y",)), Pulse(43.0)),
    failovers=(Failover("w1", 11.2, 3, ("relay",)), Failover("w2", None, 1, (), ("orchestrate:x",))),
    spans=(Span("free", 30.0, 38.0),),
    begun=5.0,
)


@pytest.mark.parametrize(
    ("values", "expected"), [([], None), ([3.0], 3.0), ([1.0, 2.0, 9.0], 9.0), (list(range(200)), 197)]
)
def test_percentile_is_a_rank(values: list[float], expected: float | None) -> None:
    """A figure that really occurred; the worst of few."""
    assert expected == percentile(values, 99)


def test_recovery_counts_from_the_last_end_of_faults_that_overlap() -> None:
    """Two at once recover together; a fault that did not happen does not count."""
    assert {1: 4.5, 2: 4.5, 3: 3.0} == recoveries(HISTORY)


def test_not_recovered_before_the_next_fault() -> None:
    """Without a good look in between nothing is claimed."""
    never_well = replace(HISTORY, pulses=HISTORY.pulses[:2] + HISTORY.pulses[3:])

    assert {1: None, 2: None, 3: 3.0} == recoveries(never_well)


@pytest.mark.parametrize(
    ("pulses", "expected"),
    [
        ((Pulse(41.0), Pulse(50.0, ("2 of 3 workers",)), Pulse(53.0)), 13.0),
        ((Pulse(41.0), Pulse(50.0, ("2 of 3 workers",))), None),
        ((Pulse(41.0), Pulse(60.0, ("2 of 3 workers",)), Pulse(61.0)), 1.0),
    ],
)
def test_what_shows_late_is_not_recovered_before(pulses: tuple[Pulse, ...], expected: float | None) -> None:
    """The dead are missed when their session has ended; what is ill much later has another cause."""
    assert expected == recoveries(replace(HISTORY, pulses=pulses))[3]


def test_figures() -> None:
    """The last line of a run."""
    expected = {
        "seed": 7, "minutes": 1.0, "faults": 3, "actions": 1, "events": 2, "violations": 1, "recovery_p99_s": 4.5,
        "failover_p50_s": 11.2, "failover_p99_s": 11.2,
    }  # fmt: skip

    assert expected == figures(HISTORY, [Violation(1, 12.0, "a", "x")], 7, 1.0)


def test_report_tells_what_happened() -> None:
    """Faults, violations, recoveries and the timeline are in it."""
    found = [Violation(3, 12.0, "a", "began in a freeze")]
    text = markdown(HISTORY, found, figures(HISTORY, found, 7, 1.0))

    for expected in (
        "rule 3, +7.0 s: a: began in a freeze",
        "| +5.0 s | +5.0 s | worker: kill -9 | w1 | 4.5 s |",
        "skipped: there is no worker",
        "| w2 | 1 |  | not within the limit: orchestrate:x |",
        "- +25.0 s closed: free, for 8 s",
        "- +6.0 s ill: 2 of 3 workers",
    ):
        assert expected in text


def test_files_of_a_run_are_read(tmp_path: Path) -> None:
    """What a run leaves becomes a history that can be judged."""
    folder = tmp_path / "main"
    folder.mkdir()
    began = {"at": 100.0, "what": "began", "utc": "2026-01-01T00:00:00+00:00"}
    body = orjson.dumps({"id": "a", "args": {"chaos": 4}}).decode()
    post = {"at": 103.0, "what": "request", "node": "n", "method": "POST", "body": body}
    step = {"at": 103.0, "what": "action", "node": "n", "id": "a", "phase": "NEW", "fence": "1:9"}
    other = {**step, "node": "of another part"}
    _write(tmp_path / "agents.jsonl", began, post, step, other)
    home = {"clusters": [{"cluster_id": "c", "nodes": [{"node_id": "n", "agent_address": "http://x"}]}]}
    (folder / "free.json").write_bytes(orjson.dumps(home))
    wall = 1_767_225_600.0
    intent = {"state": "PENDING_SCHEDULE", "intent": {"generation": 1, "token": 9}}
    fences = {"wall": wall + 2.5, "collection": "fences", "op": "insert", "key": "free/c", "transaction": "t"}
    _write(
        folder / "history.jsonl",
        {"at": 101.0, "what": "begin"},
        {"at": 102.9, "what": "write", **fences, "document": {"generation": 1, "token": 9}},
        {"at": 102.9, "what": "write", **fences, "collection": "actions", "key": "a", "document": intent},
        {"at": 103.0, "what": "held", "target": "agents:n", "pid": 1, "sent_at": 102.6, "arrived_at": 103.0},
        {"at": 104.0, "what": "order", "number": 4, "action": "a", "outcome": "accepted"},
        {"at": 105.0, "what": "pulse", "ill": []},
        {"at": 106.0, "what": "calm"},
    )
    empty: dict[str, object] = {key: [] for key in ("nodes", "work", "submissions")}
    event = {"type": "x", "stream": "free/c", "data": "{}"}
    events = [{**event, "_id": f"e{number}", "sequence": number, "published": number == 1} for number in (1, 2)]
    action = {"_id": "a", "state": "NEW"}
    state = {"_id": "free/c", "health": "HEALTHY", "observed_at": "2026-01-01 00:00:08+00:00"}
    rest = {
        "actions": [action],
        "states": [state],
        "specs": [{"_id": "free/c"}],
        "waiting": {"a": ["RUNNING: x"]},
        "events": events,
    }
    (folder / "final.json").write_bytes(orjson.dumps({**empty, **rest, "now": "2026-01-01T00:00:10+00:00"}))
    history = read(folder)

    assert (Step(103.0, "n", "a", "NEW", (1, 9), 4, 102.6),) == history.steps
    assert [102.5, 102.5] == [write.at for write in history.writes]
    assert (
        Final(
            actions={"a": "NEW"},
            waiting={"a": ("RUNNING: x",)},
            healths={"free/c": "HEALTHY"},
            unseen_s={"free/c": 2.0},
            streams={"free/c": 2},
            untold=(Told("e2", "x", "free/c", 2, ""),),
        )
        == history.final
    )
    assert {5} == {violation.rule for violation in judge(history)}


def _write(path: Path, *lines: dict[str, object]) -> None:
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
