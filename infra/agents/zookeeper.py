"""The ZooKeeper agent (agent-protocol.md 4): four-letter words over a plain socket, one connection per word.

``srvr`` is enough and is always allowed; ``mntr`` adds attributes where the server's whitelist has it. One server
cannot know the leader's zxid, and zxids of different epochs cannot be subtracted: no lag is ever reported.
"""

import asyncio
import re
from dataclasses import dataclass

from infra.agents.kit.errors import StoreDownError, StoreError, clip
from infra.agents.kit.handlers import Handlers
from infra.agents.kit.models import NodeReport, Offset, Other, Role, Shard, Status, StoreReport, Version
from infra.agents.kit.options import Options, join_address, parse_address

ANSWER_SECONDS = 1.0
ANSWER_BYTES_MAX = 256 * 1024
INT64 = 2**63

NO_QUORUM = "not currently serving requests"
NOT_ALLOWED = "not in the whitelist"
ROLES = {
    "standalone": Role.PRIMARY,
    "leader": Role.PRIMARY,
    "follower": Role.SECONDARY,
}
ATTRIBUTES = {
    "zk_server_state": "zookeeper.apache.org/server.state",
    "zk_quorum_size": "zookeeper.apache.org/quorum.size",
    "zk_synced_followers": "zookeeper.apache.org/followers.synced",
}
"""Facts that change when the ensemble does; counters would make every look a difference."""

_VERSION = re.compile(
    r"([0-9]+\.[0-9]+\.[0-9]+(?:-(?:alpha|beta|rc)(?:[.-]?[0-9]{1,2}\b)?)?)(?:-([0-9a-f]{7,40}))?(?:-dirty)?\b"
)


class NoQuorumError(StoreError):
    """The server runs, but its ensemble has no quorum."""


@dataclass(frozen=True, slots=True)
class Srvr:
    """What ``srvr`` says."""

    version: Version | None
    mode: str
    zxid: int


class ZooKeeperStore:
    """One ZooKeeper server as its agent sees it."""

    store_id = "zookeeper"

    def __init__(self, host: str, port: int, cluster_id: str, version: str | None) -> None:
        """Speak for the server at `host` and `port`; `version` is reported where the server does not tell."""
        self._host = host
        self._port = port
        self._cluster_id = cluster_id
        self._version = version
        self.address = join_address(host, port)

    async def node(self) -> NodeReport:
        """Return status and version; a server without a quorum is UNHEALTHY."""
        fallback = Version(self._version) if self._version else None
        try:
            srvr = parse_srvr(await self._ask("srvr"))
        except NoQuorumError:  # protocol B has no words beside a status: the mode says why
            return NodeReport(Status.UNHEALTHY, version=fallback, attributes={"zookeeper.apache.org/mode": "no quorum"})
        attributes = {"zookeeper.apache.org/mode": srvr.mode}
        return NodeReport(Status.HEALTHY, version=srvr.version or fallback, attributes=attributes)

    async def store(self) -> StoreReport:
        """Return what the ensemble is made of, as far as ``mntr`` is allowed."""
        text = await self._ask("mntr")
        attributes: dict[str, int | str] = {}
        if NOT_ALLOWED not in text:
            for line in text.splitlines():
                key, _, value = line.partition("\t")
                if key in ATTRIBUTES:
                    attributes[ATTRIBUTES[key]] = int(value) if value.isdecimal() else clip(value, 64)
        return StoreReport(self._cluster_id, attributes)

    async def shards(self) -> list[Shard]:
        """Return the one shard of an ensemble: the whole tree."""
        srvr = parse_srvr(await self._ask("srvr"))
        role = ROLES.get(srvr.mode) or Other(srvr.mode)
        return [Shard(self._cluster_id, role, commit_offset=Offset(srvr.zxid, "zxid"))]

    def actions(self) -> Handlers:
        """Return nothing: a ZooKeeper server has no actions of its own here."""
        return {}

    async def close(self) -> None:
        """Do nothing: no connection outlives its word."""

    async def _ask(self, word: str) -> str:
        """Send a four-letter word and return the whole answer."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await self._exchange(word)
        except TimeoutError as error:
            message = f"ZooKeeper at {self.address} did not answer {word} within {ANSWER_SECONDS:g} s"
            raise StoreDownError(message) from error
        except OSError as error:
            message = f"ZooKeeper at {self.address} does not answer {word}: {error}"
            raise StoreDownError(message) from error
        if not answer.strip():
            message = f"ZooKeeper at {self.address} closed the connection without an answer to {word}"
            raise StoreDownError(message)
        if NO_QUORUM in answer:
            message = f"ZooKeeper at {self.address} has no quorum: it is not serving requests"
            raise NoQuorumError(message)
        return answer

    async def _exchange(self, word: str) -> str:
        """Connect, send, read to the end."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(word.encode())
            answer = bytearray()
            while chunk := await reader.read(65_536):
                answer += chunk
                if len(answer) > ANSWER_BYTES_MAX:
                    message = f"ZooKeeper at {self.address} answered {word} with more than {ANSWER_BYTES_MAX} bytes"
                    raise StoreError(message)
        finally:
            writer.close()
        return answer.decode("utf-8", errors="replace")


def parse_srvr(text: str) -> Srvr:
    """Read an answer to ``srvr``.

    Raises:
        StoreError: Its mode or zxid is missing or wrong: not a ZooKeeper server, or a word that is not allowed.
    """
    fields = dict(line.partition(": ")[::2] for line in text.splitlines())
    mode, zxid = fields.get("Mode", "").strip(), fields.get("Zxid", "").strip()
    if not mode or not re.fullmatch(r"0x[0-9a-fA-F]{1,16}", zxid):
        message = f"unexpected answer to srvr: {clip(text.strip(), 200)!r}"
        raise StoreError(message)
    value = int(zxid, 16)
    signed = value - 2 * INT64 if value >= INT64 else value
    return Srvr(parse_version(fields.get("Zookeeper version", "")), clip(mode, 64), signed)


def parse_version(text: str) -> Version | None:
    """Read ``3.9.5-<hash>, built on ...``; the hash only when it is one (Debian prints a Maven placeholder)."""
    match = _VERSION.match(text)
    return Version(match[1], checkout=match[2]) if match else None


def build(options: Options) -> ZooKeeperStore:
    """Return the adapter."""
    return ZooKeeperStore(*parse_address(options.store), options.cluster_id, options.store_version)
