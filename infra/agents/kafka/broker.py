"""The connection to one Kafka broker, and the only place that knows the wire protocol's classes (kafka-python's).

Not a Kafka client: no bootstrap, no routing. An agent asks *its* broker, so a request goes to this address or fails.
One request at a time; a connection that was closed while idle is opened again once.
"""

import asyncio
import struct
from typing import Any, TypeVar

from infra.agents.kafka.wire import ApiMessage, ApiVersionsRequest, ApiVersionsResponse, KafkaError, KafkaProtocol
from infra.agents.kit.errors import StoreDownError, StoreError, describe
from infra.agents.kit.options import join_address

ANSWER_SECONDS = 1.0
FRAME_BYTES_MAX = 64 * 1024 * 1024
SOFTWARE = {"client_software_name": "replicante-agent", "client_software_version": "0.1.0"}

Answer = TypeVar("Answer")


class _Line:
    """One open connection and what its broker speaks."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak over an open connection."""
        self._reader = reader
        self._writer = writer
        self._protocol = KafkaProtocol(client_id="replicante-agent", receive_message_max_bytes=FRAME_BYTES_MAX)
        self._versions: dict[int, tuple[int, int]] = {}
        self.features: dict[str, int] = {}

    async def greet(self) -> None:
        """Learn the broker's versions of every request, and its finalized features."""
        request = ApiVersionsRequest(**SOFTWARE, version=3)
        answer = await self.exchange(request, ApiVersionsResponse)
        self._versions = {key.api_key: (key.min_version, key.max_version) for key in answer.api_keys}
        self.features = {feature.name: feature.max_version_level for feature in answer.finalized_features or []}

    def version_for(self, request: type[ApiMessage]) -> int:
        """Return the newest version that both sides speak."""
        lowest, highest = self._versions.get(request.API_KEY, (0, -1))
        version = min(highest, int(request.max_version))
        if version < lowest:
            message = f"the broker does not speak any version of {request.__name__} that this agent knows"
            raise StoreError(message)
        return version

    async def exchange(self, request: ApiMessage, _answer: type[Answer]) -> Answer:
        """Send one request and return its answer."""
        self._protocol.send_request(request)
        self._writer.write(self._protocol.send_bytes())
        await self._writer.drain()
        head = await self._reader.readexactly(4)
        (size,) = struct.unpack(">i", head)
        if not 0 <= size <= FRAME_BYTES_MAX:
            message = f"the broker announced an answer of {size} bytes"
            raise StoreError(message)
        [(_, answer)] = self._protocol.receive_bytes(head + await self._reader.readexactly(size))
        result: Answer = answer
        return result

    def close(self) -> None:
        """Close at once."""
        self._writer.close()


class Broker:
    """One broker's address, connected when needed."""

    def __init__(self, host: str, port: int) -> None:
        """Remember where; opens no socket."""
        self._host = host
        self._port = port
        self._line: _Line | None = None
        self._lock = asyncio.Lock()

    @property
    def address(self) -> str:
        """Return ``HOST:PORT``."""
        return join_address(self._host, self._port)

    async def ask(self, request: type[ApiMessage], answer: type[Answer], **fields: Any) -> Answer:
        """Send a request in the newest version both know, and return its answer.

        Raises:
            StoreDownError: Refused, closed or silent.
            StoreError: An answer that cannot be read.
        """
        async with self._lock:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await self._ask(request, answer, fields)
            except (OSError, EOFError, TimeoutError) as error:
                message = f"Kafka at {self.address} does not answer {request.__name__}: {describe(error)}"
                raise StoreDownError(message) from error
            except (KafkaError, ValueError, TypeError, struct.error) as error:
                message = f"Kafka at {self.address} gave an unreadable answer to {request.__name__}"
                raise StoreError(message) from error

    async def features(self) -> dict[str, int]:
        """Return the cluster's finalized features, as the broker told when the connection was opened."""
        async with self._lock:
            return dict(self._line.features) if self._line else {}

    def close(self) -> None:
        """Drop the connection."""
        if self._line is not None:
            self._line.close()
            self._line = None

    async def _ask(self, request: type[ApiMessage], answer: type[Answer], fields: dict[str, Any]) -> Answer:
        """Ask over the open connection, or over a new one when that turns out to be dead."""
        if self._line is not None:
            try:
                return await self._over(self._line, request, answer, fields)
            except (OSError, EOFError):
                pass
        reader, writer = await asyncio.open_connection(self._host, self._port)
        self._line = _Line(reader, writer)
        try:
            await self._line.greet()
        except BaseException:
            self.close()
            raise
        return await self._over(self._line, request, answer, fields)

    async def _over(
        self, line: _Line, request: type[ApiMessage], answer: type[Answer], fields: dict[str, Any]
    ) -> Answer:
        """Ask over one connection; one that failed or was given up half way is never used again."""
        try:
            return await line.exchange(request(**fields, version=line.version_for(request)), answer)
        except BaseException:
            self.close()
            raise
