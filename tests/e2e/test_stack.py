import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from kazoo.exceptions import SessionClosedRequireSaslError
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from doubles import rights
from infra.stack import control, up
from infra.stack.console import Progress
from infra.stack.errors import PortTakenError, ServiceFailedError
from infra.stack.keeper import clean_environment
from infra.stack.layout import PROJECT
from infra.stack.processes import Process, marked
from infra.stack.settings import StackSettings
from infra.stack.status import State, Status
from infra.stack.testing import TestStack, running

pytestmark = pytest.mark.real

SERVERS = ("zookeeper", "kafka", "mongodb")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    """Run the three stores without Prefect."""
    with running(SERVERS, tmp_path_factory.mktemp("stack")) as made:
        yield made


@pytest.mark.parametrize("name", SERVERS)
def test_killed_server_comes_back(stack: TestStack, name: str) -> None:
    """A server killed with -9 is started again, counted, and its exit is told."""
    before, pid = stack.restarts(name), stack.pid(name)
    stack.kill(name)
    stack.wait_ready(name)

    assert (before + 1, -signal.SIGKILL) == (stack.restarts(name), stack.status(name).last_exit)
    assert pid != stack.pid(name)


def test_data_survives_kill(stack: TestStack) -> None:
    """What was acknowledged before a kill -9 is there after it."""
    with MongoClient[dict[str, object]](stack.mongodb_uri, w="majority", timeoutMS=20_000) as client:
        client.test.things.insert_one({"_id": 1})
        stack.kill("mongodb")
        stack.wait_ready("mongodb")

        assert 1 == client.test.things.count_documents({})


def test_killed_supervisor_is_replaced_and_adopts(stack: TestStack) -> None:
    """A new supervisor takes over the living servers; none of them is started again."""
    pids = [stack.pid(name) for name in SERVERS]
    restarts = [stack.restarts(name) for name in SERVERS]
    before = stack.restarts("supervisor")
    stack.kill("supervisor")
    stack.wait_ready("supervisor", *SERVERS)

    assert (pids, restarts) == ([stack.pid(name) for name in SERVERS], [stack.restarts(name) for name in SERVERS])
    assert before + 1 == stack.restarts("supervisor")


def test_adopted_server_is_still_watched(stack: TestStack) -> None:
    """A server that a new supervisor has adopted comes back when it is killed."""
    stack.kill("supervisor")
    stack.wait_ready("supervisor", "zookeeper")
    before = stack.restarts("zookeeper")
    stack.kill("zookeeper")
    stack.wait_ready("zookeeper")

    assert before + 1 == stack.restarts("zookeeper")


def test_killed_keeper_comes_back(stack: TestStack) -> None:
    """The supervisor starts its keeper again."""
    pid = stack.pid("keeper")
    stack.kill("keeper")
    stack.wait_ready("keeper")

    assert pid != stack.pid("keeper")


def test_server_that_died_unsupervised_is_started_again(stack: TestStack) -> None:
    """A server that dies while there is neither supervisor nor keeper is replaced by the next supervisor."""
    for name in ("keeper", "supervisor", "zookeeper"):
        stack.kill(name)
    control.add([], stack.layout)
    stack.wait_ready("supervisor", "keeper", *SERVERS)

    assert State.READY == stack.status("zookeeper").state


def test_stopped_server_stays_down_until_it_is_started(stack: TestStack) -> None:
    """A test may take a server away for as long as it likes."""
    stack.stop("zookeeper")
    stopped = stack.status("zookeeper")
    stack.start("zookeeper")

    assert (State.STOPPED, None) == (stopped.state, stopped.pid)
    assert State.READY == stack.status("zookeeper").state


def test_servers_end_with_the_process_that_asked_for_them(tmp_path: Path) -> None:
    """When a test run is killed with -9 its servers go away, although nobody stops them."""
    code = "import sys, pathlib; from infra.stack.testing import running\n"
    code += "with running(['mongodb'], pathlib.Path(sys.argv[1])): print('up', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=PROJECT, stdin=-1, stdout=-1, env=clean_environment()) as child:
        assert child.stdout is not None
        assert b"up\n" == child.stdout.readline()
        supervisor = Process.read(tmp_path / "run" / "supervisor.pid")
        child.kill()

    assert supervisor is not None
    assert supervisor.wait(20)
    assert [] == marked(tmp_path)


