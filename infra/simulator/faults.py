"""What can be wrong with a node: the commands that make it so are the faults themselves.

One vocabulary for scripts, the control port and the library: ``{"do": "slow", "nodes": ["orders-1"], "delay_s": 2}``.
A node has one fault at a time; a new one replaces it, ``heal`` or the end of ``for_s`` removes it.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from infra.simulator.model import Kind, Wire

Duration = Annotated[float, Field(ge=0, le=86_400)]
"""Seconds."""
NAMES_MAX = 100_000
SIZE_MAX = 4 * 1024**3


class Pick(BaseModel):
    """Nodes by what they are; everything given must hold, then `share` or `count` of them are drawn by the seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind | None = None
    protocol: Wire | None = None
    primary: bool | None = None
    """Whether they lead their cluster (MongoDB, ZooKeeper)."""
    refusable: bool | None = None
    """Whether they have a listener of their own, so that their port can really be closed."""
    faulty: bool | None = None
    """Whether they have a fault already; False keeps several faults apart."""
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    count: Annotated[int, Field(ge=1)] | None = None


Selector = Literal["all"] | Annotated[list[str], Field(max_length=NAMES_MAX)] | Pick
"""Everything, names of nodes and clusters, or a `Pick`."""


class OnNodes(BaseModel):
    """A command about nodes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    nodes: Selector


class Fault(OnNodes):
    """A command that makes something wrong with nodes, for `for_s` seconds or until they are healed."""

    for_s: Duration | None = None


class OnPaths(Fault):
    """A fault of some answers only."""

    paths: Annotated[list[str], Field(max_length=50)] = []
    """Parts of the paths it is about, such as ``info/shards``; none means all."""

    def hits(self, target: str) -> bool:
        """Say whether a request is one of those."""
        return not self.paths or any(part in target for part in self.paths)


class Kill(Fault):
    """Connections are refused and open ones reset; `machine` takes the store down too, and its cluster notices."""

    do: Literal["kill"] = "kill"
    machine: bool = False


class BlackHole(Fault):
    """Nothing comes back any more: new connections are never established, open ones are never answered."""

    do: Literal["black_hole"] = "black_hole"


class Slow(OnPaths):
    """Each answer waits `delay_s`, and up to `jitter_s` more; the request has its effect when it comes."""

    do: Literal["slow"] = "slow"
    delay_s: Duration = 1.0
    jitter_s: Duration = 0.0


class Trickle(OnPaths):
    """The body comes one byte every `interval_s`."""

    do: Literal["trickle"] = "trickle"
    interval_s: Annotated[float, Field(gt=0, le=3_600)] = 0.5


class HangUp(OnPaths):
    """The connection is closed instead of an answer; with `taken` the request has its effect before that."""

    do: Literal["hang_up"] = "hang_up"
    taken: bool = False


class WrongIdentity(Fault):
    """The agent speaks for another node or cluster."""

    do: Literal["wrong_identity"] = "wrong_identity"
    node_id: str | None = None
    cluster_id: str | None = "another-cluster"


class Huge(OnPaths):
    """The body is valid JSON of `size_bytes`; undeclared, it comes in chunks with no length before it."""

    do: Literal["huge"] = "huge"
    size_bytes: Annotated[int, Field(ge=64, le=SIZE_MAX)] = 64 * 1024 * 1024
    declared: bool = True


class Garbage(OnPaths):
    """The body is not what it should be, under a status of 200."""

    do: Literal["garbage"] = "garbage"
    form: Literal["html", "text", "truncated", "binary", "nan", "types", "empty"] = "html"


class Fail(OnPaths):
    """The answer is an error of a proxy or server: a status with a text body."""

    do: Literal["fail"] = "fail"
    status: Annotated[int, Field(ge=400, le=599)] = 503
    retry_after_s: Annotated[int, Field(ge=0, le=86_400)] | None = None


class StoreDown(Fault):
    """The agent answers, its store does not; the cluster notices."""

    do: Literal["store_down"] = "store_down"


class Flap(Fault):
    """Well for `up_s`, ill for `down_s`, and so on; each node begins at a moment of its own."""

    do: Literal["flap"] = "flap"
    up_s: Annotated[float, Field(gt=0, le=86_400)] = 5.0
    down_s: Annotated[float, Field(gt=0, le=86_400)] = 5.0
    how: Literal["kill", "black_hole"] = "kill"


AnyFault = Kill | BlackHole | Slow | Trickle | HangUp | WrongIdentity | Huge | Garbage | Fail | StoreDown | Flap
