"""Scripts, records, and the program as a process."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from doubles.eventually import until
from doubles.simulation import SUCCESS, simulation
from infra.simulator.errors import CommandError, SimulatorError
from infra.simulator.layout import Layout, build
from infra.simulator.model import Node
from infra.simulator.record import PENDING_MAX, Record
from infra.simulator.script import parse_script, read_script
from infra.simulator.simulator import Settings
from infra.simulator.testing import PROJECT, simulated, simulated_process

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def a_node() -> Node:
    """A node of no running fleet."""
    return next(build(Layout(clusters=1), 8000, 0)).nodes[0]


class TestScript:
    async def test_steps_happen_in_time(self) -> None:
        """Each at its second, and all again when the script repeats."""
        script = parse_script(
            {
                "repeat_every_s": 0.05,
                "steps": [{"at": 0.02, "do": "heal"}, {"do": "fail", "nodes": ["mongodb-00000-0"]}],
            }
        )
        async with simulation(settings={"script": script}) as fleet:

            def faults() -> list[object]:
                return [line["fault"] for line in fleet.fleet.record.lines(what="fault")]

            await until(lambda: len(faults()) >= 4)

        assert ["fail", None, "fail", None] == faults()[:4]

    async def test_a_step_about_somebody_gone_is_left_out(self) -> None:
        """The rest of the script goes on."""
        script = parse_script([{"do": "fail", "nodes": ["nobody"]}, {"do": "fail", "nodes": ["mongodb-00000-0"]}])
        async with simulation(settings={"script": script}) as fleet:
            await until(lambda: fleet.node().fault is not None)

            assert 1 == fleet.fleet.record.counts["command"]

    @pytest.mark.parametrize("text", ['[{"at": 1, "do": "heal"}]', "- {at: 1, do: heal}\n"])
    def test_json_and_yaml(self, tmp_path: Path, text: str) -> None:
        """Both are read alike."""
        file = tmp_path / "script"
        file.write_text(text)

        assert [(1.0, "heal")] == [(at, command.do) for at, command in read_script(file).steps]

    @pytest.mark.parametrize(
        ("value", "sentence"),
        [
            ("x", "the script: it must be a list of at most 100000 steps"),
            ({"repeat_every_s": 0, "steps": []}, "the script: repeat_every_s must be a number of seconds, not 0"),
            ([{"do": "heal"}, 3], "the script: step 1 must be an object"),
            ([{"at": -1, "do": "heal"}], "the script: step 0: at must be a number of seconds"),
            ([{"at": 1, "do": "kill"}], "the script: step 0: not a command: kill.nodes: Field required"),
        ],
    )
    def test_wrong_ones(self, value: Any, sentence: str) -> None:
        """The sentence names the step."""
        with pytest.raises(SimulatorError) as error:
            parse_script(value)

        assert sentence == str(error.value)

    @pytest.mark.parametrize("content", [None, b"\xff", b"a: [", b"!!python/object:x {}"])
    def test_unreadable_ones(self, tmp_path: Path, content: bytes | None) -> None:
        """No file, no text, no YAML, no objects from YAML."""
        file = tmp_path / "script"
        if content is not None:
            file.write_bytes(content)

        with pytest.raises(SimulatorError, match=f"cannot read the script {file}"):
            read_script(file)


class TestRecord:
    def test_it_is_bounded(self) -> None:
        """The newest stay; reads never push out what was done."""
        record = Record(NOW, reads_max=2, history_max=2)
        for number in range(3):
            record.note("action", number=number)
        for status in range(100):
            record.read(a_node(), b"/x", status)

        assert [1, 2, 98, 99] == [line.get("number", line.get("status")) for line in record.lines()]

    def test_the_file_has_everything(self, tmp_path: Path) -> None:
        """However much there is, in order, after the wall clock at its beginning."""
        record = Record(NOW, reads_max=1, history_max=1)
        record.open(tmp_path / "record")
        node = a_node()
        for number in range(PENDING_MAX + 10):
            record.read(node, b"/x", number)
        record.note("action", node="n", id="1")
        record.close()

        lines = [orjson.loads(line) for line in (tmp_path / "record").read_bytes().splitlines()]
        assert ("began", NOW.isoformat()) == (lines[0]["what"], lines[0]["utc"])
        assert list(range(PENDING_MAX + 10)) == [line["status"] for line in lines[1:-1]]
        assert ("action", "n", "1") == (lines[-1]["what"], lines[-1]["node"], lines[-1]["id"])
        assert sorted(line["at"] for line in lines) == [line["at"] for line in lines]

    def test_a_full_disk_is_said(self) -> None:
        """The record goes on in memory, and says that the file is not complete."""
        record = Record(NOW)
        record.open(Path("/dev/full"))
        record.note("action", node="n")
        record.flush()
        record.note("action", node="n")
        record.close()

        assert "the record is not complete: No space left on device" == record.failed
        assert 2 == len(list(record.lines()))

    def test_a_file_that_cannot_be(self, tmp_path: Path) -> None:
        """Said before anything starts."""
        with pytest.raises(SimulatorError, match=r"cannot write the record to .*: No such file or directory"):
            Record(NOW).open(tmp_path / "no" / "record")


class TestLibrary:
    def test_in_a_thread(self) -> None:
        """Commands and questions work from plain code beside the fleet."""
        with simulated(Settings(layout=Layout(clusters=2))) as fleet:
            name = "mongodb-00001-0"
            fleet.kill(name)
            ill = fleet.node(name)["fault"]
            fleet.heal(name)
            with pytest.raises(CommandError, match="there is no node or cluster 'x'"):
                fleet.black_hole("x")

            assert ("kill", None) == (ill, fleet.node(name)["fault"])
            assert 6 == len(fleet.nodes())
            assert "mongodb" == fleet.cluster("mongodb-00001")["kind"]
            assert ["kill", None] == [line["fault"] for line in fleet.received(name, what="fault")]

    def test_a_thread_that_cannot_start(self) -> None:
        """The reason is raised where it was asked for."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            settings = Settings(discovery=taken.getsockname())
            with pytest.raises(SimulatorError, match="the port is taken"), simulated(settings):
                pass

    def test_in_a_process(self, tmp_path: Path) -> None:
        """The same, over the control port; ended, it leaves a complete record."""
        file = tmp_path / "record"
        with simulated_process("--clusters", "1", "--record", str(file)) as fleet:
            fleet.do("fail", nodes=["mongodb-00000-0"])
            address = fleet.address("mongodb-00000-0")
            assert 3 == fleet.status()["nodes"]
            with pytest.raises(CommandError):
                fleet.do("explode")

        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert address.startswith("http://127.10.0.1:")
        assert ["began", "fault", "command"] == [line["what"] for line in lines]


