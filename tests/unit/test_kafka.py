"""The parts of the Kafka adapter that need no broker."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import pytest
from confluent_kafka import KafkaError
from pydantic import SecretStr, ValidationError

from blocks.errors import InvalidInputError
from blocks.kafka.admin import Admin
from blocks.kafka.group import Buffer
from blocks.kafka.health import Health
from blocks.kafka.records import Incoming, Partition, Topic, worth_a_line
from blocks.kafka.settings import Kafka

ROUTINE, OTHER, URGENT = Partition("routine", 0), Partition("routine", 1), Partition("urgent", 0)
REFUSED = "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)"


def record(partition: Partition, offset: int) -> Incoming:
    """A record at a place."""
    return Incoming(partition, offset, b"", None, {})


def test_records_of_an_earlier_topic_are_handed_out_first() -> None:
    """Precedence of topics beats the order of arrival; within a topic the order stays."""
    buffer = Buffer(("urgent", "routine"), 10)
    buffer.add([record(ROUTINE, 1), record(ROUTINE, 2), record(URGENT, 7)])

    assert [record(URGENT, 7), record(ROUTINE, 1)] == buffer.take(2)
    assert [record(ROUTINE, 2)] == buffer.take(2)


def test_what_was_handed_out_is_done_by_the_next_call_only() -> None:
    """The offsets to store are those of the call before the last one, told once."""
    buffer = Buffer(("routine",), 10)
    buffer.add([record(ROUTINE, 1), record(OTHER, 5), record(ROUTINE, 2)])
    buffer.take(2)

    assert buffer.done() == {}
    buffer.take(1)
    assert buffer.done() == {ROUTINE: 2, OTHER: 6}
    assert buffer.done() == {}


@pytest.mark.parametrize(("copies", "wanted"), [(1, "1"), (2, "1"), (3, "2"), (5, "4")])
def test_one_copy_may_be_missing(copies: int, wanted: str) -> None:
    """A record counts as stored when all copies but one exist, unless the topic says otherwise."""
    assert {"min.insync.replicas": wanted, "a": "b"} == Topic("t", 1, copies, {"a": "b"}).full_config
    assert "9" == Topic("t", 1, copies, {"min.insync.replicas": "9"}).full_config["min.insync.replicas"]


@pytest.mark.parametrize(("copies", "brokers", "danger"), [(1, 1, False), (1, 3, True), (2, 3, False), (1, 0, False)])
def test_a_single_copy_among_several_brokers_is_in_danger(copies: int, brokers: int, danger: bool) -> None:
    """Where more copies are possible, having one is said to be dangerous."""
    assert danger == Topic("t", 1, copies).in_danger(brokers)


def test_lost_partitions_are_forgotten() -> None:
    """Neither their waiting records nor their offsets are used any more."""
    buffer = Buffer(("routine",), 10)
    buffer.add([record(ROUTINE, 1), record(OTHER, 5), record(ROUTINE, 2)])
    buffer.take(2)
    buffer.drop({ROUTINE})

    assert buffer.take(5) == []
    assert buffer.done() == {OTHER: 6}


def test_a_full_topic_rests_until_it_is_half_empty() -> None:
    """Resting begins at the limit and ends at half of it, for each topic on its own."""
    buffer = Buffer(("urgent", "routine"), 4)
    buffer.add(record(ROUTINE, offset) for offset in range(4))

    assert buffer.full("routine", paused=False)
    assert not buffer.full("urgent", paused=False)
    buffer.take(1)
    assert not buffer.full("routine", paused=False)
    assert buffer.full("routine", paused=True)
    buffer.take(2)
    assert not buffer.full("routine", paused=True)


def test_the_clearest_cause_is_told() -> None:
    """A vague error neither hides a clear one nor is told in its place, and developers' details are left out."""
    health, kafka = Health(), Kafka(bootstrap="127.0.0.1:1")
    health.error(KafkaError(KafkaError._TRANSPORT, REFUSED))
    health.error(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))

    error = health.unavailable(kafka, KafkaError(KafkaError._TIMED_OUT, "Local: Timed out"))

    assert error.reason == "Connect to ipv4#127.0.0.1:1 failed: Connection refused"
    assert "REPLICORE_KAFKA_BOOTSTRAP" in error.hint
    assert health.suspect


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (KafkaError._AUTHENTICATION, "REPLICORE_KAFKA_SASL_USER"),
        (KafkaError._SSL, "REPLICORE_KAFKA_CA_FILE"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "allow this user"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "register"),
        (KafkaError._TRANSPORT, "REPLICORE_KAFKA_BOOTSTRAP"),
    ],
)
def test_each_cause_has_its_hint(code: int, hint: str) -> None:
    """What to check depends on what went wrong."""
    assert hint in Health().unavailable(Kafka(), KafkaError(code)).hint


