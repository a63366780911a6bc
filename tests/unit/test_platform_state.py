"""The platform's memory: what it was told outlives it, and what it had begun is finished."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from pydantic import ValidationError

from blocks.models.source import Source
from doubles.eventually import until
from doubles.machines import MemoryPlatform
from infra.agents.kit.errors import StartError
from infra.platform import app
from infra.platform.errors import NoTemplateError
from infra.platform.ledger import Ledger, Machine
from infra.platform.templates import require
from infra.stack import fleet, job
from infra.stack.context import Context
from infra.stack.settings import MACHINE_PORTS, StackSettings
from tasks.decide.manifests import Asked, parse


def machine(node_id: str, cluster_id: str = "shop", group: str = "main", port: int = 1000) -> Machine:
    """Return some machine."""
    return Machine(f"machine-{node_id}", cluster_id, "small", group, port, port + 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger is."""
    return tmp_path / "platform.json"


class TestLedger:
    def test_absent(self, path: Path) -> None:
        """Without a file there are no machines, and reading makes none."""
        assert [] == list(Ledger(path))
        assert not path.exists()

    def test_every_change_is_on_disk(self, path: Path) -> None:
        """Whoever reads the file after a change knows it: machines that are there, that leave, that are gone."""
        ledger, read = Ledger(path), []
        ledger.add([machine("b"), machine("a", port=1002)])
        read.append([(each.node_id, each.leaving) for each in Ledger(path)])
        ledger.leave("machine-b")
        read.append([(each.node_id, each.leaving) for each in Ledger(path)])
        ledger.forget("machine-b")
        read.append([(each.node_id, each.leaving) for each in Ledger(path)])

        assert [
            [("machine-b", False), ("machine-a", False)],
            [("machine-b", True), ("machine-a", False)],
            [("machine-a", False)],
        ] == read
        assert list(ledger) == list(Ledger(path))

    def test_a_change_that_cannot_be_written_is_none(self, path: Path) -> None:
        """When the file cannot be written, memory keeps what the file says."""
        ledger = Ledger(path.parent / "gone" / "platform.json")

        with pytest.raises(OSError, match="No such file"):
            ledger.add([machine("a")])

        assert 0 == len(ledger)

    def test_it_is_private(self, path: Path) -> None:
        """Only its owner may read it."""
        Ledger(path).add([machine("a")])

        assert 0o600 == path.stat().st_mode & 0o777

    @pytest.mark.parametrize(
        "content",
        [
            "",
            "{",
            "[]",
            '{"version": 2, "machines": []}',
            '{"version": 1}',
            '{"version": 1, "machines": [{"node_id": "machine-1"}]}',
        ],
    )
    def test_unreadable(self, path: Path, content: str) -> None:
        """A file that cannot be understood stops the start: to forget machines would make orphans of them."""
        path.write_text(content)

        with pytest.raises(StartError, match="cannot read the machines"):
            Ledger(path)

    @pytest.mark.parametrize(
        "node_id", ["..", "machine-../../x", "machine-", "/etc", "machine-a\n", "machine-" + "a" * 33]
    )
    def test_no_path(self, path: Path, node_id: str) -> None:
        """An id that could leave the data folder is refused, whoever wrote it into the file."""
        fields = {"cluster_id": "c", "node_class": "k", "node_group": "g", "store_port": 1, "agent_port": 2}
        path.write_text(json.dumps({"version": 1, "machines": [{"node_id": node_id, **fields}]}))

        with pytest.raises(StartError, match="not an id of a machine"):
            Ledger(path)


