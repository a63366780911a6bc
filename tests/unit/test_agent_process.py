"""Agents as processes: the command line, restarts, signals, TLS."""

import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from infra.agents.app import main
from infra.agents.kit.errors import StartError
from infra.agents.kit.options import parse_address
from infra.agents.testing import PROJECT, AgentProcess, running

LOOP = "agent.replicante.io/test.loop"
ID = "0a6c3ee5-5b9c-4c0e-9a0e-3f6f0f3f6f01"
CLOSED = "127.0.0.1:1"


def state(agent: AgentProcess) -> dict[str, Any]:
    """Return the state of the one action."""
    found: dict[str, Any] = httpx.get(f"{agent.api}/action/{ID}").raise_for_status().json()["state"]
    return found


def until(agent: AgentProcess, phase: str, count: int = 0) -> dict[str, Any]:
    """Poll until the action is in a phase, with at least `count` steps."""
    deadline, found = time.monotonic() + 20, state(agent)
    while time.monotonic() < deadline:
        found = state(agent)
        if phase == found["phase"] and (found["payload"] or {}).get("count", 0) >= count:
            return found
    message = f"the action is not {phase}: {found}"
    raise AssertionError(message)


class TestProcess:
    """A ZooKeeper agent without a ZooKeeper."""

    def test_killed_in_an_action(self, tmp_path: Path) -> None:
        """After kill -9 in the middle of an action the next process goes on where the last one stood."""
        options = ("--execute-interval", "0.01")
        with running("zookeeper", tmp_path, *options, store=CLOSED) as agent:
            body = {"kind": LOOP, "id": ID, "args": {"target": 400}, "metadata": {"replicore.io/fence": "1:5"}}
            httpx.post(f"{agent.api}/action", json=body).raise_for_status()
            before = until(agent, "RUNNING", 3)
            agent.kill()
        with running("zookeeper", tmp_path, "--execute-interval", "0", store=CLOSED) as agent:
            after = state(agent)
            older = httpx.post(f"{agent.api}/action", json={"kind": LOOP, "metadata": {"replicore.io/fence": "1:4"}})
            done = until(agent, "DONE")

        assert before["payload"]["count"] <= after["payload"]["count"]
        assert 412 == older.status_code
        assert {"count": 400, "target": 400} == done["payload"]

    def test_sigterm(self, tmp_path: Path) -> None:
        """SIGTERM ends the process with status 0, although a client keeps a connection open."""
        with running("zookeeper", tmp_path, store=CLOSED) as agent, httpx.Client() as client:
            node = client.get(f"{agent.api}/info/node")
            status = agent.stop()

        assert "UNAVAILABLE" == node.json()["node_status"]
        assert 0 == status

    def test_taken_port(self, tmp_path: Path) -> None:
        """A taken port is a sentence and status 1."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            listen = f"127.0.0.1:{taken.getsockname()[1]}"
            command = [sys.executable, "-m", "infra.agents", "zookeeper", "--listen", listen, "--store", CLOSED]
            command += ["--node-id", "n", "--cluster-id", "c", "--data", str(tmp_path)]
            ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)

        assert 1 == ended.returncode
        assert f"infra.agents zookeeper: cannot listen on {listen}: the port is taken\n" == ended.stderr

    def test_second_agent(self, tmp_path: Path) -> None:
        """A second agent on the same folder ends with a sentence."""
        with (
            running("zookeeper", tmp_path, store=CLOSED),
            pytest.raises(AssertionError, match="is another agent running on this folder"),
            running("zookeeper", tmp_path, store=CLOSED),
        ):
            pass

    def test_discovery(self, tmp_path: Path) -> None:
        """The discovery endpoint is a process too."""
        (tmp_path / "fleet.json").write_text('{"clusters": []}')
        with running("discovery", tmp_path, "--file", str(tmp_path / "fleet.json")) as endpoint:
            answer = httpx.post(f"{endpoint.url}/discover", json={})
            status = endpoint.stop()

        assert {"clusters": [], "cursor": None} == answer.json()
        assert 0 == status

    def test_weight(self, tmp_path: Path) -> None:
        """An agent is light: less than 60 MB, and only its own store's client is loaded."""
        with running("zookeeper", tmp_path, store=CLOSED) as agent:
            status = Path(f"/proc/{agent.process.pid}/status").read_text()
            maps = Path(f"/proc/{agent.process.pid}/maps").read_text()
        kilobytes = int(status.split("VmRSS:")[1].split()[0])

        assert kilobytes < 60_000
        assert "pymongo" not in maps


