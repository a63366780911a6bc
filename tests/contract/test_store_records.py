"""What every store does with records and fences."""

from __future__ import annotations

import asyncio

import pytest

from blocks.errors import ConflictError, FencedError
from blocks.models.action import Action, ActionState
from blocks.models.cluster import ClusterSpec, ClusterState, Discovery
from blocks.models.ids import ClusterRef
from blocks.models.namespace import Namespace
from blocks.models.node import Node, NodeStatus
from blocks.models.record import Change, Record, RecordKey, Seen
from blocks.models.rolling import UNFINISHED, Rolling, RollingState
from blocks.models.source import FileDiscovery, Source
from blocks.store.protocol import EventQuery, Store, Where
from doubles.store_samples import (
    KEY,
    NOW,
    REF,
    action,
    draft,
    fence,
    later,
    node,
    one_of_each,
    rolling,
    source,
    spec,
    state,
)


async def everything(store: Store) -> tuple[list[object], int]:
    """All clusters, states, nodes and actions, and how many events there are."""
    found = [await store.find(type_) for type_ in (ClusterSpec, ClusterState, Node, Action)]
    return [record for records in found for record in records], len(await store.events(EventQuery()))


@pytest.mark.parametrize("record", one_of_each(), ids=lambda record: type(record).__name__)
async def test_record_comes_back_as_it_was_put(store: Store, record: Record) -> None:
    """What is put is got, secrets and hostile names included."""
    await store.commit(Change(puts=(record,)), now=NOW)

    assert record == await store.get(type(record), record.key)


async def test_absent_record_is_none(store: Store) -> None:
    """Getting what is not there gives None."""
    assert None is await store.get(Node, "prod/orders/n1")


async def test_stored_record_is_not_the_callers_object(store: Store) -> None:
    """Changing a dict that was handed in, or handed out, changes nothing in the store."""
    put = state()
    await store.commit(Change(puts=(put,)), now=NOW)
    put.nodes_by_status["HEALTHY"] = 99
    got = await store.get(ClusterState, KEY)
    assert got is not None
    got.nodes_by_status["HEALTHY"] = 77

    assert state() == await store.get(ClusterState, KEY)


async def test_put_replaces_and_delete_removes(store: Store) -> None:
    """A put replaces whatever was there; deleting what is not there is no error."""
    await store.commit(Change(puts=(spec(5), node(1), node(2))), now=NOW)
    await store.commit(
        Change(puts=(spec(2),), deletes=(RecordKey(Node, node(1).key), RecordKey(Node, "prod/x/y"))), now=NOW
    )

    assert ([spec(2), node(2)], 0) == await everything(store)


async def test_find_is_in_order_of_keys_and_limited(store: Store) -> None:
    """Records come by key, at most as many as asked for."""
    await store.commit(Change(puts=tuple(node(number) for number in (3, 1, 2))), now=NOW)

    assert [node(1), node(2)] == await store.find(Node, limit=2)


async def test_pages_bring_all_in_order(store: Store) -> None:
    """However many there are, in the order of their keys, in more than one piece; narrowed as `find` narrows; none is no piece."""
    mine = [Discovery(namespace="prod", cluster_id=f"c{number:04}", source="prod/a") for number in range(1_500)]
    other = Discovery(namespace="prod", cluster_id="c0005x", source="prod/b")
    for first in range(0, len(mine), 500):
        await store.commit(Change(puts=tuple(mine[first : first + 500])), now=NOW)
    await store.commit(Change(puts=(other,)), now=NOW)

    pages = [page async for page, _ in store.pages(Discovery, Where(source="prod/a"))]

    assert mine == [record for page in pages for record in page]
    assert 1 < len(pages)
    assert len(mine) + 1 == sum([len(page) async for page, _ in store.pages(Discovery)])
    assert [] == [page async for page, _ in store.pages(Discovery, Where(source="prod/none"))]


async def test_find_narrows_by_place(store: Store) -> None:
    """Namespace, cluster and node narrow, alone and together."""
    puts = (
        node(1),
        node(2),
        node(1, "users"),
        node(1, "orders", "test"),
        Namespace(name="test"),
        Namespace(name="prod"),
    )
    await store.commit(Change(puts=puts), now=NOW)

    assert [node(1, "orders", "test")] == await store.find(Node, Where(namespace="test"))
    assert [node(1), node(2)] == await store.find(Node, Where(namespace="prod", cluster_id="orders"))
    assert [node(1), node(1, "orders", "test")] == await store.find(Node, Where(cluster_id="orders", node_id="n1"))
    assert [Namespace(name="test")] == await store.find(Namespace, Where(namespace="test"))
    assert [] == await store.find(Namespace, Where(cluster_id="orders"))


