"""Errors of the local stack: each message is one sentence for the person at the terminal."""


class StackError(Exception):
    """The stack cannot do what was asked; the message says what, where and what to do."""


class PortTakenError(StackError):
    """A port that a service needs belongs to another program."""


class ArtifactError(StackError):
    """A downloaded file is missing, corrupt or cannot be stored."""


class JavaError(StackError):
    """No Java that can run Kafka and ZooKeeper was found."""


class ServiceFailedError(StackError):
    """A service did not become ready."""
