"""TLS contexts: shared, renewed when the material changes, and exact about what is wrong with it."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from blocks.files import LOOK_EVERY_S
from blocks.models.tls import Sensitive, Tls
from blocks.secrets.resolver import AWAY_GRACE_S, GONE_GRACE_S, SECRET_FRESH_S
from blocks.tls.contexts import FAILURE_FRESH_S, ROTATION_GRACE_S, TlsContexts, TlsError
from doubles.certificates import Authority, in_file
from doubles.clock import Clock
from doubles.secrets import MemorySecrets


@pytest.fixture(scope="module")
def authority() -> Authority:
    """A CA."""
    return Authority()


@pytest.fixture
def clock() -> Clock:
    """A clock at zero."""
    return Clock()


def reason(error: pytest.ExceptionInfo[TlsError]) -> str:
    """What it says."""
    return str(error.value)


class TestSharing:
    async def test_equal_material_gives_one_context(self, authority: Authority, tmp_path: Path) -> None:
        """Text, file and secret with the same certificates share one context."""
        path = tmp_path / "ca.pem"
        path.write_text(authority.pem)
        contexts = TlsContexts(MemorySecrets(ca=authority.pem))

        made = [
            await contexts.get(tls)
            for tls in (
                authority.tls(),
                authority.tls(),
                Tls(ca_bundle=in_file(path)),
                Tls(ca_bundle=Sensitive(secret="ca")),
            )
        ]

        assert [made[0]] * 4 == made

    async def test_both_versions_are_spoken(self, authority: Authority) -> None:
        """TLS 1.2 is the oldest version, 1.3 is not forbidden; certificates and names are checked."""
        context = await TlsContexts().get(authority.tls())

        assert (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.MAXIMUM_SUPPORTED) == (
            context.minimum_version,
            context.maximum_version,
        )
        assert (ssl.CERT_REQUIRED, True) == (context.verify_mode, context.check_hostname)

    async def test_nothing_said_means_the_system(self) -> None:
        """Without a `Tls` the system's certificates are trusted."""
        contexts = TlsContexts()

        assert await contexts.get(None) is await contexts.get(Tls())

    async def test_many_at_once_load_once(self, authority: Authority) -> None:
        """A hundred nodes that need the same secret ask for it once."""
        vault = MemorySecrets(ca=authority.pem)
        contexts = TlsContexts(vault)
        tls = Tls(ca_bundle=Sensitive(secret="ca"))

        made = await asyncio.gather(*(contexts.get(tls) for _ in range(100)))

        assert ({id(made[0])}, ["ca"]) == ({id(context) for context in made}, vault.asked)


class TestRenewal:
    async def test_a_changed_file_is_read_again(self, authority: Authority, tmp_path: Path, clock: Clock) -> None:
        """A new file means a new context, a second later at most."""
        path = tmp_path / "ca.pem"
        path.write_text(Authority().pem)
        contexts = TlsContexts(clock=clock)
        tls = Tls(ca_bundle=in_file(path))
        before = await contexts.get(tls)
        path.write_text(authority.pem)
        clock.now += LOOK_EVERY_S

        after = await contexts.get(tls)

        assert after is not before
        assert after is await contexts.get(authority.tls())

    async def test_a_secret_is_read_again_in_time(self, authority: Authority, clock: Clock) -> None:
        """A secret is believed for a minute."""
        vault = MemorySecrets(ca=Authority().pem)
        contexts = TlsContexts(vault, clock)
        tls = Tls(ca_bundle=Sensitive(secret="ca"))
        first = await contexts.get(tls)
        vault.texts["ca"] = authority.pem
        clock.now = SECRET_FRESH_S - 1
        second = await contexts.get(tls)
        clock.now = SECRET_FRESH_S + 1

        assert second is first
        assert await contexts.get(tls) is not first

    async def test_half_a_rotation_is_survived(self, authority: Authority, tmp_path: Path, clock: Clock) -> None:
        """While certificate and key do not fit, the last good pair is used; after a minute it is an error."""
        certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
        for path, text in zip((certificate, key), authority.client(), strict=True):
            path.write_text(text)
        contexts = TlsContexts(clock=clock)
        tls = Tls(client_cert=in_file(certificate), client_key=in_file(key))
        before = await contexts.get(tls)
        renewed = authority.client()
        certificate.write_text(renewed[0])
        clock.now = LOOK_EVERY_S

        assert await contexts.get(tls) is before
        clock.now = ROTATION_GRACE_S + 2 * LOOK_EVERY_S
        with pytest.raises(TlsError, match="client_key does not belong to client_cert"):
            await contexts.get(tls)
        key.write_text(renewed[1])
        clock.now += LOOK_EVERY_S
        assert await contexts.get(tls) is not before

    async def test_material_that_breaks_is_told_of(self, authority: Authority, tmp_path: Path, clock: Clock) -> None:
        """The last good context is given, and why it is not the present one is known; mended, there is no trouble."""
        path = tmp_path / "ca.pem"
        path.write_text(authority.pem)
        contexts, tls = TlsContexts(clock=clock), Tls(ca_bundle=in_file(path))
        before = await contexts.get(tls)
        well = contexts.trouble(tls)
        path.write_text("garbage")
        clock.now += LOOK_EVERY_S
        kept = await contexts.get(tls)
        trouble = contexts.trouble(tls)
        path.write_text(authority.pem)
        clock.now += FAILURE_FRESH_S + LOOK_EVERY_S
        await contexts.get(tls)

        assert before is kept
        assert (None, "ca_bundle: there is no usable PEM certificate in it", None) == (
            well, trouble, contexts.trouble(tls),
        )  # fmt: skip

    async def test_a_failure_is_remembered_for_moments(self, authority: Authority, clock: Clock) -> None:
        """A missing secret is not asked for by every node, and is found soon after it is there."""
        vault = MemorySecrets()
        contexts = TlsContexts(vault, clock)
        tls = Tls(ca_bundle=Sensitive(secret="ca"))
        for _ in range(3):
            with pytest.raises(TlsError, match="does not exist"):
                await contexts.get(tls)
        vault.texts["ca"] = authority.pem
        clock.now = FAILURE_FRESH_S + 0.1

        assert isinstance(await contexts.get(tls), ssl.SSLContext)
        assert ["ca", "ca"] == vault.asked


