"""Agents over TLS with client certificates, on real sockets: what works, and why what does not work does not."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from blocks.agents.client import HttpAgents
from blocks.agents.protocol import Target
from blocks.agents.settings import AgentsSettings
from blocks.files import LOOK_EVERY_S
from blocks.models.look import Failure, NodeInfo
from blocks.models.tls import Tls
from blocks.tls.contexts import TlsContexts
from doubles.actions import make_action
from doubles.agents import MemoryNode
from doubles.certificates import LONG_AGO, Authority, in_file
from doubles.clock import Clock
from doubles.scripted_agent import ScriptedAgent
from doubles.strict_server import strict_server
from doubles.wire_b import WireB

TLS12 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
TLS13 = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)


@pytest.fixture(scope="module")
def ours() -> Authority:
    """The CA of the agents."""
    return Authority()


@pytest.fixture(scope="module")
def clients() -> Authority:
    """The CA of those who may ask agents."""
    return Authority()


@pytest.fixture(scope="module")
def stranger() -> Authority:
    """A CA that nobody knows."""
    return Authority()


@pytest.fixture
async def agents() -> AsyncIterator[HttpAgents]:
    """The real client."""
    async with HttpAgents(AgentsSettings()) as agents:
        yield agents


def agent(context: ssl.SSLContext | None) -> ScriptedAgent:
    """A healthy node's agent behind TLS."""
    return ScriptedAgent(tls=context, answer=WireB(MemoryNode("n1")))


async def reason(agents: HttpAgents, context: ssl.SSLContext, tls: Tls | None) -> str:
    """Why a look at an agent with `context` fails."""
    with strict_server(context, WireB(MemoryNode("n1"))) as url:
        info = (await agents.look(Target(node_id="n1", agent_address=url, tls=tls))).info
    assert isinstance(info, Failure)
    return info.reason


@pytest.mark.parametrize("versions", [TLS12, TLS13], ids=["1.2", "1.3"])
async def test_both_versions_with_client_certificates(
    agents: HttpAgents, ours: Authority, clients: Authority, versions: tuple[ssl.TLSVersion, ssl.TLSVersion]
) -> None:
    """An agent that wants a client certificate is looked at and sent an action, over TLS 1.2 only and 1.3 only."""
    tls = ours.tls(clients.client())
    async with agent(ours.server(clients=clients, versions=versions)) as server:
        target = Target(node_id="n1", agent_address=server.url, tls=tls)
        look = await agents.look(target)
        sent = await agents.send(target, make_action(), "1:1", 5.0)

    assert isinstance(look.info, NodeInfo)
    assert sent.accepted


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (TLS13, "TLS: client certificate required"),
        (TLS12, "TLS: the server broke off the handshake: client certificate required, or no cipher in common"),
    ],
    ids=["1.3", "1.2"],
)
async def test_a_missing_client_certificate_is_said(
    agents: HttpAgents,
    ours: Authority,
    clients: Authority,
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion],
    expected: str,
) -> None:
    """The reason says that the agent wants a client certificate, also where that shows only after the handshake."""
    assert expected == await reason(agents, ours.server(clients=clients, versions=versions), ours.tls())


@pytest.mark.parametrize("versions", [TLS12, TLS13], ids=["1.2", "1.3"])
async def test_a_server_that_hangs_up_in_the_handshake_is_guessed_at(
    agents: HttpAgents, ours: Authority, clients: Authority, versions: tuple[ssl.TLSVersion, ssl.TLSVersion]
) -> None:
    """A server that breaks off without an alert, as those on asyncio do, makes us ask the likely question."""
    async with agent(ours.server(clients=clients, versions=versions)) as server:
        info = (await agents.look(Target(node_id="n1", agent_address=server.url, tls=ours.tls()))).info

    assert Failure(reason="the connection was closed without an answer; does it want a client certificate?") == info


async def test_a_strange_client_certificate_is_said(
    agents: HttpAgents, ours: Authority, clients: Authority, stranger: Authority
) -> None:
    """The reason says that it is the agent that does not trust us."""
    tls = ours.tls(stranger.client())

    expected = "TLS: the server does not trust our client certificate (unknown CA)"
    assert expected == await reason(agents, ours.server(clients=clients), tls)


async def test_an_expired_client_certificate_is_said(agents: HttpAgents, ours: Authority, clients: Authority) -> None:
    """The reason says that it is our certificate that has expired."""
    tls = ours.tls(clients.client(not_after=LONG_AGO))

    assert "TLS: our client certificate has expired" == await reason(agents, ours.server(clients=clients), tls)


async def test_an_expired_certificate_is_said(agents: HttpAgents, ours: Authority) -> None:
    """The reason says that the agent's certificate has expired."""
    assert "TLS: the server's certificate has expired" == await reason(
        agents, ours.server(not_after=LONG_AGO), ours.tls()
    )


@pytest.mark.parametrize("trusted", ["stranger", "system"])
async def test_an_unknown_ca_is_said(agents: HttpAgents, ours: Authority, stranger: Authority, trusted: str) -> None:
    """The reason says that we do not know the agent's CA; nothing is asked all the same."""
    tls = stranger.tls() if trusted == "stranger" else None

    assert "TLS: the server's certificate comes from an unknown CA" == await reason(agents, ours.server(), tls)


