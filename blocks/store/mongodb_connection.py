"""What every part of the MongoDB adapter stands on: the client, deadlines, errors in our own words."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, NoReturn, TypeVar

import pymongo
from bson.errors import BSONError
from pymongo import AsyncMongoClient, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    BulkWriteError,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from blocks.connected import Connected
from blocks.errors import DependencyUnavailableError, InvalidInputError, RecordError
from blocks.models.base import clean_text
from blocks.store.mapping import Document
from blocks.store.mongodb_calls import GIVEN_UP_MAX, Calls, whole
from blocks.store.settings import MongoDb

APPLICATION: Final = "replicore"
COMPONENT: Final = "MongoDB"
DUPLICATE_KEY: Final = 11_000
TOO_LARGE: Final = "a record cannot be stored: it is larger than the store keeps"
_TOO_LARGE: Final = frozenset({10_334, 17_419, 17_420, 51_194})
_TOO_LARGE_TEXT: Final = re.compile(
    r"BSONObj size|object to insert too large|BSONObjectTooLarge|exceeds maximum size", re.IGNORECASE
)
BULK_MAX: Final = 250
"""Operations of one bulk write: encoding more would hold up the event loop for too long."""

_AUTHENTICATION_FAILED: Final = 18
_UNAUTHORIZED: Final = 13
_REASON_CHARS_MAX: Final = 300

T = TypeVar("T")


class Connection(Connected):
    """A client with our guarantees: majority writes and reads, a deadline on every call, errors that say what to check.

    Connecting needs no server: calls fail until there is one, and work from then on.
    """

    def __init__(self, settings: MongoDb) -> None:
        self._settings = settings
        self._client: AsyncMongoClient[Document] | None = None
        self._calls = Calls()

    async def connect(self) -> None:
        """Make the client, within the running event loop.

        Raises:
            InvalidInputError: the settings cannot be used: a malformed URI, or a file that cannot be read.
        """
        if self._client is not None:
            return
        settings = self._settings
        try:
            self._client = AsyncMongoClient(settings.uri.get_secret_value(), **_options(settings))
        except (PyMongoError, OSError, ValueError, TypeError) as error:
            files = ", ".join(filter(None, (settings.ca_file, settings.cert_key_file))) or "none"
            message = (
                f"the settings of {COMPONENT} cannot be used ({type(error).__name__}): check uri and files ({files})"
            )
            raise InvalidInputError(message) from None  # its text may hold the password

    async def close(self) -> None:
        """Close every connection, after a short wait for calls that were given up; harmless when repeated."""
        if (client := self._client) is None:
            return
        try:
            await self._calls.close(client.close)
            await asyncio.sleep(0)  # the event loop closes the sockets in its next turn
        finally:
            self._client = None

    @property
    def database(self) -> AsyncDatabase[Document]:
        """Our database."""
        if self._client is None:
            message = "the store is not connected: use `async with`, or call connect()"
            raise RuntimeError(message)
        return self._client[self._settings.database]

    def collection(self, name: str) -> AsyncCollection[Document]:
        """One of our collections."""
        return self.database[name]

    def calls(self) -> Calls:
        """Those that run.

        Raises:
            DependencyUnavailableError: too many that were given up wait for the server.
        """
        if self._calls.full:
            self._unavailable(f"{GIVEN_UP_MAX} calls that were given up still wait", "Check that mongod runs.")
        return self._calls

    @whole
    async def ready(self) -> None:
        """See `Store.ready`."""
        with self.call():
            hello = await self.database.command("hello")
        if not hello.get("isWritablePrimary"):
            self._unavailable("it does not take writes", "Check that the replica set has a primary.")
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            self._unavailable(
                "it is not a replica set", "Start mongod with --replSet and initiate the set: rs.initiate()."
            )

    @contextmanager
    def call(self, deadline_s: float | None = None) -> Iterator[None]:
        """One call of the store: all that is asked of the server in it shares one deadline. Only within what is `whole`."""
        seconds = deadline_s or self._settings.timeout_s
        try:
            with pymongo.timeout(seconds):
                yield
        except (BSONError, OverflowError, UnicodeError) as error:
            message = f"a record cannot be stored ({type(error).__name__}): it is too large or holds impossible text"
            raise RecordError(message) from None  # its text may hold the record
        except BulkWriteError as error:
            if is_too_large(error):
                raise RecordError(TOO_LARGE) from None  # the same
            raise self._translated(error, seconds) from None  # the same
        except PyMongoError as error:
            if is_too_large(error):
                raise RecordError(TOO_LARGE) from None
            raise self._translated(error, seconds) from error

    def _translated(self, error: PyMongoError, seconds: float) -> DependencyUnavailableError:
        reason, hint = _explained(error, seconds)
        return DependencyUnavailableError(COMPONENT, self._settings.endpoint, reason, hint)

    def _unavailable(self, reason: str, hint: str) -> NoReturn:
        raise DependencyUnavailableError(COMPONENT, self._settings.endpoint, reason, hint)


def is_too_large(error: PyMongoError) -> bool:
    """Whether the server says that a record is larger than it keeps. It says so in several ways, some of them in words only."""
    if isinstance(error, BulkWriteError):
        details = error.details or {}
        faults = [(fault.get("code"), str(fault.get("errmsg", ""))) for fault in details.get("writeErrors", ())]
    elif isinstance(error, OperationFailure):
        faults = [(error.code, str(error))]
    else:
        return False
    return any(code in _TOO_LARGE or _TOO_LARGE_TEXT.search(text) is not None for code, text in faults)


def is_duplicate(error: PyMongoError) -> bool:
    """Whether nothing but existing keys stood in the way."""
    if isinstance(error, BulkWriteError):
        details = error.details or {}
        codes = {fault.get("code") for fault in details.get("writeErrors", ())}
        return codes == {DUPLICATE_KEY} and not details.get("writeConcernErrors")
    return isinstance(error, DuplicateKeyError)


def insert_if_absent(document: Document) -> UpdateOne:
    """Writes a document where there is none of its key."""
    return UpdateOne({"_id": document["_id"]}, {"$setOnInsert": document}, upsert=True)


def chunked(items: Sequence[T], size: int = BULK_MAX) -> Iterator[list[T]]:
    """The items in pieces of at most `size`."""
    iterator = iter(items)
    while piece := list(islice(iterator, size)):
        yield piece


def _options(settings: MongoDb) -> dict[str, Any]:
    options: dict[str, Any] = {
        "appname": APPLICATION,
        "w": "majority",
        "readConcernLevel": "majority",
        "retryWrites": True,
        "retryReads": True,
        "timeoutMS": round(settings.timeout_s * 1_000),
        "maxPoolSize": settings.pool_size_max,
        "tz_aware": True,
        "uuidRepresentation": "standard",
        "username": settings.user,
        "password": settings.password and settings.password.get_secret_value(),
        "tls": settings.tls or None,
        "tlsCAFile": settings.ca_file,
        "tlsCertificateKeyFile": settings.cert_key_file,
    }
    return {name: value for name, value in options.items() if value is not None}


def _explained(error: PyMongoError, seconds: float) -> tuple[str, str]:
    """Why, in a few words without documents or credentials, and what a person should check."""
    text = str(error)
    for tail in (" (configured timeouts", ", Timeout:", ", full error"):
        text = text.partition(tail)[0]
    reason = clean_text(text, _REASON_CHARS_MAX) or type(error).__name__
    if isinstance(error, ServerSelectionTimeoutError):
        return f"no server that takes writes was found ({reason})", (
            "Check that mongod runs, that the address and the name of the replica set are right, that it has a primary, "
            "and the TLS settings."
        )
    if error.timeout:
        return (
            f"no answer within {seconds:g} s ({reason})",
            "Check that mongod is not stopped, overloaded or out of disk.",
        )
    if isinstance(error, OperationFailure) and error.code in {_AUTHENTICATION_FAILED, _UNAUTHORIZED}:
        return reason, "Check user, password, authSource and the roles of the user (docs/security.md)."
    return reason, "Check the log of mongod and the network between."
