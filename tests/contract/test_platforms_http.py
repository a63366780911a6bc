"""What is peculiar to platforms over HTTP: the wire, every shape of answer, what is gone already, and who may be told what."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest

from blocks.errors import PlatformError, PlatformRefusedError, SourceError
from blocks.models.platform import ClusterDefinition, NodeGroup, Provisioned
from blocks.sources.live import LiveSources
from blocks.sources.platforms import HttpPlatforms
from blocks.sources.settings import SourcesSettings
from doubles.askers import DEFINITION, source_of
from doubles.scripted_agent import Manner, Reply, ScriptedAgent

SETTINGS = SourcesSettings(body_bytes_max=4_096)
LISTED = Reply.json(
    {"clusters": [{"cluster_id": "orders", "nodes": [{"node_id": "n1", "agent_address": "http://10.0.0.1:8000"}]}]}
)
NOT_LISTED = Reply.json({"clusters": []})


@pytest.fixture
async def server() -> AsyncIterator[ScriptedAgent]:
    """A platform."""
    async with ScriptedAgent() as server:
        yield server


@pytest.fixture
async def platforms() -> AsyncIterator[HttpPlatforms]:
    """The real client."""
    async with HttpPlatforms(SETTINGS) as platforms:
        yield platforms


async def provision(platforms: HttpPlatforms, server: ScriptedAgent, reply: Reply) -> Provisioned:
    """Ask for a node and be answered like this."""
    server.on("POST", "/provision", reply)
    return await platforms.provision(source_of("platform", server.url), DEFINITION, "data", 2)


class TestWire:
    @pytest.mark.parametrize(
        ("base", "path"),
        [("", "/"), ("/", "/"), ("/api/v1", "/api/v1/"), ("/api/v1/", "/api/v1/"), ("/p?key=1", "/p/")],
    )
    async def test_paths_are_below_the_base_url(
        self, platforms: HttpPlatforms, server: ScriptedAgent, base: str, path: str
    ) -> None:
        """The base URL's path and query are kept, with or without a slash at its end."""
        query = "?key=1" if "?" in base else ""
        source = source_of("platform", f"{server.url}{base}")
        server.on("GET", f"{path}discover{query}", NOT_LISTED)
        server.on("POST", f"{path}provision{query}", Reply.json({"count": 1}))
        server.on("POST", f"{path}deprovision{query}", Reply(status=204))
        async with LiveSources(SETTINGS) as sources:
            await sources.ask(source)
        await platforms.provision(source, DEFINITION, "data", 1)
        await platforms.deprovision(source, "orders", "n1")

        assert [f"{path}{call}{query}" for call in ("discover", "provision", "deprovision")] == server.paths()

    async def test_bodies(self, platforms: HttpPlatforms, server: ScriptedAgent) -> None:
        """What is not set is left out; attributes are sent as they are, null included."""
        definition = ClusterDefinition(
            cluster_id="o/1",
            store="mongo",
            store_version="7",
            attributes={"a": None},
            nodes={"data": NodeGroup(desired_count=3, node_class="m", store_version="8")},
        )
        server.on("POST", "/provision", Reply.json({"count": 1, "node_ids": ["n1"]}, 201))
        server.on("POST", "/deprovision", Reply(b"whatever"))
        made = await platforms.provision(source_of("platform", server.url), definition, "data", 2)
        await platforms.deprovision(source_of("platform", server.url), "o/1", "n1")

        group = {"desired_count": 3, "node_class": "m", "attributes": {}, "store_version": "8"}
        cluster = {"cluster_id": "o/1", "store": "mongo", "store_version": "7", "attributes": {"a": None}}
        expected = [
            {"cluster": {**cluster, "nodes": {"data": group}}, "provision": {"node_group_id": "data", "count": 2}},
            {"cluster_id": "o/1", "node_id": "n1"},
        ]
        assert expected == [orjson.loads(request.body) for request in server.received]
        assert Provisioned(count=1, node_ids=("n1",)) == made

    async def test_paging_is_not_for_platforms(self, server: ScriptedAgent) -> None:
        """An answer with a cursor is not complete, and platforms cannot be asked for the rest."""
        server.on("GET", "/discover", Reply.json({"clusters": [], "cursor": "1"}))
        async with LiveSources(SETTINGS) as sources:
            with pytest.raises(SourceError, match="platforms have no paging"):
                await sources.ask(source_of("platform", server.url))


