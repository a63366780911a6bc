"""What a run came to: figures, a timeline for people, and what is wrong."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from infra.chaos.history import History, Inflicted, Pulse
from infra.chaos.plan import FaultKind
from infra.chaos.rules import RECOVER_MAX_S, Violation

WORST = 99
_SHOWN_MAX = 50


def percentile(values: Iterable[float], percent: float) -> float | None:
    """The nearest rank; None of nothing."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(percent / 100 * len(ranked)) - 1)] if ranked else None


def recoveries(history: History) -> dict[int, float | None]:
    """By number of a fault, the seconds from its end until nothing was ill; None: not before the next fault began.

    Of faults that overlap the last end counts, for each of them.
    """
    done = [fault for fault in history.faults if fault.outcome == "done"]
    found: dict[int, float | None] = {}
    for group in _groups(done):
        over = max(fault.over for fault in group)
        later = [fault.begun for fault in done if fault.begun > over]
        well = _well(over, [p for p in history.pulses if over <= p.at < min(later, default=math.inf)])
        for fault in group:
            found[fault.number] = None if well is None else round(well - over, 2)
    return found


def _well(over: float, pulses: Iterable[Pulse]) -> float | None:
    """Since when nothing is ill. What a fault breaks may only show later, as the dead are known when their sessions have ended."""
    well: float | None = None
    for pulse in pulses:
        if not pulse.ill:
            well = pulse.at if well is None else well
        elif well is not None and pulse.at - over > RECOVER_MAX_S:
            return well
        else:
            well = None
    return well


def _groups(faults: Sequence[Inflicted]) -> list[list[Inflicted]]:
    """Faults that overlap, or follow each other within seconds, together."""
    groups: list[list[Inflicted]] = []
    for fault in faults:
        if groups and fault.begun <= max(one.over for one in groups[-1]) + 5.0:
            groups[-1].append(fault)
        else:
            groups.append([fault])
    return groups


def figures(history: History, violations: Sequence[Violation], seed: int, minutes: float) -> dict[str, Any]:
    """The last line of the output."""
    recovered = [seconds for seconds in recoveries(history).values() if seconds is not None]
    failed_over = [one.seconds for one in history.failovers if one.seconds is not None]
    return {
        "seed": seed,
        "minutes": minutes,
        "faults": sum(fault.outcome == "done" for fault in history.faults),
        "actions": sum(step.phase == "NEW" for step in history.steps),
        "events": len({event.id for event in history.told}),
        "violations": len(violations),
        "recovery_p99_s": percentile(recovered, WORST),
        "failover_p50_s": percentile(failed_over, 50),
        "failover_p99_s": percentile(failed_over, WORST),
    }


def markdown(history: History, violations: Sequence[Violation], told: dict[str, Any]) -> str:
    """The report for people."""
    lines = [f"# Chaos, seed {told['seed']}, {told['minutes']:g} min", "", "| figure | value |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in told.items()]
    lines += ["", "## Violations", ""]
    lines += [
        f"- rule {one.rule}, {_at(history, one.at)}: {one.subject}: {one.says}" for one in violations[:_SHOWN_MAX]
    ]
    lines += [f"- and {len(violations) - _SHOWN_MAX} more"] if len(violations) > _SHOWN_MAX else []
    lines += [] if violations else ["None."]
    lines += ["", "## Faults", "", "| at | until | what | whom | recovered after |", "|---|---|---|---|---|"]
    recovered = recoveries(history)
    for fault in history.faults:
        seconds = recovered.get(fault.number)
        after = (
            fault.outcome
            if fault.outcome != "done"
            else "not before the next"
            if seconds is None
            else f"{seconds:.1f} s"
        )
        what = FaultKind[fault.kind].value
        lines.append(
            f"| {_at(history, fault.begun)} | {_at(history, fault.over)} | {what} | {fault.target} | {after} |"
        )
    lines += ["", "## Recovery by kind", "", "| kind | times | worst |", "|---|---|---|"]
    by_kind: dict[str, list[float | None]] = defaultdict(list)
    for fault in history.faults:
        if fault.number in recovered:
            by_kind[FaultKind[fault.kind].value].append(recovered[fault.number])
    for kind, seconds_of in sorted(by_kind.items()):
        worst = "not before the next" if None in seconds_of else f"{max(filter(None, seconds_of), default=0.0):.1f} s"
        lines.append(f"| {kind} | {len(seconds_of)} | {worst} |")
    lines += ["", "## Fail-over", "", "| worker | work | duties | seconds |", "|---|---|---|---|"]
    for one in history.failovers:
        seconds_text = (
            f"not within the limit: {', '.join(one.missing)}" if one.seconds is None else f"{one.seconds:.1f}"
        )
        lines.append(f"| {one.worker} | {one.work} | {', '.join(one.duties)} | {seconds_text} |")
    return "\n".join([*lines, "", "## Timeline", "", *_timeline(history), ""])


def _timeline(history: History) -> list[str]:
    """What happened when: faults, and every change of what was ill."""
    entries: list[tuple[float, str]] = []
    for fault in history.faults:
        what = FaultKind[fault.kind].value
        entries.append((fault.begun, f"**{what}** ({fault.target})"))
        if fault.over - fault.begun > 1.0:
            entries.append((fault.over, f"over: {what}"))
    entries += [(span.since, f"closed: {span.where}, for {span.until - span.since:.0f} s") for span in history.spans]
    was: tuple[str, ...] = ()
    for pulse in history.pulses:
        words = tuple(" ".join(word for word in one.split() if not word.isdigit()) for one in pulse.ill)
        if pulse.at >= history.begun and words != was:
            entries.append((pulse.at, f"ill: {'; '.join(pulse.ill)}" if pulse.ill else "all is well"))
            was = words
    return [f"- {_at(history, at)} {text}" for at, text in sorted(entries)]


def _at(history: History, at: float) -> str:
    return f"{at - history.begun:+.1f} s" if at else "at the end"