@pytest.mark.parametrize(
    ("host", "name", "expected"),
    [
        ("127.0.0.1", "agent.test", "TLS: host name mismatch (IP address): IP address mismatch"),
        ("localhost", "127.0.0.1", "TLS: host name mismatch: Hostname mismatch"),
    ],
)
async def test_a_wrong_name_is_said(agents: HttpAgents, ours: Authority, host: str, name: str, expected: str) -> None:
    """A certificate for a name at an IP address, and the other way round, is refused with the exact reason."""
    async with agent(ours.server(name)) as server:
        address = server.url.replace("127.0.0.1", host)
        info = (await agents.look(Target(node_id="n1", agent_address=address, tls=ours.tls()))).info

    assert isinstance(info, Failure)
    assert info.reason.startswith(expected)


async def test_an_old_tls_version_is_said(agents: HttpAgents, ours: Authority) -> None:
    """An agent that speaks nothing newer than TLS 1.1 is refused with that reason."""
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context = ours.server(versions=(ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1))
    context.set_ciphers("ALL:@SECLEVEL=0")

    assert "TLS: the two sides have no TLS version in common" == await reason(agents, context, ours.tls())


async def test_plain_http_behind_https_is_said(agents: HttpAgents, ours: Authority) -> None:
    """An agent without TLS at an https address is not asked in clear."""
    async with agent(None) as server:
        address = server.url.replace("http:", "https:")
        info = (await agents.look(Target(node_id="n1", agent_address=address, tls=ours.tls()))).info

        assert Failure(reason="TLS: the other side does not speak TLS: should its address begin with http://?") == info
        assert [] == server.received


async def test_tls_behind_http_is_said(agents: HttpAgents, ours: Authority) -> None:
    """An agent with TLS at an http address hangs up; the reason gives the hint."""
    async with agent(ours.server()) as server:
        address = server.url.replace("https:", "http:")
        info = (await agents.look(Target(node_id="n1", agent_address=address))).info

    assert Failure(reason="the connection was closed without an answer; does it expect https?") == info


async def test_an_action_that_fails_in_the_handshake_was_not_sent(
    agents: HttpAgents, ours: Authority, stranger: Authority
) -> None:
    """Nothing is sent before the agent has proven who it is."""
    async with agent(ours.server()) as server:
        target = Target(node_id="n1", agent_address=server.url, tls=stranger.tls())
        sent = await agents.send(target, make_action(), "1:1", 5.0)

    assert (False, False) == (sent.accepted, sent.maybe_sent)
    assert "TLS: the server's certificate comes from an unknown CA" == sent.failed


async def test_checks_can_be_skipped(agents: HttpAgents, ours: Authority) -> None:
    """In a laboratory any certificate will do."""
    async with agent(ours.server("elsewhere.test", not_after=LONG_AGO)) as server:
        target = Target(node_id="n1", agent_address=server.url, tls=Tls(insecure_skip_verify=True))

        assert isinstance((await agents.look(target)).info, NodeInfo)


async def test_unusable_material_is_said(agents: HttpAgents, ours: Authority, tmp_path: Path) -> None:
    """A file that is not there is the reason, by its name."""
    tls = Tls(ca_bundle=in_file(tmp_path / "ca.pem"))

    expected = f"TLS: ca_bundle: cannot read {tmp_path}/ca.pem: No such file or directory"
    assert expected == await reason(agents, ours.server(), tls)


async def test_a_fleet_has_a_default(ours: Authority, clients: Authority) -> None:
    """Settings of the whole fleet count where a namespace says nothing of TLS."""
    settings = AgentsSettings(tls=ours.tls(clients.client()))
    async with agent(ours.server(clients=clients)) as server, HttpAgents(settings) as agents:
        look = await agents.look(Target(node_id="n1", agent_address=server.url))

    assert isinstance(look.info, NodeInfo)


async def test_a_look_says_that_the_material_broke(ours: Authority, tmp_path: Path) -> None:
    """The node is looked at with the last good material, and the look tells of the trouble."""
    path = tmp_path / "ca.pem"
    path.write_text(ours.pem)
    clock = Clock()
    async with agent(ours.server()) as server, HttpAgents(AgentsSettings(), TlsContexts(clock=clock)) as agents:
        target = Target(node_id="n1", agent_address=server.url, tls=Tls(ca_bundle=in_file(path)))
        before = await agents.look(target)
        path.write_text("garbage")
        clock.now = LOOK_EVERY_S
        after = await agents.look(target)

    assert (NodeInfo, None) == (type(before.info), before.tls_trouble)
    assert (NodeInfo, "ca_bundle: there is no usable PEM certificate in it") == (type(after.info), after.tls_trouble)


async def test_rotated_files_are_read_again(ours: Authority, stranger: Authority, tmp_path: Path) -> None:
    """When the agents' CA changes, so does what is trusted, without a restart."""
    path = tmp_path / "ca.pem"
    path.write_text(stranger.pem)
    clock = Clock()
    async with agent(ours.server()) as server, HttpAgents(AgentsSettings(), TlsContexts(clock=clock)) as agents:
        target = Target(node_id="n1", agent_address=server.url, tls=Tls(ca_bundle=in_file(path)))
        before = (await agents.look(target)).info
        path.write_text(ours.pem)
        clock.now = LOOK_EVERY_S
        after = (await agents.look(target)).info

    assert [Failure, NodeInfo] == [type(before), type(after)]
