"""TLS with a client certificate and SASL, proven on a server that insists on both."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.coordinator.protocol import ClaimKind
from blocks.coordinator.settings import ZooKeeper
from blocks.coordinator.zookeeper import ZooKeeperCoordinator
from blocks.errors import DependencyUnavailableError, InvalidInputError
from doubles.eventually import until
from infra.stack.testing import TestStack, running

LOCK = ClaimKind.LOCK


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    """A secured server."""
    with running(["zookeeper"], tmp_path_factory.mktemp("secure"), secure=True) as stack:
        yield stack


@pytest.fixture(scope="module")
def secure(stack: TestStack) -> ZooKeeper:
    """Settings that it accepts."""
    assert stack.security is not None
    return ZooKeeper.model_validate(
        {
            "hosts": stack.zookeeper_hosts,
            "session_timeout_s": 4,
            "connect_timeout_s": 5,
            "tls": True,
            "ca_file": stack.security.tls.ca,
            "cert_file": stack.security.tls.certificate,
            "key_file": stack.security.tls.key,
            "sasl_user": stack.security.user,
            "sasl_password": stack.security.password,
        }
    )


async def refusal(settings: ZooKeeper) -> str:
    """The one sentence that a failed connection ends in; nothing goes on afterwards."""
    before = set(threading.enumerate())
    with pytest.raises(DependencyUnavailableError) as error:
        await ZooKeeperCoordinator(settings).connect()
    await until(lambda: set(threading.enumerate()) <= before)
    return str(error.value)


def changed(settings: ZooKeeper, **fields: object) -> ZooKeeper:
    """The same settings but for some fields."""
    return settings.model_copy(update=fields)


@pytest.mark.real
async def test_all_of_it_works_over_tls_with_a_user(secure: ZooKeeper) -> None:
    """Claims, batches, waits and heartbeats are the same behind a certificate and a password."""
    async with ZooKeeperCoordinator(secure, worker="one") as one, ZooKeeperCoordinator(secure, worker="two") as two:
        claims = await one.take_many(LOCK, [f"prod/{at:03}" for at in range(250)], "orchestrate")
        holders = await two.holders(LOCK)
        gone = two.wait_gone(LOCK, "prod/007", 10)
        await one.give_back(claims.values())

        assert sorted(claims) == [holder.name for holder in holders]
        assert await gone


@pytest.mark.real
async def test_what_a_user_makes_is_that_users_alone(secure: ZooKeeper) -> None:
    """The folders and the claims may be read and changed by the user only."""
    async with ZooKeeperCoordinator(secure) as coordinator:
        await coordinator.take(LOCK, "prod/orders", "")
        client = coordinator._session._client
        paths = [secure.root, f"{secure.root}/locks", f"{secure.root}/locks/prod%2Forders", f"{secure.root}/generation"]
        found = {str(acl.id) for path in paths for acl in client.get_acls(path)[0]}

    assert {f"Id(scheme='sasl', id='{secure.sasl_user}')"} == found


@pytest.mark.real
async def test_a_wrong_password_is_one_clear_error(secure: ZooKeeper) -> None:
    """It is said at once, what to check is named, the password is not, and nothing is tried for ever."""
    said = await refusal(ZooKeeper.model_validate({**dict(secure), "sasl_password": "hunter2"}))

    assert said == (
        f"ZooKeeper at {secure.hosts} is not available: it refused our user or password. "
        "Check REPLICORE_ZOOKEEPER_SASL_USER and REPLICORE_ZOOKEEPER_SASL_PASSWORD."
    )


@pytest.mark.real
async def test_a_missing_user_is_the_same_error(secure: ZooKeeper) -> None:
    """A server that insists on a user refuses who has none."""
    said = await refusal(changed(secure, sasl_user=None, sasl_password=None))

    assert "it refused our user or password. Check REPLICORE_ZOOKEEPER_SASL_USER" in said


@pytest.mark.real
async def test_an_untrusted_server_is_not_spoken_to(secure: ZooKeeper) -> None:
    """Without the CA of the server the reason is the certificate."""
    said = await refusal(changed(secure, ca_file=None, connect_timeout_s=1))

    assert "certificate verify failed" in said


@pytest.mark.real
async def test_a_server_under_another_name_is_not_spoken_to(secure: ZooKeeper) -> None:
    """The certificate must be for the host that was asked for; that check, and only that one, can be switched off."""
    elsewhere = changed(secure, hosts=secure.hosts.replace("127.0.0.1", "127.1"))  # the same address, another name
    said = await refusal(changed(elsewhere, connect_timeout_s=1))
    async with ZooKeeperCoordinator(changed(elsewhere, verify_host_name=False)) as coordinator:
        await coordinator.ready()
    untrusted = await refusal(changed(elsewhere, verify_host_name=False, ca_file=None, connect_timeout_s=1))

    assert "certificate verify failed: Hostname mismatch" in said
    assert "certificate verify failed" in untrusted


@pytest.mark.real
async def test_a_missing_client_certificate_is_said(secure: ZooKeeper) -> None:
    """The server's alert is passed on."""
    said = await refusal(changed(secure, cert_file=None, key_file=None, connect_timeout_s=1))

    assert "certificate" in said


