"""Sensitive texts: read when they are needed, again when they change, and kept in use while nobody answers."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from blocks.files import LOOK_EVERY_S
from blocks.models.tls import Sensitive
from blocks.secrets.resolver import (
    AWAY_GRACE_S,
    FAILURE_FRESH_S,
    GONE_GRACE_S,
    SECRET_FRESH_S,
    Resolver,
    UnresolvedError,
)
from doubles.clock import Clock
from doubles.secrets import MemorySecrets

TOKEN = Sensitive(secret="token")


class World:
    """A resolver, whoever keeps its secrets, and a clock."""

    def __init__(self, **texts: str) -> None:
        """Keep these."""
        self.secrets = MemorySecrets(**texts)
        self.clock = Clock()
        self.resolver = Resolver(self.secrets, self.clock)

    async def failure(self, sensitive: Sensitive, bytes_max: int = 100) -> str:
        """Why there is no text."""
        with pytest.raises(UnresolvedError) as error:
            await self.resolver.text(sensitive, bytes_max)
        return str(error.value)

    async def asked_again(self) -> None:
        """Let what goes on in the background end."""
        await asyncio.gather(*self.resolver._reading.values())


class TestSecrets:
    async def test_are_believed_for_a_minute(self) -> None:
        """A changed secret is had after a minute; many at once ask once."""
        world = World(token="old")
        first = await asyncio.gather(*(world.resolver.text(TOKEN) for _ in range(50)))
        world.secrets.texts["token"] = "new"
        world.clock.now = SECRET_FRESH_S - 1
        still = await world.resolver.text(TOKEN)
        world.clock.now = SECRET_FRESH_S + 1

        assert ({"old"}, "old", "new") == (set(first), still, await world.resolver.text(TOKEN))
        assert ["token", "token"] == world.secrets.asked

    async def test_stay_in_use_while_nobody_answers(self) -> None:
        """For a day, without waiting for an answer again and again; when it comes back the new text is had."""
        world = World(token="old")
        await world.resolver.text(TOKEN)
        world.secrets.away = True
        texts = []
        for now in (SECRET_FRESH_S + 1, 7_200.0, AWAY_GRACE_S - 100):
            world.clock.now = now
            texts.append(await world.resolver.text(TOKEN))
            await world.asked_again()
        world.secrets.away = False
        world.secrets.texts["token"] = "new"
        world.clock.now += FAILURE_FRESH_S + 1
        texts.append(await world.resolver.text(TOKEN))
        await world.asked_again()

        assert ["old", "old", "old", "old", "new"] == [*texts, await world.resolver.text(TOKEN)]

    async def test_are_not_used_for_ever(self) -> None:
        """After a day without an answer there is no text."""
        world = World(token="old")
        await world.resolver.text(TOKEN)
        world.secrets.away = True
        world.clock.now = AWAY_GRACE_S + 1

        assert "Prefect at memory is not available" in await world.failure(TOKEN)

    async def test_are_had_while_the_answer_is_awaited(self) -> None:
        """Who has a good text waits a second for a newer one, however long the answer takes."""
        world = World(token="old")
        await world.resolver.text(TOKEN)
        world.secrets.hanging = asyncio.Event()
        world.clock.now = SECRET_FRESH_S + 1
        async with asyncio.timeout(3.0):
            text = await world.resolver.text(TOKEN)
        await world.resolver.close()

        assert "old" == text

    async def test_that_are_gone_are_used_for_a_minute(self) -> None:
        """A secret that is removed is used a little longer; then the reason is said; when it is back it is had."""
        world = World(token="old")
        await world.resolver.text(TOKEN)
        del world.secrets.texts["token"]
        world.clock.now = SECRET_FRESH_S + 1
        still = await world.resolver.text(TOKEN)
        world.clock.now += GONE_GRACE_S + 1
        gone = await world.failure(TOKEN)
        world.secrets.texts["token"] = "new"
        world.clock.now += FAILURE_FRESH_S + 1

        assert ("old", "the Prefect Secret block 'token' does not exist") == (still, gone)
        assert "new" == await world.resolver.text(TOKEN)

    async def test_that_never_were_are_asked_for_every_few_seconds(self) -> None:
        """A failure is remembered for moments."""
        world = World()
        for _ in range(3):
            assert "the Prefect Secret block 'token' does not exist" == await world.failure(TOKEN)

        assert ["token"] == world.secrets.asked


class TestFiles:
    async def test_are_read_again_when_they_change(self, tmp_path: Path) -> None:
        """A second later at most, and not before."""
        world, path = World(), tmp_path / "token"
        file = Sensitive(file=str(path))
        path.write_text("old")
        texts = [await world.resolver.text(file)]
        path.write_text("newer")
        world.clock.now += LOOK_EVERY_S

        assert ["old", "newer"] == [*texts, await world.resolver.text(file)]

    async def test_that_cannot_be_read_are_used_for_a_minute(self, tmp_path: Path) -> None:
        """A file that vanished is used a little longer; then the reason is said."""
        world, path = World(), tmp_path / "token"
        file = Sensitive(file=str(path))
        path.write_text("old")
        await world.resolver.text(file)
        path.unlink()
        world.clock.now = LOOK_EVERY_S
        still = await world.resolver.text(file)
        world.clock.now = GONE_GRACE_S + 2 * LOOK_EVERY_S

        assert "old" == still
        assert f"cannot read {path}: No such file or directory" == await world.failure(file)

    async def test_must_be_files(self, tmp_path: Path) -> None:
        """A pipe is not waited for, a device is not read."""
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        world = World()

        assert f"cannot read {pipe}: it is not a regular file" == await world.failure(Sensitive(file=str(pipe)))
        assert "cannot read /dev/zero: it is not a regular file" == await world.failure(Sensitive(file="/dev/zero"))


async def test_all_have_a_size(tmp_path: Path) -> None:
    """A text that is too large is named, not shown."""
    path = tmp_path / "large"
    path.write_text("x" * 101)
    world = World(token="x" * 101)

    reasons = [
        await world.failure(one) for one in (TOKEN, Sensitive(file=str(path)), Sensitive.model_validate("x" * 101))
    ]
    assert [f"{what} is larger than 100 bytes" for what in ("the secret 'token'", path, "the text")] == reasons
