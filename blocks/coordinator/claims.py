"""Taking and giving back: what must be true after every lost answer, cancellation and forced release.

Each taking writes data that no other taking writes (a nonce), so whoever reads a znode knows whether it is the one he made.
That makes every request safe to send twice. What could not be finished by its deadline is *in doubt*: remembered, and removed
by `tidy` if it turns out to be there.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import orjson
from kazoo.exceptions import BadVersionError, NodeExistsError, NoNodeError
from kazoo.protocol.states import ZnodeStat

from blocks.coordinator import requests
from blocks.coordinator.protocol import Claim, ClaimKind, Holder
from blocks.coordinator.session import Session
from blocks.coordinator.znodes import Znodes, holder
from blocks.errors import DependencyUnavailableError
from blocks.models.base import clean_text

T = TypeVar("T")
Node = tuple[bytes, ZnodeStat]

_CHUNK = 100
"""Znodes per request: with the longest names still a third of what a server accepts (1 MB)."""
_TRIES_MAX = 5
_DOUBTS_MAX = 20_000
_TAKE_WITHIN_S = 5.0
"""How long a claim may be taken and given back by others under our hands, without our ever seeing who holds it."""
_GIVE_BACK_WITHIN_S = 2.0


_RAISES_MAX = 5


class Held(NamedTuple):
    """A claim of ours."""

    path: str
    claim: Claim
    data: bytes
    forced: int
    """The count of forced releases at a moment when nobody else could have had the claim in our place."""


async def all_of(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all to their ends, then raise the first error: none goes on unwatched."""
    outcomes = await asyncio.gather(*coroutines, return_exceptions=True)
    results: list[T] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        results.append(outcome)
    return results


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut into pieces that fit into one request."""
    return (items[at : at + _CHUNK] for at in range(0, len(items), _CHUNK))


class Claims:
    """The claims of one process."""

    def __init__(self, session: Session, znodes: Znodes, identity: Mapping[str, object]) -> None:
        self._session = session
        self._znodes = znodes
        self._identity = identity
        self._held: dict[str, Held] = {}
        self._doubts: set[tuple[str, bytes]] = set()
        self._prepared_for: int | None = None
        self._generation = 0
        self._forced = 0

    # --- ground -----------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Make the folders and read the counters, once per session.

        Raises:
            DependencyUnavailableError: the server does not answer, or holds something else there.
        """
        session = self._session.id
        if session is not None and session == self._prepared_for:
            return
        ask, znodes = self._session.ask, self._znodes
        await all_of(ask(requests.ensure(znodes.folder(kind))) for kind in ClaimKind)
        for path, data in ((znodes.generation, b"1"), (znodes.forced, b"")):
            with contextlib.suppress(NodeExistsError):
                await ask(requests.create(path, data, ephemeral=False))
        await self._read_generation()
        await self._read_forced()
        self._prepared_for = session

    async def _read_generation(self) -> None:
        path = self._znodes.generation
        try:
            data, _ = await self._session.ask(lambda client: client.get_async(path))
        except NoNodeError as error:
            self._prepared_for = None
            reason = f"{path} has vanished"
            raise self._session.unavailable(reason) from error
        if not data.isdigit() or int(data) < 1:
            reason = f"{path} holds {data[:40]!r} and not a whole number above 0"
            raise self._session.unavailable(reason)
        self._generation = int(data)

    async def generation(self) -> int:
        """The generation that is written now."""
        await self.prepare()
        await self._read_generation()
        return self._generation

    async def raise_generation(self, above: int) -> int:
        """Write the next generation: above that, and above what anybody else wrote meanwhile."""
        path = self._znodes.generation
        for _ in range(_RAISES_MAX):
            data, stat = await self._session.ask(lambda client: client.get_async(path))
            raised = str(max(int(data), above) + 1).encode()
            with contextlib.suppress(BadVersionError):
                await self._session.ask(lambda client: client.set_async(path, raised, version=stat.version))  # noqa: B023
                await self._read_generation()
                return self._generation
        reason = f"{path} kept changing"
        raise self._session.unavailable(reason)

    async def _read_forced(self) -> int:
        stat = await self._session.ask(lambda client: client.exists_async(self._znodes.forced))
        if stat is None:
            self._prepared_for = None
            reason = f"{self._znodes.forced} has vanished"
            raise self._session.unavailable(reason)
        self._forced = stat.version
        return stat.version

    async def tidy(self) -> None:
        """Read the generation again, forget what older sessions held, undo what is in doubt."""
        await self.prepare()
        await self._read_generation()
        session = self._session.id
        if session is not None:
            self._held = {path: held for path, held in self._held.items() if held.claim.session == session}
        for chunk in chunks(sorted(self._doubts)):
            await self._remove_if_ours(chunk)
            self._doubts.difference_update(chunk)

    # --- what we hold -----------------------------------------------------------------------------

    def holds(self, claim: Claim) -> bool:
        """Whether we have taken this and not given it back."""
        held = self._held.get(self._znodes.path(claim.kind, claim.name))
        return held is not None and held.claim == claim

    def forget(self, claim: Claim) -> Held | None:
        """Hold it no more, without telling the server."""
        return self._held.pop(self._znodes.path(claim.kind, claim.name)) if self.holds(claim) else None

    def _keep(self, kind: ClaimKind, name: str, node: Node, forced: int) -> Claim:
        data, stat = node
        path = self._znodes.path(kind, name)
        claim = Claim(kind=kind, name=name, generation=self._generation, token=stat.czxid, session=stat.ephemeralOwner)
        self._held[path] = Held(path, claim, data, forced)
        return claim

    # --- taking -----------------------------------------------------------------------------------

    async def take(self, kind: ClaimKind, name: str, purpose: str) -> Claim | Holder:
        """Take one claim, or say who holds it.

        Raises:
            DependencyUnavailableError: the server does not answer; nothing stays taken.
        """
        data = self._data(purpose)
        with self._in_doubt([self._znodes.path(kind, name)], data):
            return await self._take(kind, name, data)

    async def take_many(self, kind: ClaimKind, names: Iterable[str], purpose: str) -> dict[str, Claim]:
        """Take what is free of many, up to 100 per request.

        Raises:
            DependencyUnavailableError: the server does not answer; nothing stays taken.
        """
        data = self._data(purpose)
        wanted = list(dict.fromkeys(names))
        taken: dict[str, Claim] = {}
        with self._in_doubt([self._znodes.path(kind, name) for name in wanted], data):
            for chunk in chunks(wanted):
                taken.update(await self._take_chunk(kind, chunk, data))
        return taken

    def _data(self, purpose: str) -> bytes:
        return orjson.dumps({**self._identity, "purpose": clean_text(purpose, 256), "nonce": uuid.uuid4().hex})

    @contextlib.contextmanager
    def _in_doubt(self, paths: Sequence[str], data: bytes) -> Iterator[None]:
        """If this fails or is cancelled, nothing of it may stay taken."""
        if len(self._doubts) > _DOUBTS_MAX:
            reason = f"{len(self._doubts)} earlier requests are still without an answer"
            raise self._session.unavailable(reason)
        try:
            yield
        except BaseException:
            for path in paths:
                if path in self._held and self._held[path].data == data:
                    del self._held[path]
            self._doubts.update((path, data) for path in paths)
            self._session.nudge()
            raise

    async def _take(self, kind: ClaimKind, name: str, data: bytes) -> Claim | Holder:
        path = self._znodes.path(kind, name)
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _TAKE_WITHIN_S
        while loop.time() < give_up:
            await self.prepare()
            forced = self._forced
            try:
                _, stat = await self._session.ask(requests.create(path, data, ephemeral=True), proves=True)
            except NodeExistsError:
                node = await self._read(path)
                if node is not None and node[0] == data:  # our own, its answer was lost
                    return self._keep(kind, name, node, forced)
                if node is not None:
                    return holder(kind, name, *node)
            except NoNodeError:
                self._prepared_for = None
            else:
                return self._keep(kind, name, (data, stat), forced)
        reason = f"{path} came and went under every attempt"
        raise self._session.unavailable(reason)

    async def _take_chunk(self, kind: ClaimKind, names: Sequence[str], data: bytes) -> dict[str, Claim]:
        """All in one transaction; if some are held, the others in a second; if that fails too, one by one."""
        await self.prepare()
        forced = self._forced
        taken: dict[str, Claim] = {}
        free = list(names)
        for _ in range(2):
            paths = [self._znodes.path(kind, name) for name in free]
            if not paths:
                return taken
            outcomes = await self._session.ask(requests.create_all(paths, data), proves=True)
            if not any(isinstance(outcome, Exception) for outcome in outcomes):
                node = await self._read(paths[0])  # all nodes of a transaction have the same czxid
                if node is not None and node[0] == data:
                    return {**taken, **{name: self._keep(kind, name, node, forced) for name in free}}
            nodes = dict(zip(free, await all_of(self._read(path) for path in paths), strict=True))
            taken.update(
                {name: self._keep(kind, name, node, forced) for name, node in nodes.items() if node and node[0] == data}
            )
            free = [name for name, node in nodes.items() if node is None]
        alone = await all_of(self._take(kind, name, data) for name in free)
        return {**taken, **{claim.name: claim for claim in alone if isinstance(claim, Claim)}}

    # --- giving back ------------------------------------------------------------------------------

    async def give_back(self, claims: Iterable[Claim]) -> None:
        """Give back what is still ours. Never raises because the server or the session is gone."""
        session = self._session.id
        mine = [held for claim in claims if (held := self.forget(claim)) is not None]
        for chunk in chunks([held for held in mine if session is None or held.claim.session == session]):
            doubts = [(held.path, held.data) for held in chunk]
            try:
                await self._give_back(chunk)
            except DependencyUnavailableError:
                self._doubts.update(doubts)
            except BaseException:
                self._doubts.update(doubts)
                raise

    async def _give_back(self, chunk: Sequence[Held]) -> None:
        """In one transaction that fails if a person has forced anybody out since these were taken; else with a look first."""
        deadline = asyncio.get_running_loop().time() + _GIVE_BACK_WITHIN_S
        forced = {held.forced for held in chunk}
        if len(forced) == 1:
            send = requests.delete_all([held.path for held in chunk], self._znodes.forced, forced.pop())
            outcomes = await self._session.ask(send, deadline=deadline, proves=True)
            if not any(isinstance(outcome, Exception) for outcome in outcomes):
                return
        await self._remove_if_ours([(held.path, held.data) for held in chunk])

    async def _remove_if_ours(self, written: Sequence[tuple[str, bytes]]) -> None:
        """Remove those znodes that still hold what we wrote."""
        for _ in range(_TRIES_MAX):
            forced = await self._read_forced()
            nodes = await all_of(self._read(path) for path, _ in written)
            ours = [
                path for (path, data), node in zip(written, nodes, strict=True) if node is not None and node[0] == data
            ]
            if not ours:
                return
            outcomes = await self._session.ask(requests.delete_all(ours, self._znodes.forced, forced), proves=True)
            if not any(isinstance(outcome, Exception) for outcome in outcomes):
                return
        reason = f"{self._znodes.forced} changed under {_TRIES_MAX} attempts"
        raise self._session.unavailable(reason)

    async def _read(self, path: str) -> Node | None:
        try:
            return await self._session.ask(lambda client: client.get_async(path))
        except NoNodeError:
            return None