async def test_find_narrows_by_what_only_some_have(store: Store) -> None:
    """Discoveries by the source that owns them, sources by being files."""
    told = [Discovery(namespace="prod", cluster_id=name, source=f"prod/{name[0]}") for name in ("a1", "a2", "b1")]
    file = Source(namespace="prod", name="file", file=FileDiscovery(path="/etc/clusters.yaml"))
    await store.commit(Change(puts=(*told, file, source())), now=NOW)

    assert told[:2] == await store.find(Discovery, Where(namespace="prod", source="prod/a"))
    assert [] == await store.find(Discovery, Where(namespace="test", source="prod/a"))
    assert [file] == await store.find(Source, Where(files=True))
    assert 2 == len(await store.find(Source))


async def test_many_are_got_by_key(store: Store) -> None:
    """Those that exist, by key, of one type; or only which of them do. As many keys as one likes."""
    there = [spec(cluster_id=f"c{number}") for number in range(1_200)]
    await store.commit(Change(puts=(*there, state(cluster_id="other"))), now=NOW)
    keys = {record.key for record in there}

    assert {record.key: record for record in there} == await store.get_many(ClusterSpec, keys | {"prod/other"})
    assert keys == await store.existing(ClusterSpec, keys | {"prod/other"})
    assert ({}, set()) == (await store.get_many(ClusterSpec, []), await store.existing(ClusterSpec, []))


async def test_versions_of_all_records(store: Store) -> None:
    """By key, also after a change; at most as many as asked for."""
    await store.commit(Change(puts=(spec(cluster_id="c1"), spec(cluster_id="c2"))), now=NOW)
    before = await store.versions(ClusterSpec)
    [stored] = (await store.get_many(ClusterSpec, ["prod/c1"])).values()
    await store.commit(Change(swaps=(stored.evolve(version=stored.version + 1),)), now=NOW)

    assert {"prod/c1": stored.version, "prod/c2": stored.version} == before
    assert {**before, "prod/c1": stored.version + 1} == await store.versions(ClusterSpec)
    assert 1 == len(await store.versions(ClusterSpec, limit=1))
    assert {} == await store.versions(Discovery)


async def test_actions_come_newest_first(store: Store) -> None:
    """Actions are listed newest first, narrowed by state."""
    puts = (action(1), action(3, ActionState.DONE), action(2))
    await store.commit(Change(puts=puts), now=NOW)

    assert [action(3, ActionState.DONE), action(2), action(1)] == await store.find(Action)
    assert [action(2)] == await store.find(Action, Where(action_states=(ActionState.NEW,)), limit=1)


async def test_actions_that_may_go_on_at_their_agents_are_listed(store: Store) -> None:
    """Those that were cancelled here while an agent had them, of one cluster, of a namespace or of all."""
    left = action(1, ActionState.CANCELLED).evolve(left_running=True)
    await store.commit(Change(puts=(left, action(2, ActionState.CANCELLED), action(3))), now=NOW)
    everywhere = (Where(left_running=True), Where(left_running=True, namespace="prod"))

    assert [[left], [left]] == [await store.find(Action, where) for where in everywhere]
    assert [left] == await store.find(Action, everywhere[1].evolve(cluster_id="orders"))
    assert [] == await store.find(Action, everywhere[1].evolve(cluster_id="users"))


async def test_rolling_actions_come_newest_first(store: Store) -> None:
    """Listed like actions, of one cluster or of all, narrowed by state."""
    done, other = rolling(3, RollingState.DONE), rolling(4, cluster_id="users")
    await store.commit(Change(puts=(rolling(1), done, rolling(2), other)), now=NOW)
    of_cluster = Where(namespace="prod", cluster_id="orders")

    assert [other, done, rolling(2), rolling(1)] == await store.find(Rolling)
    assert [done, rolling(2)] == await store.find(Rolling, of_cluster, limit=2)
    assert [rolling(2), rolling(1)] == await store.find(Rolling, of_cluster.evolve(rolling_states=UNFINISHED))


async def test_a_view_has_the_rolling_actions_that_matter(store: Store) -> None:
    """Unfinished ones, the oldest first, and a finished one while an action of it is unfinished."""
    over, left = rolling(1, RollingState.CANCELLED), rolling(2, RollingState.FAILED)
    made = action(1).evolve(rolling_id=left.rolling_id)
    puts = (Namespace(name="prod"), spec(), made, over, left, rolling(4), rolling(3), rolling(5, cluster_id="users"))
    await store.commit(Change(puts=puts), now=NOW)
    view = (await store.views([REF]))[KEY]

    assert [left, rolling(3), rolling(4)] == list(view.rollings.values())
    assert left.rolling_id == view.actions[made.action_id].rolling_id