@pytest.mark.real
async def test_plain_text_is_not_answered_by_a_tls_server(secure: ZooKeeper) -> None:
    """Forgotten TLS ends in an error, not in a wait without end."""
    said = await refusal(changed(secure, tls=False, connect_timeout_s=1))

    assert f"ZooKeeper at {secure.hosts} is not available" in said


@pytest.mark.real
async def test_a_refusal_while_running_is_said_and_tried_again(stack: TestStack, secure: ZooKeeper) -> None:
    """A server that comes back with another password refuses us at once; when it has ours again, all goes on by itself."""
    assert secure.sasl_password is not None
    users = stack.layout.data("zookeeper") / "jaas.conf"
    ours = users.read_text()

    async def restart_with(login: str) -> None:
        users.write_text(login)
        await asyncio.to_thread(stack.kill, "zookeeper")
        await asyncio.to_thread(stack.wait_ready, "zookeeper")

    async with ZooKeeperCoordinator(changed(secure, request_timeout_s=10)) as coordinator:
        try:
            await restart_with(ours.replace(secure.sasl_password.get_secret_value(), "other"))
            with pytest.raises(DependencyUnavailableError, match="refused our user or password"):
                await coordinator.take(LOCK, "prod/orders", "")
        finally:
            await restart_with(ours)
        await until(lambda: not coordinator._session._client.refused)

        assert "prod/orders" == (await coordinator.take(LOCK, "prod/orders", "")).name


# --- settings ------------------------------------------------------------------------------------------


async def test_unusable_files_are_named_by_their_variable(tmp_path: Path) -> None:
    """A missing or broken file is the fault of a setting, said before anything is connected."""
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for field, path in (("ca_file", str(broken)), ("ca_file", "/no/such/file"), ("cert_file", str(broken))):
        with pytest.raises(InvalidInputError, match="the TLS settings of ZooKeeper do not work") as error:
            await ZooKeeperCoordinator(ZooKeeper.model_validate({"tls": True, field: path})).connect()

        assert [ZooKeeper.variable(field)] == [fault.where for fault in error.value.faults]


async def test_a_user_needs_a_password() -> None:
    """Half of a login is a mistake that is named."""
    for half, missing in (({"sasl_user": "me"}, "SASL_PASSWORD"), ({"sasl_password": "hunter2"}, "SASL_USER")):
        with pytest.raises(InvalidInputError, match=f"REPLICORE_ZOOKEEPER_{missing}: is needed with") as error:
            await ZooKeeperCoordinator(ZooKeeper.model_validate(half)).connect()

        assert "hunter2" not in str(error.value)


def test_settings_come_from_the_environment_and_keep_their_secret() -> None:
    """Every field has a variable; the password appears in no text; settings can be sent to another process."""
    environ = {
        "REPLICORE_ZOOKEEPER_HOSTS": "a:1,b:2/fleets/one",
        "REPLICORE_ZOOKEEPER_ROOT": "/orders/",
        "REPLICORE_ZOOKEEPER_TLS": "true",
        "REPLICORE_ZOOKEEPER_SASL_PASSWORD": "hunter2",
        "REPLICORE_ZOOKEEPER_SESSION_TIMEOUT_S": "15",
    }
    settings = ZooKeeper().overlaid(environ)

    assert ("a:1,b:2", "/fleets/one/orders", True, 15.0) == (
        settings.ensemble,
        settings.base,
        settings.tls,
        settings.session_timeout_s,
    )
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert settings == pickle.loads(pickle.dumps(settings))  # noqa: S301 - our own


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("root", "replicore"),
        ("root", "/a//b"),
        ("root", "/a/../b"),
        ("root", "/"),
        ("hosts", ""),
        ("hosts", "a:1,,b:2"),
        ("hosts", "/x"),
    ],
)
def test_wrong_settings_are_named(field: str, value: str) -> None:
    """A value that cannot work is refused where it comes in."""
    with pytest.raises(InvalidInputError, match=ZooKeeper.variable(field)):
        ZooKeeper().overlaid({ZooKeeper.variable(field): value})