def test_down_stops_everything_even_without_a_supervisor(tmp_path: Path) -> None:
    """`up`, again, then with supervisor and keeper dead `down`: no process is left, and all are shown as stopped."""
    settings, progress = StackSettings.free(tmp_path), Progress()
    layout = settings.layout
    up.up(settings, ["mongodb"], progress)
    pid = Process.read(layout.pid_file("mongodb"))
    up.up(settings, ["mongodb"], progress)
    again = Process.read(layout.pid_file("mongodb"))
    for name in ("keeper", "supervisor"):
        process = Process.read(layout.pid_file(name))
        assert process is not None
        process.send(signal.SIGKILL)
    up.down(settings, progress)

    assert pid == again
    assert [] == marked(layout.root)
    assert {State.STOPPED} == {process.state for process in Status.read(layout.status).processes}


def test_taken_port_stops_up_before_it_starts_anything(stack: TestStack, tmp_path: Path) -> None:
    """`up` names the owner of the port and leaves nothing behind."""
    taken = stack.settings.mongodb_port
    settings = StackSettings(folder=tmp_path, mongodb_port=taken)

    with pytest.raises(PortTakenError, match=rf"mongodb needs port {taken} on 127.0.0.1, but pid \d+ \(.*mongod"):
        up.up(settings, ["mongodb"], Progress())

    assert not control.is_running(settings.layout)


def test_service_that_cannot_start_is_told_with_its_log(tmp_path: Path) -> None:
    """A server that fails is reported with the last lines of its log, and `up` stops what it had started."""
    settings = StackSettings.free(tmp_path)
    data = settings.layout.data("mongodb") / "data"
    data.mkdir()
    (data / "storage.bson").write_bytes(os.urandom(64))

    with pytest.raises(ServiceFailedError, match=r"(?s)mongodb: ended with status .* The last lines of .*storage"):
        up.up(settings, ["mongodb"], Progress())

    assert [] == marked(settings.layout.root)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestStack]:
    """Run the three stores with TLS and a user each."""
    with running(SERVERS, tmp_path_factory.mktemp("secure"), secure=True) as made:
        yield made


def test_zookeeper_serves_over_tls_to_a_user(secure: TestStack) -> None:
    """A client with certificate and password gets a session."""
    client = rights.zookeeper(secure, rights.administrator(secure))
    client.start(20)
    try:
        assert "/lock" == client.create("/lock", b"me", ephemeral=True)
    finally:
        client.stop()
        client.close()


def test_zookeeper_refuses_without_a_user(secure: TestStack) -> None:
    """A certificate alone is not enough."""
    client = rights.zookeeper(secure, None)
    client.start(20)
    try:
        with pytest.raises(SessionClosedRequireSaslError):
            client.create("/lock", b"me")
    finally:
        client.stop()
        client.close()


def test_kafka_serves_over_tls_to_a_user(secure: TestStack) -> None:
    """Produce and consume over SASL_SSL, with a group of the new protocol (KIP-848)."""
    settings = rights.kafka(secure, rights.administrator(secure))
    admin = AdminClient(settings)
    admin.create_topics([NewTopic("things", 1, 1)])["things"].result(20)
    producer = Producer({**settings, "enable.idempotence": True, "compression.type": "zstd"})
    producer.produce("things", b"thing")
    left = producer.flush(20)
    consumer = Consumer({**settings, "group.id": "g", "group.protocol": "consumer", "auto.offset.reset": "earliest"})
    consumer.subscribe(["things"])
    message = consumer.poll(20)
    consumer.close()

    assert 0 == left
    assert message is not None
    assert b"thing" == message.value()


def test_mongodb_serves_over_tls_to_a_user(secure: TestStack) -> None:
    """The user may write; nobody may without a password."""
    with rights.mongodb(secure, rights.administrator(secure)) as client:
        acknowledged = client.test.things.insert_one({"_id": 1}).acknowledged
    with (
        rights.mongodb(secure, None) as nobody,
        pytest.raises(OperationFailure, match="requires authentication"),
    ):
        nobody.test.things.insert_one({"_id": 2})

    assert acknowledged


@pytest.mark.parametrize("name", SERVERS)
def test_secure_server_comes_back(secure: TestStack, name: str) -> None:
    """A secure server killed with -9 serves again."""
    secure.kill(name)
    secure.wait_ready(name)

    assert State.READY == secure.status(name).state
