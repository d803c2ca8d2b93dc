"""Videos and cameras: frames as upright ``(H, W, 3)`` uint8 RGB arrays with their times.

OpenCV's own FFmpeg decodes. It reads as many frames as it can of a damaged file without an error, so frames
are counted, and their times compared, against what the file claims to hold.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import cv2
import numpy as np

from graphhand.errors import InputError
from graphhand.io.files import refuse_address, scheme_of
from graphhand.io.images import MAX_PIXELS, quiet_opencv, turn_upright
from graphhand.io.mp4 import read_video_track
from graphhand.types import Image

# Silences FFmpeg; OpenCV reads it when it opens its first video.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

VIDEO_SUFFIXES = frozenset((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".mts", ".3gp", ".wmv"))
"""File name endings (lower case) that are taken for a video's."""

STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "udp")
"""Network addresses that :class:`LiveCamera` opens begin with one of these and ``://``."""

_TIMEOUT_MS = 10_000
_DEFAULT_FPS = 25.0
_MAX_FPS = 1000.0
_MAX_UNCOUNTED_FPS = 250.0
_RECORDING_FPS = 30.0
# Matroska and WebM, ASF (WMV): frames have times, but the header tells neither how many there are nor their rate.
# FFmpeg guesses a rate, for a browser's or a screen's recording often 1,000, and from it OpenCV a number.
_UNCOUNTED_CONTAINERS = (b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75")
# Frames whose distances differ by less are evenly spaced: times are rounded, in old files to milliseconds.
_EVEN_S, _EVEN = 0.0025, 0.1
_FASTEST_FPS = 60.0
_UNCOUNTED = 0.05  # containers estimate how many frames they hold
_DECODING_DELAY_S = 1.0  # edit lists of whole files begin at most so late: frames are not stored in their order


class Frame(NamedTuple):
    """One image of a video.

    Attributes:
        number: from 0.
        time_s: seconds since the first frame; always later than the one before.
        image: (H, W, 3) uint8 RGB, upright.
    """

    number: int
    time_s: float
    image: Image


class Video:
    """A video file, whose frames are read once, in order.

    Attributes:
        path: the file.
        fps: frames a second, on average; 25 where the file does not say. Where ``irregular``, a rate that keeps most
            frames apart.
        claimed: how many frames the file says it shows, or by its length about shows, or None.
        live: False: frames wait until they are read.
        irregular: whether frames are not evenly spaced, or may not be, so that only their times tell when to show them.
        frame_sizes: widths and heights that MP4 and QuickTime files state for their frames, as stored. Where there are
            several, frames are scaled to the size of the first frame, whatever their shape. Empty for other containers.

    Raises:
        InputError: the file is missing, is no file, cannot be read, is no video, or has frames larger than
            :data:`MAX_PIXELS`.
    """

    live = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if isinstance(path, int):
            raise InputError(f"camera {path}", "is not a file", f"use LiveCamera({path})")
        if scheme_of(path) in STREAM_SCHEMES:
            raise InputError(path, "is a stream, not a file", "use LiveCamera")
        refuse_address(path)
        self.path = Path(path)
        source = os.fspath(path)
        try:
            if not self.path.exists():
                raise InputError(source, "no such file", "check the path")
            if not self.path.is_file():
                raise InputError(source, "is not a file", "give a video file")
            with self.path.open("rb") as file:
                start = file.read(4)
                if not start:
                    raise InputError(source, "is empty (0 bytes)", "copy or download it again")
            name = ffmpeg_name(self.path)
        except OSError as error:
            raise InputError(source, f"cannot be read ({error.strerror or error})", "check its permissions") from error
        with quiet_opencv():
            # By FFmpeg alone: other readers of OpenCV take a name for a pattern of names.
            self._capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            remedy = "copy it again, or convert it to MP4 (H.264)"
            raise InputError(source, "is no video that can be read, or is cut short", remedy)
        width, height = (int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_PIXELS:
            allowed = f"the {MAX_PIXELS // 1_000_000} megapixels allowed"
            raise InputError(source, f"has frames of {width} x {height} pixels, more than {allowed}", "shrink it first")
        track = read_video_track(self.path)
        self._orientation = 1
        self.frame_sizes: tuple[tuple[int, int], ...] = () if track is None else track.frame_sizes
        if track is not None:  # OpenCV takes a mirrored image for a turned one
            self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
            self._orientation = track.orientation
        stated = self._capture.get(cv2.CAP_PROP_FPS)
        claimed = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = plausible_fps(stated)
        self._uncounted = start in _UNCOUNTED_CONTAINERS
        if self._uncounted and stated > _MAX_UNCOUNTED_FPS:
            self.fps = _RECORDING_FPS
        self._claimed_s = claimed / (stated if stated > 0 else self.fps)
        if track is not None and len(track.durations_s):  # OpenCV also counts what the edit list leaves out
            claimed, self._claimed_s = len(track.durations_s), float(track.durations_s.sum())
        elif track is not None and track.start_s > _DECODING_DELAY_S:  # FFmpeg takes what is left out for length
            claimed = 0
        count = self._claimed_s * self.fps if self._uncounted else claimed
        self.claimed = max(1, round(count)) if 0 < claimed < 2**31 else None
        self.irregular = self._uncounted
        durations_s = np.zeros(0) if track is None else track.durations_s[:-1]  # the last is often made up
        if len(durations_s) and np.ptp(durations_s) > max(_EVEN_S, _EVEN * np.median(durations_s)):
            self.irregular = True
            closest_s = np.percentile(durations_s, 10)
            self.fps = float(np.clip(1 / max(closest_s, 1e-6), self.fps, max(self.fps, _FASTEST_FPS)))

    def __iter__(self) -> Iterator[Frame]:
        """The frames there are.

        Raises:
            InputError: no frame could be decoded; or, after the last, clearly fewer than the file claims to hold, over
                clearly less time.
        """
        number, last_s, first_s = 0, 0.0, 0.0
        longest_s = 1 / self.fps  # between two frames
        while True:
            with quiet_opencv():
                there, pixels = self._capture.read()
            if not there:
                break
            time_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            first_s = time_s if number == 0 else first_s
            time_s -= first_s
            if number > 0 and not last_s < time_s < last_s + 3600:  # files without times, or with broken ones
                time_s = last_s + 1 / self.fps
            longest_s = max(longest_s, time_s - last_s)
            image = turn_upright(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), self._orientation)
            yield Frame(number, time_s, np.ascontiguousarray(image))
            number, last_s = number + 1, time_s
        if number == 0:
            raise InputError(self.path, "holds no frame that can be decoded", "convert it to MP4 (H.264)")
        if self.claimed is None or self.claimed - number <= max(2, _UNCOUNTED * self.claimed):
            return
        # The number may be a guess. The last frame is shown for a while itself.
        if self._claimed_s - last_s > max(3 * longest_s, _UNCOUNTED * self._claimed_s):
            read = f"{number} of {self.claimed} frames"
            if self._uncounted:
                read = f"{last_s:.1f} of {self._claimed_s:.1f} s"
            raise InputError(self.path, f"ends after {read}", "what was read is done; copy it again")

    def close(self) -> None:
        """Close the file."""
        self._capture.release()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LiveCamera:
    """A camera of this machine or of the network; iterating gives its newest image each time, until it is closed.

    Images are as the camera sees, not mirrored as in video calls.

    Args:
        source: which camera of this machine, from 0, in the operating system's order; or the address of a stream, with
            one of the :data:`STREAM_SCHEMES`, such as ``rtsp://192.168.1.20/stream1``.

    Attributes:
        path: its :func:`camera_path`.
        fps: frames a second that the camera promises; 25 where it does not say.
        claimed: None: the number of frames is not known.
        live: True.
        irregular: True: only times tell when to show frames.
        frame_sizes: empty: not known.

    Raises:
        InputError: there is no such camera, it may not be used, or the address has another scheme.
    """

    live = True
    irregular = True
    frame_sizes: tuple[tuple[int, int], ...] = ()

    def __init__(self, source: int | str) -> None:
        self.path = camera_path(source)
        self.claimed: int | None = None
        self._newest: _Newest | None = None
        if isinstance(source, str) and scheme_of(source) not in STREAM_SCHEMES:
            raise InputError(source, "is not the address of a stream", f"begin it with {STREAM_SCHEMES[0]}://")
        with quiet_opencv():
            if isinstance(source, str):
                waits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT_MS]
                self._capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, waits)
            else:
                self._capture = cv2.VideoCapture(source)
        if not self._capture.isOpened():
            remedy = "connect it, allow its use, or give another number"
            if isinstance(source, str):
                remedy = "check the address, user name and password, and that the camera can be reached"
            raise InputError(self.path, "cannot be opened", remedy)
        self.fps = plausible_fps(self._capture.get(cv2.CAP_PROP_FPS))
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # images that waited show what was
        if isinstance(source, str):  # streams have no such setting
            self._newest = _Newest(self._capture)

    def __iter__(self) -> Iterator[Frame]:
        """Frames without end; their times are those at which they came.

        Raises:
            InputError: the camera gives no image, or no more.
        """
        read = self._capture.read if self._newest is None else self._newest.read
        number, first, last_s = 0, 0.0, 0.0
        while True:
            with quiet_opencv():
                there, pixels = read()
            now = time.perf_counter()
            if not there:
                problem = f"stopped after {number} images" if number else "gives no image"
                raise InputError(self.path, problem, "see whether another program holds it")
            first = now if number == 0 else first
            time_s = now - first
            if number > 0 and time_s <= last_s:
                time_s = last_s + 1e-6
            yield Frame(number, time_s, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
            number, last_s = number + 1, time_s

    def close(self) -> None:
        """Close the camera."""
        if self._newest is not None:
            self._newest.stop()
        self._capture.release()

    def __enter__(self) -> LiveCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Newest:
    """Reads a stream in a thread and keeps the newest image, so that a slow reader does not fall behind."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture
        self._changed = threading.Condition()
        self._item: tuple[bool, Image | None] | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        there = True
        while there and not self._stopped:
            there, pixels = self._capture.read()
            with self._changed:
                self._item = (there, pixels)
                self._changed.notify()

    def read(self) -> tuple[bool, Image | None]:
        """An image that was not read yet, as OpenCV's ``VideoCapture.read``."""
        with self._changed:
            while self._item is None:
                self._changed.wait()
            item = self._item
            if item[0]:
                self._item = None
            return item

    def stop(self) -> None:
        """Wait for the thread."""
        self._stopped = True
        self._thread.join()


def camera_path(source: int | str) -> Path:
    """What stands for a camera's name where files have theirs: ``camera_0``, ``rtsp_192.168.1.20_stream1``.

    User name, password and query of an address are left out.
    """
    if isinstance(source, int):
        return Path(f"camera_{source}")
    address = urlsplit(source)
    return Path(re.sub(r"[^\w.-]+", "_", f"{address.scheme}_{address.hostname or ''}{address.path}").strip("_"))


def ffmpeg_name(path: Path) -> str:
    """A file's name for FFmpeg, which takes what stands before the first colon of a relative one for a protocol."""
    return str(path.absolute())


def plausible_fps(fps: float) -> float:
    """Frames a second as a file or a camera states them, or 25 where that is no rate."""
    return fps if 0 < fps <= _MAX_FPS else _DEFAULT_FPS
