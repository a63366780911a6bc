"""Settings of the store."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Iterator

import pytest

from blocks.errors import DependencyUnavailableError, InvalidInputError
from blocks.store.mongodb import MongoStore
from blocks.store.settings import MongoDb

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Sockets that pymongo leaves to the garbage collector, of connections that failed or broke, go with their test."""
    yield
    gc.collect()


def test_environment_wins() -> None:
    """Each field can be set as `REPLICORE_MONGODB_<FIELD>`."""
    environ = {
        "REPLICORE_MONGODB_URI": "mongodb://db:1/",
        "REPLICORE_MONGODB_TLS": "true",
        "REPLICORE_MONGODB_TIMEOUT_S": "2.5",
        "REPLICORE_MONGODB_PASSWORD": "s3cr3t",
    }
    settings = MongoDb().overlaid(environ)

    assert ("mongodb://db:1/", True, 2.5) == (settings.uri.get_secret_value(), settings.tls, settings.timeout_s)
    assert settings.password is not None
    assert "s3cr3t" == settings.password.get_secret_value()


def test_secrets_are_not_shown() -> None:
    """Neither the URI, which may hold a password, nor the password is in its text."""
    settings = MongoDb(uri="mongodb://me:s3cr3t@db/", password="s3cr3t")

    assert "s3cr3t" not in repr(settings) + str(settings) + settings.endpoint


@pytest.mark.parametrize(
    ("uri", "endpoint"),
    [
        ("mongodb://a:1,b:2/?replicaSet=r", "a:1,b:2"),
        ("mongodb://me:p%40ss@a:1", "a:1"),
        ("mongodb://me:p@ss/w@a:1/?x=y", "a:1"),
        ("mongodb+srv://me:pw@cluster.example.org?tls=true", "cluster.example.org"),
        ("nonsense", "an address that cannot be read"),
    ],
)
def test_endpoint_has_no_credentials(uri: str, endpoint: str) -> None:
    """What errors show is where, never who, even of a URI that is wrong."""
    assert endpoint == MongoDb(uri=uri).endpoint


def test_settings_can_be_pickled() -> None:
    """They travel to other processes."""
    settings = MongoDb(uri="mongodb://db/", user="u", password="p")

    assert settings == pickle.loads(pickle.dumps(settings))  # noqa: S301 - our own


@pytest.mark.parametrize(
    "settings",
    [
        MongoDb(uri="http://me:s3cr3t@db/"),
        MongoDb(uri="mongodb://me:s3cr3t/x@db:1/"),
        MongoDb(uri="mongodb://db/", tls=True, ca_file="/no/such/file"),
        MongoDb(tls=True, cert_key_file="/no/such/file"),
    ],
    ids=["scheme", "credentials", "ca_file", "cert_key_file"],
)
async def test_unusable_settings_are_named_without_secrets(settings: MongoDb) -> None:
    """A URI or file that cannot be used is said in one sentence."""
    with pytest.raises(InvalidInputError, match="the settings of MongoDB cannot be used") as caught:
        await MongoStore(settings).connect()
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__suppress_context__


async def test_unreachable_server_is_said_in_one_sentence() -> None:
    """Where, why and what to check, within the deadline and without credentials."""
    uri = "mongodb://me:s3cr3t@127.0.0.1:1/?authSource=admin&directConnection=true"
    settings = MongoDb(uri=uri, timeout_s=0.2)
    async with MongoStore(settings) as store:
        with pytest.raises(DependencyUnavailableError) as caught:
            await store.ready()
    text = str(caught.value)

    assert text.startswith(
        "MongoDB at 127.0.0.1:1 is not available: no server that takes writes was found (127.0.0.1:1: "
    )
    assert "Check that mongod runs" in text
    assert "s3cr3t" not in text
    assert "Topology" not in text


async def test_store_that_is_not_connected_says_so() -> None:
    """Using it outside `async with` is a mistake of the programmer, told as such."""
    with pytest.raises(RuntimeError, match="not connected"):
        await MongoStore(MongoDb()).ready()
