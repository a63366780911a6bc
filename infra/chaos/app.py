"""The command line: a run, its verdict, its report. The last line of the output is one JSON object."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

import orjson
import uvloop

from infra.chaos.history import read
from infra.chaos.plan import FaultKind
from infra.chaos.report import figures, markdown
from infra.chaos.rules import judge
from infra.chaos.run import run, say
from infra.chaos.saboteur import SWITCHES
from infra.chaos.settings import Settings

_SHOWN_MAX = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 when no rule was broken, 1 when one was, 2 for wrong usage."""
    parsed = _parser().parse_args(arguments)
    kinds = (
        tuple(FaultKind[name.strip().upper()] for name in parsed.only.split(",")) if parsed.only else tuple(FaultKind)
    )
    settings = Settings(
        seed=parsed.seed, minutes=parsed.minutes, clusters=parsed.clusters, seats=parsed.seats, workers=parsed.workers,
        serving=parsed.serving, kinds=kinds, sabotage=parsed.sabotage,
    )  # fmt: skip
    if parsed.judge:
        return verdict(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings))
    return verdict(settings)


def verdict(settings: Settings) -> int:
    """Judge what a run left, write the report, tell the figures; 1 when a rule was broken."""
    history = read(settings.home)
    violations = judge(history)
    told = figures(history, violations, settings.seed, settings.minutes)
    (settings.home / "report.md").write_text(markdown(history, violations, told), encoding="utf-8")
    for violation in violations[:_SHOWN_MAX]:
        say(f"rule {violation.rule}: {violation.subject}: {violation.says}")
    say(f"report: {settings.home / 'report.md'}")
    sys.stdout.write(orjson.dumps(told).decode() + "\n")
    return 1 if violations else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="infra.chaos", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add, usual = parser.add_argument, Settings(seed=0)
    add("--seed", type=int, default=1, help="the same seed makes the same schedule of faults")
    add("--minutes", type=float, default=usual.minutes)
    add("--clusters", type=int, default=usual.clusters, help="simulated clusters of three nodes")
    add("--seats", type=int, default=usual.seats, help="workers at work")
    add("--workers", type=int, default=usual.workers, help="worker processes without Prefect")
    add("--serving", type=int, default=usual.serving, help="processes that serve deployments")
    add("--only", help="kinds of faults, such as WORKER_KILL,NET_CUT; all by default")
    add("--sabotage", choices=sorted(SWITCHES), help="a rule that every worker breaks on purpose")
    add("--judge", action="store_true", help="run nothing, judge once more what the run of this seed left")
    return parser
