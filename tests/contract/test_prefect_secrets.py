"""Secrets in memory and on a real Prefect server; and what uses them there: TLS material, and settings with keys."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import cast

import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.testing.utilities import prefect_test_harness
from pydantic import SecretStr

from blocks.agents.settings import AgentsSettings
from blocks.errors import DependencyUnavailableError, InvalidInputError, NotFoundError, RecordError
from blocks.models.tls import Sensitive, Tls
from blocks.secrets.prefect import PrefectSecrets
from blocks.secrets.protocol import Secrets
from blocks.tls.contexts import TlsContexts, TlsError
from doubles.certificates import Authority
from doubles.scripted_agent import Manner, Reply, ScriptedAgent
from doubles.secrets import MemorySecrets


@pytest.fixture(scope="module")
def prefect() -> Iterator[None]:
    """A Prefect server with an empty database."""
    with prefect_test_harness():
        yield


@pytest.fixture(params=["memory", pytest.param("prefect", marks=pytest.mark.real)])
def secrets(request: pytest.FixtureRequest) -> Secrets:
    """Secrets of either sort."""
    if request.param == "memory":
        return MemorySecrets()
    request.getfixturevalue("prefect")
    return PrefectSecrets()


class TestContract:
    async def test_what_is_kept_is_read(self, secrets: Secrets) -> None:
        """Texts come back as they were, also those that are JSON; keeping again overwrites, and leaves the others."""
        kept = {"token": ' "tök"\n{}', "digits": "007", "json": '{"a": 1}', "empty": ""}
        await secrets.keep({"ca": SecretStr("old"), **{name: SecretStr(text) for name, text in kept.items()}})
        await secrets.keep({"ca": SecretStr("new")})

        assert "new" == await secrets.read("ca")
        assert kept == {name: await secrets.read(name) for name in kept}

    @pytest.mark.parametrize("name", ["never", "No Such/Name", ""])
    async def test_what_is_not_there_is_said(self, secrets: Secrets, name: str) -> None:
        """By name, whether there could be such a name or not."""
        with pytest.raises(NotFoundError, match=f"the Prefect Secret block {name!r} does not exist"):
            await secrets.read(name)

    async def test_what_is_forgotten_is_gone(self, secrets: Secrets) -> None:
        """Those that are not there are forgotten already."""
        await secrets.keep({"one": SecretStr("1"), "two": SecretStr("2")})
        await secrets.forget(["one", "never", "No Such/Name"])
        await secrets.forget(["one"])

        assert "2" == await secrets.read("two")
        with pytest.raises(NotFoundError):
            await secrets.read("one")


@pytest.mark.real
@pytest.mark.usefixtures("prefect")
class TestPrefect:
    async def test_names_must_be_names(self) -> None:
        """One that cannot be a name is refused before anything is kept."""
        secrets = PrefectSecrets()
        with pytest.raises(InvalidInputError, match="'No Name' cannot be the name of a Prefect Secret block"):
            await secrets.keep({"fine": SecretStr("x"), "No Name": SecretStr("x")})

        with pytest.raises(NotFoundError):
            await secrets.read("fine")

    async def test_material_in_a_secret_block(self) -> None:
        """A `{secret: NAME}` is read from Prefect; one that is missing or no text is named."""
        contexts = TlsContexts()
        await Secret.model_validate({"value": Authority().pem}).asave("agents-ca")
        await Secret.model_validate({"value": {"ca": "x"}}).asave("an-object")

        assert isinstance(await contexts.get(Tls(ca_bundle=Sensitive(secret="agents-ca"))), ssl.SSLContext)
        for name, fault in (("missing", "does not exist"), ("an-object", "does not hold text")):
            with pytest.raises(TlsError) as error:
                await contexts.get(Tls(ca_bundle=Sensitive(secret=name)))
            assert f"ca_bundle: the Prefect Secret block {name!r} {fault}" == str(error.value)
        with pytest.raises(RecordError):
            await PrefectSecrets().read("an-object")

    async def test_settings_with_keys_are_kept_secret(self) -> None:
        """A settings block comes back as it was saved; whoever reads it without the right sees no key."""
        authority = Authority()
        settings = AgentsSettings(tls=authority.tls(authority.client()))
        await settings.asave("fleet")

        loaded = cast("AgentsSettings", await AgentsSettings.aload("fleet"))
        async with get_client() as client:
            shown = await client.read_block_document_by_name("fleet", "replicore-agents", include_secrets=False)

        assert settings.tls == loaded.tls
        assert "-----" not in str(shown.data) + repr(loaded)


class TestAway:
    @pytest.fixture
    async def hanging(self) -> AsyncIterator[str]:
        """The address of an API that never answers."""
        async with ScriptedAgent(answer=lambda _: Reply(manner=Manner.HANG)) as server:
            yield f"{server.url}/api"

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("", "PREFECT_API_URL is not set"),
            ("http://127.0.0.1:1/api", r"was not read \(ConnectError\)|within 0.2 s"),
            ("hanging", "the Secret block 'token' was not read within 0.2 s"),
        ],
    )
    async def test_it_is_said_in_time(self, hanging: str, url: str, reason: str) -> None:
        """No address, nobody there, no answer: each ends at the deadline; Prefect starts no server of its own."""
        secrets = PrefectSecrets(read_within_s=0.2, write_within_s=0.2)
        with temporary_settings({PREFECT_API_URL: hanging if url == "hanging" else url or None}):
            async with asyncio.timeout(5.0):
                with pytest.raises(DependencyUnavailableError, match=reason):
                    await secrets.read("token")
                with pytest.raises(DependencyUnavailableError, match="were not all kept") as error:
                    await secrets.keep({"token": SecretStr("hunter2")})
                with pytest.raises(DependencyUnavailableError, match="were not all removed"):
                    await secrets.forget(["token"])

        assert "hunter2" not in str(error.value)
