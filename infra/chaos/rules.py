"""The eight rules, each a pure function from a history to what is wrong with it. No clock, no server, no file."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from infra.chaos.history import OWNED, Fence, History, Pulse, Step, Write
from infra.chaos.replay import first_copies, replayed
from infra.chaos.settings import AGENT_TIMEOUT_S, INTERVAL_S

SENDING_S = AGENT_TIMEOUT_S + 0.5
"""Whoever saw no gate may send for so long after one was placed."""
LATE_S = 1.0
"""So much later than a newer fence an effect may come: times of two recorders are compared."""
UNSEEN_MAX_S = 2 * INTERVAL_S + 5.0
RECOVER_MAX_S = 15.0
FLICKER_S = 2.0
"""A shift that ends hands over: for so long a seat or a duty may be between two workers, and something may be late on a machine
that is. Nothing else may be ill again."""
FINAL = frozenset({"DONE", "FAILED", "LOST", "CANCELLED"})
_ACTIONS = ("io.replicante.action.created", "io.replicante.action.changed", "io.replicante.action.finished")


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be."""

    rule: int
    at: float
    """When; 0 where there is no moment."""
    subject: str
    says: str


def once(history: History) -> Iterator[Violation]:
    """1: an action took effect at most once, and only because somebody ordered it."""
    accepted: dict[str, list[Step]] = defaultdict(list)
    by_order: dict[int, set[str]] = defaultdict(set)
    ended: Counter[str] = Counter()
    for step in history.steps:
        if step.phase == "NEW":
            accepted[step.action].append(step)
            if step.order is not None:
                by_order[step.order].add(step.action)
        ended[step.action] += step.phase in FINAL
    for action, steps in accepted.items():
        if len(steps) > 1:
            nodes = ", ".join(step.node for step in steps)
            yield Violation(1, steps[1].at, action, f"was begun {len(steps)} times: {nodes}")
        if ended[action] > 1:
            yield Violation(1, steps[0].at, action, f"ended {ended[action]} times")
        if action not in history.final.actions:
            yield Violation(1, steps[0].at, action, "took effect, and nobody knows of it")
    for order, actions in by_order.items():
        if len(actions) > 1:
            yield Violation(1, 0.0, f"order {order}", f"took effect as {len(actions)} actions: {sorted(actions)}")


def fenced(history: History) -> Iterator[Violation]:
    """2: nothing took effect without an intent that was saved before, nor under a lock that had been superseded."""
    intents = _intents(history.writes)
    newer = _fences(history.writes)
    newest: dict[str, Fence] = {}
    for step in history.steps:
        if step.phase != "NEW":
            continue
        if step.fence is None:
            yield Violation(2, step.at, step.action, f"took effect at {step.node} without a fencing token")
            continue
        saved = intents.get((step.action, step.fence))
        if saved is None or saved > step.at + LATE_S:
            yield Violation(
                2, step.at, step.action, f"took effect at {step.node} under {step.fence}, no such intent was saved"
            )
        sent_at = step.at if step.sent_at is None else min(step.at, step.sent_at)
        for fence, since in newer.get(history.homes.get(step.node, ""), ()):
            if fence > step.fence and since + LATE_S < sent_at:
                yield Violation(
                    2, step.at, step.action, f"was sent to {step.node} under {step.fence}, after {fence} was seen"
                )
                break
        if step.sent_at is None and newest.get(step.node, step.fence) > step.fence:
            yield Violation(2, step.at, step.action, f"{step.node} took {step.fence} after {newest[step.node]}")
        newest[step.node] = max(newest.get(step.node, step.fence), step.fence)


def gated(history: History) -> Iterator[Violation]:
    """3: nothing began in a freeze or blackout, and never more at once than a budget allows."""
    for step in history.steps:
        if step.phase != "NEW":
            continue
        sent_at = step.at if step.sent_at is None else min(step.at, step.sent_at)
        cluster = history.homes.get(step.node, "")
        for span in history.spans:
            in_front = span.where in {"everything", cluster, cluster.partition("/")[0]}
            if in_front and span.since + SENDING_S < sent_at < span.until:
                says = f"began at {step.node} while {span.where} was closed, {sent_at - span.since:.1f} s after that"
                yield Violation(3, step.at, step.action, says)
    for namespace, most in history.budgets.items():
        yield from _over_budget(history, namespace, most)


