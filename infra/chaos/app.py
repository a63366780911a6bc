"""The command line: a run, its verdict, its report. The last line of the output is one JSON object."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson
import uvloop

from infra.chaos.deeds import Deeds
from infra.chaos.history import read
from infra.chaos.plan import FaultKind
from infra.chaos.report import figures, markdown
from infra.chaos.rules import RULES, judge
from infra.chaos.run import run, say
from infra.chaos.saboteur import SWITCHES
from infra.chaos.settings import DEEDS, Part, Settings

_SHOWN_MAX = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 when no rule was broken, 1 when one was, 2 for wrong usage."""
    parsed = _parser().parse_args(arguments)
    kinds = (
        tuple(FaultKind[name.strip().upper()] for name in parsed.only.split(",")) if parsed.only else tuple(FaultKind)
    )
    settings = Settings(
        seed=parsed.seed, minutes=parsed.minutes, clusters=parsed.clusters, seats=parsed.seats, workers=parsed.workers,
        serving=parsed.serving, calm_s=parsed.calm, orders_every_s=parsed.orders, kinds=kinds, proofs=tuple(SWITCHES) if parsed.prove else (), folder=parsed.folder.resolve(),
    )  # fmt: skip
    if parsed.judge:
        return verdict(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings))
    return verdict(settings)


def verdict(settings: Settings) -> int:
    """Judge what a run left, write the report, tell the figures; 1 when a rule was broken, or broken on purpose and not caught."""
    main, *proofs = settings.parts
    folder = settings.home_of(main)
    history = read(folder)
    violations = judge(history)
    told = figures(history, violations, settings.seed, settings.minutes)
    (folder / "report.md").write_text(markdown(history, violations, told), encoding="utf-8")
    for violation in violations[:_SHOWN_MAX]:
        say(f"rule {violation.rule}: {violation.subject}: {violation.says}")
    say(f"report: {folder / 'report.md'}")
    caught = {part.name: proven(part, settings) for part in proofs}
    more = {"caught": caught} if proofs else {}
    sys.stdout.write(orjson.dumps({**told, **more}).decode() + "\n")
    return 1 if violations or not all(caught.values()) else 0


def proven(part: Part, settings: Settings) -> bool:
    """Whether the rule was really broken on purpose, and that was caught."""
    rule, _ = SWITCHES[part.name]
    folder = settings.home_of(part)
    found, deeds = list(RULES[rule](read(folder))), Deeds(folder / DEEDS).since(0.0)
    how = f"caught by rule {rule}: {found[0].subject}: {found[0].says}" if found else "NOT CAUGHT"
    say(f"{part.name}: broken {deeds} times, {how}" if deeds else f"{part.name}: NEVER BROKEN")
    return bool(found and deeds)


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
    add("--calm", type=float, default=usual.calm_s, help="seconds of calm after each fault")
    add("--orders", type=float, default=usual.orders_every_s, help="seconds between two orders of people")
    add("--folder", type=Path, default=usual.folder, help="where what a run leaves is kept, by seed")
    add("--only", help="kinds of faults, such as WORKER_KILL,NET_CUT; all by default")
    add("--prove", action="store_true", help="afterwards break each rule on purpose, and see that it is caught")
    add("--judge", action="store_true", help="run nothing, judge once more what the run of this seed left")
    return parser