class TestAway:
    async def test_a_context_outlives_those_who_keep_its_secrets(self, authority: Authority, clock: Clock) -> None:
        """While nobody answers the last good context is used, for a day; a secret that is gone is used for a minute."""
        vault = MemorySecrets(ca=authority.pem)
        contexts = TlsContexts(vault, clock)
        tls = Tls(ca_bundle=Sensitive(secret="ca"))
        before = await contexts.get(tls)
        vault.away = True
        for now in (SECRET_FRESH_S + 1, 3_600.0, AWAY_GRACE_S - 1):
            clock.now = now

            assert before is await contexts.get(tls)
        vault.away = False
        del vault.texts["ca"]
        clock.now += FAILURE_FRESH_S + 1
        await contexts.get(tls)  # asks again, in the background
        await asyncio.sleep(0)
        clock.now += GONE_GRACE_S + FAILURE_FRESH_S + 1
        with pytest.raises(TlsError, match="ca_bundle: the Prefect Secret block 'ca' does not exist"):
            await contexts.get(tls)


class TestReasons:
    async def test_what_is_wrong_is_said_exactly(self, authority: Authority, tmp_path: Path) -> None:
        """Each fault of the material has its own sentence, with the field and without any of the material."""
        certificate, key = authority.client()
        encrypted = load_pem_private_key(key.encode(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase")
        )
        faults: list[tuple[dict[str, object], str]] = [
            ({"ca_bundle": "rubbish"}, "ca_bundle: there is no usable PEM certificate in it"),
            ({"ca_bundle": ""}, "ca_bundle: there is no usable PEM certificate in it"),
            (
                {"ca_bundle": {"file": f"{tmp_path}/no"}},
                f"ca_bundle: cannot read {tmp_path}/no: No such file or directory",
            ),
            ({"ca_bundle": {"file": str(tmp_path)}}, f"ca_bundle: cannot read {tmp_path}: Is a directory"),
            ({"ca_bundle": {"file": "a\0b"}}, "ca_bundle: cannot read a\0b: not a file name"),
            ({"ca_bundle": {"secret": "no"}}, "ca_bundle: the Prefect Secret block 'no' does not exist"),
            ({"client_cert": certificate}, "client_cert: there is no private key in it, and no client_key is given"),
            ({"client_cert": "rubbish", "client_key": key}, "client_cert or client_key is not usable PEM"),
            (
                {"client_cert": certificate, "client_key": authority.client()[1]},
                "client_key does not belong to client_cert",
            ),
            (
                {"client_cert": certificate, "client_key": encrypted.decode()},
                "client_key is encrypted with a passphrase, which is not supported",
            ),
        ]
        contexts = TlsContexts(MemorySecrets())

        for material, expected in faults:
            with pytest.raises(TlsError) as error:
                await contexts.get(Tls.model_validate(material))
            assert expected == reason(error)

    async def test_one_file_may_hold_certificate_and_key(self, authority: Authority) -> None:
        """The original's way, key and certificate in one PEM, is understood."""
        both = "".join(authority.client())

        assert isinstance(await TlsContexts().get(Tls(client_cert=Sensitive.model_validate(both))), ssl.SSLContext)
