from __future__ import annotations

from typing import Any

import pytest

from blocks.models.base import Fact
from blocks.models.cluster import ClusterSpec
from blocks.models.namespace import Namespace
from blocks.models.source import Source
from tasks.decide.differences import DIFFERENCES_MAX, differences, shown

CERTIFICATE = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----"
KEY = "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----"


def _source(interval: int = 60, **http: Any) -> Source:
    basics = {"url": "http://i.test/?k=1", "body": {"a": 1}, "headers": {"X": "one"}}
    return Source.model_validate(
        {"namespace": "prod", "name": "inventory", "interval": interval, "http": {**basics, **http}}
    )


def _namespace(**fields: Any) -> Namespace:
    return Namespace.model_validate({"name": "prod", **fields})


def _told(before: Fact, after: Fact) -> list[tuple[str, object, object]]:
    found, _ = differences(before, after)
    return [(one.path, "hidden", "hidden") if one.hidden else (one.path, one.before, one.after) for one in found]


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"body": {"a": 2}}, "http.body.a"),
        ({"body": {"a": True}}, "http.body.a"),
        ({"body": {"a": {"token": "two"}}}, "http.body.a"),
        ({"url": "http://i.test/?k=2"}, "http.url"),
        ({"headers": {"X": "two"}}, "http.headers.X.text"),
        ({"tls": {"client_cert": KEY.format("two")}}, "http.tls.client_cert.text"),
    ],
)
def test_what_is_not_shown_is_told_beside_what_is(changed: dict[str, Any], path: str) -> None:
    """Whatever else differs, it is said where a value changed that others may not see."""
    before = _source(tls={"client_cert": KEY.format("one")})
    after = _source(interval=61, **{"tls": {"client_cert": KEY.format("one")}, **changed})

    assert [(path, "hidden", "hidden"), ("interval", 60.0, 61.0)] == _told(before, after)


def test_names_in_a_body_are_told_once() -> None:
    """One that came or went is seen in the list of them."""
    before, after = _source(body={"a": 1, "b": 2}), _source(body={"b": 3, "c": 4})

    assert [("http.body", ["a", "b"], ["b", "c"]), ("http.body.b", "hidden", "hidden")] == _told(before, after)


def test_another_certificate_is_told_by_its_digest() -> None:
    """It is public; what holds a private key is only told to differ."""
    before = _namespace(tls={"ca_bundle": CERTIFICATE.format("one"), "client_cert": KEY.format("one")})
    after = _namespace(tls={"ca_bundle": CERTIFICATE.format("two"), "client_cert": KEY.format("two")})
    (bundle, was, now), (certificate, *hidden) = _told(before, after)

    assert ("tls.ca_bundle.text", "tls.client_cert.text", ["hidden"] * 2) == (bundle, certificate, hidden)
    assert (True, True, True) == (str(was).startswith("PEM, sha256 "), str(now).startswith("PEM, sha256 "), was != now)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {"labels": {"env": "prod"}}, [("labels.env", None, "prod")]),
        ({"labels": {"env": "prod"}}, {}, [("labels.env", "prod", None)]),
        ({}, {"node_labels": {"n1": {}}}, [("node_labels.n1", None, {})]),
        ({"node_labels": {"n1": {}}}, {"node_labels": {"n1": {"a": "b"}}}, [("node_labels.n1.a", None, "b")]),
        (
            {"node_labels": {"a.b": {"c": "x"}}},
            {"node_labels": {"a": {"b.c": "x"}}},
            [("node_labels.a.b.c", None, "x"), ("node_labels.a.b.c", "x", None)],
        ),
    ],
)
def test_what_came_and_went_is_told(before: dict[str, Any], after: dict[str, Any], told: list[object]) -> None:
    """Parts of a whole once each, also where they are empty, and none for another of a similar name."""
    old, new = (ClusterSpec.model_validate({"namespace": "prod", "cluster_id": "c", **one}) for one in (before, after))

    assert told == _told(old, new)


def test_beyond_a_hundred_they_are_counted() -> None:
    """No answer is endless, and none is silent about the rest."""
    before = ClusterSpec(namespace="prod", cluster_id="c")
    nodes = {f"n{number}": {"z": "a"} for number in range(DIFFERENCES_MAX + 50)}
    found, more = differences(before, before.evolve(node_labels=nodes))

    assert (DIFFERENCES_MAX, 50) == (len(found), more)


def test_what_is_shown_has_no_secret() -> None:
    """Neither of a header, of a body, of a URL's query, nor a key."""
    record = _source(url="http://i.test/?k=q7", body={"a": "b7"}, headers={"X": "h7"}, tls={"client_cert": KEY})

    assert [] == [text for text in ("q7", "b7", "h7", "PRIVATE") if text in str(shown(record))]