def _over_budget(history: History, namespace: str, most: int) -> Iterator[Violation]:
    active: dict[str, set[str]] = defaultdict(set)
    for step in history.steps:
        if not history.homes.get(step.node, "").startswith(f"{namespace}/"):
            continue
        if step.phase in FINAL:
            active[step.node].discard(step.action)
            if not active[step.node]:
                del active[step.node]
        elif step.phase == "NEW":
            active[step.node].add(step.action)
            if len(active) > most:
                says = f"{len(active)} nodes of {namespace} were acted on at once, {most} may be: {sorted(active)}"
                yield Violation(3, step.at, step.action, says)


def executed(history: History) -> Iterator[Violation]:
    """4: what was accepted and what was due was executed, or waits visibly, with a reason."""
    final = history.final
    for order in history.orders:
        if order.accepted is False:
            continue
        state = final.actions.get(order.action)
        if state is None and order.accepted:
            yield Violation(4, 0.0, order.action, f"order {order.number} was accepted, and nobody knows of it")
        elif state is not None and state not in FINAL and not final.waiting.get(order.action):
            yield Violation(4, 0.0, order.action, f"order {order.number} is {state}, and nothing says why")
    for cluster, unseen_s in final.unseen_s.items():
        if unseen_s is None or unseen_s > UNSEEN_MAX_S:
            says = "was never seen" if unseen_s is None else f"was last seen {unseen_s:.0f} s before the end"
            yield Violation(4, 0.0, cluster, says)
    for key, says in final.stuck.items():
        yield Violation(4, 0.0, key, says)


def told(history: History) -> Iterator[Violation]:
    """5: each stream without hole and in order, doubles only as exact copies, and the state is what the events tell."""
    last: dict[str, int] = defaultdict(int)
    known: dict[str, str] = {}
    for event in history.told:
        if event.id in known:
            if known[event.id] != event.digest:
                yield Violation(5, 0.0, event.stream, f"event {event.sequence} came again and was another")
            continue
        known[event.id] = event.digest
        if event.sequence != last[event.stream] + 1:
            yield Violation(5, 0.0, event.stream, f"event {event.sequence} came after {last[event.stream]}")
        last[event.stream] = max(last[event.stream], event.sequence)
    waiting = Counter(event.stream for event in history.final.untold if event.id not in known)
    for stream, number in history.final.streams.items():
        if last[stream] + waiting[stream] != number:
            says = f"{number} events are stored, {last[stream]} are on the bus, {waiting[stream]} wait"
            yield Violation(5, 0.0, stream, says)
    yield from _not_as_told(history)


def _not_as_told(history: History) -> Iterator[Violation]:
    final, heard = history.final, replayed((*history.told, *history.final.untold))
    for what, stored, said in (
        ("action", final.actions, heard.actions),
        ("node", final.nodes, heard.nodes),
        ("cluster", final.healths, heard.healths),
    ):
        for key in sorted(stored.keys() | said.keys()):
            if stored.get(key) != said.get(key):
                yield Violation(5, 0.0, f"{what} {key}", f"is {stored.get(key)}, events tell {said.get(key)}")


def alone(history: History) -> Iterator[Violation]:
    """6: of a cluster's records, each transaction carries a fence, and fences never go back: holders are not interleaved."""
    current: dict[str, Fence] = {}
    for _, group in groupby(history.writes, key=_transaction):
        writes = list(group)
        fences = {write.key: _fence(write, current) for write in writes if write.collection == "fences"}
        for subject, fence in fences.items():
            before = current.get(subject)
            if fence is not None and before is not None and fence < before:
                yield Violation(6, writes[0].at, subject, f"written under {fence} after {before}")
            if fence is not None:
                current[subject] = fence
        bare = {_cluster(write) for write in writes if write.collection in OWNED and write.op != "delete"}
        for cluster in sorted(bare - fences.keys()):
            yield Violation(6, writes[0].at, cluster, "was written without a fence")


