"""What handlers of actions on clusters reach, in memory: scripted answers, and a record of what was asked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from blocks.models.platform import ClusterDefinition, Provisioned
from blocks.models.source import Source
from blocks.sources.platforms_protocol import Platforms
from blocks.sources.webhooks_protocol import Answered, Call, Webhooks


@dataclass
class MemoryOutside:
    """Platforms and webhooks whose answers a test scripts: the first of them is taken; the last one stays."""

    answers: list[Answered | Exception] = field(default_factory=lambda: [Answered(204)])
    made: list[Provisioned | Exception] = field(default_factory=lambda: [Provisioned(count=1)])
    removed: list[Exception | None] = field(default_factory=lambda: [None])
    posted: list[Call] = field(default_factory=list)
    provisioned: list[tuple[str, str, int]] = field(default_factory=list)
    """Cluster, group and count."""
    deprovisioned: list[tuple[str, str]] = field(default_factory=list)
    hangs: asyncio.Event | None = None
    """Whoever posts, or asks for nodes, waits for it."""

    async def platforms(self) -> Platforms:
        """See `Outside`."""
        return self

    async def webhooks(self) -> Webhooks:
        """See `Outside`."""
        return self

    async def post(self, call: Call) -> Answered:
        """See `Webhooks`."""
        self.posted.append(call)
        if self.hangs is not None:
            await self.hangs.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def provision(
        self, source: Source, definition: ClusterDefinition, group: str, count: int, deadline_s: float | None = None
    ) -> Provisioned:
        """See `Platforms`."""
        del source, deadline_s
        self.provisioned.append((definition.cluster_id, group, count))
        if self.hangs is not None:
            await self.hangs.wait()
        answer = self.made.pop(0) if len(self.made) > 1 else self.made[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def deprovision(self, source: Source, cluster_id: str, node_id: str, deadline_s: float | None = None) -> None:
        """See `Platforms`."""
        del source, deadline_s
        self.deprovisioned.append((cluster_id, node_id))
        answer = self.removed.pop(0) if len(self.removed) > 1 else self.removed[0]
        if answer is not None:
            raise answer
