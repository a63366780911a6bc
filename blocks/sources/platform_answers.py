"""What platforms answer to `provision` and `deprovision`: pure functions from an answer to a result or an error.

Errors come as protocol B's object (`error_msg`, `error_cause`), as an object with `defined_node_groups`, or as text.
"""

from __future__ import annotations

import logging
import re

import orjson
from pydantic import TypeAdapter, ValidationError

from blocks.errors import PlatformError, PlatformRefusedError
from blocks.models.base import Id, clean_text
from blocks.models.platform import COUNT_MAX, Provisioned
from blocks.models.source import Source
from blocks.sources.exchange import Answer
from blocks.sources.protocol import Found

log = logging.getLogger(__name__)

SAID_CHARS = 300
GROUPS_SHOWN = 20
MADE_MAX = 2**32 - 1
_NO_MORE = frozenset({404, 410})
_FAILED = 500
_NOT_NOW = frozenset({408, 425, 429})
"""Refused for the moment: nothing was done, and asking again may help."""
_ELSEWHERE = frozenset({307, 308})
"""Redirects that say that nothing was done here."""
_GONE = re.compile(
    r"\bnot?\b.{0,40}\b(?:exists?|found|known|present|find)\b|\bno such\b|\bunknown\b|\balready (?:gone|removed|deleted|deprovisioned)\b",
    re.IGNORECASE | re.DOTALL,
)
_IDS = TypeAdapter[tuple[str, ...]](tuple[Id, ...])


class Call:
    """One thing that a platform is asked to do, in words."""

    def __init__(self, source: Source, what: str) -> None:
        """Take what it is asked for, such as `remove node 'n1' of cluster 'orders'`."""
        self._platform = f"the platform {source.ref} at {source.where}"
        self._what = what

    def failed(self, reason: str, *, maybe_done: bool) -> PlatformError:
        """The error that nothing can be said about what came of it."""
        doubt = "; it may be done all the same" if maybe_done else ""
        text = f"{self._platform} was asked to {self._what}, and gave no usable answer: {reason}{doubt}"
        return PlatformError(clean_text(text), maybe_done=maybe_done)

    def refused(self, answer: Answer) -> PlatformError | PlatformRefusedError:
        """The error that an answer is which is no success."""
        status, groups = answer.status, _defined_groups(answer)
        if groups is not None:
            reason = f"HTTP {status}: {said(answer)}; it defines {groups}"
        elif status in _NOT_NOW or not 400 <= status < _FAILED:  # noqa: PLR2004 - what HTTP calls our fault
            maybe_done = status not in _NOT_NOW | _ELSEWHERE
            return self.failed(refusal(answer), maybe_done=maybe_done)
        else:
            reason = refusal(answer)
        return PlatformRefusedError(clean_text(f"{self._platform} refused to {self._what}: {reason}"))

    def provisioned(self, answer: Answer) -> Provisioned:
        """What a success says.

        Raises:
            PlatformError: it says nothing that can be used; nodes may be made all the same.
        """
        try:
            value = orjson.loads(answer.body)
        except ValueError as error:
            reason = f"HTTP {answer.status}, and it is not JSON: {answer.shown()}"
            raise self.failed(reason, maybe_done=True) from error
        count = value.get("count") if isinstance(value, dict) else None
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MADE_MAX:
            reason = f"HTTP {answer.status} without a count of nodes: {answer.shown()}"
            raise self.failed(reason, maybe_done=True)
        node_ids = _node_ids(value.get("node_ids"), count)
        if isinstance(node_ids, str):
            log.warning("%s tells ids of nodes that cannot be used: %s", self._platform, node_ids)
            return Provisioned(count=count)
        return Provisioned(count=count, node_ids=node_ids)


def refusal(answer: Answer) -> str:
    """Why an answer is no success, in one phrase."""
    if 300 <= answer.status < 400:  # noqa: PLR2004 - what HTTP calls a redirect
        return answer.refusal()
    return f"HTTP {answer.status}: {said(answer)}"


def said(answer: Answer) -> str:
    """The sentence in an error, without our secrets; the beginning of the body where there is none."""
    value = _object(answer)
    parts = (value.get("error_msg"), value.get("error"), value.get("error_cause"))
    texts = list(dict.fromkeys(part for part in parts if isinstance(part, str) and part))
    if not texts:
        return answer.shown()
    return clean_text(" ".join(answer.without_secrets(": ".join(texts)).split()), SAID_CHARS)


def says_gone(answer: Answer) -> bool:
    """Whether a refusal to remove a node says that there is none."""
    return answer.status in _NO_MORE or (answer.status == _FAILED and bool(_GONE.search(said(answer))))


def tells_of(found: Found, cluster_id: str, node_id: str) -> bool:
    """Whether a platform tells, or may tell, of a node."""
    listed = any(
        node.node_id == node_id
        for cluster in found.clusters
        if cluster.cluster_id == cluster_id
        for node in cluster.nodes
    )
    return listed or any(
        rejected.cluster_id in {None, cluster_id} and rejected.node_id in {None, node_id}
        for rejected in found.rejected
        if not rejected.partial
    )


def _defined_groups(answer: Answer) -> str | None:
    """Of an answer that says that a node group is unknown: those that are known."""
    groups = _object(answer).get("defined_node_groups")
    if not isinstance(groups, list):
        return None
    names = [clean_text(answer.without_secrets(group), 80) for group in groups if isinstance(group, str)]
    more = f" and {len(names) - GROUPS_SHOWN} more" if len(names) > GROUPS_SHOWN else ""
    return f"the node groups {', '.join(names[:GROUPS_SHOWN])}{more}" if names else "no node group"


def _object(answer: Answer) -> dict[str, object]:
    try:
        value = orjson.loads(answer.body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _node_ids(value: object, count: int) -> tuple[str, ...] | str | None:
    """The ids, None when there are none, or why they cannot be used."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > COUNT_MAX:
        return "they are no list, or too many"
    try:
        ids = _IDS.validate_python(value, strict=False)
    except ValidationError:
        return "one of them is no id"
    if len(set(ids)) != count:
        return f"{len(set(ids))} ids for {count} nodes"
    return ids
