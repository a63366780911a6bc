"""Clusters that are written down: a YAML or JSON file, or all such files of a folder, as a list or under `clusters`.

Guarantees: an answer is everything that stands there, or no answer: one broken file of a folder costs the whole. Files are
read and parsed off the event loop, in threads of their own, one look at a path at a time (a disk that hangs does not take
others with it); those that have not changed are not parsed again. Sizes and counts are capped; only regular files are read. Errors name file, line and
column and never show what stands there: a source may point at anything.
Failure modes: no such file, not readable, not understood, being written. Write a new file and rename it: half a file may look
like a whole one.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from blocks.documents import DocumentError, read_json, read_yaml
from blocks.errors import SourceError
from blocks.files import SIZE, FileError, Stamp, read_file, stamp_of
from blocks.models.source import Source
from blocks.sources.pages import Page
from blocks.sources.protocol import Found
from blocks.sources.records import Collector
from blocks.sources.settings import SourcesSettings
from blocks.threads import BusyThreadsError, Threads

FILES_MAX = 1_000
ENTRIES_MAX = 10_000
THREADS_MAX = 64
"""So many looks that hang at once; a source has two kinds of them."""
BUSY_AGAIN_S = 0.01
STAMP_WITHIN_S = 1.0
"""Local files answer within milliseconds; one on a disk that hangs is news anyway."""
CACHE_BYTES_MAX = 64 * 1024 * 1024
_SUFFIXES = {".yaml", ".yml", ".json"}


class FileBackend:
    """The sources with `Source.file`. There is nothing to close."""

    def __init__(self, settings: SourcesSettings, stamp: Callable[[str], str] | None = None) -> None:
        """Take limits, and what looks at a path (for tests: it may hang)."""
        self._settings = settings
        self._stamp_at = stamp or stamp_at
        self._threads = Threads("file-sources", THREADS_MAX)
        self._looking: dict[tuple[str, str], asyncio.Future[Any]] = {}
        self._parsed = _Cache(CACHE_BYTES_MAX)

    async def ask(self, source: Source) -> Found:
        """See `Backend.ask`."""
        path = "" if source.file is None else source.file.path
        found: Found = await self._look("read", path, lambda: self._read(path))
        return found

    async def stamp(self, source: Source) -> str | None:
        """Changes with the names, sizes and times of the files."""
        path = "" if source.file is None else source.file.path
        try:
            async with asyncio.timeout(STAMP_WITHIN_S):
                stamp: str = await self._look("stamp", path, lambda: self._stamp_at(path))
        except TimeoutError:
            return "it cannot be looked at in time"
        return stamp

    async def _look(self, what: str, path: str, call: Callable[[], Any]) -> Any:
        """One look of a kind at a path at a time: whoever asks while a disk hangs waits for the same one."""
        while (looking := self._looking.get((what, path))) is None:
            try:
                looking = self._threads.run(call)
            except BusyThreadsError:  # there are more sources than threads; whoever asks has a deadline
                await asyncio.sleep(BUSY_AGAIN_S)
                continue
            self._looking[what, path] = looking
            looking.add_done_callback(lambda done: self._done((what, path), done))
            break
        return await asyncio.shield(looking)

    def _done(self, key: tuple[str, str], looking: asyncio.Future[Any]) -> None:
        self._looking.pop(key, None)
        if not looking.cancelled():
            looking.exception()  # whoever waited for it may have gone

    def _read(self, path: str) -> Found:
        collector = Collector(self._settings)
        left = self._settings.body_bytes_max
        for file, name in _files(path):
            parsed = self._records(file, left)
            left -= parsed.size
            collector.add(Page(parsed.records, None, name))
        return collector.found()

    def _records(self, path: str, bytes_max: int) -> _Parsed:
        stamp = stamp_of(path)
        known = self._parsed.get(path, stamp)
        if known is not None and known.size <= bytes_max:
            return known
        if stamp is not None and stamp[SIZE] > bytes_max:
            message = f"its files are larger than {self._settings.body_bytes_max} bytes"
            raise SourceError(message)
        try:
            content, stamp = read_file(path, bytes_max)
        except FileError as error:
            raise SourceError(str(error)) from error
        parsed = _Parsed(stamp, len(content), _records_in(path, content))
        self._parsed.put(path, parsed)
        return parsed


def stamp_at(path: str) -> str:
    """A short text that changes when a file, or a file of a folder, may have changed."""
    digest = hashlib.sha256()
    try:
        for file, name in _files(path):
            digest.update(repr((name, stamp_of(file))).encode())
    except SourceError as error:
        digest.update(str(error).encode("utf-8", "replace"))
    return digest.hexdigest()[:16]


def _files(path: str) -> Iterator[tuple[str, str]]:
    """The files that a source is made of, sorted, each with the name to show."""
    if not os.path.isdir(path):  # noqa: PTH112 - a path may be none at all, for which this is simply false
        yield path, Path(path).name
        return
    names = []
    try:
        with os.scandir(path) as entries:
            for number, entry in enumerate(entries):
                if number >= ENTRIES_MAX:
                    message = f"the folder has more than {ENTRIES_MAX} entries"
                    raise SourceError(message)
                if not entry.name.startswith(".") and Path(entry.name).suffix in _SUFFIXES and not entry.is_dir():
                    names.append(entry.name)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise SourceError(message) from error
    if not names or len(names) > FILES_MAX:
        what = f"more than {FILES_MAX}" if names else "no"
        message = f"the folder has {what} files that end with .yaml, .yml or .json"
        raise SourceError(message)
    for name in sorted(names):
        yield str(Path(path) / name), name


def _records_in(path: str, content: bytes) -> list[object]:
    try:
        value = _value(path, content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        message = f"{path} is not UTF-8 text (at byte {error.start})"
        raise SourceError(message) from error
    except DocumentError as error:
        message = f"{path}: {error}"
        raise SourceError(message) from error
    records = value.get("clusters") if isinstance(value, dict) else value
    if not isinstance(records, list):
        message = f"{path} holds neither a list of clusters nor an object with one under 'clusters'"
        raise SourceError(message)
    return records


def _value(path: str, text: str) -> object:
    if Path(path).suffix == ".json":
        return read_json(text)
    documents = read_yaml(text)
    if len(documents) > 1:
        raise DocumentError("it has more than one YAML document")  # noqa: TRY003 - said in one place only
    return documents[0] if documents else None


@dataclass(frozen=True, slots=True)
class _Parsed:
    """What stands in a file."""

    stamp: Stamp
    size: int
    records: list[object]


class _Cache:
    """What stood in files when they were last parsed, up to so many bytes of them. For threads."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._files: OrderedDict[str, _Parsed] = OrderedDict()
        self._lock = Lock()

    def get(self, path: str, stamp: Stamp | None) -> _Parsed | None:
        """What stands in a file, if that is known."""
        with self._lock:
            known = self._files.get(path)
            if known is None or known.stamp != stamp:
                return None
            self._files.move_to_end(path)
            return known

    def put(self, path: str, parsed: _Parsed) -> None:
        """Remember; forget what was not needed for longest."""
        with self._lock:
            before = self._files.pop(path, None)
            self._bytes -= 0 if before is None else before.size
            if parsed.size <= self._bytes_max:
                self._files[path] = parsed
                self._bytes += parsed.size
            while self._bytes > self._bytes_max:
                self._bytes -= self._files.popitem(last=False)[1].size
