"""OpenCV without its own warnings, which would stand between our lines."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

# The level is the process's: the first thread that asks for quiet ends the noise, the last brings it back.
_lock = threading.Lock()
_asking = 0
_level_before = 0


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """OpenCV without its own warnings."""
    global _asking, _level_before
    with _lock:
        if _asking == 0:
            _level_before = cv2.utils.logging.getLogLevel()
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        _asking += 1
    try:
        yield
    finally:
        with _lock:
            _asking -= 1
            if _asking == 0:
                cv2.utils.logging.setLogLevel(_level_before)