def settled(history: History) -> Iterator[Violation]:
    """7: final states never moved."""
    ended: dict[str, str] = {}
    for write in history.writes:
        if write.collection != "actions" or "state" not in write.document or write.op == "delete":
            continue
        state = str(write.document["state"])
        if write.key in ended and ended[write.key] != state:
            yield Violation(7, write.at, write.key, f"was {ended[write.key]} and became {state}")
        if state in FINAL:
            ended.setdefault(write.key, state)
    over: dict[str, str] = {}
    for event in first_copies(history.told):
        if not event.type.startswith(_ACTIONS):
            continue
        action, state = str(event.data.get("action_id")), str(event.data.get("state"))
        if action in over and over[action] != state:
            yield Violation(7, 0.0, action, f"was told of as {over[action]}, then as {state}")
        if state in FINAL:
            over.setdefault(action, state)


def recovered(history: History) -> Iterator[Violation]:
    """8: soon after the last fault all is well, and stays so until the end."""
    if history.holes:
        yield Violation(8, 0.0, "the record", "; ".join(history.holes))
    last = max((fault.over for fault in history.faults if fault.outcome == "done"), default=history.begun)
    pulses = [pulse for pulse in history.pulses if pulse.at >= last]
    if not pulses:
        yield Violation(8, last, "everything", "nobody looked after the last fault")
        return
    well = next((pulse.at for pulse in pulses if not pulse.ill), None)
    if well is None or well - last > RECOVER_MAX_S:
        when = "never" if well is None else f"{well - last:.1f} s after the last fault"
        yield Violation(8, last, "everything", f"was well {when}; ill was {'; '.join(pulses[0].ill)}")
    else:
        yield from _ill_again(pulses, last)
    for cluster, health in sorted(history.final.healths.items()):
        if health != "HEALTHY":
            yield Violation(8, 0.0, cluster, f"is {health} at the end")


def _ill_again(pulses: Iterable[Pulse], last: float) -> Iterator[Violation]:
    since: float | None = None
    for pulse in pulses:
        since = None if not pulse.ill else pulse.at if since is None else since
        if since is None or pulse.at - last <= RECOVER_MAX_S:
            continue
        if not set(pulse.ill) <= set(pulse.passing) or pulse.at - since > FLICKER_S:
            says = f"was ill {pulse.at - last:.1f} s after the last fault: {'; '.join(pulse.ill)}"
            yield Violation(8, pulse.at, "everything", says)
            return


RULES: Mapping[int, Callable[[History], Iterator[Violation]]] = {
    1: once, 2: fenced, 3: gated, 4: executed, 5: told, 6: alone, 7: settled, 8: recovered,
}  # fmt: skip
"""All of them, by number."""


def judge(history: History) -> tuple[Violation, ...]:
    """Everything that is wrong, rule by rule."""
    return tuple(violation for rule in RULES.values() for violation in rule(history))


def _intents(writes: Iterable[Write]) -> dict[tuple[str, Fence], float]:
    """By action and fence, when an intent was first saved."""
    found: dict[tuple[str, Fence], float] = {}
    for write in writes:
        intent = write.document.get("intent") if write.collection == "actions" else None
        if intent:
            found.setdefault((write.key, (intent["generation"], intent["token"])), write.at)
    return found


def _fences(writes: Iterable[Write]) -> dict[str, list[tuple[Fence, float]]]:
    """By subject, its fences and when each was first seen."""
    current: dict[str, Fence] = {}
    found: dict[str, list[tuple[Fence, float]]] = defaultdict(list)
    for write in writes:
        if write.collection != "fences":
            continue
        fence = _fence(write, current)
        if fence is not None and fence != current.get(write.key):
            current[write.key] = fence
            found[write.key].append((fence, write.at))
    return found


def _fence(write: Write, current: Mapping[str, Fence]) -> Fence | None:
    """Under which fence it was written: a change tells only what is new."""
    generation, token = current.get(write.key, (None, None))
    generation, token = write.document.get("generation", generation), write.document.get("token", token)
    return None if generation is None or token is None else (int(generation), int(token))


def _transaction(write: Write) -> object:
    return write.transaction if write.transaction is not None else (write.at, write.key)


def _cluster(write: Write) -> str:
    return write.key.rpartition("/")[0] if write.collection == "nodes" else write.key