def test_repeated_lines_of_the_client_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """An absent broker fills no log: of many lines of a sort one is passed on."""
    health = Health()
    with caplog.at_level(logging.DEBUG, "replicore"):
        for _ in range(100):
            health.log(logging.ERROR, "%s [%s] %s", "FAIL", "client", "Connection refused")
        health.log(logging.ERROR, "%s [%s] %s", "GETPID", "client", "retrying")

    assert ["FAIL [client] Connection refused", "GETPID [client] retrying"] == caplog.messages


def test_a_server_that_hangs_up_at_once_is_taken_for_one_that_wants_tls() -> None:
    """Only the client's log tells of it."""
    health, line = Health(), "Disconnected: connection closed by peer (after 1ms in state APIVERSION_QUERY)"
    health.log(logging.INFO, "%s [%s] %s", "FAIL", "client", f"[thrd:x]: 10.0.0.1:9092/bootstrap: {line}")

    error = health.unavailable(Kafka())

    assert error.reason == "10.0.0.1:9092: Disconnected: connection closed by peer"
    assert "REPLICORE_KAFKA_TLS" in error.hint


def test_many_equal_messages_are_mentioned_less_and_less_often() -> None:
    """The 1st, the 10th, the 100th ..."""
    assert [1, 10, 100, 1_000] == [count for count in range(1_001) if worth_a_line(count)]


@pytest.mark.parametrize(
    "values",
    [
        {"sasl_user": "u"},
        {"sasl_password": SecretStr("p")},
        {"tls": True, "cert_file": "c.pem"},
        {"ca_file": "ca.pem"},
        {"request_timeout_s": 0},
        {"sasl_mechanism": "GSSAPI"},
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    """Half a login, half a certificate, certificates without TLS, no deadline, an unknown mechanism."""
    with pytest.raises(ValidationError):
        Kafka(**values)


@pytest.mark.parametrize(
    ("values", "protocol"),
    [
        ({}, "PLAINTEXT"),
        ({"tls": True}, "SSL"),
        ({"sasl_user": "u", "sasl_password": "p"}, "SASL_PLAINTEXT"),
        ({"tls": True, "sasl_user": "u", "sasl_password": "p"}, "SASL_SSL"),
    ],
)
def test_the_security_protocol_follows_from_the_settings(values: dict[str, Any], protocol: str) -> None:
    """TLS and login are chosen each on its own."""
    assert protocol == Kafka(**values).client()["security.protocol"]


def test_the_environment_overrides_and_secrets_stay_secret() -> None:
    """Variables win over the block; the password is in no text of the settings; they can be pickled."""
    environ = {"REPLICORE_KAFKA_SASL_USER": "u", "REPLICORE_KAFKA_SASL_PASSWORD": "h1dden", "REPLICORE_KAFKA_TLS": "1"}
    kafka = Kafka(bootstrap="k:1").overlaid(environ)

    assert (kafka.bootstrap, kafka.tls, kafka.client()["sasl.password"]) == ("k:1", True, "h1dden")
    assert "h1dden" not in f"{kafka!r} {kafka}"
    assert kafka == pickle.loads(pickle.dumps(kafka))  # noqa: S301  # our own


async def test_files_that_are_not_there_are_named() -> None:
    """A wrong path is wrong input, named with its variable, not an absent server."""
    with pytest.raises(InvalidInputError) as caught:
        await Admin(Kafka(tls=True, ca_file="/no/such/ca.pem")).ready()

    assert ["REPLICORE_KAFKA_CA_FILE"] == [fault.where for fault in caught.value.faults]
    assert "/no/such/ca.pem" in str(caught.value)


def test_a_client_that_has_died_is_known_by_the_name_of_its_error() -> None:
    """A consumer tells of its death with an error that says of itself that it is not fatal."""
    health = Health()
    health.error(KafkaError(KafkaError._FATAL))

    assert health.fatal