class TestRestart:
    async def test_it_goes_on(self, path: Path) -> None:
        """After a crash, machines that should be there run, and those that were leaving are removed to the end."""
        ledger = Ledger(path)
        ledger.add([machine("1"), machine("2", port=1002)])
        ledger.leave("machine-1")
        made = MemoryPlatform(path)
        made.platform.start()
        await until(lambda: len(Ledger(path)) == 1)

        assert ["machine-2"] == made.machines.running
        assert {"machine-1": 1} == made.machines.erased

    async def test_a_removal_that_fails_is_not_forgotten(self, path: Path) -> None:
        """What cannot be deleted now stays in the ledger for the next start."""
        ledger = Ledger(path)
        ledger.add([machine("1")])
        ledger.leave("machine-1")
        made = MemoryPlatform(path)
        made.machines.erase_failures = 1
        made.platform.start()
        await until(lambda: made.machines.erase_failures == 0)
        again = MemoryPlatform(path)
        again.platform.start()
        await until(lambda: len(Ledger(path)) == 0)

        assert {"machine-1": 1} == again.machines.erased

    async def test_close(self, path: Path) -> None:
        """Closing stops every machine, keeps all, and finishes removals that are under way."""
        ledger = Ledger(path)
        ledger.add([machine("1"), machine("2", port=1002)])
        ledger.leave("machine-2")
        made = MemoryPlatform(path)
        made.platform.start()
        await made.platform.close()

        assert [] == made.machines.running
        assert ["machine-1"] == [each.node_id for each in Ledger(path)]

    def test_discover(self, path: Path) -> None:
        """Clusters and nodes come in one order, whenever they were made; what leaves is not told any more."""
        ledger = Ledger(path)
        ledger.add([machine("3", "shop", "b"), machine("2", "shop", "b", 1002), machine("1", "shop", "c", 1004)])
        ledger.add([machine("0", "bank", "a", 1006), machine("9", "gone", "a", 1008)])
        ledger.leave("machine-9")
        found = MemoryPlatform(path).platform.discover()

        assert [("bank", 1), ("shop", 3)] == [(each["cluster_id"], len(each["nodes"])) for each in found]  # type: ignore[arg-type]
        assert [
            {
                "agent_address": f"http://127.0.0.1:{port}",
                "node_id": f"machine-{number}",
                "node_class": "small",
                "node_group": group,
            }
            for number, group, port in ((2, "b", 1003), (3, "b", 1001), (1, "c", 1005))
        ] == found[1]["nodes"]


class TestTemplates:
    @pytest.mark.parametrize("version", ["6", "6.0", "6.0.5"])
    @pytest.mark.parametrize("store", ["mongo.replica", "mongodb"])
    def test_known(self, store: str, version: str) -> None:
        """A version may be said in part."""
        assert "6.0.5" == require(store, version).version

    @pytest.mark.parametrize(
        ("store", "version"),
        [("mongodb", "7.0"), ("mongodb", "6.0.50"), ("mongodb", "6.0.5.1"), ("mongodb", ""), ("kafka", "6.0.5")],
    )
    def test_unknown(self, store: str, version: str) -> None:
        """Another store or version is refused with what there is."""
        with pytest.raises(NoTemplateError, match=r"there are mongo.replica 6.0.5"):
            require(store, version)


class TestStack:
    def test_ports_of_machines_are_nobody_elses(self, tmp_path: Path) -> None:
        """A server in the range of the machines' ports is refused; settings for tests leave them room."""
        free = StackSettings.free(tmp_path)
        with pytest.raises(ValidationError, match=f"kafka_port is 28205, one of the {MACHINE_PORTS} ports"):
            StackSettings(folder=tmp_path, kafka_port=28205)

        assert set() == {free.platform_port, free.kafka_port, free.discovery_port} & set(free.machine_ports)

    @pytest.mark.parametrize(
        ("host", "loopback"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.9", "127.0.0.9"), ("192.0.2.1", "127.0.0.1")]
    )
    def test_the_stack_puts_it_on_loopback(self, tmp_path: Path, host: str, loopback: str) -> None:
        """Wherever the other servers listen, the platform is reached from this machine alone."""
        context = Context(StackSettings(folder=tmp_path, host=host))
        service = fleet.BUILDERS["platform"](context)

        assert loopback == service.env["REPLICORE_STACK_HOST"]
        assert (loopback, 28107) == (service.probe.host, service.probe.port)

    async def test_loopback_only(self, tmp_path: Path) -> None:
        """By hand, too, it listens nowhere else."""
        with pytest.raises(StartError, match="loopback only"):
            await app.run(StackSettings(folder=tmp_path, host="192.0.2.1"))

    def test_manifest(self, tmp_path: Path) -> None:
        """The product reads what the demo declares, the platform under the address where the stack has it."""
        documents = yaml.safe_load_all(job.declared(StackSettings(folder=tmp_path, platform_port=12345)))
        wanted = parse(documents, Asked("a person", datetime(2026, 11, 25, 12, tzinfo=UTC), uuid4))
        [platform] = [record for record in wanted if isinstance(record, Source) and record.platform is not None]

        assert ("demo/local-machines", True) == (platform.key, platform.enabled)
        assert "http://127.0.0.1:12345/" == platform.where
