"""What somebody knows who only heard the events: a reader of its own, which shares nothing with the product's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from infra.chaos.history import Told

_TYPE = "io.replicante."


@dataclass(slots=True)
class Heard:
    """What events tell."""

    actions: dict[str, str] = field(default_factory=dict)
    """By id, the state."""
    nodes: dict[str, str] = field(default_factory=dict)
    """By `namespace/cluster/node`, the status."""
    healths: dict[str, str] = field(default_factory=dict)
    """By cluster, its health, of those that were told of as something else than UNKNOWN."""


def first_copies(events: Iterable[Told]) -> list[Told]:
    """The events without their copies, those of each stream in their order."""
    known: dict[str, Told] = {}
    for event in events:
        known.setdefault(event.id, event)
    return sorted(known.values(), key=lambda event: (event.stream, event.sequence))


def replayed(events: Iterable[Told]) -> Heard:
    """What is known after all of them."""
    heard = Heard()
    for event in first_copies(events):
        data, what = event.data, event.type.removeprefix(_TYPE).rpartition(".v")[0]
        match what:
            case "action.created" | "action.changed" | "action.finished":
                heard.actions[str(data["action_id"])] = str(data["state"])
            case "node.added":
                heard.nodes[f"{event.stream}/{data['node_id']}"] = str(data["status"])
            case "node.status-changed":
                heard.nodes[f"{event.stream}/{data['node_id']}"] = str(data["after"])
            case "node.removed":
                heard.nodes.pop(f"{event.stream}/{data['node_id']}", None)
            case "cluster.health-changed":
                heard.healths[event.stream] = str(data["after"])
            case _:
                continue
    return heard