class TestProgram:
    @pytest.mark.parametrize(
        ("arguments", "status", "sentence"),
        [
            (["--clusters", "x"], 2, "invalid int value: 'x'"),
            (["--kinds", "redis"], 1, "infra.simulator: 'redis' must be a list of mongodb, zookeeper, kafka\n"),
            (["--partitions", "many"], 1, "infra.simulator: 'many' must be a list of whole numbers\n"),
            (["--control", "here"], 1, "infra.simulator: 'here' must be HOST:PORT\n"),
            (["--page-size", "0"], 1, "infra.simulator: a page must have from 1 to 10000 clusters\n"),
            (["--record", "/no/file"], 1, "cannot write the record to /no/file: No such file or directory\n"),
            (["--script", "/no/file"], 1, "cannot read the script /no/file: No such file or directory\n"),
        ],
    )
    def test_wrong_usage(self, arguments: list[str], status: int, sentence: str) -> None:
        """A sentence on standard error, and an exit status."""
        command = [sys.executable, "-m", "infra.simulator", *arguments]
        ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=30, check=False)

        assert status == ended.returncode
        assert sentence in ended.stderr
        assert "Traceback" not in ended.stderr

    async def test_a_taken_port(self) -> None:
        """Said, and nothing is left open."""
        async with simulation() as fleet:
            port = fleet.node().port
            with pytest.raises(SimulatorError, match=f"cannot listen on 0.0.0.0:{port}: the port is taken"):
                async with simulation(settings={"port": port}):
                    pass

            assert 200 == (await fleet.schedule(fleet.node(), kind=SUCCESS)).status_code
