"""The store on MongoDB.

Guarantees (those of `Store`), and how: one transaction with majority writes per `commit` and per batch of `seen`, with
the fence's document written in it; sequences counted in the same transaction; work by compare-and-set on versions.

Failure modes:
- No server, no primary, no answer: `DependencyUnavailableError` within `timeout_s`. The client recovers by itself.
- The caller is cancelled: it goes at once, the call runs on to its end within its deadline (`mongodb_calls`), and the
  outcome is unknown. `close` waits a little for such calls; `release_work` waits for those that were given up before it.
- The answer is lost: the driver repeats what it safely can within the deadline; after that the outcome is unknown and the
  caller reads again.
- A superseded holder: `FencedError`; its transaction collides with the claim of the newer one or comes to see it.
- A process dies within a transaction: what it had touched is free again after about 2 s (`mongodb_transactions`).
- Two change the same thing at once: transactions are repeated within the deadline, work items a bounded number of times.
"""

from __future__ import annotations

from blocks.store.mongodb_faults import Faults
from blocks.store.mongodb_records import Records
from blocks.store.mongodb_schema import Schema
from blocks.store.mongodb_work import Work
from blocks.store.protocol import Store


class MongoStore(Records, Work, Schema, Faults, Store):
    """The live `Store`: `async with MongoStore(settings) as store`.

    Belongs to the event loop in which it is connected. Needs no server to be made; ask `ready()` whether there is one.
    """
