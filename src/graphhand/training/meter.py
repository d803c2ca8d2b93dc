"""Throughput of training, and the share of the time spent waiting for data."""

from __future__ import annotations

import time
from collections.abc import Iterator

from graphhand.data import HandBatch


class Meter:
    """Counts since it was last read.

    Args:
        processes: how many work side by side, each on batches of the same size.
    """

    def __init__(self, processes: int = 1) -> None:
        self._processes = processes
        self._start = self._lap = time.monotonic()
        self._waited = 0.0
        self._samples = 0

    def timed(self, batches: Iterator[HandBatch]) -> Iterator[HandBatch]:
        """The batches, the wait for each counted."""
        while True:
            start = time.monotonic()
            batch = next(batches, None)
            self._waited += time.monotonic() - start
            if batch is None:
                return
            yield batch

    def lap(self, samples: int) -> float:
        """Count a step of so many samples on this process; the seconds since the last one."""
        now = time.monotonic()
        elapsed, self._lap = now - self._lap, now
        self._samples += samples * self._processes
        return elapsed

    def restart(self) -> None:
        """Forget the time since the last reading: it went into something other than training."""
        self._start = self._lap = time.monotonic()
        self._waited, self._samples = 0.0, 0

    def read(self) -> dict[str, float]:
        """``samples_per_second`` over all processes, ``waiting`` as a share of this one's time."""
        elapsed = max(time.monotonic() - self._start, 1e-9)
        reading = {"samples_per_second": self._samples / elapsed, "waiting": self._waited / elapsed}
        self.restart()
        return reading
