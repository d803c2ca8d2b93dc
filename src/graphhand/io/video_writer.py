"""Frames to an MP4 that browsers play: H.264 with exact frame times and the sound of the source, by PyAV.

PyAV is an extra (``graphhand[video]``): its wheels hold x264, which is under the GPL. Without it OpenCV writes MPEG-4
part 2 at a constant rate and without sound, which media players show and browsers do not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from graphhand.errors import InputError
from graphhand.io.files import replacing
from graphhand.io.images import quiet_opencv
from graphhand.io.video import ffmpeg_name
from graphhand.types import Image


class _Encoder(Protocol):
    """Writes frames of one size, RGB."""

    frames: int  # written so far

    def add(self, image: Image, time_s: float) -> None: ...

    def close(self) -> None: ...


class VideoWriter:
    """Writes frames to an MP4 file. Made by :func:`writing_video`."""

    def __init__(self, path: Path, fps: float, name: str | os.PathLike[str], sound_of: Path | None = None) -> None:
        self._path, self._fps, self._name, self._sound_of = path, fps, name, sound_of
        self._encoder: _Encoder | None = None
        self._size = (0, 0)
        self._next_s = 0.0

    def write(self, image: Image, time_s: float | None = None) -> None:
        """Add a frame.

        Args:
            image: (H, W, 3) uint8 RGB, every time of the same size. An odd last row or column is left out.
            time_s: seconds since the first frame; always later than the one before. None: one frame period later.

        Raises:
            InputError: a video of this size or rate cannot be encoded, or the file cannot be written.
            ValueError: another size than before.
        """
        height, width = image.shape[0] & ~1, image.shape[1] & ~1
        if self._encoder is None:
            self._size = (width, height)
            with _in_one_line(self._name):
                self._encoder = self._open()
        elif self._size != (width, height):
            raise ValueError(f"a frame of {width} x {height} after frames of {self._size[0]} x {self._size[1]}")
        time_s = self._next_s if time_s is None else time_s
        self._next_s = time_s + 1 / self._fps
        with _in_one_line(self._name):
            self._encoder.add(np.ascontiguousarray(image[:height, :width]), time_s)

    def _open(self) -> _Encoder:
        self._path.touch()  # raises what the folder has against it
        width, height = self._size
        try:
            if min(self._size) < 2:
                raise _CannotEncodeError
            if not writes_h264():
                return _Mpeg4(self._path, self._size, self._fps)
            from graphhand.io.h264 import H264

            return H264(self._path, self._size, self._fps, self._sound_of)
        except (_CannotEncodeError, ValueError):
            problem = f"cannot be encoded with {width} x {height} pixels and {self._fps:g} frames a second"
            remedy = "convert what you give to a usual size and rate"
            raise InputError(self._name, problem, remedy) from None

    @property
    def begun(self) -> bool:
        """Whether there was a frame."""
        return self._encoder is not None

    def close(self) -> None:
        """Finish the file.

        Raises:
            InputError: it cannot be written.
        """
        if self._encoder is not None:
            with _in_one_line(self._name):
                self._encoder.close()

    def check(self) -> None:
        """Check the closed file: OpenCV is silent about a full disk.

        Raises:
            InputError: it does not hold every frame that was written.
        """
        with quiet_opencv():
            written = cv2.VideoCapture(ffmpeg_name(self._path), cv2.CAP_FFMPEG)
        count = int(written.get(cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
        written.release()
        if self._encoder is None or count != self._encoder.frames or not _boxes_fill(self._path):
            remedy = "make room on the disk, or choose another folder"
            raise InputError(self._name, "could not be written whole", remedy)


@contextmanager
def _in_one_line(name: str | os.PathLike[str]) -> Iterator[None]:
    """Turn the system's errors of writing a video into one line."""
    try:
        yield
    except OSError as error:
        raise _cannot_be_written(name, error) from error


def _cannot_be_written(name: str | os.PathLike[str], error: OSError) -> InputError:
    return InputError(name, f"cannot be written ({error.strerror or error})", "choose a folder you may write to")


class _CannotEncodeError(Exception):
    pass


class _NothingWrittenError(Exception):
    pass


class _Mpeg4:
    """MPEG-4 part 2 by OpenCV, whose writer has a constant rate: frames are repeated or left out to keep the pace."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        self.frames = 0
        self._fps = writable_fps(fps)
        self._last: Image | None = None
        with quiet_opencv():
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(ffmpeg_name(path), cv2.CAP_FFMPEG, codec, self._fps, size)
        if not self._writer.isOpened():
            raise _CannotEncodeError

    def add(self, image: Image, time_s: float) -> None:
        pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        due = round(time_s * self._fps)
        while self._last is not None and self.frames < due:
            self._write(self._last)
        self._last = pixels
        if self.frames <= due:
            self._write(pixels)

    def _write(self, pixels: Image) -> None:
        self._writer.write(pixels)
        self.frames += 1

    def close(self) -> None:
        self._writer.release()


@contextmanager
def writing_video(
    path: str | os.PathLike[str], fps: float, sound_of: str | os.PathLike[str] | None = None
) -> Iterator[VideoWriter]:
    """A video to write frames to.

    The file takes its name when all is written: after an error, or without a frame, there is none, or the old one. An
    error of the caller's own in between is raised as it is.

    Args:
        path: an ``.mp4`` file; its folder must exist.
        fps: frames a second, about: frames may have times. Without PyAV, their rate.
        sound_of: a video whose sound is kept, if it has any; frames' times are as in it. Without PyAV it is left out.

    Raises:
        InputError: another suffix, or the file cannot be written.
    """
    if Path(path).suffix.lower() != ".mp4":
        raise InputError(path, "is not named as an MP4 file", "end it in .mp4")
    of_caller: BaseException | None = None
    try:
        with replacing(path) as temporary:
            writer = VideoWriter(temporary, fps, path, None if sound_of is None else Path(sound_of))
            try:
                yield writer
            except BaseException as error:
                of_caller = error
                with suppress(InputError):  # what was written is not kept
                    writer.close()
                raise
            writer.close()
            if not writer.begun:
                raise _NothingWrittenError
            writer.check()
    except _NothingWrittenError:
        pass
    except OSError as error:
        if error is of_caller:  # such as that of a closed standard output
            raise
        raise _cannot_be_written(path, error) from error


def writes_h264() -> bool:
    """Whether videos are written as H.264, with sound: PyAV is installed, with x264."""
    try:
        from graphhand.io import h264
    except ImportError:
        return False
    return h264.available()


def writable_fps(fps: float) -> float:
    """The nearest rate that MPEG-4 part 2 can hold: a fraction whose numerator is at most 65,535."""
    return round(fps, 3 if fps < 65 else 2 if fps < 650 else 1)


def _boxes_fill(path: Path) -> bool:
    """Whether the boxes that make up an MP4 file end where the file does: a full disk cuts the last one."""
    at, size = 0, path.stat().st_size
    with path.open("rb") as file:
        while at < size:
            file.seek(at)
            start = file.read(16)
            length = int.from_bytes(start[:4], "big")
            if length == 1:  # the length proper comes after the name
                length = int.from_bytes(start[8:], "big")
            if length < 8:
                return False
            at += length
    return at == size
