"""Answers to probes are read once, as long as they are what they were."""

from __future__ import annotations

from blocks.agents.answers import Answer
from blocks.agents.glimpses import Glimpses
from blocks.models.look import Glimpse
from blocks.models.node import Protocol


class Reader:
    """Counts what it reads."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def __call__(self, answer: Answer) -> Glimpse:
        """Read."""
        self.bodies.append(answer.body)
        return Glimpse(protocol=Protocol.B, fingerprint=answer.body.decode())


def test_same_answer_is_read_once() -> None:
    """The second time the meaning is remembered, whoever said it."""
    glimpses, reader = Glimpses(10), Reader()
    found = [glimpses.of(Protocol.B, Answer(200, b"one"), shards=True, read=reader) for _ in range(2)]

    assert found[0] == found[1]
    assert [b"one"] == reader.bodies


def test_what_differs_is_read() -> None:
    """Other bytes, another status, another protocol, and the other part each have a meaning of their own."""
    glimpses, reader = Glimpses(10), Reader()
    for protocol, status, body, shards in (
        (Protocol.B, 200, b"one", True),
        (Protocol.B, 200, b"two", True),
        (Protocol.B, 404, b"one", True),
        (Protocol.A, 200, b"one", True),
        (Protocol.B, 200, b"one", False),
    ):
        glimpses.of(protocol, Answer(status, body), shards=shards, read=reader)

    assert 5 == len(reader.bodies)


def test_the_newest_are_remembered() -> None:
    """Beyond the size the one that was longest not used is forgotten; a size of 0 remembers nothing."""
    glimpses, reader = Glimpses(2), Reader()
    for body in (b"one", b"two", b"one", b"three", b"one", b"two"):
        glimpses.of(Protocol.B, Answer(200, body), shards=True, read=reader)
    none, other = Glimpses(0), Reader()
    for _ in range(2):
        none.of(Protocol.B, Answer(200, b"one"), shards=True, read=other)

    assert [b"one", b"two", b"three", b"two"] == reader.bodies
    assert [b"one", b"one"] == other.bodies
