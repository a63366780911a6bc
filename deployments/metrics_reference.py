"""The page of metrics: `python -m deployments.metrics_reference` prints docs/metrics.md. A test holds the two together."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from blocks.metrics.families import COUNTED, OTHER, READ, Family, Kind

VALUES_MAX = 9
HEAD = f"""\
# Metrics

Made by `python -m deployments.metrics_reference`; change `blocks/metrics/families.py` instead.

Off by default. `REPLICORE_METRICS_PORT=28108` (or `metrics.port` of the Fleet block) makes each serving process
(`python -m deployments.serve`) offer `GET /metrics` on that port, on loopback unless `REPLICORE_METRICS_HOST` says otherwise.
Nobody has to sign in there: mind who can reach it. The local stack has it on (`REPLICORE_STACK_METRICS` in `.stack/env`).

```yaml
scrape_configs:
  - job_name: replicore
    scrape_interval: 15s
    static_configs: [{{targets: ["127.0.0.1:28108"]}}]
```

[infra/dashboards/replicore.json](../infra/dashboards/replicore.json) is a dashboard for Grafana (import it, choose the data
source), [infra/dashboards/alerts.yaml](../infra/dashboards/alerts.yaml) are rules for Prometheus.

- Shifts are child processes of the serving process. Each counts in files of its own, in a folder of this user among the
  temporary files (`TMPDIR`), and the endpoint adds them up: a killed worker's counts are not lost, nobody waits for anybody.
  What dead processes counted is kept in two small files. A full disk there would kill workers: give it 50 MB.
- Counters begin at zero when a serving process starts. Runs that people start by hand, and shifts of a work pool
  (`prefect worker start`), are not counted.
- Labels have few values, all known beforehand (`{OTHER}` stands for any that is not): never a node or a cluster. `replictl` and
  events have the names.
"""


def page() -> str:
    """The page."""
    parts = [
        HEAD,
        "## What workers count",
        "",
        "Add up over instances; `replicore_degraded`: take the maximum.",
        "",
        *_table(COUNTED),
        "",
        "## What the serving process reads",
        "",
        "From MongoDB, every 15 s (less often on a large fleet: at most 2 % of the time goes into it). Every serving process",
        "tells the same: take the maximum over instances. While MongoDB is away they are absent.",
        "",
        *_table(READ),
    ]
    return "\n".join(parts) + "\n"


def _table(families: Iterable[Family]) -> Iterator[str]:
    yield from ("| metric | what | labels |", "|---|---|---|")
    for family in families:
        buckets = f" Buckets up to {family.buckets[-1]:g} s." if family.kind is Kind.HISTOGRAM else ""
        yield f"| `{family.full_name}` {family.kind} | {family.help}{buckets} | {_labels(family)} |"


def _labels(family: Family) -> str:
    return "; ".join(f"`{label}`{_values(values)}" for label, values in family.labels.items())


def _values(values: tuple[str, ...]) -> str:
    if not values:
        return ""
    more = f" ... ({len(values)} in all)" if len(values) > VALUES_MAX else ""
    return f": {', '.join(values[:VALUES_MAX])}{more}"


if __name__ == "__main__":
    sys.stdout.write(page())
