"""How clusters, nodes and everything else are named, in the store, in ZooKeeper, in Kafka and by people."""

from __future__ import annotations

from typing import Self
from urllib.parse import quote, unquote

from pydantic import TypeAdapter, ValidationError

from blocks.errors import InvalidInputError
from blocks.models.base import Fact, Id, Name

_SAFE = ":@+,= "


def quoted(part: str) -> str:
    """An id as one path segment: `/`, `%` and everything unusual percent-encoded."""
    return quote(part, safe=_SAFE)


class ClusterRef(Fact):
    """A cluster's name: a namespace and the cluster's id in it. People write `namespace/cluster`."""

    namespace: Name
    cluster_id: Id

    @property
    def key(self) -> str:
        """The name as used in stores and as lock, work and event key."""
        return f"{self.namespace}/{quoted(self.cluster_id)}"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.cluster_id}"

    def __hash__(self) -> int:
        return hash((self.namespace, self.cluster_id))

    @classmethod
    def parse(cls, text: str, default_namespace: str | None = None) -> Self:
        """Read what a person wrote: `namespace/cluster`, or `cluster` where a default namespace is given.

        Raises:
            InvalidInputError: the text is not a cluster's name.
        """
        namespace, slash, cluster_id = text.partition("/")
        if not slash:
            namespace, cluster_id = default_namespace or "", text
        try:
            return cls(namespace=namespace, cluster_id=cluster_id)
        except ValidationError as error:
            message = f"{text!r} is not the name of a cluster: write namespace/cluster"
            raise InvalidInputError(message) from error

    @classmethod
    def from_key(cls, key: str) -> Self:
        """The inverse of `key`."""
        namespace, _, cluster_id = key.partition("/")
        return cls(namespace=namespace, cluster_id=unquote(cluster_id))

    def node(self, node_id: str) -> NodeRef:
        """The name of one of this cluster's nodes."""
        return NodeRef(namespace=self.namespace, cluster_id=self.cluster_id, node_id=node_id)


class NodeRef(Fact):
    """A node's name within its cluster. People write `namespace/cluster/node`."""

    namespace: Name
    cluster_id: Id
    node_id: Id

    @property
    def key(self) -> str:
        """The name as used in stores."""
        return f"{self.namespace}/{quoted(self.cluster_id)}/{quoted(self.node_id)}"

    @property
    def cluster(self) -> ClusterRef:
        """The cluster it belongs to."""
        return ClusterRef(namespace=self.namespace, cluster_id=self.cluster_id)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.cluster_id}/{self.node_id}"

    def __hash__(self) -> int:
        return hash((self.namespace, self.cluster_id, self.node_id))


class SourceRef(Fact):
    """A discovery source's name: a namespace and a name in it. People write `namespace/source`."""

    namespace: Name
    name: Name

    @property
    def key(self) -> str:
        """The name as used in stores and as lock and work key."""
        return f"{self.namespace}/{self.name}"

    def __str__(self) -> str:
        return self.key

    @classmethod
    def parse(cls, text: str, default_namespace: str | None = None) -> Self:
        """Read `namespace/source`, or `source` where a default namespace is given.

        Raises:
            InvalidInputError: the text is not a source's name.
        """
        namespace, slash, name = text.partition("/")
        if not slash:
            namespace, name = default_namespace or "", text
        try:
            return cls(namespace=namespace, name=name)
        except ValidationError as error:
            message = f"{text!r} is not the name of a source: write namespace/source"
            raise InvalidInputError(message) from error


NAME = TypeAdapter(Name)
