"""The command line: `python -m infra.bench` for the report, and one command for each promise that takes a while."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from infra.bench import goals, workers
from infra.bench.errors import BenchError
from infra.bench.phases import QUICK, Effort, size
from infra.bench.plots import draw
from infra.bench.report import report, show
from infra.stack.layout import PROJECT

FOLDER = PROJECT / ".bench"
SIZES = (100, 1_000, 10_000)
SMOKE = (30,)
TERMINATED = 128 + signal.SIGTERM


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line says; 1 when a promise is not kept or nothing could be measured."""
    parsed = _parser().parse_args(arguments)
    console = Console()
    began = time.monotonic()

    def say(sentence: str) -> None:
        console.print(f"[{time.monotonic() - began:6.1f} s] {sentence}", highlight=False, markup=False)

    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(TERMINATED)
    )  # what was started ends with the blocks that started it
    try:
        if parsed.what == "report":
            _report(parsed, say, console)
            return 0
        return _promise(parsed, say, console)
    except BenchError as error:
        console.print(f"error: {error}", markup=False)
        return 1


def _report(parsed: argparse.Namespace, say: Any, console: Console) -> None:
    load = [round(one, 2) for one in os.getloadavg()]
    effort = _effort(parsed)
    sizes = parsed.sizes or (SMOKE if parsed.quick else SIZES)
    measured = []
    for nodes in sorted(sizes):
        measured.append(size(nodes, effort, say))
        _write(parsed.out / "sizes.json", measured)  # what was measured is kept, whatever comes
    compared = {} if parsed.quick or parsed.sizes else workers.compared(effort, say, most=2)
    made = report(measured, compared, load)
    _write(parsed.out / "report.json", made)
    show(made, console)
    for path in (parsed.out / "report.json", *draw(made, parsed.out)):
        say(f"written: {path}")


def _promise(parsed: argparse.Namespace, say: Any, console: Console) -> int:
    match parsed.what:
        case "sustained":
            found = goals.sustained(parsed.nodes, parsed.minutes, say, shift_s=parsed.shift_s)
        case "dead":
            found = goals.sustained_with_dead(parsed.nodes, parsed.minutes, say)
        case "paused-worker":
            found = goals.paused_worker(parsed.nodes, say)
        case "starved-worker":
            found = goals.starved_worker(parsed.nodes, say)
        case "largest":
            found = goals.largest(parsed.nodes, parsed.step, parsed.minutes, say)
        case _:
            found = workers.compared(_effort(parsed), say, most=4)
            found["verdicts"] = {"two workers do 1.7 times what one does": (found["2_vs_1"] or 0.0) >= 1.7}  # noqa: PLR2004
    _write(parsed.out / f"{parsed.what}.json", found)
    console.print_json(orjson.dumps(found).decode())
    for sentence, kept in found["verdicts"].items():
        console.print(f"{'yes' if kept else 'NO '}  {sentence}", markup=False)
    return 0 if all(found["verdicts"].values()) else 1


def _effort(parsed: argparse.Namespace) -> Effort:
    if parsed.quick:
        return QUICK
    return Effort(repeat=parsed.repeat)


def _write(path: Path, what: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(what, option=orjson.OPT_INDENT_2) + b"\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.bench", description=__doc__)
    add = parser.add_argument
    names = ("report", "sustained", "dead", "paused-worker", "starved-worker", "largest", "workers")
    add("what", nargs="?", default="report", choices=names, help="the report (default), or one promise")
    add("--sizes", type=_numbers, help="numbers of nodes, such as 100,1000,10000 (report)")
    add("--repeat", type=int, default=3, help="windows of each measurement (report, workers)")
    add("--quick", action="store_true", help="tiny fleets and windows: shows that it works, not how fast it is")
    add("--nodes", type=int, default=10_000, help="of the fleet (promises); of the first one (largest)")
    add("--minutes", type=float, default=10.0, help="how long the promise is held (sustained, dead, largest)")
    add("--step", type=int, default=2_500, help="by how much the fleet grows (largest)")
    add("--shift-s", type=float, default=600.0, help="how long a shift lasts, as the product's setting (sustained)")
    add("--out", type=Path, default=FOLDER, help="folder of the reports")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))