async def test_view_holds_what_is_stored_of_a_cluster(store: Store) -> None:
    """A view has the cluster's records and its unfinished actions, oldest first, and nothing of other clusters."""
    discovery = Discovery(namespace="prod", cluster_id="orders", source="prod/inventory")
    puts = (Namespace(name="prod"), spec(), discovery, state(), node(1), node(2), action(2), action(1))
    others = (spec(1, "users"), node(1, "users"), action(4, cluster_id="users"), action(3, ActionState.LOST))
    await store.commit(Change(puts=puts + others), now=NOW)
    view = (await store.views([REF]))[KEY]

    assert (Namespace(name="prod"), spec(), discovery, state()) == (
        view.namespace,
        view.spec,
        view.discovery,
        view.state,
    )
    assert {"n1": node(1), "n2": node(2)} == view.nodes
    assert [action(1), action(2)] == list(view.actions.values())


async def test_views_need_a_spec_and_a_namespace(store: Store) -> None:
    """A cluster without spec or namespace has no view; one without anything else has."""
    await store.commit(Change(puts=(Namespace(name="prod"), spec(), spec(1, "x", "gone"), node(1, "users"))), now=NOW)
    refs = [
        REF,
        REF,
        *(ClusterRef(namespace=space, cluster_id=name) for space, name in (("gone", "x"), ("prod", "users"))),
    ]
    views = await store.views(refs)

    assert [KEY] == list(views)
    assert (None, None, {}, {}) == (views[KEY].discovery, views[KEY].state, views[KEY].nodes, views[KEY].actions)


async def test_swap_needs_the_version_before(store: Store) -> None:
    """Version 1 needs nothing stored, version n needs n - 1."""
    await store.commit(Change(swaps=(spec(1),)), now=NOW)
    await store.commit(Change(swaps=(spec(2, interval=30.0),)), now=NOW)

    assert spec(2, interval=30.0) == await store.get(ClusterSpec, KEY)


@pytest.mark.parametrize("version", [1, 2, 4], ids=["exists", "changed", "ahead"])
async def test_conflict_writes_nothing(store: Store, version: int) -> None:
    """One swap that meets another version stops the whole change: swaps, puts, deletes and events."""
    await store.commit(Change(puts=(spec(2), node(1))), now=NOW)
    before = await everything(store)
    change = Change(
        swaps=(action(7), spec(version)), puts=(state(),), deletes=(RecordKey(Node, node(1).key),), drafts=(draft(),)
    )

    with pytest.raises(ConflictError):
        await store.commit(change, now=NOW)
    assert before == await everything(store)


async def test_swap_of_an_absent_record_conflicts(store: Store) -> None:
    """A record that was deleted meanwhile is not brought back."""
    with pytest.raises(ConflictError):
        await store.commit(Change(swaps=(spec(3),)), now=NOW)
    assert ([], 0) == await everything(store)


async def test_one_of_many_concurrent_swaps_wins(store: Store) -> None:
    """Of ten that change the same version, one succeeds and only its event is there."""
    await store.commit(Change(puts=(spec(1),)), now=NOW)
    changes = [Change(swaps=(spec(2, interval=10.0 + n),), drafts=(draft(n),)) for n in range(10)]
    ends = await asyncio.gather(*(store.commit(change, now=NOW) for change in changes), return_exceptions=True)
    won = [number for number, end in enumerate(ends) if not isinstance(end, BaseException)]
    stored = await store.get(ClusterSpec, KEY)

    assert [ConflictError] * 9 == [type(end) for end in ends if isinstance(end, BaseException)]
    assert [10.0 + number for number in won] == [stored.interval if stored else None]
    assert [{"number": number} for number in won] == [event.data for event in await store.events(EventQuery())]


@pytest.mark.parametrize("newer", [fence(8), fence(1, generation=2)], ids=["token", "generation"])
async def test_superseded_holder_writes_nothing(store: Store, newer: object) -> None:
    """After a newer holder was seen, the older one changes nothing and makes no event."""
    assert set() == await store.claim([fence(7)])
    await store.commit(Change(puts=(spec(),)), now=NOW, fence=fence(7))
    assert isinstance(newer, type(fence(1)))
    assert set() == await store.claim([newer])
    change = Change(swaps=(spec(2),), puts=(node(),), deletes=(RecordKey(ClusterSpec, KEY),), drafts=(draft(),))

    with pytest.raises(FencedError):
        await store.commit(change, now=NOW, fence=fence(7))
    assert ([spec()], 0) == await everything(store)


