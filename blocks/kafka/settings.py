"""How to reach Kafka: one settings block for the work queue and the event bus."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from blocks.settings import Settings

Mechanism = Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]


class Kafka(Settings):
    """Where the brokers are and how to speak to them."""

    _block_type_name = "Replicore Kafka"
    _block_type_slug = "replicore-kafka"
    _description = "The Kafka brokers that carry the work queue and the event bus."
    part = "KAFKA"

    bootstrap: str = Field(default="127.0.0.1:9092", min_length=1, description="HOST:PORT of brokers, comma-separated")
    client_id: str = Field(default="replicore", min_length=1, description="The name that brokers log for us")
    request_timeout_s: float = Field(default=10.0, gt=0, le=300, description="Deadline of one request, in seconds")
    message_timeout_s: float = Field(default=10.0, gt=0, le=300, description="Deadline of sending, in seconds")
    tls: bool = Field(default=False, description="Whether to speak TLS")
    ca_file: str | None = Field(default=None, description="PEM file of the CAs to trust; default: the system's")
    cert_file: str | None = Field(default=None, description="PEM file of our certificate, for mutual TLS")
    key_file: str | None = Field(default=None, description="PEM file of our key, for mutual TLS")
    sasl_mechanism: Mechanism = Field(default="SCRAM-SHA-512", description="Used when a user is given")
    sasl_user: str | None = Field(default=None, description="Log in as this user; default: do not log in")
    sasl_password: SecretStr | None = Field(default=None, description="The user's password")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.sasl_user is None) != (self.sasl_password is None):
            message = "sasl_user and sasl_password go together"
            raise ValueError(message)
        if (self.cert_file is None) != (self.key_file is None):
            message = "cert_file and key_file go together"
            raise ValueError(message)
        if not self.tls and (self.ca_file or self.cert_file):
            message = "ca_file, cert_file and key_file need tls"
            raise ValueError(message)
        return self

    def client(self) -> dict[str, Any]:
        """What every client of librdkafka is configured with. It holds the password: never log it."""
        config: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap,
            "client.id": self.client_id,
            "socket.timeout.ms": max(1_000, round(self.request_timeout_s * 1_000)),
            "socket.connection.setup.timeout.ms": max(1_000, round(self.request_timeout_s * 1_000)),
            "metadata.recovery.strategy": "none",  # the default connects twenty times a second, whatever the backoff
            "reconnect.backoff.ms": 100,
            "reconnect.backoff.max.ms": 1_000,
            "security.protocol": self._security(),
        }
        if self.tls:
            files = {"ca": self.ca_file, "certificate": self.cert_file, "key": self.key_file}
            config |= {f"ssl.{name}.location": path for name, path in files.items() if path}
        if self.sasl_user is not None and self.sasl_password is not None:
            config |= {
                "sasl.mechanism": self.sasl_mechanism,
                "sasl.username": self.sasl_user,
                "sasl.password": self.sasl_password.get_secret_value(),
            }
        return config

    def _security(self) -> str:
        if self.sasl_user is None:
            return "SSL" if self.tls else "PLAINTEXT"
        return "SASL_SSL" if self.tls else "SASL_PLAINTEXT"
