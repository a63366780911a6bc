from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from blocks.errors import InvalidInputError
from blocks.models.base import Id, Name
from blocks.models.ids import ClusterRef, NodeRef, SourceRef

ID = TypeAdapter(Id)
NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9._]{0,10}[a-z0-9])?", fullmatch=True)


def _is_id(text: str) -> bool:
    try:
        ID.validate_python(text)
    except ValidationError:
        return False
    return True


IDS = (st.text(min_size=1, max_size=20) | st.sampled_from(["a/b", "%2F", "a%", "é", "a b", ":@+,="])).filter(_is_id)


@given(NAMES, IDS)
def test_a_clusters_key_can_be_read_back(namespace: str, cluster_id: str) -> None:
    """Whatever an id holds, the key names the same cluster."""
    ref = ClusterRef(namespace=namespace, cluster_id=cluster_id)

    assert ref == ClusterRef.from_key(ref.key)


@given(NAMES, IDS)
def test_what_people_write_can_be_read(namespace: str, cluster_id: str) -> None:
    """`namespace/cluster` names the cluster, also when its id has a slash; so does the id with a default namespace."""
    ref = ClusterRef(namespace=namespace, cluster_id=cluster_id)

    assert ref == ClusterRef.parse(str(ref))
    if "/" not in cluster_id:
        assert ref == ClusterRef.parse(cluster_id, namespace)


@given(NAMES, IDS, IDS, NAMES, IDS, IDS)
def test_different_nodes_have_different_keys(n1: str, c1: str, i1: str, n2: str, c2: str, i2: str) -> None:
    """No two nodes share a key, however their ids are cut at slashes."""
    one, other = NodeRef(namespace=n1, cluster_id=c1, node_id=i1), NodeRef(namespace=n2, cluster_id=c2, node_id=i2)

    assert (one == other) is (one.key == other.key)


def test_slashes_in_ids_do_not_move_borders() -> None:
    """`a/b` + `c` and `a` + `b/c` are two nodes."""
    one = NodeRef(namespace="prod", cluster_id="a/b", node_id="c")
    other = NodeRef(namespace="prod", cluster_id="a", node_id="b/c")

    assert ("prod/a%2Fb/c", "prod/a/b%2Fc") == (one.key, other.key)


@given(NAMES, IDS)
def test_equal_references_are_one_key_of_a_set(namespace: str, cluster_id: str) -> None:
    """References hash as they compare."""
    refs = {ClusterRef(namespace=namespace, cluster_id=cluster_id) for _ in range(2)}

    assert 1 == len(refs)


@pytest.mark.parametrize(
    "text", ["", "orders", "/", "/orders", "prod/", "UPPER/orders", "prod/..", "prod/ a", "prod/a\x00"]
)
def test_what_is_no_clusters_name_is_refused(text: str) -> None:
    """A sentence that says how names are written."""
    with pytest.raises(InvalidInputError, match="write namespace/cluster"):
        ClusterRef.parse(text)


@pytest.mark.parametrize("text", ["", "inventory", "prod/a/b", "prod/UPPER", "/x"])
def test_what_is_no_sources_name_is_refused(text: str) -> None:
    """The same for sources, whose names have no slash."""
    with pytest.raises(InvalidInputError, match="write namespace/source"):
        SourceRef.parse(text)


@pytest.mark.parametrize("text", ["a\nb", "a\u202eb", "a\u2028", "\x7f", " a", "a ", ".", "..", "", "x" * 257])
def test_hostile_ids_are_refused(text: str) -> None:
    """No control or direction characters, no blanks at the ends, no path steps, not endless."""
    assert not _is_id(text)


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a b", "a/b", "x" * 64, "a\n"])
def test_hostile_names_are_refused(text: str) -> None:
    """Names are lower case, short and safe in paths."""
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(text)