async def test_empty_change_still_meets_the_fence(store: Store) -> None:
    """A superseded holder learns of it even when it has nothing to write."""
    await store.claim([fence(2)])

    assert () == await store.commit(Change(), now=NOW)
    with pytest.raises(FencedError):
        await store.commit(Change(), now=NOW, fence=fence(1))


async def test_claim_names_the_superseded(store: Store) -> None:
    """A batch of claims returns just the subjects with a newer holder, whose fences stay; claiming again is harmless."""
    await store.claim([fence(5, subject="a"), fence(5, subject="b"), fence(5, subject="c")])
    batch = [fence(4, subject="a"), fence(5, subject="b"), fence(6, subject="c"), fence(1, subject="d")]

    assert {"a"} == await store.claim(batch)
    assert {"a"} == await store.claim(batch)
    assert () == await store.commit(Change(puts=(spec(),)), now=NOW, fence=fence(5, subject="a"))


async def test_first_commit_makes_the_fence(store: Store) -> None:
    """A commit under a fence nobody has claimed raises it, too."""
    await store.commit(Change(puts=(spec(),)), now=NOW, fence=fence(3))

    assert {KEY} == await store.claim([fence(2)])


async def test_newest_of_concurrent_holders_wins(store: Store) -> None:
    """Many holders race on one subject without a fence: the newest always gets through, its write is the last."""
    for turn in range(8):
        subject = f"prod/c{turn}"

        async def hold(token: int, subject: str = subject) -> None:
            held = fence(token, subject=subject)
            name = subject.partition("/")[2]
            if not await store.claim([held]):
                await store.commit(
                    Change(puts=(spec(token, name),), drafts=(draft(token, subject),)), now=NOW, fence=held
                )

        ends = await asyncio.gather(*(hold(token) for token in (3, 1, 4, 2)), return_exceptions=True)
        stored = await store.get(ClusterSpec, subject)

        assert {FencedError} >= {type(end) for end in ends if end is not None}
        assert ends[2] is None
        assert 4 == (stored and stored.version)


async def test_no_write_is_lost_between_holders(store: Store) -> None:
    """What a holder commits is seen by whoever claims later, or is refused: counters never go back."""
    await store.commit(Change(puts=(spec(0),)), now=NOW)

    async def count(token: int) -> int:
        held = fence(token)
        if await store.claim([held]):
            return 0
        stored = await store.get(ClusterSpec, KEY)
        assert stored is not None
        try:
            await store.commit(Change(puts=(spec(stored.version + 1),)), now=NOW, fence=held)
        except FencedError:
            return 0
        return 1

    counted = await asyncio.gather(*(count(token) for token in range(1, 26)))
    stored = await store.get(ClusterSpec, KEY)

    assert sum(counted) == (stored and stored.version)


async def test_seen_updates_states_and_nodes(store: Store) -> None:
    """Seen clusters get their new states and nodes, in one go."""
    await store.commit(Change(puts=(state(), node(1), state(1, "users"))), now=NOW)
    moved = node(1, shards=2)
    batch = [
        Seen(fence=fence(1), state=state(seen_s=60), nodes=(moved,)),
        Seen(fence=fence(1, subject="prod/users"), state=state(1, "users", seen_s=61)),
    ]

    assert set() == await store.seen(batch)
    assert ([state(seen_s=60), state(1, "users", seen_s=61), moved], 0) == await everything(store)


async def test_seen_leaves_out_the_superseded_only(store: Store) -> None:
    """A batch with one superseded holder is saved for all others."""
    await store.commit(Change(puts=(state(), state(1, "users"))), now=NOW)
    await store.claim([fence(9), fence(1, subject="prod/users")])
    batch = [
        Seen(fence=fence(8), state=state(seen_s=60)),
        Seen(fence=fence(2, subject="prod/users"), state=state(1, "users", seen_s=60)),
        Seen(fence=fence(2, subject="prod/new"), state=state(1, "new")),
    ]

    assert {KEY} == await store.seen(batch)
    assert ([state(), state(1, "users", seen_s=60)], 0) == await everything(store)
    assert {"prod/users"} == await store.claim([fence(1, subject="prod/users")])


async def test_seen_brings_nothing_back(store: Store) -> None:
    """A cluster that was removed meanwhile stays removed."""
    await store.seen([Seen(fence=fence(1), state=state(), nodes=(node(1),))])

    assert ([], 0) == await everything(store)


async def test_times_are_kept_to_the_millisecond(store: Store) -> None:
    """A moment comes back as the same moment in UTC."""
    put = node(1).evolve(status=NodeStatus.UNREACHABLE, status_since=later(0.001))
    await store.commit(Change(puts=(put,)), now=NOW)
    got = await store.get(Node, put.key)

    assert (later(0.001), "UTC") == (got and got.status_since, got and got.status_since.tzname())
