"""What happened in a run, as data: read from the files that it left. All times are seconds of CLOCK_MONOTONIC."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from infra.chaos.settings import AGENTS, BUDGET, STRICT

Json = dict[str, Any]
Fence = tuple[int, int]
OWNED = frozenset({"states", "nodes", "reports"})
"""Collections of what the holder of a cluster alone may write."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of an action on its agent."""

    at: float
    node: str
    action: str
    phase: str
    fence: Fence | None = None
    order: int | None = None
    """The number of the order that it is about, where its arguments tell it."""
    sent_at: float | None = None
    """When the request had left its sender, where the network held it; only of what was accepted."""


@dataclass(frozen=True, slots=True)
class Write:
    """A change of a document, in MongoDB's order."""

    at: float
    collection: str
    op: str
    key: str
    transaction: str | None
    document: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """A record on the event bus, in the order of its partition."""

    id: str
    type: str
    stream: str
    sequence: int
    digest: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """A freeze or a blackout: from the moment it was confirmed to the moment somebody began to lift it."""

    where: str
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Order:
    """What a person ordered; `accepted` None: nobody knows."""

    number: int
    action: str
    accepted: bool | None


@dataclass(frozen=True, slots=True)
class Inflicted:
    """A fault that happened."""

    number: int
    kind: str
    target: str
    begun: float
    over: float
    """When it had ended and everything was put right again."""
    outcome: str = "done"


@dataclass(frozen=True, slots=True)
class Pulse:
    """A look at the product."""

    at: float
    ill: tuple[str, ...] = ()
    passing: tuple[str, ...] = ()
    """What of it may be so for a moment: a worker hands over to another, something is late."""


@dataclass(frozen=True, slots=True)
class Failover:
    """What became of what a killed worker had."""

    worker: str
    seconds: float | None
    work: int = 0
    duties: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Final:
    """What MongoDB holds at the end."""

    actions: Mapping[str, str] = field(default_factory=dict)
    """By id, the state."""
    waiting: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By id of an unfinished action, why it waits."""
    nodes: Mapping[str, str] = field(default_factory=dict)
    """By `namespace/cluster/node`, the status."""
    healths: Mapping[str, str] = field(default_factory=dict)
    """By cluster, its health."""
    unseen_s: Mapping[str, float | None] = field(default_factory=dict)
    """By active cluster, how long ago it was seen; None: never."""
    streams: Mapping[str, int] = field(default_factory=dict)
    """By stream, how many events there are."""
    untold: tuple[Told, ...] = ()
    """Events that wait for the next worker: the last one had gone when they were saved."""
    stuck: Mapping[str, str] = field(default_factory=dict)
    """By key, work that is dead or claimed, or was handed in and not applied, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class History:
    """Everything that the rules judge."""

    steps: tuple[Step, ...] = ()
    writes: tuple[Write, ...] = ()
    told: tuple[Told, ...] = ()
    spans: tuple[Span, ...] = ()
    orders: tuple[Order, ...] = ()
    faults: tuple[Inflicted, ...] = ()
    pulses: tuple[Pulse, ...] = ()
    failovers: tuple[Failover, ...] = ()
    final: Final = Final()
    homes: Mapping[str, str] = field(default_factory=dict)
    """By node, the key of its cluster."""
    budgets: Mapping[str, int] = field(default_factory=dict)
    """By namespace, how many nodes may be acted on at once."""
    holes: tuple[str, ...] = ()
    """Why the history is not complete."""
    begun: float = 0.0
    calm_since: float | None = None
    """When people and faults had stopped."""


def read(folder: Path) -> History:
    """The history that a part of a run left; the record of the agents is that of the whole run."""
    lines = list(_lines(folder / "history.jsonl"))
    by: dict[str, list[Json]] = {}
    for line in lines:
        by.setdefault(line["what"], []).append(line)
    homes, offset = dict(_homes(folder)), _offset(folder)
    return History(
        steps=tuple(_steps(_of(_lines(folder.parent / "agents.jsonl"), homes), by.get("held", ()))),
        writes=tuple(_write(line, offset) for line in by.get("write", ())),
        told=tuple(map(_told, by.get("event", ()))),
        spans=tuple(_span(one) for one in by.get("gate", ()) if one["placed"] is not None),
        orders=tuple(map(_order, by.get("order", ()))),
        faults=tuple(sorted(map(_fault, by.get("fault", ())), key=lambda one: one.begun)),
        pulses=tuple(Pulse(one["at"], tuple(one["ill"]), tuple(one.get("passing", ()))) for one in by.get("pulse", ())),
        failovers=tuple(map(_failover, by.get("failover", ()))),
        final=_final(orjson.loads((folder / "final.json").read_bytes())),
        homes=homes,
        budgets={STRICT: BUDGET},
        holes=tuple(str(one["why"]) for one in by.get("hole", ())),
        begun=by["begin"][0]["at"] if "begin" in by else 0.0,
        calm_since=by["calm"][0]["at"] if "calm" in by else None,
    )


def _lines(path: Path) -> Iterator[Json]:
    with path.open("rb") as file:
        for line in file:
            yield orjson.loads(line)