class TestProvision:
    @pytest.mark.parametrize(
        ("answer", "made"),
        [
            ({"count": 1}, Provisioned(count=1)),
            ({"count": 2, "node_ids": None, "extra": 1}, Provisioned(count=2)),
            ({"count": 0, "node_ids": []}, Provisioned(count=0, node_ids=())),
            ({"count": 2, "node_ids": ["a"]}, Provisioned(count=2)),
            ({"count": 2, "node_ids": ["a", "a"]}, Provisioned(count=2)),
            ({"count": 2, "node_ids": ["a", 7]}, Provisioned(count=2)),
            ({"count": 2, "node_ids": "ab"}, Provisioned(count=2)),
        ],
    )
    async def test_ids_are_only_a_hint(
        self, platforms: HttpPlatforms, server: ScriptedAgent, answer: dict[str, object], made: Provisioned
    ) -> None:
        """The count is what counts; ids that cannot all be used are not used at all."""
        assert made == await provision(platforms, server, Reply.json(answer))

    @pytest.mark.parametrize(
        ("reply", "reason", "maybe_done"),
        [
            (Reply(b"made!"), "HTTP 200, and it is not JSON: made!", True),
            (Reply(status=204), "HTTP 204, and it is not JSON: an empty body", True),
            (Reply(b"[]"), "HTTP 200 without a count of nodes: []", True),
            (Reply(b'{"count": true}'), 'HTTP 200 without a count of nodes: {"count": true}', True),
            (Reply(b'{"count": -1}'), 'HTTP 200 without a count of nodes: {"count": -1}', True),
            (Reply(b'{"count": 1.0}'), 'HTTP 200 without a count of nodes: {"count": 1.0}', True),
            (Reply.json({"error_msg": "no", "error_cause": "full"}, 500), "HTTP 500: no: full", True),
            (Reply(b"gateway", 504), "HTTP 504: gateway", True),
            (Reply(b"slowly", 429), "HTTP 429: slowly", False),
            (Reply(status=303), "HTTP 303: it redirects, and redirects are not followed", True),
            (Reply(status=308), "HTTP 308: it redirects, and redirects are not followed", False),
            (Reply(manner=Manner.CLOSE_BEFORE), "it does not speak HTTP, or cut its answer off", True),
            (Reply(manner=Manner.HANG), "no complete answer within 300 ms", True),
        ],
        ids=range(13),
    )
    async def test_what_is_no_answer(
        self, platforms: HttpPlatforms, server: ScriptedAgent, reply: Reply, reason: str, maybe_done: bool
    ) -> None:
        """The sentence says what came, and the error whether nodes may be made all the same; nothing is sent twice."""
        server.on("POST", "/provision", reply)
        with pytest.raises(PlatformError) as error:
            await platforms.provision(source_of("platform", server.url), DEFINITION, "data", 1, deadline_s=0.3)

        doubt = "; it may be done all the same" if maybe_done else ""
        asked = "was asked to make 1 node(s) of group 'data' for cluster 'orders', and gave no usable answer"
        assert f"the platform prod/dc1 at {server.url}/ {asked}: {reason}{doubt}" == error.value.reason
        assert (maybe_done, 1) == (error.value.maybe_done, len(server.received))

    async def test_what_was_not_sent_was_not_done(self, platforms: HttpPlatforms) -> None:
        """Where no connection is made nothing is made."""
        with pytest.raises(PlatformError, match="connection refused") as error:
            await platforms.provision(source_of("platform", "http://127.0.0.1:1"), DEFINITION, "data", 1)

        assert error.value.maybe_done is False

    @pytest.mark.parametrize(
        ("reply", "reason"),
        [
            (Reply(b"Json deserialize error", 400), "HTTP 400: Json deserialize error"),
            (Reply.json({"error": True, "error_msg": "no template"}, 404), "HTTP 404: no template"),
            (Reply(status=401), "HTTP 401: an empty body"),
            (
                Reply.json({"defined_node_groups": ["a", "b"], "error_msg": "unknown group"}, 500),
                "HTTP 500: unknown group; it defines the node groups a, b",
            ),
            (
                Reply.json({"defined_node_groups": [], "error_msg": "unknown group"}, 422),
                "HTTP 422: unknown group; it defines no node group",
            ),
        ],
        ids=range(5),
    )
    async def test_refusals(self, platforms: HttpPlatforms, server: ScriptedAgent, reply: Reply, reason: str) -> None:
        """What the platform will never do is a permanent error; an unknown group is one, although it is said with a 500."""
        with pytest.raises(PlatformRefusedError) as error:
            await provision(platforms, server, reply)

        asked = "refused to make 2 node(s) of group 'data' for cluster 'orders'"
        assert f"the platform prod/dc1 at {server.url}/ {asked}: {reason}" == error.value.reason


