"""How often Python looks for garbage: seldom in a worker, which makes many small facts and next to no cycles of them.

As it comes, Python looks after every 700 new objects, and now and then through all of the half a million that imports made:
measured, that was almost half of a worker's CPU (docs/performance.md). What is there when a shift begins is set aside instead,
and the rest is looked through after many more new objects. What no cycle holds is freed at once, as always.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

OLDER = 20
"""So many looks at the youngest objects before one at those that are older, and so on."""


@contextmanager
def seldom_collected(after: int) -> Iterator[None]:
    """For the time of the block, set aside what is there, and look for garbage after so many new objects; 0 changes nothing."""
    if after <= 0:
        yield
        return
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(after, OLDER, OLDER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