def _of(lines: Iterable[Json], homes: Mapping[str, str]) -> Iterator[Json]:
    return (line for line in lines if line.get("node") in homes)


def _homes(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.glob("*.json")):
        if path.stem == "final":
            continue
        for cluster in orjson.loads(path.read_bytes()).get("clusters", ()):
            for node in cluster["nodes"]:
                yield node["node_id"], f"{path.stem}/{cluster['cluster_id']}"


def fence_of(text: str | None) -> Fence | None:
    """A fencing token as agents are told it."""
    if not text:
        return None
    generation, _, token = text.partition(":")
    return int(generation), int(token)


def _steps(lines: Iterable[Json], held: Iterable[Json]) -> Iterator[Step]:
    """The steps of all actions; what was accepted with the number of its order and the time of its sending."""
    late: dict[str, list[Json]] = {}
    for one in held:
        late.setdefault(str(one["target"]).removeprefix(AGENTS), []).append(one)
    posts: dict[tuple[str, str], int | None] = {}
    steps: list[Json] = []
    for line in lines:
        if line["what"] == "action":
            steps.append(line)
        elif line["what"] == "request" and line.get("method") == "POST" and line.get("body"):
            action, number = _ordered(line)
            posts[line["node"], action] = number
    for line in steps:
        node, action = line["node"], line["id"]
        near = (one["sent_at"] for one in late.get(node, ()) if 0 <= line["at"] - one["arrived_at"] < _NEAR_S)
        yield Step(
            at=line["at"],
            node=node,
            action=action,
            phase=line["phase"],
            fence=fence_of(line.get("fence")),
            order=posts.get((node, action)),
            sent_at=min(near, default=None) if line["phase"] == "NEW" else None,
        )


_NEAR_S = 0.5
"""What an agent accepts within so many seconds after something held arrived may be what was held."""


def _ordered(line: Json) -> tuple[str, int | None]:
    """Which action a request is about, and the number in its arguments."""
    try:
        body = orjson.loads(line["body"])
        args = body.get("args") or {}
        return str(body.get("id") or body.get("action_id") or ""), args.get("chaos") if isinstance(args, dict) else None
    except (ValueError, AttributeError):
        return "", None


def _offset(folder: Path) -> float:
    """What the wall clock is ahead of the monotonic one, as the agents' record says."""
    began = next(_lines(folder.parent / "agents.jsonl"))
    return datetime.fromisoformat(began["utc"]).timestamp() - float(began["at"])


def _write(line: Json, offset: float) -> Write:
    at = line["at"] if line["wall"] is None else line["wall"] - offset
    return Write(at, line["collection"], line["op"], line["key"], line["transaction"], line["document"])


def _told(line: Json) -> Told:
    return Told(line["id"], line["type"], line["stream"], line["sequence"], line["digest"], line["data"] or {})


def _span(line: Json) -> Span:
    return Span(line["where"], line["placed"], line["lifting"])


def _order(line: Json) -> Order:
    accepted = {"accepted": True, "unknown": None}.get(line["outcome"], False)
    return Order(line["number"], line["action"], accepted)


def _fault(line: Json) -> Inflicted:
    return Inflicted(line["number"], line["kind"], line["target"], line["at"], line["put_right_at"], line["outcome"])


def _failover(line: Json) -> Failover:
    return Failover(line["worker"], line["seconds"], line["work"], tuple(line["duties"]), tuple(line["missing"]))


def _untold(one: Json) -> Told:
    return Told(str(one["_id"]), one["type"], one["stream"], one["sequence"], "", orjson.loads(one["data"]))


def _final(raw: Json) -> Final:
    now = datetime.fromisoformat(raw["now"])
    seen = {one["_id"]: one.get("observed_at") for one in raw["states"]}
    unseen: dict[str, float | None] = {}
    for spec in raw["specs"]:
        if spec.get("active", True):
            at = seen.get(spec["_id"])
            unseen[spec["_id"]] = None if at is None else (now - datetime.fromisoformat(str(at))).total_seconds()
    stuck = {
        str(one["_id"]): f"{one['state']} {one.get('owner') or ''} {one.get('error') or ''}".strip()
        for one in raw["work"]
        if one["state"] == "dead"
    }
    stuck |= {
        f"submission {one['_id']}": "was handed in and not applied"
        for one in raw["submissions"]
        if one.get("applied") is None and one.get("error") is None
    }
    streams: dict[str, int] = {}
    for one in raw["events"]:
        streams[one["stream"]] = max(streams.get(one["stream"], 0), one["sequence"])
    return Final(
        actions={str(one["_id"]): one["state"] for one in raw["actions"]},
        waiting={key: tuple(why) for key, why in raw["waiting"].items()},
        nodes={f"{one['cluster_key']}/{one['node_id']}": one["status"] for one in raw["nodes"]},
        healths={str(one["_id"]): one["health"] for one in raw["states"]},
        unseen_s=unseen,
        streams=streams,
        untold=tuple(_untold(one) for one in raw["events"] if not one.get("published", True)),
        stuck=stuck,
    )