class TestDeprovision:
    @pytest.mark.parametrize(
        "reply",
        [
            Reply(),
            Reply(status=204),
            Reply(b"<html>", 200),
            Reply(b"x" * 10_000),
            Reply(manner=Manner.ENDLESS),
            Reply(b"{}", manner=Manner.HANG_WITHIN),
        ],
        ids=range(6),
    )
    async def test_bodies_do_not_matter(self, platforms: HttpPlatforms, server: ScriptedAgent, reply: Reply) -> None:
        """A success is one whatever comes with it, and is not waited for."""
        server.on("POST", "/deprovision", reply)
        await platforms.deprovision(source_of("platform", server.url), "orders", "n1", deadline_s=5.0)

        assert 1 == len(server.received)

    @pytest.mark.parametrize(
        "gone",
        [
            Reply(b"not here", 404),
            Reply(b"no more", 410),
            Reply.json({"error_msg": "node play-node-1 does not exist"}, 500),
            Reply.json({"error_msg": "no such pod"}, 500),
            Reply(b"Node was not found", 500),
        ],
        ids=range(5),
    )
    async def test_gone_already_is_success_when_it_is_told_of_no_more(
        self, platforms: HttpPlatforms, server: ScriptedAgent, gone: Reply
    ) -> None:
        """The node is looked for in what the platform tells: only if it is not there it is gone."""
        source = source_of("platform", server.url)
        server.on("POST", "/deprovision", gone).on("GET", "/discover", NOT_LISTED, LISTED, Reply(b"down", 503))
        await platforms.deprovision(source, "orders", "n1")
        with pytest.raises(PlatformError, match="and it still tells of the node") as listed:
            await platforms.deprovision(source, "orders", "n1")
        with pytest.raises(PlatformError, match="whether the node is gone cannot be told: HTTP 503: down") as unknown:
            await platforms.deprovision(source, "orders", "n1")

        assert (True, True) == (listed.value.maybe_done, unknown.value.maybe_done)

    @pytest.mark.parametrize(
        "refusal",
        [
            Reply(b"node does not exist", 400),
            Reply(b"already terminated", 500),
            Reply(b"conflict", 409),
            Reply(b"node does not exist", 502),
        ],
        ids=range(4),
    )
    async def test_whatever_it_says_what_is_told_of_no_more_is_gone(
        self, platforms: HttpPlatforms, server: ScriptedAgent, refusal: Reply
    ) -> None:
        """Platforms have many ways to say that there is no such node: what counts is what they tell of."""
        server.on("POST", "/deprovision", refusal).on("GET", "/discover", NOT_LISTED)
        await platforms.deprovision(source_of("platform", server.url), "orders", "n1")

        assert ["/deprovision", "/discover"] == server.paths()

    async def test_a_record_that_may_be_the_node_is_the_node(
        self, platforms: HttpPlatforms, server: ScriptedAgent
    ) -> None:
        """A cluster or node that is told of in a way that cannot be used is not taken for gone."""
        source = source_of("platform", server.url)
        node = {"node_id": "n1", "agent_address": "ftp://x"}
        told: list[object] = [{"cluster_id": "orders", "nodes": 7}, {"cluster_id": "orders", "nodes": [node]}, {}]
        replies = [Reply.json({"clusters": [cluster]}) for cluster in told]
        server.on("POST", "/deprovision", Reply(status=404)).on("GET", "/discover", *replies)

        for _ in told:
            with pytest.raises(PlatformError, match="it still tells of the node"):
                await platforms.deprovision(source, "orders", "n1")

    @pytest.mark.parametrize(
        ("reply", "kind"),
        [
            (Reply(b"bad request", 400), PlatformRefusedError),
            (Reply(b"node is locked", 409), PlatformRefusedError),
            (Reply(b"disk failed", 500), PlatformError),
            (Reply(b"node does not exist", 502), PlatformError),
        ],
        ids=range(4),
    )
    async def test_other_errors_are_errors(
        self, platforms: HttpPlatforms, server: ScriptedAgent, reply: Reply, kind: type[Exception]
    ) -> None:
        """Of a node that is still told of, or may be, it is said what the platform said, and how it was meant."""
        listings = (LISTED, Reply(b"down", 503))
        server.on("POST", "/deprovision", reply).on("GET", "/discover", *listings)

        for _ in listings:
            with pytest.raises(kind, match=reply.body.decode()):
                await platforms.deprovision(source_of("platform", server.url), "orders", "n1")
        assert ["/deprovision", "/discover"] * 2 == server.paths()

    async def test_both_requests_have_one_deadline(self, platforms: HttpPlatforms, server: ScriptedAgent) -> None:
        """Looking whether the node is gone ends with the deadline of the whole."""
        server.on("POST", "/deprovision", Reply(status=404)).on("GET", "/discover", Reply(manner=Manner.HANG))

        with pytest.raises(PlatformError, match=r"cannot be told: no complete answer within (2\d\d|300) ms"):
            await platforms.deprovision(source_of("platform", server.url), "orders", "n1", deadline_s=0.3)
