"""Why Kafka could not be reached: gathered from a client's callbacks, told in one sentence, logged in moderation.

While a broker is away, librdkafka reports every attempt to connect, many a second. `Health` remembers the last cause and
lets through one line of each sort in half a minute.
"""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from blocks.errors import DependencyUnavailableError, Fault, InvalidInputError
from blocks.kafka.settings import Kafka
from blocks.models.base import clean_text

COMPONENT = "Kafka"
_SAME_LINE_AFTER_S = 30.0
_REASON_CHARS_MAX = 300

_DETAIL = re.compile(r" \(after \d+ms in state .*\)$|^\w+://|\berror:\w+:")
_INTRODUCTION = re.compile(r"in state (APIVERSION_QUERY|SSL_HANDSHAKE|AUTH\w*)")

_logger = logging.getLogger("replicore.kafka")

_TLS = {"_SSL"}
_SECURITY = {"_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM", "ILLEGAL_SASL_STATE"}
_RIGHTS = {"TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"}
_TOPIC = {"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"}
_HARMLESS = {"_PARTITION_EOF", "_MAX_POLL_EXCEEDED"}
_VAGUE = {"_DESTROY", "_ALL_BROKERS_DOWN", "_TIMED_OUT", "_MSG_TIMED_OUT", "_PURGE_QUEUE", "_PURGE_INFLIGHT", "_FATAL"}


class Health:
    """What one client's callbacks said. It is the client's `error_cb` and `logger`; called by the client's thread."""

    def __init__(self) -> None:
        self.suspect = False
        """Something was said since the last `well`."""
        self.fatal = False
        """The client will never work again: make another."""
        self._name = ""
        self._reason = ""
        self._logged: dict[str, float] = {}

    def error(self, error: KafkaError) -> None:
        """Take an error; a clear cause is not replaced by a vague one."""
        if error.name() in _HARMLESS:
            return
        self.suspect = True
        self.fatal = self.fatal or error.fatal() or error.name() == "_FATAL"  # a consumer's says no to `fatal()`
        if _clearness(error.name()) >= _clearness(self._name):
            self._name, self._reason = error.name(), said(error)

    def vague_error(self, error: KafkaError) -> None:
        """Take an error that tells less than the callbacks do."""
        self.suspect = True
        if not self._name:
            self._name, self._reason = error.name(), said(error)

    def well(self) -> None:
        """The brokers answer."""
        self.suspect = False
        self._name = self._reason = ""

    def log(self, level: int, template: str, *values: Any) -> None:
        """Pass a line of librdkafka on, unless its like was passed on a moment ago.

        A server that hangs up on us while we introduce ourselves, as one does that wants TLS, is told of by the log only.
        """
        now, sort, line = time.monotonic(), str(values[0]), str(values[-1])
        if sort == "FAIL" and _INTRODUCTION.search(line) and not _clearness(self._name):
            self._name, self._reason = "_TRANSPORT", _without_details(line.partition("]: ")[2] or line)
        if now - self._logged.get(sort, -_SAME_LINE_AFTER_S) >= _SAME_LINE_AFTER_S:
            self._logged[sort] = now
            _logger.log(min(level, logging.WARNING), template, *values)

    def unavailable(self, kafka: Kafka, error: KafkaError | None = None) -> DependencyUnavailableError:
        """The error to raise: what was said before where it is clearer than `error`."""
        name, reason = ("", "") if error is None else (error.name(), said(error))
        if self._name and (not name or name in _VAGUE):
            name, reason = self._name, self._reason
        return DependencyUnavailableError(
            COMPONENT, kafka.bootstrap, reason or "no answer in time", _hint(kafka, name, reason)
        )


def _clearness(name: str) -> int:
    if not name or name in _VAGUE:
        return 0
    return 2 if name in _TLS | _SECURITY | _RIGHTS | _TOPIC else 1


def said(error: KafkaError) -> str:
    """An error's text without what only developers of librdkafka need, bounded."""
    return _without_details(error.str().removeprefix("Local: ").removeprefix("Broker: "))


def _without_details(text: str) -> str:
    address, slash, rest = _DETAIL.sub("", text).partition("/bootstrap: ")
    return clean_text((rest if address in rest else f"{address}: {rest}") if slash else address, _REASON_CHARS_MAX)


def _hint(kafka: Kafka, name: str, reason: str) -> str:
    variable = kafka.variable
    if name in _SECURITY:
        return f"Check {variable('sasl_user')}, {variable('sasl_password')} and {variable('sasl_mechanism')}."
    if name in _TLS or "SSL" in reason:
        return f"Check {variable('tls')}, {variable('ca_file')}, {variable('cert_file')} and {variable('key_file')}."
    if name in _RIGHTS:
        return "Check what the brokers allow this user."
    if name in _TOPIC:
        return "Check that the topics were created: `python -m deployments.register` does it."
    return f"Check that the brokers run, and {variable('bootstrap')} and {variable('tls')}."


def refused(kafka: Kafka, error: KafkaException) -> InvalidInputError:
    """The error to raise when librdkafka does not take the settings.

    The settings' values are not repeated; librdkafka names the one at fault.
    """
    files = {name: getattr(kafka, name) for name in ("ca_file", "cert_file", "key_file")}
    faults = tuple(
        Fault(kafka.variable(name), f"there is no readable file {path}")
        for name, path in files.items()
        if path and not Path(path).is_file()
    )
    return InvalidInputError(f"the settings of Kafka do not fit: {said(error.args[0])}", faults)
