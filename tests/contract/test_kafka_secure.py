"""The work queue and the event bus on a broker that wants TLS and a user (SASL_SSL, SCRAM-SHA-512)."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from blocks.errors import DependencyUnavailableError
from blocks.event_bus.kafka import KafkaEventBus
from blocks.kafka.settings import Kafka
from blocks.models.event import Event
from blocks.models.request import Pointer
from blocks.work_queue.kafka import KafkaWorkQueue
from doubles import unique
from infra.stack.testing import TestStack

pytestmark = pytest.mark.real


@pytest.fixture
def kafka(secure_kafka: TestStack) -> Kafka:
    """Settings that fit the broker."""
    security = secure_kafka.security
    assert security is not None
    return Kafka(
        bootstrap=secure_kafka.kafka_bootstrap,
        request_timeout_s=5.0,
        message_timeout_s=5.0,
        tls=True,
        ca_file=security.tls.ca,
        sasl_user=security.user,
        sasl_password=SecretStr(security.password),
    )


async def test_the_work_queue_works_over_sasl_ssl(kafka: Kafka) -> None:
    """Prepare, send, receive and status, all with TLS and a user."""
    sent = Pointer(key="orchestrate:prod/a", kind="orchestrate", subject="prod/a")
    async with KafkaWorkQueue(kafka, unique.work_queue()) as queue:
        await queue.prepare()
        await queue.send([sent])
        found = await (await queue.receiver()).receive(1, 10.0)
        status = await queue.status()

    assert [sent] == found
    assert (1, 1) == (status.backlog, status.members)


async def test_the_event_bus_works_over_sasl_ssl(kafka: Kafka) -> None:
    """Prepare, publish and follow, all with TLS and a user."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    sent = Event(event_id="1", type="t", stream="s", subject="s", sequence=1, time=at, data={}, published=True)
    async with KafkaEventBus(kafka, unique.event_bus()) as bus:
        await bus.prepare()
        await bus.publish([sent])
        async with aclosing(bus.follow(at)) as following:
            found = await anext(following)

    assert sent == found


@pytest.mark.parametrize(
    ("changes", "reason", "hint"),
    [
        ({"sasl_password": SecretStr("wr0ng-secret")}, "Authentication failed", "REPLICORE_KAFKA_SASL_PASSWORD"),
        ({"ca_file": None}, "certificate verify failed", "REPLICORE_KAFKA_CA_FILE"),
        ({"tls": False, "ca_file": None}, "Disconnected", "REPLICORE_KAFKA_TLS"),
    ],
    ids=["wrong password", "unknown CA", "no TLS"],
)
async def test_what_the_broker_refuses_is_named(
    kafka: Kafka, changes: dict[str, object], reason: str, hint: str
) -> None:
    """Wrong credentials, a CA that is not trusted, and TLS left out: the error says which and what to check, no secret."""
    values = {name: getattr(kafka, name) for name in Kafka.model_fields}
    wrong = Kafka(**{**values, "request_timeout_s": 1.0, **changes})

    with pytest.raises(DependencyUnavailableError) as caught:
        await KafkaWorkQueue(wrong, unique.work_queue()).ready()

    assert reason in str(caught.value)
    assert hint in str(caught.value)
    assert "secret" not in f"{caught.value!r} {wrong!r}"
