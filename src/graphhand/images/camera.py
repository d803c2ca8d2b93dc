"""A camera of this machine, whose pictures are read as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import cv2

from graphhand.errors import InputError
from graphhand.images.quiet import quiet_opencv
from graphhand.images.video import Frame, plausible_fps


def camera_path(number: int) -> Path:
    """What stands for a camera's name where files have theirs: ``camera_0``."""
    return Path(f"camera_{number}")


class LiveCamera:
    """Gives the newest picture, whenever one is asked for, until it is closed.

    Pictures are as the camera sees, not mirrored as video calls show them.

    Args:
        number: which camera, from 0, in the operating system's order.

    Attributes:
        path: its :func:`camera_path`.
        fps: frames a second that the camera promises; 25 where it does not say.
        claimed: None, nobody knows how many frames there will be.
        live: True.
        irregular: True, pictures come when they come.

    Raises:
        InputError: there is no such camera, or it may not be used.
    """

    live = True
    irregular = True

    def __init__(self, number: int) -> None:
        self.path = camera_path(number)
        with quiet_opencv():
            self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise InputError(self.path, "cannot be opened", "connect it, allow its use, or give another number")
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # pictures that waited show what was
        self.fps = plausible_fps(self._capture.get(cv2.CAP_PROP_FPS))
        self.claimed: int | None = None

    def __iter__(self) -> Iterator[Frame]:
        """Frames without end; their times are those at which they came.

        Raises:
            InputError: the camera gives no picture, or no more.
        """
        number, first, last_s = 0, 0.0, 0.0
        while True:
            with quiet_opencv():
                there, pixels = self._capture.read()
            now = time.perf_counter()
            if not there:
                problem = f"stopped after {number} pictures" if number else "gives no picture"
                raise InputError(self.path, problem, "see whether another program holds it")
            first = now if number == 0 else first
            time_s = now - first
            if number > 0 and time_s <= last_s:
                time_s = last_s + 1e-6
            yield Frame(number, time_s, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
            number, last_s = number + 1, time_s

    def close(self) -> None:
        """Let go of the camera."""
        self._capture.release()

    def __enter__(self) -> LiveCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
