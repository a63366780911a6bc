"""What is peculiar to file sources: both formats, folders, changes, and files that are none."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.errors import SourceError
from blocks.models.source import DiscoveredCluster, DiscoveredNode, Source
from blocks.sources import file as file_module
from blocks.sources.live import LiveSources
from blocks.sources.protocol import Found
from blocks.sources.settings import SourcesSettings

OLD = """
- cluster_id: orders
  nodes:
    - http://10.0.0.1:8000
- cluster_id: "queue"
  nodes: [{node_id: n1, agent_address: "http://10.0.0.2:8000", labels: {zone: eu-1, rack: 7, spare: no}}]
"""
"""As the original's file backend had it, with a node that is an object."""
SECRET = "hunter2"


@pytest.fixture
async def sources() -> AsyncIterator[LiveSources]:
    """The real reader, with small limits."""
    async with LiveSources(SourcesSettings(body_bytes_max=4_096, total_s=10.0)) as sources:
        yield sources


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all examples."""
    return tmp_path_factory.mktemp("written")


@pytest.fixture(scope="module")
def sources_for_all() -> LiveSources:
    """The real reader, for all examples."""
    return LiveSources(SourcesSettings())


def source_at(path: Path) -> Source:
    """A source that is a file or a folder."""
    return Source.model_validate({"namespace": "prod", "name": "written", "file": {"path": str(path)}})


async def ids(sources: LiveSources, path: Path) -> list[str]:
    """The clusters that are told of."""
    return [cluster.cluster_id for cluster in (await sources.ask(source_at(path))).clusters]


async def failure(sources: LiveSources, path: Path) -> str:
    """Why there is no answer."""
    with pytest.raises(SourceError) as error:
        await sources.ask(source_at(path))
    prefix, _, reason = str(error.value).partition(" gave no complete answer: ")
    assert f"the source prod/written at {path}" == prefix
    return reason


class TestContent:
    async def test_a_list_as_of_old(self, sources: LiveSources, tmp_path: Path) -> None:
        """A bare list of clusters with URLs or objects as nodes; what YAML 1.1 takes for a boolean is a text."""
        path = tmp_path / "clusters"
        path.write_text(OLD)

        found = await sources.ask(source_at(path))

        url = "http://10.0.0.1:8000"
        labels = {"zone": "eu-1", "rack": "7", "spare": "no"}
        node = DiscoveredNode(node_id="n1", agent_address="http://10.0.0.2:8000", labels=labels)
        expected = (
            DiscoveredCluster(cluster_id="orders", nodes=(DiscoveredNode(node_id=url, agent_address=url),)),
            DiscoveredCluster(cluster_id="queue", nodes=(node,)),
        )
        assert (expected, ()) == (found.clusters, found.rejected)

    async def test_a_folder(self, sources: LiveSources, tmp_path: Path) -> None:
        """Files by their endings, sorted; what is hidden, ends otherwise or lies deeper is not read."""
        (tmp_path / "b.yml").write_text("clusters: [{cluster_id: b, nodes: []}]")
        (tmp_path / "a.json").write_text('[{"cluster_id": "a", "nodes": []}]')
        (tmp_path / "c.yaml").write_text("[{cluster_id: a, nodes: ['http://h'], display_name: A}, 7]")
        for name in (".hidden.yaml", "notes.txt", "c.yaml~"):
            (tmp_path / name).write_text("[")
        (tmp_path / "deeper.yaml").mkdir()
        (tmp_path / "deeper.yaml" / "d.yaml").write_text("[")

        found = await sources.ask(source_at(tmp_path))

        told = [(cluster.cluster_id, cluster.display_name, len(cluster.nodes)) for cluster in found.clusters]
        assert [("a", "A", 1), ("b", None, 0)] == told
        assert [
            ("cluster a in c.yaml", "told of twice: its nodes and labels are put together"),
            ("a cluster record 2 in c.yaml", "it is not an object"),
        ] == [(rejected.what, rejected.reason) for rejected in found.rejected]

    @pytest.mark.parametrize(
        ("name", "content", "reason"),
        [
            (
                "a.yaml",
                "clusters:\n  - a: [",
                "it is not YAML (did not find expected node content) at line 3, column 1",
            ),
            ("a.yaml", f"[{{{SECRET}: 1,\n {SECRET}: 2}}]", "a key is given twice in one object at line 2, column 2"),
            (
                "a.yaml",
                f"a: *{SECRET}",
                "an alias refers to nothing before it, or to what it is in at line 1, column 4",
            ),
            ("a.yaml", f"- !!python/object:{SECRET} x", "tags are not understood at line 1, column 3"),
            ("a.yaml", "[" * 70 + "]" * 70, "it is nested too deeply at line 1, column 65"),
            ("a.yaml", "[]\n---\n[]", "it has more than one YAML document"),
            ("a.yaml", f"root:x:0:0:{SECRET}", None),
            ("a.yaml", f"{SECRET}: []", None),
            ("a.yaml", "", None),
            ("a.json", f'{{"{SECRET}": 1,\n "{SECRET}": 2}}', "a key is given twice in one object at line 2, column 2"),
            ("a.json", f'["{SECRET}",\n 1 2]', "it is not JSON at line 2, column 4"),
            ("a.json", "[" * 4_000, "it is nested too deeply"),
            ("a.json", '{"clusters": NaN}', "a number in it is not finite, or has too many digits"),
        ],
        ids=range(13),
    )
    async def test_what_is_not_understood(
        self, sources: LiveSources, tmp_path: Path, name: str, content: str, reason: str | None
    ) -> None:
        """The place is said, and never what stands there; one broken file costs the whole folder."""
        (tmp_path / name).write_text(content)
        (tmp_path / "good.yaml").write_text("[]")
        shown = "" if reason is None else f": {reason}"
        shown = shown or " holds neither a list of clusters nor an object with one under 'clusters'"

        assert f"{tmp_path / name}{shown}" == await failure(sources, tmp_path)
        assert f"{tmp_path / name}{shown}" == await failure(sources, tmp_path / name)

    async def test_not_even_records_are_shown(self, sources: LiveSources, tmp_path: Path) -> None:
        """A list of something else is rejected record by record without a word of it."""
        path = tmp_path / "tokens.json"
        path.write_text(f'["{SECRET}", ["{SECRET}"], {{"{SECRET}": "{SECRET}"}}]')

        found = await sources.ask(source_at(path))

        assert (0, 3, False) == (len(found.clusters), len(found.rejected), SECRET in str(found))


@settings(max_examples=150)
@given(
    name=st.sampled_from(["a.yaml", "a.json"]),
    changes=st.lists(
        st.tuples(st.integers(0, len(OLD) - 1), st.binary(max_size=3) | st.sampled_from([b"[", b"*", b"&a ", b"\n"])),
        max_size=5,
    ),
)
async def test_no_content_breaks_it(
    sources_for_all: LiveSources, folder: Path, name: str, changes: list[tuple[int, bytes]]
) -> None:
    """A file with anything in it is clusters and rejected records with reasons, or one sentence that names the file."""
    content = bytearray(OLD.encode())
    for place, new in changes:
        content[place : place + 1] = new
    (folder / name).write_bytes(content)

    told: object
    try:
        told = await sources_for_all.ask(source_at(folder / name))
    except SourceError as error:
        told = str(error)

    assert isinstance(told, Found) or str(folder / name) in str(told)
    assert not isinstance(told, Found) or all(rejected.reason for rejected in told.rejected)


class TestFiles:
    async def test_that_cannot_be_read(self, sources: LiveSources, tmp_path: Path) -> None:
        """Missing, empty of files, too large, no text, a pipe, a device: said at once, and waited for by nobody."""
        (tmp_path / "empty").mkdir()
        (tmp_path / "large.yaml").write_text(" " * 5_000)
        (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
        os.mkfifo(tmp_path / "pipe.yaml")
        started = time.monotonic()

        missing = await failure(sources, tmp_path / "no")
        empty = await failure(sources, tmp_path / "empty")
        large = await failure(sources, tmp_path / "large.yaml")
        binary = await failure(sources, tmp_path / "binary.yaml")
        pipe = await failure(sources, tmp_path / "pipe.yaml")
        device = await failure(sources, Path("/dev/zero"))

        assert f"cannot read {tmp_path}/no: No such file or directory" == missing
        assert "the folder has no files that end with .yaml, .yml or .json" == empty
        assert "its files are larger than 4096 bytes" == large
        assert f"{tmp_path}/binary.yaml is not UTF-8 text (at byte 0)" == binary
        assert f"cannot read {tmp_path}/pipe.yaml: it is not a regular file" == pipe
        assert "cannot read /dev/zero: it is not a regular file" == device
        assert time.monotonic() - started < 2.0

    async def test_together_have_a_size(self, sources: LiveSources, tmp_path: Path) -> None:
        """Many small files are as large as one large file."""
        for number in range(5):
            (tmp_path / f"{number}.yaml").write_text(f"[]{' ' * 1_000}")

        assert "its files are larger than 4096 bytes" == await failure(sources, tmp_path)

    async def test_too_many(self, sources: LiveSources, tmp_path: Path) -> None:
        """A folder of a million files is no source."""
        for number in range(file_module.FILES_MAX + 1):
            (tmp_path / f"{number}.yaml").touch()

        assert (await failure(sources, tmp_path)).startswith(f"the folder has more than {file_module.FILES_MAX} files")


class TestChanges:
    async def test_are_seen_by_stamp_and_read(self, sources: LiveSources, tmp_path: Path) -> None:
        """Each change of a file, of a folder's files, and of whether it can be read changes the stamp; the answer is new."""
        source, path = source_at(tmp_path), tmp_path / "a.yaml"
        stamps = [await sources.stamp(source)]
        path.write_text("[{cluster_id: a, nodes: []}]")
        stamps.append(await sources.stamp(source))
        first = await ids(sources, tmp_path)
        again = await sources.stamp(source)
        path.write_text("[{cluster_id: b, nodes: []}]")
        stamps.append(await sources.stamp(source))
        second = await ids(sources, tmp_path)
        (tmp_path / "b.yaml").write_text("[]")
        stamps.append(await sources.stamp(source))
        path.unlink()
        stamps.append(await sources.stamp(source))

        assert (["a"], ["b"], stamps[1]) == (first, second, again)
        assert 5 == len(set(stamps))

    async def test_what_is_unchanged_is_not_parsed_again(self, tmp_path: Path) -> None:
        """Of a folder a changed file is parsed, its neighbours are not."""
        records = "".join(f"- {{cluster_id: c{number}, nodes: []}}\n" for number in range(20))
        for name in ("a.yaml", "b.yaml"):
            (tmp_path / name).write_text(records)
        backend = file_module.FileBackend(SourcesSettings())
        await backend.ask(source_at(tmp_path))
        before = {name: backend._parsed._files[str(tmp_path / name)] for name in ("a.yaml", "b.yaml")}
        (tmp_path / "a.yaml").write_text("[]")
        await backend.ask(source_at(tmp_path))
        after = {name: backend._parsed._files[str(tmp_path / name)] for name in ("a.yaml", "b.yaml")}

        assert (False, True) == tuple(before[name] is after[name] for name in ("a.yaml", "b.yaml"))

    async def test_a_disk_that_hangs_takes_no_others_with_it(self, tmp_path: Path) -> None:
        """However often it is looked at, one thread hangs for it; other sources are looked at and read as ever."""
        (tmp_path / "good.yaml").write_text("- {cluster_id: c, nodes: []}")
        hung, answers = str(tmp_path / "hung"), threading.Event()
        looks: list[str] = []

        def stamp(path: str) -> str:
            looks.append(path)
            if path == hung:
                answers.wait(60)
            return "as it was"

        backend = file_module.FileBackend(SourcesSettings(), stamp)
        bad, good = source_at(Path(hung)), source_at(tmp_path / "good.yaml")
        told = await asyncio.gather(*(backend.stamp(bad) for _ in range(200)))
        others = [await backend.stamp(good) for _ in range(3)]
        found = await backend.ask(good)
        answers.set()

        assert {"it cannot be looked at in time"} == set(told)
        assert (["as it was"] * 3, ["c"]) == (others, [cluster.cluster_id for cluster in found.clusters])
        assert 1 == looks.count(hung)

    async def test_many_sources_are_looked_at(self, tmp_path: Path) -> None:
        """More than there are threads: each waits for its turn, and none is told to hang."""
        backend = file_module.FileBackend(SourcesSettings())
        stamps = await asyncio.gather(*(backend.stamp(source_at(tmp_path / str(number))) for number in range(500)))

        assert "it cannot be looked at in time" not in stamps

    async def test_what_is_remembered_is_bounded(self, tmp_path: Path) -> None:
        """What was not needed for longest is forgotten."""
        cache = file_module._Cache(100)
        for number in range(5):
            cache.put(str(number), file_module._Parsed((0, 0, 0, 0), 40, []))
        cache.put("large", file_module._Parsed((0, 0, 0, 0), 101, []))

        assert [None, None, None, [], [], None] == [
            known and known.records for known in (cache.get(name, (0, 0, 0, 0)) for name in [*"01234", "large"])
        ]


async def test_a_small_file_that_unfolds_to_much(tmp_path: Path) -> None:
    """Labels that are written once and named by every node count at every node: that cluster alone is refused."""
    path = tmp_path / "fleet.yaml"
    labels = "".join(f"    k{number}: {'x' * 250}\n" for number in range(64))
    nodes = "".join(f"  - {{node_id: n{number}, agent_address: 'http://h:1', labels: *l}}\n" for number in range(1_000))
    path.write_text(f"- cluster_id: small\n  labels: &l\n{labels}  nodes: []\n- cluster_id: large\n  nodes:\n{nodes}")
    async with LiveSources(SourcesSettings()) as sources:
        found = await sources.ask(source_at(path))

    assert ["small"] == [cluster.cluster_id for cluster in found.clusters]
    assert ["cluster large"] == [rejected.what for rejected in found.rejected]
    assert path.stat().st_size < 100_000