class TestTls:
    """TLS 1.3, with and without client certificates."""

    @pytest.fixture
    def authority(self) -> trustme.CA:
        """Return a certificate authority."""
        return trustme.CA()

    @pytest.fixture
    def options(self, authority: trustme.CA, tmp_path: Path) -> tuple[str, ...]:
        """Return the server's options, client certificates required."""
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        cert, key, ca = (str(tmp_path / name) for name in ("cert.pem", "key.pem", "ca.pem"))
        return ("--tls-cert", cert, "--tls-key", key, "--tls-client-ca", ca)

    def context(self, authority: trustme.CA, *, client: bool) -> ssl.SSLContext:
        """Return a client's TLS settings."""
        context = ssl.create_default_context()
        authority.configure_trust(context)
        if client:
            authority.issue_cert("client").configure_cert(context)
        return context

    def test_mutual(self, tmp_path: Path, authority: trustme.CA, options: tuple[str, ...]) -> None:
        """A client with a certificate is served; one without is refused, and so is TLS 1.2."""
        old = self.context(authority, client=True)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with running("zookeeper", tmp_path / "data", *options, store=CLOSED) as agent:
            served = httpx.get(f"{agent.api}/actions/queue", verify=self.context(authority, client=True))
            with pytest.raises(httpx.TransportError):
                httpx.get(f"{agent.api}/actions/queue", verify=self.context(authority, client=False))
            with pytest.raises(httpx.TransportError):
                httpx.get(f"{agent.api}/actions/queue", verify=old)

        assert {"actions": []} == served.json()

    def test_one_way(self, tmp_path: Path, authority: trustme.CA, options: tuple[str, ...]) -> None:
        """Without a client CA everybody who trusts the server is served."""
        with running("zookeeper", tmp_path / "data", *options[:4], store=CLOSED) as agent:
            served = httpx.get(f"{agent.api}/actions/queue", verify=self.context(authority, client=False))

        assert 200 == served.status_code

    def test_bad_files(self, tmp_path: Path, options: tuple[str, ...]) -> None:
        """A key that is none is a sentence, not a traceback."""
        (tmp_path / "key.pem").write_text("nonsense")

        with (
            pytest.raises(AssertionError, match="zookeeper: cannot use the TLS files"),
            running("zookeeper", tmp_path / "data", *options, store=CLOSED),
        ):
            pass


class TestCommandLine:
    """Wrong usage."""

    REQUIRED = ("--node-id", "n", "--cluster-id", "c", "--data", "data", "--listen", "127.0.0.1:0")

    @pytest.mark.parametrize(
        ("extra", "message"),
        [
            ((), "where is the store?"),
            (("--store", "nonsense"), "an address must be HOST:PORT"),
            (("--store", CLOSED, "--listen", "x:99999"), "an address must be HOST:PORT"),
            (("--store", CLOSED, "--tls-cert", "x"), "--tls-cert and --tls-key belong together"),
            (("--store", CLOSED, "--node-id", ""), "--node-id must be 1 to 256 printable characters"),
            (("--store", CLOSED, "--execute-interval", "-1"), "are seconds, at most 3600"),
        ],
    )
    def test_refused(self, capsys: pytest.CaptureFixture[str], extra: tuple[str, ...], message: str) -> None:
        """What could never work is a sentence and status 1."""
        status = main(["zookeeper", *self.REQUIRED, *extra])

        assert 1 == status
        assert message in capsys.readouterr().err

    def test_usage(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A missing option is status 2 and names it."""
        with pytest.raises(SystemExit) as ended:
            main(["zookeeper"])

        assert 2 == ended.value.code
        assert "--node-id" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("text", "expected"), [("h:1", ("h", 1)), (":1", ("127.0.0.1", 1)), ("[::1]:1", ("::1", 1))]
    )
    def test_address(self, text: str, expected: tuple[str, int]) -> None:
        """An address is a host and a port."""
        assert expected == parse_address(text)

    @pytest.mark.parametrize("text", ["", "h", "h:", "h:x", "h:65536", "h:-1", "a@h:1", "h:1/x"])
    def test_not_an_address(self, text: str) -> None:
        """Anything else is refused."""
        with pytest.raises(StartError):
            parse_address(text)
