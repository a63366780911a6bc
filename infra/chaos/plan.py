"""Which faults happen when: made from a seed alone, before anything starts. The same seed makes the same schedule.

Faults come in groups, one or two at once. Between two groups there is time to recover, so that it can be measured. Kinds are
drawn like cards: none comes twice before all have come once. Targets are numbers from 0 to 1, because who works is only known
when it happens: `pick(among)` makes one of them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeVar

T = TypeVar("T")


class FaultKind(StrEnum):
    """What happens."""

    WORKER_KILL = "worker: kill -9"
    WORKER_PAUSE = "worker: SIGSTOP for longer than its session"
    WORKER_STOP = "worker: SIGTERM"
    WORKER_CLOCK = "worker: its clock jumps"
    SERVE_KILL = "serving process: kill -9"
    ZOOKEEPER_KILL = "ZooKeeper: kill -9 of one"
    ZOOKEEPER_PAUSE = "ZooKeeper: SIGSTOP of one"
    ZOOKEEPER_AWAY = "ZooKeeper: all away"
    ZOOKEEPER_ALONE = "ZooKeeper: one is cut off from its clients"
    KAFKA_KILL = "Kafka: kill -9 of a broker"
    KAFKA_PAUSE = "Kafka: SIGSTOP of a broker"
    KAFKA_AWAY = "Kafka: all away"
    MONGODB_KILL = "MongoDB: kill -9 of the primary"
    MONGODB_PAUSE = "MongoDB: SIGSTOP of the primary"
    MONGODB_STEPDOWN = "MongoDB: the primary steps down"
    MONGODB_AWAY = "MongoDB: all away"
    MONGODB_ALONE = "MongoDB: the primary is cut off from everybody"
    PREFECT_KILL = "Prefect: kill -9"
    DISK_FULL = "a server: its disk is full"
    DISK_SLOW = "a server: its disk is slow"
    NET_CUT = "network: worker and servers of a kind, cut"
    NET_ONE_WAY = "network: worker to servers of a kind, one-way cut"
    NET_DELAY = "network: worker and servers of a kind, delay"
    NET_ANSWERS = "network: servers of a kind to worker, answers dropped"
    NET_RESET = "network: worker and servers of a kind, connections refused"
    NET_AGENTS_CUT = "network: worker and agents, cut"
    NET_AGENTS_ANSWERS = "network: agents to worker, answers dropped"
    POINTERS_LOST = "Kafka records: pointers to work lost"
    POINTERS_TWICE = "Kafka records: pointers to work doubled"
    EVENTS_TWICE = "Kafka records: events doubled"
    AGENTS_GONE = "agents: some gone"
    AGENTS_SILENT = "agents: some do not answer"
    AGENTS_HANG_UP = "agents: some take the request and hang up"
    AGENTS_RESTART = "agents: some restart"


SERVERS = ("zookeeper", "kafka", "mongodb")
WORKER_FAULTS = frozenset({FaultKind.WORKER_KILL, FaultKind.WORKER_PAUSE, FaultKind.WORKER_STOP})
_AT_ONCE = frozenset(
    {
        FaultKind.WORKER_KILL, FaultKind.WORKER_STOP, FaultKind.SERVE_KILL, FaultKind.ZOOKEEPER_KILL, FaultKind.KAFKA_KILL,
        FaultKind.MONGODB_KILL, FaultKind.MONGODB_STEPDOWN, FaultKind.PREFECT_KILL, FaultKind.POINTERS_LOST,
        FaultKind.POINTERS_TWICE, FaultKind.EVENTS_TWICE, FaultKind.AGENTS_RESTART,
    }
)  # fmt: skip
"""Over as soon as they happened."""
_LASTS_S: Mapping[FaultKind, tuple[float, float]] = {
    FaultKind.WORKER_PAUSE: (12.0, 25.0),
    FaultKind.WORKER_CLOCK: (8.0, 15.0),
    FaultKind.MONGODB_PAUSE: (5.0, 12.0),
    FaultKind.DISK_FULL: (3.0, 6.0),
}
_USUALLY_S = (6.0, 18.0)
_OF_ONE = {
    "zookeeper": {kind for kind in FaultKind if kind.name.startswith("ZOOKEEPER")},
    "kafka": {kind for kind in FaultKind if kind.name.startswith("KAFKA")},
    "mongodb": {kind for kind in FaultKind if kind.name.startswith("MONGODB")},
    "any": {FaultKind.DISK_FULL, FaultKind.DISK_SLOW},
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of the schedule."""

    number: int
    kind: FaultKind
    at_s: float
    """When it begins, in seconds from the start of the chaos."""
    for_s: float
    """How long it lasts; 0: it is over as soon as it happened."""
    target: float
    """Which of those that it can be about, from 0 to 1."""
    server: str
    """Which kind of server a fault of the network or a disk is about."""
    amount: float
    """How much, from 0 to 1: delay, share of agents, size of a jump (below a half: back)."""

    def pick(self, among: Sequence[T]) -> T | None:
        """Which of them it is about; None when there are none."""
        return among[min(int(self.target * len(among)), len(among) - 1)] if among else None

    def plain(self) -> dict[str, Any]:
        """For files."""
        return {**asdict(self), "kind": self.kind.value}


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How faults follow each other."""

    minutes: float
    first_s: float = 5.0
    """Calm at the beginning."""
    recover_s: float = 16.0
    """Calm after each group: what recovers within 15 s is seen to."""
    two_share: float = 0.3
    """Of so many groups two faults happen at once."""
    kinds: tuple[FaultKind, ...] = tuple(FaultKind)
    """Which may happen."""


def schedule(seed: int, rhythm: Rhythm) -> tuple[Fault, ...]:
    """The faults of a run, in the order in which they begin; all are over before its end."""
    dice = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    ends_s = rhythm.minutes * 60.0
    deck: list[FaultKind] = []
    faults: list[Fault] = []
    at_s = rhythm.first_s
    while True:
        group: list[FaultKind] = []
        wanted = 2 if dice.random() < rhythm.two_share else 1
        while len(group) < min(wanted, len(rhythm.kinds)):
            if not deck:
                deck = list(rhythm.kinds)
                dice.shuffle(deck)
            position = next((place for place, kind in enumerate(deck) if _together(kind, group)), None)
            if position is None:
                break
            group.append(deck.pop(position))
        made = [_fault(len(faults) + offset, kind, at_s, dice) for offset, kind in enumerate(group)]
        over_s = max(one.at_s + one.for_s for one in made)
        if over_s + rhythm.recover_s > ends_s:
            return tuple(faults)
        faults += made
        at_s = over_s + rhythm.recover_s + dice.uniform(0.0, 2.0)


def _fault(number: int, kind: FaultKind, at_s: float, dice: random.Random) -> Fault:
    least, most = (0.0, 0.0) if kind in _AT_ONCE else _LASTS_S.get(kind, _USUALLY_S)
    return Fault(
        number=number,
        kind=kind,
        at_s=round(at_s + dice.uniform(0.0, 2.0), 2),
        for_s=round(dice.uniform(least, most), 2),
        target=dice.random(),
        server=dice.choice(SERVERS),
        amount=dice.random(),
    )


def _together(kind: FaultKind, group: Sequence[FaultKind]) -> bool:
    """Two at once never take a majority of the same servers, and are two different things."""
    if kind in group:
        return False
    for of_one in _OF_ONE.values():
        taken = [other for other in group if other in of_one or other in _OF_ONE["any"]]
        if (kind in of_one or kind in _OF_ONE["any"]) and taken:
            return False
    return True
