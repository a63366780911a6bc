"""What a platform refuses; each error knows its HTTP status and the keys that its JSON has beside `error_msg`."""

from collections.abc import Sequence

from infra.agents.kit.errors import RequestError


class RefusedError(RequestError):
    """A request that was understood and is not done; nothing was changed by it."""

    details: dict[str, object]

    def __init__(self, status: int, message: str, **details: object) -> None:
        """Remember the HTTP `status`, and what the answer says beside the sentence."""
        super().__init__(status, message)
        self.details = details


class UnknownGroupError(RefusedError):
    """The node group to provision is not one of the cluster's definition."""

    def __init__(self, node_group_id: str, defined: Sequence[str]) -> None:
        """Name the group that was asked for, and those there are."""
        message = f"the cluster defines no node group {node_group_id!r}"
        super().__init__(400, message, node_group_id=node_group_id, defined_node_groups=sorted(defined))


class NoTemplateError(RefusedError):
    """This platform cannot make nodes of that store in that version."""

    def __init__(self, store: str, version: str, known: Sequence[str]) -> None:
        """Name what was asked for, and what there is."""
        super().__init__(404, f"no template for {store!r} in version {version!r}: there are {', '.join(known)}")


class LimitError(RefusedError):
    """There is no room for so many machines."""

    def __init__(self, message: str) -> None:
        """Say what is full."""
        super().__init__(409, message)


class UnknownNodeError(RefusedError):
    """There is no such machine, or not any more."""

    def __init__(self, node_id: str) -> None:
        """Name the node that was asked for."""
        super().__init__(404, f"there is no node {node_id!r} on this platform", node_id=node_id)


class OtherClusterError(RefusedError):
    """The machine is there, but in another cluster than the caller believes: it is left alone."""

    def __init__(self, node_id: str, cluster_id: str) -> None:
        """Name both."""
        super().__init__(409, f"node {node_id!r} is not in cluster {cluster_id!r}", node_id=node_id)
