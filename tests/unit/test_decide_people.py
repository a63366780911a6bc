"""Who may approve what."""

from __future__ import annotations

import pytest

from blocks.errors import RefusedError
from blocks.models.namespace import Namespace, NamespaceSettings
from tasks.decide.people import check_approver

STRICT = Namespace(name="prod", settings=NamespaceSettings(approver_must_differ=True))


def test_two_people() -> None:
    """One orders, another approves; where the namespace does not ask for it, anybody may."""
    check_approver(STRICT, "bob", "ann", "action a")
    check_approver(Namespace(name="test"), "ann", "ann", "action a")
    check_approver(None, "flow run lazy-otter", "flow run lazy-otter", "action a")


@pytest.mark.parametrize(
    ("who", "orderer", "told"),
    [
        ("ann", "ann", "ordered by ann"),
        ("ann ", "ann", "ordered by ann"),
        (" ann", "ann", "ordered by ann"),
        ("Ann", "ann", "ordered by ann"),
        ("ann\u200b", "ann", "ordered by ann"),
        ("\uff41nn", "ann", "ordered by ann"),
        ("ann  lee", "Ann Lee", "ordered by Ann Lee"),
        (" ", "ann", "nobody's name"),
        (" Flow run lazy-otter", "ann", "nobody's name"),
        ("flow run lazy-otter", "ann", "nobody's name"),
        ("bob", "flow run lazy-otter", "nobody's name"),
        ("flow run lazy-otter", "flow run blue-owl", "nobody's name"),
    ],
)
def test_one_person_or_nobody(who: str, orderer: str, told: str) -> None:
    """Who leaves the name out could be anybody, also the one who ordered."""
    with pytest.raises(RefusedError, match=told):
        check_approver(STRICT, who, orderer, "action a")
