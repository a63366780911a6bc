"""Records of the discovery protocol as clusters and nodes: one collector of pages; records fail one by one.

Two shapes of node are told apart as they come: a URL (the original's `DiscoverySettings`; the URL is the node's id) and an
object with `agent_address`, `node_id`, `node_class`, `node_group` (a Platform). Both a cluster and a node that is an object
may have `labels`; a label that does not fit is left out and told of as a partial rejection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import orjson
from pydantic import ValidationError

from blocks.errors import SourceError
from blocks.models.base import clean_text
from blocks.models.source import DiscoveredCluster, DiscoveredNode, Rejected
from blocks.sources.labels import merged_labels, read_labels
from blocks.sources.pages import Page
from blocks.sources.protocol import Found
from blocks.sources.settings import SourcesSettings
from blocks.sources.sizes import CLUSTER_BYTES_MAX, labels_bytes, node_bytes

EXCERPT_CHARS = 120
_TWICE = "told of twice and not the same; the one that sorts first counts"
_NODE_FIELDS = ("node_id", "agent_address", "node_class", "node_group")


@dataclass(slots=True)
class _Cluster:
    display_name: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, DiscoveredNode] = field(default_factory=dict)
    twice: bool = False
    """Whether it was told of more than once."""
    bytes: int = 0
    """How much it is; one that is too large is kept without its nodes and labels."""

    @property
    def too_large(self) -> bool:
        return self.bytes > CLUSTER_BYTES_MAX


def _as_it_is(text: str) -> str:
    return text


class Collector:
    """Puts pages together: a cluster told of twice has the nodes and labels of both. Of two words on one node, label or name
    the one that sorts first counts, so that the order of an answer means nothing; the other is refused with a reason.
    """

    def __init__(self, settings: SourcesSettings, without_secrets: Callable[[str], str] = _as_it_is) -> None:
        """Take limits, and what makes a text fit to be shown: a source may tell us our own secrets."""
        self._settings = settings
        self._without_secrets = without_secrets
        self._clusters: dict[str, _Cluster] = {}
        self._rejected: list[Rejected] = []
        self._unused = 0
        """How many of the rejected are whole records."""
        self._untold = 0
        """How many partial rejections were too many to tell of."""
        self._nodes = 0
        self._read = 0
        """Bytes of all answers."""
        self._kept = 0
        """Bytes of all clusters."""
        self._file: str | None = None

    def read(self, count: int) -> None:
        """Count the bytes of an answer.

        Raises:
            SourceError: all answers together are larger than the settings allow.
        """
        self._read += count
        if self._read > self._settings.total_bytes_max:
            message = f"its pages together are larger than {self._settings.total_bytes_max} bytes"
            raise SourceError(message)

    def add(self, page: Page) -> None:
        """Take a page.

        Raises:
            SourceError: there is more than the settings allow.
        """
        self._file = page.file
        for number, record in enumerate(page.clusters, 1):
            self._add_cluster(number, record)
            self._check()

    def found(self) -> Found:
        """What all pages say together.

        Raises:
            SourceError: there is more than the settings allow.
        """
        self._file = None
        clusters = []
        for cluster_id, cluster in self._clusters.items():
            if cluster.too_large:
                reason = f"its names, addresses and labels are more than {CLUSTER_BYTES_MAX} bytes"
                self._reject(f"cluster {cluster_id}", reason, cluster_id)
                continue
            fields = {
                "cluster_id": cluster_id,
                "display_name": cluster.display_name,
                "labels": cluster.labels,
                "nodes": tuple(cluster.nodes.values()),
            }
            try:
                clusters.append(DiscoveredCluster.model_validate(fields))
            except ValidationError as error:
                self._reject(f"cluster {cluster_id}", _why(error), cluster_id)
        if self._untold:
            what = f"{self._untold} more records"
            self._rejected.append(Rejected(what=what, reason="labels of theirs were left out", partial=True))
        return Found(clusters=tuple(clusters), rejected=tuple(self._rejected))

    def _check(self) -> None:
        limits = (
            (len(self._clusters), self._settings.clusters_max, "clusters"),
            (self._nodes, self._settings.nodes_max, "nodes"),
            (self._kept, self._settings.total_bytes_max, "bytes of names, addresses and labels"),
        )
        for count, limit, what in limits:
            if count > limit:
                message = f"it tells of more than {limit} {what}"
                raise SourceError(message)

    def _add_cluster(self, number: int, record: object) -> None:
        if not isinstance(record, dict):
            shown = f" {number}" if self._file is not None else f": {self._short(record)}"
            self._reject(f"a cluster record{shown}", "it is not an object")
            return
        cluster_id, nodes, display_name = record.get("cluster_id"), record.get("nodes"), record.get("display_name")
        try:
            DiscoveredCluster.model_validate({"cluster_id": cluster_id, "display_name": display_name})
        except ValidationError as error:
            self._reject(f"cluster {self._short(cluster_id)}", _why(error), cluster_id)
            return
        if not isinstance(nodes, list):
            self._reject(f"cluster {cluster_id}", "nodes: it is not a list", cluster_id)
            return
        if str(cluster_id) in self._clusters and not self._clusters[str(cluster_id)].twice:
            self._clusters[str(cluster_id)].twice = True
            self._leave_out(f"cluster {cluster_id}", "told of twice: its nodes and labels are put together", cluster_id)
        cluster = self._clusters.setdefault(str(cluster_id), _Cluster())
        if display_name and cluster.display_name not in {None, display_name}:
            self._leave_out(f"cluster {cluster_id}", f"display_name: {_TWICE}", cluster_id)
        cluster.display_name = min(filter(None, (cluster.display_name, display_name)), default=None)
        if not cluster.too_large:
            self._add_labels(cluster, record.get("labels"), str(cluster_id))
        for node in nodes:
            if cluster.too_large:
                break
            self._add_node(str(cluster_id), cluster, node)

    def _grow(self, cluster: _Cluster, count: int) -> None:
        """Count what was added to a cluster; let go of one that is too large for the store."""
        cluster.bytes += count
        self._kept += count
        if cluster.too_large:
            self._kept -= cluster.bytes
            self._nodes -= len(cluster.nodes)
            cluster.nodes, cluster.labels = {}, {}

    def _add_labels(self, cluster: _Cluster, value: object, cluster_id: str) -> None:
        labels, left_out = read_labels(value, self._without_secrets)
        before = labels_bytes(cluster.labels)
        told_twice = sorted(key for key, label in labels.items() if cluster.labels.get(key, label) != label)
        cluster.labels, too_many = merged_labels(cluster.labels, labels)
        self._grow(cluster, labels_bytes(cluster.labels) - before)
        twice = f"labels: {', '.join(told_twice[:3])}: {_TWICE}" if told_twice else None
        for reason in (left_out, too_many, twice):
            if reason is not None:
                self._leave_out(f"cluster {cluster_id}", reason, cluster_id)

    def _add_node(self, cluster_id: str, cluster: _Cluster, record: object) -> None:
        fields: object = {"node_id": record, "agent_address": record} if isinstance(record, str) else record
        if not isinstance(fields, dict):
            what = f"a node of cluster {cluster_id}: {self._short(record)}"
            self._reject(what, "it is neither a URL nor an object", cluster_id)
            return
        node_id = fields.get("node_id")
        unusable = _unusable(fields.get("agent_address"))
        # An address that holds a password may be the id as well: it is not repeated.
        what = f"node {self._short(node_id) if unusable != _CREDENTIALS else '(not shown)'} of cluster {cluster_id}"
        if unusable is not None:
            self._reject(what, unusable, cluster_id, None if unusable == _CREDENTIALS else node_id)
            return
        labels, left_out = read_labels(fields.get("labels"), self._without_secrets)
        try:
            node = DiscoveredNode.model_validate(
                {**{name: fields.get(name) for name in _NODE_FIELDS}, "labels": labels}
            )
        except ValidationError as error:
            self._reject(what, _why(error), cluster_id, node_id)
            return
        known = cluster.nodes.get(node.node_id)
        if known is None:
            cluster.nodes[node.node_id] = node
            self._nodes += 1
            self._grow(cluster, node_bytes(node))
        elif known != node:
            self._reject(what, _TWICE, cluster_id, node_id)
            if node.model_dump_json() < known.model_dump_json():
                cluster.nodes[node.node_id] = node
                self._grow(cluster, node_bytes(node) - node_bytes(known))
            return
        if left_out is not None:
            self._leave_out(what, left_out, cluster_id, node_id)

    def _leave_out(self, what: str, reason: str, cluster_id: object, node_id: object = None) -> None:
        if len(self._rejected) - self._unused < self._settings.rejected_max:
            self._rejected.append(self._rejection(what, reason, cluster_id, node_id, partial=True))
        else:
            self._untold += 1

    def _reject(self, what: str, reason: str, cluster_id: object = None, node_id: object = None) -> None:
        self._rejected.append(self._rejection(what, reason, cluster_id, node_id))
        self._unused += 1
        if self._unused > self._settings.rejected_max:
            first = next(rejected.reason for rejected in self._rejected if not rejected.partial)
            kind = f"it tells of more than {self._settings.rejected_max} records that cannot be used"
            message = f"{kind}, the first: {first}"
            raise SourceError(message, kind=kind)

    def _rejection(
        self, what: str, reason: str, cluster_id: object, node_id: object, *, partial: bool = False
    ) -> Rejected:
        known = {"cluster_id": cluster_id, "node_id": node_id}
        for name, value in known.items():
            try:
                if isinstance(value, str) and self._without_secrets(value) != value:
                    known[name] = None
                    continue
                Rejected.model_validate({"what": "", "reason": "", name: value})
            except ValidationError:
                known[name] = None
        where = "" if self._file is None else f" in {self._file}"
        shown = {"what": self._without_secrets(f"{what}{where}"), "reason": self._without_secrets(reason)}
        return Rejected.model_validate({**shown, "partial": partial, **known})

    def _short(self, value: object) -> str:
        """The beginning of what a source tells, for a person to recognise it; secrets go before it is cut."""
        try:
            text = value if isinstance(value, str) else orjson.dumps(value).decode()
        except (TypeError, UnicodeError):  # deeper, or a larger number, than the writer of JSON can
            text = f"a value of the kind {type(value).__name__}"
        return clean_text(self._without_secrets(text), EXCERPT_CHARS)


_CREDENTIALS = "agent_address: it must not carry credentials"


def _unusable(address: object) -> str | None:
    """Why an agent's address cannot be used; None when it can."""
    if not isinstance(address, str):
        return "agent_address: it is not a text"
    try:
        parts = urlsplit(address)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if "@" in address:
        return _CREDENTIALS
    if not usable or not address.isprintable() or " " in address:
        return "agent_address: it is not an http or https URL"
    return None


def _why(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
