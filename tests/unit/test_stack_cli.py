import sys
from pathlib import Path

import pytest

from infra.stack import cli, compose, control
from infra.stack.errors import StackError
from infra.stack.layout import Layout
from infra.stack.settings import StackSettings


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Run a command of the stack; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["stack", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let every command work on an empty folder."""
    monkeypatch.setenv("REPLICORE_STACK_FOLDER", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("REPLICORE_STACK_KAFKA_PORT", "many", "REPLICORE_STACK_KAFKA_PORT='many'"),
        ("REPLICORE_STACK_KAFKA_PORT", "70000", "less than 65536"),
        ("REPLICORE_STACK_KAFKA_PORT", "2181", "zookeeper_port and kafka_port are both 2181"),
        ("REPLICORE_STACK_FOLDER", "/proc/nowhere", "/proc/nowhere: No such file"),
    ],
)
def test_wrong_setting_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, said: str
) -> None:
    """A setting that cannot be is named, with its value and why; the status is 1."""
    monkeypatch.setenv(variable, value)

    assert 1 == run(monkeypatch, "up")
    assert said in capsys.readouterr().err


def test_unknown_service_is_named_with_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asking for a service that does not exist lists those that do."""
    assert 1 == run(monkeypatch, "up", "--only", "oracle")
    assert "no service or group 'oracle': there are servers, fleet," in capsys.readouterr().err


def test_unknown_command_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong usage has status 2."""
    assert 2 == run(monkeypatch, "fly")


def test_nothing_to_stop_is_no_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`down` without anything running says so and succeeds."""
    assert 0 == run(monkeypatch, "down")
    assert "nothing was running" in capsys.readouterr().out


def test_status_of_nothing_is_not_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """`status` fails when nothing runs, so that scripts can ask it."""
    assert 1 == run(monkeypatch, "status")


def test_logs_are_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """`logs` prints the last lines; of an unknown process it lists the known ones."""
    layout = Layout(folder)
    layout.create()
    layout.log("kafka").write_text("one\ntwo\nthree\n")

    assert 0 == run(monkeypatch, "logs", "kafka", "-n", "2")
    assert "two\nthree\n" == capsys.readouterr().out
    assert 1 == run(monkeypatch, "logs", "oracle")
    assert "no log of 'oracle': there are kafka" in capsys.readouterr().err


def test_second_up_is_refused(folder: Path) -> None:
    """Two commands never work on one folder at the same time."""
    layout = Layout(folder)
    with (
        control.exclusive(layout),
        pytest.raises(StackError, match="another `up` or `down`"),
        control.exclusive(layout),
    ):
        pass


def test_groups_stand_for_their_services_in_start_order() -> None:
    """Groups and names may be mixed; Prefect, the slowest, starts first."""
    assert ("prefect", "mongodb", "zookeeper", "kafka") == compose.expand(["kafka", "servers"])
    assert "serve" == compose.expand(["servers", "fleet", "product"])[-1]
    assert (*compose.SERVERS, "serve") == compose.expand(["product"])


def test_settings_reach_other_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process that is given the settings as variables has equal settings."""
    settings = StackSettings.free(tmp_path / "other")
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)

    assert settings == StackSettings()
