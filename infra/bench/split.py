"""What a worker's CPU goes to, by part: stacks sampled by py-spy, each counted for the innermost frame that says a part.

A sampler sees Python frames only. What the event loop does in C with sockets has no frame of its own; it is shown as `loop`,
and is nearly all HTTP.
"""

import re
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.bench.cpu import spy, thread_names, threads_s
from infra.bench.errors import BenchError

RATE = 100
"""Samples per second; py-spy itself takes a few per cent of a core for it."""
GRACE_S = 30.0

PARTS: Sequence[tuple[str, tuple[str, ...]]] = (
    ("Prefect", ("(prefect/", "(httpx/", "(httpcore/", "(anyio/", "(websockets/", "(docket/", "(griffe/")),
    ("MongoDB", ("(pymongo/", "(bson/", "(blocks/store/", "(gridfs/")),
    ("ZooKeeper", ("(kazoo/", "(blocks/coordinator/")),
    ("Kafka", ("(confluent_kafka/", "(blocks/kafka/", "(blocks/work_queue/", "(blocks/event_bus/", "(cloudevents/")),
    (
        "decode",
        (
            "(blocks/agents/answers.py",
            "(blocks/agents/facts.py",
            "(blocks/agents/protocol_",
            "(blocks/agents/actions.py",
            "(blocks/agents/detection.py",
            "(blocks/models/look.py",
        ),
    ),
    ("HTTP", ("(aiohttp/", "(yarl/", "(multidict/", "(aiosignal/", "(frozenlist/", "(blocks/agents/", "(httptools/")),
    ("decide", ("(tasks/decide/",)),
    ("watch", ("(flows/watch.py", "(flows/turns.py", "(tasks/targets.py")),
    ("cycle", ("(flows/", "(tasks/")),
)
"""By part, what a frame of it says; the first part that fits a frame counts, and the innermost frame that fits any."""
_THREAD = re.compile(r"thread \(([0-9]+)\): (.*)")
LOOP = ("(asyncio/runners.py", "(asyncio/base_events.py", "(uvloop/", "Runner.run")
PARTS_ALL = (*(name for name, _ in PARTS), "loop", "other")


@dataclass(frozen=True, slots=True)
class Split:
    """What a process did while it was measured."""

    wall_s: float
    cpu_s: Mapping[str, float]
    """By part, seconds of CPU."""
    threads_s: Mapping[str, float]
    """By name of a thread, seconds of CPU as the kernel counts them."""
    top: Sequence[tuple[str, int]]
    """The frames that were innermost most often, with their samples."""

    @property
    def total_s(self) -> float:
        """All CPU."""
        return sum(self.cpu_s.values())

    def shares(self) -> dict[str, float]:
        """By part, its share of all; they add up to one."""
        total = self.total_s
        return {part: self.cpu_s.get(part, 0.0) / total if total else 0.0 for part in PARTS_ALL}


def sampled(pid: int, seconds: float) -> Split:
    """Sample a process for some time; each thread's CPU, as the kernel counts it, is split by the thread's samples.

    Raises:
        BenchError: py-spy is not there, or may not look.
    """
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "stacks"
        command = [spy(), "record", "--nonblocking", "--threads", "--format", "raw", "--rate", str(RATE)]
        command += ["--duration", str(max(1, round(seconds))), "--output", str(into), "--pid", str(pid)]
        began, before = time.monotonic(), threads_s(pid)
        try:
            done = subprocess.run(command, capture_output=True, timeout=seconds + GRACE_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            message = f"py-spy did not sample process {pid}: {error}"
            raise BenchError(message) from error
        wall_s, after = time.monotonic() - began, threads_s(pid)
        if not into.exists():
            message = f"py-spy could not sample process {pid}: {done.stderr.decode(errors='replace')[-500:]}"
            raise BenchError(message)
        used = {tid: max(0.0, cpu - before.get(tid, 0.0)) for tid, cpu in after.items()}
        return split_of(into.read_text(errors="replace"), used, thread_names(pid), wall_s)


def split_of(stacks: str, used: Mapping[int, float], names: Mapping[int, str], wall_s: float) -> Split:
    """Sort collapsed stacks (`thread (ID): NAME;frame;... number` per line) into parts.

    Args:
        stacks: what py-spy wrote.
        used: by thread id, seconds of CPU.
        names: by thread id, what the kernel calls it: for threads that no stack is of.
        wall_s: for how long was sampled.
    """
    samples: dict[int, Counter[str]] = {}
    said: dict[int, str] = {}
    top: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, number = line.rpartition(" ")
        frames = stack.split(";")
        thread = _THREAD.match(frames[0])
        if thread is None or not number.isdigit():
            continue
        tid = int(thread[1])
        said[tid] = thread[2]
        samples.setdefault(tid, Counter())[part_of(frames)] += int(number)
        top[frames[-1]] += int(number)
    cpu_s: defaultdict[str, float] = defaultdict(float)
    threads: defaultdict[str, float] = defaultdict(float)
    for tid, seconds in used.items():
        name = said.get(tid, names.get(tid, "gone"))
        threads[name] += seconds
        found = _on_cpu(samples.get(tid, Counter()), seconds) or Counter({_by_name(name): 1})
        for part, times in found.items():
            cpu_s[part] += seconds * times / found.total()
    return Split(wall_s, cpu_s, threads, top.most_common(25))


def _on_cpu(samples: Counter[str], seconds: float) -> Counter[str]:
    """The samples of a thread without those in which it only waited: there are more than its CPU explains, and a loop that
    waits looks like one that works.
    """
    waited = max(0, samples.total() - round(seconds * RATE))
    return +Counter({**samples, "loop": max(0, samples["loop"] - waited)})


def part_of(frames: Sequence[str]) -> str:
    """The part of a stack, its outermost frame (the thread) first."""
    for frame in reversed(frames[1:]):
        if any(word in frame for word in LOOP):
            return "loop"
        for part, words in PARTS:
            if any(word in frame for word in words):
                return part
    return _by_name(frames[0])


def _by_name(thread: str) -> str:
    """Threads without a frame of ours are known by their names."""
    for part, words in _NAMES:
        if any(word in thread for word in words):
            return part
    return "other"


_NAMES = (
    ("loop", ("MainThread",)),
    ("ZooKeeper", ("zk_loop", "kazoo")),
    ("Kafka", ("rdk:", "kafka")),
    ("HTTP", ("agents-resolver",)),
    ("Prefect", ("GlobalEventLoop", "APILog", "EventsWorker", "observer_thread", "(run)", "_thread_worker")),
)
