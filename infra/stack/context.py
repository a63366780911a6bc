"""What the modules that describe a server need: settings, folders, and on demand Java and jars."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from infra.stack import artifacts, java
from infra.stack.errors import StackError
from infra.stack.layout import Layout
from infra.stack.service import Tls
from infra.stack.settings import StackSettings

Progress = Callable[[str], None]

JVM_FLAGS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "--enable-native-access=ALL-UNNAMED",
)
"""One garbage collector thread, quick compiler only: small and quick to start on two cores."""


@dataclass(frozen=True, slots=True)
class Login:
    """A user and its password."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Security:
    """TLS and users on every server; for tests of the secure settings of the adapters."""

    tls: Tls
    server_certificate: str
    """Certificate chain and key of the servers, PEM, in one file."""
    user: str
    """The administrator of every server."""
    password: str = field(repr=False)
    product: Login
    """The user of the product. ZooKeeper and Kafka know its password, but no server lets it do anything of its own accord."""
    prefect: Login
    """The one user that the Prefect API has."""


@dataclass(frozen=True)
class Context:
    """One stack that is being described."""

    settings: StackSettings
    progress: Progress = lambda _: None
    """Told what is being downloaded at this moment."""
    done: Progress = lambda _: None
    """Told what has been downloaded."""
    security: Security | None = None

    @property
    def layout(self) -> Layout:
        """The folders of the stack."""
        return self.settings.layout

    @cached_property
    def java(self) -> str:
        """The Java that was found and checked."""
        return java.find(self.settings.java)

    @property
    def tls(self) -> Tls | None:
        """With what a probe speaks TLS, on a secure stack."""
        return self.security.tls if self.security else None

    @property
    def required_security(self) -> Security:
        """The security of a stack that is known to be secure."""
        if self.security is None:
            message = "this stack has no certificates"
            raise StackError(message)
        return self.security

    def class_path(self, server: str) -> str:
        """Return the verified class path of a server; downloads what is missing."""
        features = ("tls",) if self.security else ()
        jars = artifacts.select(server, *features)

        def report(done: int, total: int) -> None:
            self.progress(f"{server}: {done} of {total} jars downloaded")
            if done == total:
                self.done(f"{server}: {total} jars downloaded and verified")

        return artifacts.JarStore(self.settings.cache).class_path(jars, report)
