"""The connection to one mongod: direct, bounded, and the only place that knows pymongo's exceptions.

A mongod that does not listen is told by one connect (a millisecond) instead of a server selection (half a second), but
only after it was found down once, so that a healthy mongod sees no stray connections.
"""

import asyncio
from typing import Any, Protocol, TypeAlias

import pymongo
from pymongo import AsyncMongoClient
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    ConnectionFailure,
    ExecutionTimeout,
    InvalidURI,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from infra.agents.kit.errors import StartError, StoreDownError, StoreError, describe
from infra.agents.kit.options import join_address, parse_address

Document: TypeAlias = dict[str, Any]

SELECTION_MS = 500
ANSWER_SECONDS = 1.0
CONNECT_SECONDS = 0.3

UNAUTHORIZED = 13
AUTHENTICATION_FAILED = 18


class MongoCommandError(StoreError):
    """mongod refused a command."""

    def __init__(self, code: int, message: str) -> None:
        """Remember the server's error code."""
        super().__init__(message)
        self.code = code


class MongoAccessError(StoreDownError):
    """mongod is there but does not let us in; to protocol B that is unavailable too."""


class Commands(Protocol):
    """What runs commands: a mongod, or in unit tests a script of one."""

    @property
    def address(self) -> str:
        """Return ``HOST:PORT``."""
        ...

    async def command(
        self,
        name: str,
        value: object = 1,
        *,
        database: str = "admin",
        seconds: float = ANSWER_SECONDS,
        **fields: object,
    ) -> Document:
        """Run one command; see `Mongod.command`."""
        ...

    async def close(self) -> None:
        """Drop the connections."""
        ...


class Mongod:
    """One mongod."""

    def __init__(self, store: str) -> None:
        """Prepare to connect to ``HOST:PORT`` or a ``mongodb://`` URI; opens no socket.

        Raises:
            StartError: It is neither, or names more than one server.
        """
        uri = store if store.startswith("mongodb://") else f"mongodb://{join_address(*parse_address(store))}"
        try:
            self._client: AsyncMongoClient[Document] = AsyncMongoClient(
                uri,
                directConnection=True,
                connect=False,
                appname="replicante-agent",
                serverSelectionTimeoutMS=SELECTION_MS,
                connectTimeoutMS=SELECTION_MS,
                maxPoolSize=4,
                retryReads=False,
                retryWrites=False,
                serverMonitoringMode="poll",
            )
            (self._host, self._port), *_ = self._client.topology_description.server_descriptions()
        except (InvalidURI, ConfigurationError, ValueError) as error:
            message = f"--store is not a mongod's address: {type(error).__name__}"
            raise StartError(message) from error
        self._down = False

    @property
    def address(self) -> str:
        """Return ``HOST:PORT``."""
        return join_address(self._host, self._port or 27017)

    async def command(
        self,
        name: str,
        value: object = 1,
        *,
        database: str = "admin",
        seconds: float = ANSWER_SECONDS,
        **fields: object,
    ) -> Document:
        """Run one command and return its answer.

        Raises:
            MongoCommandError: mongod refused.
            StoreDownError: No answer, or no access.
        """
        if self._down:
            await self._knock()
        command: Document = {name: value, **fields}
        try:
            answer = await self._twice(database, command, seconds, again=name in _READS)
        except PyMongoError as error:
            raise self._mapped(error, name) from error
        self._down = False
        return answer

    async def close(self) -> None:
        """Drop the connections."""
        await self._client.close()

    async def _twice(self, database: str, command: Document, seconds: float, *, again: bool) -> Document:
        """Run a command; a read whose pooled connection turns out to be dead gets a second, new one."""
        try:
            return await self._run(database, command, seconds)
        except (NetworkTimeout, ServerSelectionTimeoutError):
            raise
        except AutoReconnect:
            if not again:
                raise
            await self._knock()
            return await self._run(database, command, seconds)

    async def _run(self, database: str, command: Document, seconds: float) -> Document:
        """Run a command under one deadline for everything."""
        with pymongo.timeout(seconds):
            answer: Document = await self._client[database].command(command)
        return answer

    async def _knock(self) -> None:
        """See whether anything listens, before a server selection waits for it."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, writer = await asyncio.open_connection(self._host, self._port)
        except (OSError, TimeoutError) as error:
            self._down = True
            message = f"mongod at {self.address} does not listen: {describe(error)}"
            raise StoreDownError(message) from error
        writer.close()

    def _mapped(self, error: PyMongoError, name: str) -> StoreError:
        """Return our exception for one of pymongo's."""
        if isinstance(error, OperationFailure) and not isinstance(error, ExecutionTimeout):
            code, text = error.code or 0, (error.details or {}).get("errmsg", "no reason given")
            if code in {UNAUTHORIZED, AUTHENTICATION_FAILED}:
                return MongoAccessError(f"mongod at {self.address} refused access for {name}: {text}")
            return MongoCommandError(code, f"mongod refused {name}: {text} (code {code})")
        self._down = self._down or isinstance(error, ConnectionFailure)
        return StoreDownError(f"mongod at {self.address} did not answer {name}: {type(error).__name__}")


_READS = {"hello", "buildInfo", "replSetGetStatus", "replSetGetConfig", "getParameter", "getCmdLineOpts", "collStats"}
