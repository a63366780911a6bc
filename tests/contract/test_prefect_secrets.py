"""TLS material in Prefect Secret blocks, and settings with TLS material as Prefect blocks, on a real Prefect server."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import cast

import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness

from blocks.agents.settings import AgentsSettings
from blocks.models.namespace import Pem, Tls
from blocks.tls.contexts import TlsContexts, TlsError
from doubles.certificates import Authority

pytestmark = pytest.mark.real


@pytest.fixture(scope="module", autouse=True)
def prefect() -> Iterator[None]:
    """A Prefect server with an empty database."""
    with prefect_test_harness():
        yield


async def test_material_in_a_secret_block() -> None:
    """A `{secret: NAME}` is read from Prefect; one that is missing or no text is named."""
    contexts = TlsContexts()
    await Secret.model_validate({"value": Authority().pem}).asave("agents-ca")
    await Secret.model_validate({"value": {"ca": "x"}}).asave("an-object")

    assert isinstance(await contexts.get(Tls(ca_bundle=Pem(secret="agents-ca"))), ssl.SSLContext)
    for name, fault in (("missing", "does not exist"), ("an-object", "does not hold text")):
        with pytest.raises(TlsError) as error:
            await contexts.get(Tls(ca_bundle=Pem(secret=name)))
        assert f"ca_bundle: the Prefect Secret block {name!r} {fault}" == str(error.value)


async def test_settings_with_keys_are_kept_secret() -> None:
    """A settings block comes back as it was saved; whoever reads it without the right sees no key."""
    authority = Authority()
    settings = AgentsSettings(tls=authority.tls(authority.client()))
    await settings.asave("fleet")

    loaded = cast("AgentsSettings", await AgentsSettings.aload("fleet"))
    async with get_client() as client:
        shown = await client.read_block_document_by_name("fleet", "replicore-agents", include_secrets=False)

    assert settings.tls == loaded.tls
    assert "-----" not in str(shown.data) + repr(loaded)
