"""How much a process grows while something is measured in it."""

from __future__ import annotations

import os
import threading

import psutil

SAMPLE_EVERY_S = 0.005


class Growth(threading.Thread):
    """By how many bytes this process has grown at most."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(os.getpid())
        self._before = self._process.memory_info().rss
        self._over = threading.Event()
        self.bytes = 0

    def run(self) -> None:
        """Look again and again."""
        while not self._over.wait(SAMPLE_EVERY_S):
            self.bytes = max(self.bytes, self._process.memory_info().rss - self._before)

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()
