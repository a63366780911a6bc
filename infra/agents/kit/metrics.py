"""A few Prometheus lines about the agent: status, answers, actions, fence. Labels are bounded: routes, not paths."""

from collections import Counter

from infra.agents.kit.actions import Counts
from infra.agents.kit.models import AGENT_VERSION, Identity, Status, Unknown

PREFIX = "replicante_agent"


class Metrics:
    """Counts answers and remembers the last status."""

    def __init__(self, identity: Identity) -> None:
        """Start at zero."""
        self._identity = identity
        self._answers: Counter[tuple[str, int]] = Counter()
        self.status: Status | Unknown | None = None

    def answered(self, route: str, status: int) -> None:
        """Count one answer."""
        self._answers[route, status] += 1

    def text(self, counts: Counts) -> str:
        """Return the exposition format."""
        number, store = AGENT_VERSION["number"], self._identity.store_id
        lines = [
            f"# TYPE {PREFIX}_info gauge",
            f'{PREFIX}_info{{version="{number}",store="{store}"}} 1',
            f"# TYPE {PREFIX}_store_up gauge",
            f"{PREFIX}_store_up {int(self.status is not None and self.status is not Status.UNAVAILABLE)}",
            f"# TYPE {PREFIX}_answers_total counter",
        ]
        for (route, status), count in sorted(self._answers.items()):
            lines.append(f'{PREFIX}_answers_total{{route="{route}",status="{status}"}} {count}')
        lines.append(f"# TYPE {PREFIX}_actions gauge")
        for phase, count in sorted(counts.by_phase.items()):
            lines.append(f'{PREFIX}_actions{{phase="{phase}"}} {count}')
        lines += [f"# TYPE {PREFIX}_actions_unfenced gauge", f"{PREFIX}_actions_unfenced {counts.unfenced}"]
        if counts.fence is not None:
            lines += [
                f"# TYPE {PREFIX}_fence_generation gauge",
                f"{PREFIX}_fence_generation {counts.fence.generation}",
                f"# TYPE {PREFIX}_fence_token gauge",
                f"{PREFIX}_fence_token {counts.fence.token}",
            ]
        return "\n".join(lines) + "\n"
