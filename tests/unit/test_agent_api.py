"""The agents' HTTP API: shapes, status codes and bodies of protocol B."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.agents.kit.errors import StoreDownError, StoreError
from infra.agents.kit.models import NodeReport, Offset, Other, Role, Shard, Status, StoreReport, Unknown
from infra.agents.kit.requests import BODY_BYTES_MAX
from infra.agents.testing import StubStore, api

SUCCESS = "agent.replicante.io/test.success"
ID = "0a6c3ee5-5b9c-4c0e-9a0e-3f6f0f3f6f01"


class TestInfo:
    """GET /info/*."""

    async def test_node(self, tmp_path: Path) -> None:
        """The node's body has exactly the keys of protocol B."""
        async with api(tmp_path) as agent:
            answer = await agent.client.get("/info/node")

        assert 200 == answer.status_code
        assert {
            "address": {"client": "127.0.0.1:1", "member": "127.0.0.1:1"},
            "agent_version": {"number": "0.1.0", "checkout": "replicante-core", "taint": "clean"},
            "attributes": {"stub.example/odd": True},
            "node_id": "node",
            "node_status": "HEALTHY",
            "store_id": "stub",
            "store_version": {"number": "1.2.3", "checkout": None, "extra": None},
        } == answer.json()

    async def test_node_unknown_status(self, tmp_path: Path) -> None:
        """A status without a word is an object with the reason."""
        async with api(tmp_path, StubStore(node_answer=NodeReport(Unknown("odd")))) as agent:
            answer = await agent.client.get("/info/node")

        assert {"UNKNOWN": "odd"} == answer.json()["node_status"]

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (StoreDownError("refused"), "UNAVAILABLE"),
            (StoreError("strange"), {"UNKNOWN": "strange"}),
            (KeyError("x"), {"UNKNOWN": "reading the store's status failed"}),
        ],
    )
    async def test_node_with_a_failing_store(self, tmp_path: Path, error: Exception, status: object) -> None:
        """Whatever the store does, /info/node answers, with the version last seen."""
        store = StubStore()
        async with api(tmp_path, store) as agent:
            await agent.client.get("/info/node")
            store.node_answer = error
            answer = await agent.client.get("/info/node")

        assert 200 == answer.status_code
        assert status == answer.json()["node_status"]
        assert "1.2.3" == answer.json()["store_version"]["number"]

    async def test_store(self, tmp_path: Path) -> None:
        """The cluster's body has its id and attributes."""
        store = StubStore(store_answer=StoreReport("orders", {"stub.example/size": 3}))
        async with api(tmp_path, store) as agent:
            answer = await agent.client.get("/info/store")

        assert {"cluster_id": "orders", "attributes": {"stub.example/size": 3}} == answer.json()

    async def test_shards(self, tmp_path: Path) -> None:
        """Roles, offsets and units are in protocol B's forms."""
        shards = [
            Shard("a", Role.PRIMARY, Offset(2**62, "milliseconds")),
            Shard("b", Other("ARBITER"), Offset(-1, "zxid"), Offset(5, "seconds")),
        ]
        async with api(tmp_path, StubStore(shards_answer=shards)) as agent:
            answer = await agent.client.get("/info/shards")

        assert {
            "shards": [
                {
                    "id": "a",
                    "role": "Primary",
                    "commit_offset": {"unit": "milliseconds", "value": 2**62},
                    "lag": None,
                },
                {
                    "id": "b",
                    "role": {"Other": "ARBITER"},
                    "commit_offset": {"unit": {"unit": "zxid"}, "value": -1},
                    "lag": {"unit": "seconds", "value": 5},
                },
            ]
        } == answer.json()

    @pytest.mark.parametrize("path", ["/info/store", "/info/shards"])
    async def test_store_down(self, tmp_path: Path, path: str) -> None:
        """A store that is down is a 500 with protocol B's error body, causes included."""
        error = StoreDownError("no answer")
        error.__cause__ = ConnectionRefusedError("refused")
        async with api(tmp_path, StubStore(store_answer=error, shards_answer=error)) as agent:
            answer = await agent.client.get(path)

        assert 500 == answer.status_code
        assert {
            "error": True,
            "error_msg": "no answer",
            "error_cause": "ConnectionRefusedError: refused",
        } == answer.json()

    async def test_error_trail(self, tmp_path: Path) -> None:
        """More than two layers of causes are told one by one."""
        root, middle, top = OSError("root"), StoreError("middle"), StoreError("top")
        middle.__cause__, top.__cause__ = root, middle
        async with api(tmp_path, StubStore(store_answer=top)) as agent:
            answer = await agent.client.get("/info/store")

        assert ["top", "middle", "OSError: root"] == answer.json()["error_trail"]

    async def test_a_silent_store(self, tmp_path: Path) -> None:
        """A store that never answers is UNAVAILABLE within the deadline."""
        store = StubStore(gate=asyncio.Event())
        async with api(tmp_path, store, answer_deadline=0.01) as agent:
            node, shards = await agent.client.get("/info/node"), await agent.client.get("/info/shards")

        assert "UNAVAILABLE" == node.json()["node_status"]
        assert 500 == shards.status_code
        assert "the store did not tell its shards within 0.01 s" == shards.json()["error_msg"]

    async def test_one_question_for_many(self, tmp_path: Path) -> None:
        """Requests that wait at the same time share one trip to the store."""
        gate = asyncio.Event()
        store = StubStore(gate=gate)
        async with api(tmp_path, store) as agent, asyncio.TaskGroup() as group:
            requests = [group.create_task(agent.client.get("/info/node")) for _ in range(20)]
            await store.reached.wait()
            gate.set()

        assert {200} == {request.result().status_code for request in requests}
        assert Status.HEALTHY == requests[0].result().json()["node_status"]
        assert store.asked < 20


class TestNotThere:
    """What protocol B answers with a 404."""

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/nothing"),
            ("GET", "/info/node/"),
            ("GET", "/info/agent"),
            ("HEAD", "/info/node"),
            ("POST", "/info/node"),
            ("GET", "/action"),
            ("POST", "/action/"),
            ("DELETE", f"/action/{ID}"),
            ("GET", f"/action/{ID}"),
        ],
    )
    async def test_empty(self, tmp_path: Path, method: str, path: str) -> None:
        """Unknown paths, wrong methods, HEAD, a slash too many and unknown ids are an empty 404."""
        async with api(tmp_path) as agent:
            answer = await agent.client.request(method, path)

        assert (404, b"") == (answer.status_code, answer.content)

    async def test_not_a_uuid(self, tmp_path: Path) -> None:
        """An id that is not a UUID is a 404 with text."""
        async with api(tmp_path) as agent:
            answer = await agent.client.get("/action/nonsense")

        assert 404 == answer.status_code
        assert "UUID parsing failed" == answer.text


class TestSchedule:
    """POST /action."""

    async def test_minimal(self, tmp_path: Path) -> None:
        """A kind is enough; the agent chooses the id and the times."""
        async with api(tmp_path) as agent:
            answer = await agent.schedule(kind=SUCCESS)
            action = (await agent.client.get(f"/action/{answer.json()['id']}")).json()

        assert 200 == answer.status_code
        assert {"id"} == set(answer.json())
        assert {
            "id": str(uuid.UUID(answer.json()["id"])),
            "kind": SUCCESS,
            "args": None,
            "metadata": {},
            "created_time": "2026-11-25T12:00:00.000000Z",
            "scheduled_time": "2026-11-25T12:00:00.000000Z",
            "finished_time": None,
            "state": {"phase": "NEW", "payload": None, "error": None},
        } == action

    async def test_everything(self, tmp_path: Path) -> None:
        """Id, args, creation time and metadata of the client are kept; unknown keys are ignored."""
        body = {
            "kind": SUCCESS,
            "id": ID.upper(),
            "args": {"a": [1, "ü", None, 1.5]},
            "created_time": "2026-11-24T10:00:00.123456789Z",
            "metadata": {"requester": "core"},
            "odd": 1,
        }
        async with api(tmp_path) as agent:
            answer = await agent.schedule(**body)
            action = (await agent.client.get(f"/action/{ID}")).json()

        assert {"id": ID} == answer.json()
        assert body["args"] == action["args"]
        assert body["metadata"] == action["metadata"]
        assert "2026-11-24T10:00:00.123456Z" == action["created_time"]

    async def test_duplicate(self, tmp_path: Path) -> None:
        """A second request with an id is a 409 and changes nothing."""
        async with api(tmp_path) as agent:
            await agent.schedule(kind=SUCCESS, id=ID)
            await agent.settle()
            answer = await agent.schedule(kind="agent.replicante.io/test.fail", id=ID)
            action = (await agent.client.get(f"/action/{ID}")).json()

        assert 409 == answer.status_code
        assert {"error": True, "error_msg": f"action {ID} already exists"} == answer.json()
        assert (SUCCESS, "DONE") == (action["kind"], action["state"]["phase"])

    async def test_duplicates_at_once(self, tmp_path: Path) -> None:
        """Of many requests with one id at once, exactly one is accepted."""
        async with api(tmp_path) as agent, asyncio.TaskGroup() as group:
            requests = [group.create_task(agent.schedule(kind=SUCCESS, id=ID)) for _ in range(20)]

        assert [200, *[409] * 19] == sorted(request.result().status_code for request in requests)

    async def test_unknown_kind(self, tmp_path: Path) -> None:
        """A kind the agent does not have is a 400 with JSON."""
        async with api(tmp_path) as agent:
            answer = await agent.schedule(kind="no.such/kind")

        assert 400 == answer.status_code
        assert {"error": True, "error_msg": "this agent has no action of kind 'no.such/kind'"} == answer.json()

    async def test_not_utc(self, tmp_path: Path) -> None:
        """A creation time that is not UTC is a 400 with JSON."""
        async with api(tmp_path) as agent:
            answer = await agent.schedule(kind=SUCCESS, created_time="2026-11-25T12:00:00+02:00")

        assert 400 == answer.status_code
        assert {"error": True, "error_msg": "created_time must be in UTC"} == answer.json()

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"not json",
            b"[]",
            b"{}",
            b'{"kind": 1}',
            b'{"kind": ""}',
            b'{"kind": "\xff"}',
            json.dumps({"kind": "k" * 257}).encode(),
            json.dumps({"kind": SUCCESS, "id": "nonsense"}).encode(),
            json.dumps({"kind": SUCCESS, "id": 7}).encode(),
            json.dumps({"kind": SUCCESS, "created_time": "yesterday"}).encode(),
            json.dumps({"kind": SUCCESS, "created_time": "2026-11-25T12:00:00"}).encode(),
            json.dumps({"kind": SUCCESS, "metadata": ["a"]}).encode(),
            json.dumps({"kind": SUCCESS, "metadata": {"a": 1}}).encode(),
            json.dumps({"kind": SUCCESS, "metadata": {"a": "x" * 4097}}).encode(),
            json.dumps({"kind": SUCCESS, "metadata": {str(i): "" for i in range(65)}}).encode(),
            b'{"kind": "k", "args": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        ],
    )
    async def test_unreadable(self, tmp_path: Path, body: bytes) -> None:
        """What is not a schedule request is a 400 with plain text, and nothing is stored."""
        async with api(tmp_path) as agent:
            headers = {"content-type": "application/json"}
            answer = await agent.client.post("/action", content=body, headers=headers)
            queue = (await agent.client.get("/actions/queue")).json()

        assert 400 == answer.status_code
        assert "text/plain; charset=utf-8" == answer.headers["content-type"]
        assert answer.text.startswith("Json deserialize error")
        assert {"actions": []} == queue

    async def test_content_type(self, tmp_path: Path) -> None:
        """A body that is not said to be JSON is a 400 with plain text: no web page can post here by accident."""
        async with api(tmp_path) as agent:
            headers = {"content-type": "text/plain"}
            answer = await agent.client.post("/action", content=json.dumps({"kind": SUCCESS}), headers=headers)

        assert 400 == answer.status_code
        assert "Content type error: the body must be application/json" == answer.text

    @pytest.mark.parametrize("declared", [True, False])
    async def test_too_large(self, tmp_path: Path, *, declared: bool) -> None:
        """A body over 2 MB is a 413 with text, whether its length is declared or not."""
        body = b" " * (BODY_BYTES_MAX + 1)

        async def chunks() -> AsyncIterator[bytes]:
            yield body

        async with api(tmp_path) as agent:
            headers = {"content-type": "application/json"}
            content = body if declared else chunks()
            answer = await agent.client.post("/action", content=content, headers=headers)

        assert 413 == answer.status_code
        assert "text/plain; charset=utf-8" == answer.headers["content-type"]

    async def test_largest(self, tmp_path: Path) -> None:
        """A body of almost 2 MB is accepted."""
        async with api(tmp_path) as agent:
            answer = await agent.schedule(kind=SUCCESS, args="x" * (BODY_BYTES_MAX - 1000))

        assert 200 == answer.status_code


class TestFence:
    """Fencing tokens in the metadata."""

    async def test_superseded(self, tmp_path: Path) -> None:
        """An older token is refused with 412, both tokens named, nothing stored."""
        async with api(tmp_path) as agent:
            first = await agent.schedule(kind=SUCCESS, metadata={"replicore.io/fence": "1:20"})
            second = await agent.schedule(kind=SUCCESS, id=ID, metadata={"replicore.io/fence": "1:19"})
            stored = await agent.client.get(f"/action/{ID}")

        assert 200 == first.status_code
        assert 412 == second.status_code
        assert {
            "error": True,
            "error_msg": "fencing token 1:19 is superseded: the newest seen for cluster is 1:20",
        } == second.json()
        assert 404 == stored.status_code

    async def test_generation_wins(self, tmp_path: Path) -> None:
        """A new ZooKeeper generation beats any token of an older one, and numbers compare as numbers."""
        async with api(tmp_path) as agent:
            answers = [
                (await agent.schedule(kind=SUCCESS, metadata={"replicore.io/fence": fence})).status_code
                for fence in ("1:9", "1:10", "1:10", "2:1", "1:9223372036854775807", "2:0")
            ]

        assert [200, 200, 200, 200, 412, 412] == answers

    @pytest.mark.parametrize(
        "text", ["", "1", "1:", ":1", "1:x", "-1:2", "1:2:3", " 1:2", "01:2", "1:9223372036854775808"]
    )
    async def test_malformed(self, tmp_path: Path, text: str) -> None:
        """A token that is not two integers is a 400 with JSON."""
        async with api(tmp_path) as agent:
            answer = await agent.schedule(kind=SUCCESS, metadata={"replicore.io/fence": text})

        assert 400 == answer.status_code
        assert answer.json()["error_msg"].startswith("metadata replicore.io/fence must be GENERATION:TOKEN")

    async def test_missing(self, tmp_path: Path) -> None:
        """A client without a token is served, and counted."""
        async with api(tmp_path) as agent:
            await agent.schedule(kind=SUCCESS, metadata={"replicore.io/fence": "1:20"})
            answer = await agent.schedule(kind=SUCCESS)
            metrics = (await agent.client.get("http://agent/metrics")).text

        assert 200 == answer.status_code
        assert "replicante_agent_actions_unfenced 1\n" in metrics
        assert "replicante_agent_fence_token 20\n" in metrics

    async def test_before_duplicate(self, tmp_path: Path) -> None:
        """An older token with a known id is a 412, not a 409 that would read as success."""
        async with api(tmp_path) as agent:
            await agent.schedule(kind=SUCCESS, id=ID, metadata={"replicore.io/fence": "1:20"})
            answer = await agent.schedule(kind=SUCCESS, id=ID, metadata={"replicore.io/fence": "1:19"})

        assert 412 == answer.status_code

    async def test_seen_with_a_duplicate(self, tmp_path: Path) -> None:
        """A newer token is remembered even when its request is a duplicate."""
        async with api(tmp_path) as agent:
            await agent.schedule(kind=SUCCESS, id=ID, metadata={"replicore.io/fence": "1:20"})
            again = await agent.schedule(kind=SUCCESS, id=ID, metadata={"replicore.io/fence": "1:30"})
            older = await agent.schedule(kind=SUCCESS, metadata={"replicore.io/fence": "1:20"})

        assert (409, 412) == (again.status_code, older.status_code)

    async def test_persisted(self, tmp_path: Path) -> None:
        """The newest token survives a restart."""
        async with api(tmp_path) as agent:
            await agent.schedule(kind=SUCCESS, metadata={"replicore.io/fence": "3:20"})
        async with api(tmp_path) as agent:
            answer = await agent.schedule(kind=SUCCESS, metadata={"replicore.io/fence": "3:19"})

        assert 412 == answer.status_code
