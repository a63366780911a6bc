"""Numbers as a report has them: least, median and greatest of repetitions; percentiles; freshness from gaps."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

Json = Any


def spread(values: Iterable[float], digits: int = 4) -> dict[str, Json]:
    """Least, median, greatest, and all the values."""
    found = [round(value, digits) for value in values]
    if not found:
        return {"min": None, "median": None, "max": None, "values": []}
    return {"min": min(found), "median": round(median(found), digits), "max": max(found), "values": found}


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value that so large a share of all does not exceed; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def latencies(values: Sequence[float]) -> dict[str, Json]:
    """How many, p50, p99, and the greatest, in seconds."""
    told = {"p50_s": percentile(values, 0.50), "p99_s": percentile(values, 0.99), "max_s": max(values, default=None)}
    return {"number": len(values), **{name: None if one is None else round(one, 3) for name, one in told.items()}}


def ratio(above: float | None, below: float | None, digits: int = 3) -> float | None:
    """A quotient; None where it means nothing."""
    return round(above / below, digits) if above is not None and below else None


def freshness(gaps: Mapping[str, Json], sort: str, interval_s: float) -> dict[str, Json]:
    """How stale what is known of a healthy node is, and how late the latest question was, from a simulator's gaps.

    Args:
        gaps: what `RunningFleet.gaps` told.
        sort: `asked` (probes and cycles) or `cycled`.
        interval_s: how often it should be.
    """
    step_s, found = float(gaps["step_s"]), gaps[sort]
    lengths = {(int(step) + 0.5) * step_s: int(number) for step, number in found["counts"].items()}
    longest_s = max(float(found["longest_s"]), float(found["open_s"]))
    return {
        "interval_s": interval_s,
        "gaps": sum(lengths.values()),
        "gap_longest_s": round(longest_s, 2),
        "longest_of": found["node"],
        "late_max_intervals": round(max(0.0, longest_s - interval_s) / interval_s, 3),
        "stale_p50_s": _stale(lengths, 0.50),
        "stale_p99_s": _stale(lengths, 0.99),
        "stale_p99_intervals": ratio(_stale(lengths, 0.99), interval_s),
    }


def _stale(lengths: Mapping[float, int], share: float) -> float | None:
    """For so large a share of all time (summed over nodes), what was known was not older than this."""
    total = sum(length * number for length, number in lengths.items())
    if not total:
        return None
    older, before = total, 0.0
    numbers = sum(lengths.values())
    for length in sorted(lengths):
        span = (length - before) * numbers
        if older - span <= total * (1 - share):
            return round(before + (older - total * (1 - share)) / numbers, 3)
        older -= span
        before = length
        numbers -= lengths[length]
    return round(before, 3)
