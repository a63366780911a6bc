"""How claims look in ZooKeeper: `BASE/<kind>/<percent-encoded name>`, ephemeral, with JSON that says who and why.

Beside the folders of the kinds lie `BASE/generation`, a whole number that a person raises when ZooKeeper was set up
anew (tokens start again at 0 then), and `BASE/forced`, whose version counts the claims that persons took from others.
"""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote, unquote

import orjson
from kazoo.protocol.states import ZnodeStat

from blocks.coordinator.protocol import ClaimKind, Holder
from blocks.models.base import clean_text

WORDS = {
    ClaimKind.LOCK: "lock",
    ClaimKind.SEAT: "seat",
    ClaimKind.STANDBY: "standby place",
    ClaimKind.DUTY: "duty",
    ClaimKind.WORKER: "presence",
}
"""What people call a claim of each kind."""


class Znodes:
    """Paths below the folder of one fleet."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.generation = f"{base}/generation"
        self.forced = f"{base}/forced"

    def folder(self, kind: ClaimKind) -> str:
        """Where claims of a kind lie."""
        return f"{self.base}/{kind.value}"

    def path(self, kind: ClaimKind, name: str) -> str:
        """Where one claim lies."""
        return f"{self.folder(kind)}/{encoded(name)}"


def encoded(name: str) -> str:
    """Make a name fit for one step of a path: everything but `A-Z a-z 0-9 - _ . ~` as percent escapes.

    Raises:
        ValueError: the name is empty.
    """
    if not name:
        msg = "a claim needs a name"
        raise ValueError(msg)
    text = quote(name, safe="", errors="surrogatepass")
    return text.replace(".", "%2E") if text in {".", ".."} else text


def decoded(step: str) -> str:
    """The name again."""
    return unquote(step, errors="replace")


def holder(kind: ClaimKind, name: str, data: bytes, stat: ZnodeStat) -> Holder:
    """Who holds a znode. Since when is the server's time; data that is not ours still makes a holder."""
    try:
        said = orjson.loads(data)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        said = {"owner": clean_text(data.decode(errors="replace"), 100) or "somebody who does not say"}
    flow_run, pid = said.get("flow_run"), said.get("pid")
    return Holder(
        kind=kind,
        name=name,
        owner=clean_text(said.get("owner", ""), 256),
        purpose=clean_text(said.get("purpose", ""), 256),
        flow_run=None if flow_run is None else clean_text(flow_run, 256),
        host=clean_text(said.get("host", ""), 256),
        pid=pid if isinstance(pid, int) else 0,
        since=datetime.fromtimestamp(stat.ctime / 1000, UTC),
        token=stat.czxid,
    )


def described(holder: Holder) -> str:
    """One phrase on a holder, for error messages."""
    purpose = f" for {holder.purpose}" if holder.purpose else ""
    place = f" (pid {holder.pid} on {holder.host})" if holder.host else ""
    return f"{holder.owner}{place}{purpose} since {holder.since:%Y-%m-%d %H:%M:%S} UTC"
