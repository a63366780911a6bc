from pathlib import Path

import pytest

from infra.stack.service import Plan, Probe, Service, Tls
from infra.stack.supervised import stays_down


def service(name: str, *after: str, **fields: object) -> Service:
    """Describe some service."""
    return Service(name, ("true",), Probe("none"), after=after, **fields)  # type: ignore[arg-type]


def test_plan_survives_its_file(tmp_path: Path) -> None:
    """What is written is read back equal, TLS files and ports included."""
    probe = Probe("zookeeper", "127.0.0.1", 2181, tls=Tls("ca", "certificate", "key"))
    plan = Plan((Service("a", ("run", "it"), probe, (1, 2), {"K": "v"}, "/", ("b",)),), 7, "identity", ("a",))
    plan.write(tmp_path / "plan.json")

    assert plan == Plan.read(tmp_path / "plan.json")


def test_plan_is_private(tmp_path: Path) -> None:
    """Only the owner may read the plan: environments may hold passwords."""
    Plan().write(tmp_path / "plan.json")

    assert 0o600 == (tmp_path / "plan.json").stat().st_mode & 0o777


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_unreadable_plan_is_empty(tmp_path: Path, content: str) -> None:
    """A damaged plan file is a plan without services."""
    (tmp_path / "plan.json").write_text(content)

    assert Plan() == Plan.read(tmp_path / "plan.json")


def test_levels_put_services_after_what_they_need() -> None:
    """Each level needs only the levels before it; unknown names are no obstacle."""
    plan = Plan((service("a"), service("b", "a", "elsewhere"), service("c"), service("d", "b", "c")))

    assert [["a", "c"], ["b"], ["d"]] == [[s.name for s in level] for level in plan.levels()]


def test_service_of_the_same_name_is_replaced_in_place() -> None:
    """Adding a service again keeps its place and takes the new description."""
    plan = Plan((service("a"), service("b"))).with_services(service("a", cwd="/new"), service("c"))

    assert [("a", "/new"), ("b", ""), ("c", "")] == [(s.name, s.cwd) for s in plan.services]


def test_digest_changes_with_what_the_process_is_started_from() -> None:
    """A changed environment needs a new process; a changed deadline does not."""
    before = service("a")

    assert before.digest != service("a", env={"K": "v"}).digest
    assert before.digest == service("a", ready_within=1.0).digest


@pytest.mark.parametrize(("last_exit", "expected"), [(0, 0.0), (-9, 12.0), (1, 12.0), (None, 12.0)])
def test_only_what_died_stays_down(last_exit: int | None, expected: float) -> None:
    """A member that ended cleanly is started again at once; one that was killed is seen to be away."""
    member = Service("orders-1", ("mongod",), Probe("none"), restart_after=12.0)

    assert expected == stays_down(member, last_exit)
