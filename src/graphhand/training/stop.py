"""When to stop early: a deadline, or a signal that asks for it."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """A deadline and the signals received.

    Args:
        max_minutes: time allowed from now on; None for ever.
    """

    def __init__(self, max_minutes: float | None) -> None:
        self.deadline = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._signal: int | None = None

    def __bool__(self) -> bool:
        return self._signal is not None or time.monotonic() >= self.deadline

    @contextmanager
    def catching_signals(self) -> Iterator[None]:
        """SIGTERM and Ctrl-C are requests; a second Ctrl-C ends the run at once."""

        def stop(number: int, _: FrameType | None) -> None:
            if self._signal is not None and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._signal = number

        try:
            previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        except ValueError:  # only the main thread may; elsewhere the caller owns the signals
            previous = {}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
