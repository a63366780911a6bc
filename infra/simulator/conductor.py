"""Carries out commands: sets and heals faults, restarts agents, lets nodes come and go, calls elections."""

import asyncio
from collections.abc import Iterator
from functools import partial

from infra.simulator.actions import Executor
from infra.simulator.commands import (
    Command,
    Elect,
    Heal,
    Join,
    Leave,
    OnClusters,
    Restart,
    Roll,
    SwitchActions,
    Upgrade,
)
from infra.simulator.errors import CommandError
from infra.simulator.faults import AnyFault, BlackHole, Fault, Flap, Kill, StoreDown
from infra.simulator.fleet import Fleet
from infra.simulator.layout import add_node
from infra.simulator.listeners import Listeners
from infra.simulator.model import Book, Cluster, Kind, Node


class Conductor:
    """Everything that happens to the fleet from outside goes through `apply`."""

    def __init__(
        self, fleet: Fleet, executor: Executor, listeners: Listeners, places: Iterator[str], port: int
    ) -> None:
        """Give new nodes the next of `places`, on `port`."""
        self._fleet = fleet
        self._executor = executor
        self._listeners = listeners
        self._places = places
        self._port = port
        self._timers: dict[Node, asyncio.TimerHandle] = {}
        self._endings: dict[Node, asyncio.TimerHandle] = {}
        self._rolling: asyncio.TimerHandle | None = None

    def apply(self, command: Command) -> list[str]:
        """Carry out one command; return the names of the nodes or clusters it was about.

        Raises:
            CommandError: It names something that is not there; nothing was done.
        """
        match command:
            case Elect() | Roll():
                names = self._elections(command)
            case Join():
                names = self._join(command)
            case _:
                nodes = self._fleet.select(command.nodes)
                names = [node.name for node in nodes]
                for node in list(nodes):
                    self._one(node, command)
        about = {"nodes": len(names)} | ({"named": names} if len(names) <= 100 else {})  # noqa: PLR2004 - readable
        self._fleet.record.note("command", command=command.model_dump(mode="json"), **about)
        return names

    def close(self) -> None:
        """Let nothing happen any more."""
        for timer in (*self._timers.values(), *self._endings.values()):
            timer.cancel()
        if self._rolling is not None:
            self._rolling.cancel()

    def _one(self, node: Node, command: Fault | Heal | Restart | Leave | Upgrade | SwitchActions) -> None:
        """Carry out a command on one node."""
        if isinstance(command, SwitchActions | Upgrade):
            self._replace(node, command)
            return
        for timers in (self._timers, self._endings):
            timer = timers.pop(node, None)
            if timer is not None:
                timer.cancel()
        match command:
            case Heal():
                self._set(node, None)
            case Restart():
                self._set(node, None)
                self._down(node)
                if command.wipe:
                    node.book = Book()
                self._after(node, command.down_s, partial(self._back, node))
            case Leave():
                self._set(node, None)
                self._down(node)
                self._fleet.remove(node)
            case Fault():
                self._break(node, command)  # type: ignore[arg-type]

    def _replace(self, node: Node, command: SwitchActions | Upgrade) -> None:
        """Make a node's agent another one; what is wrong with it stays."""
        node.ready.clear()
        if isinstance(command, SwitchActions):
            node.actions_on = command.on
        else:
            self._reconnect(node)
            node.wire, node.book = command.protocol, Book()

    def _break(self, node: Node, fault: AnyFault) -> None:
        """Let a fault begin, and end in time."""
        self._set(node, fault)
        if isinstance(fault, Flap):
            start = self._fleet.rng.random() * (fault.up_s + fault.down_s)
            self._after(node, start, partial(self._flap, node, fault, well=True))
        if fault.for_s is not None:
            self._endings[node] = asyncio.get_running_loop().call_later(fault.for_s, self._one, node, Heal())

    def _after(self, node: Node, delay_s: float, do: "partial[None]") -> None:
        """Do something to a node later, unless another command comes first."""

        def later() -> None:
            self._timers.pop(node, None)
            do()

        self._timers[node] = asyncio.get_running_loop().call_later(delay_s, later)

    def _flap(self, node: Node, flap: Flap, *, well: bool) -> None:
        """Change between well and ill."""
        ill = Kill(nodes=[]) if flap.how == "kill" else BlackHole(nodes=[])
        self._set(node, ill if well else flap)
        self._after(node, flap.down_s if well else flap.up_s, partial(self._flap, node, flap, well=not well))

    def _set(self, node: Node, fault: AnyFault | None) -> None:
        """Give a node a fault, or none; its cluster notices what became of the store."""
        before = node.fault
        node.fault = fault
        node.ready.clear()
        lost, was_lost = _store_lost(fault), _store_lost(before)
        if lost != was_lost:
            self._fleet.set_store(node, up=not lost)
        self._listeners.black_hole(node, on=isinstance(fault, BlackHole))
        if isinstance(before, BlackHole):
            self._reconnect(node)
        if isinstance(fault, Kill):
            self._down(node)
        else:
            self._back(node)
        if _shown(fault) != _shown(before):
            self._fleet.record.note("fault", node=node.name, fault=_shown(fault))

    def _down(self, node: Node) -> None:
        """End an agent."""
        node.agent_up = False
        self._executor.pause(node)
        self._listeners.refuse(node)
        self._reconnect(node)

    def _back(self, node: Node) -> None:
        """Begin an agent."""
        self._listeners.listen(node)
        node.agent_up = True
        self._executor.resume(node)

    def _reconnect(self, node: Node) -> None:
        """Break off all connections to an agent."""
        for connection in list(node.connections):
            connection.reset()

    def _join(self, command: Join) -> list[str]:
        """Add nodes to a cluster."""
        cluster = self._cluster(command.cluster)
        wire = cluster.nodes[0].wire if cluster.nodes else None
        if wire is None:
            message = f"the cluster {cluster.name} has no node left to tell how its agents speak"
            raise CommandError(message)
        member = command.member or cluster.kind is not Kind.MONGODB
        nodes = [add_node(cluster, next(self._places), self._port, wire, member=member) for _ in range(command.count)]
        for node in nodes:
            self._fleet.add(node)
        return [node.name for node in nodes]

    def _elections(self, command: OnClusters) -> list[str]:
        """Hold elections at once, or one after the other from now on."""
        fleet = self._fleet
        clusters = list(fleet.clusters.values()) if command.clusters == "all" else map(self._cluster, command.clusters)
        chosen = list(clusters)
        if isinstance(command, Roll):
            if self._rolling is not None:
                self._rolling.cancel()
                self._rolling = None
            if command.every_s is not None and chosen:
                self._roll(chosen, 0, command.every_s, command.gap_s)
        else:
            for cluster in chosen:
                fleet.elect(cluster, command.gap_s)
        return [cluster.name for cluster in chosen]

    def _roll(self, clusters: list[Cluster], index: int, every_s: float, gap_s: float) -> None:
        """Hold one election and come back for the next."""
        self._fleet.elect(clusters[index % len(clusters)], gap_s)
        again = partial(self._roll, clusters, index + 1, every_s, gap_s)
        self._rolling = asyncio.get_running_loop().call_later(every_s, again)

    def _cluster(self, name: str) -> Cluster:
        """Return a cluster by name."""
        cluster = self._fleet.clusters.get(name)
        if cluster is None:
            message = f"there is no cluster {name!r}"
            raise CommandError(message)
        return cluster


def _shown(fault: AnyFault | None) -> str | None:
    """Return what is wrong at the moment: a node that flaps is well in between."""
    return None if fault is None or isinstance(fault, Flap) else fault.do


def _store_lost(fault: AnyFault | None) -> bool:
    """Say whether a fault takes the store down."""
    return isinstance(fault, StoreDown) or (isinstance(fault, Kill) and fault.machine)
