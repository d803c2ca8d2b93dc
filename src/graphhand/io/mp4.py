"""The video track of MP4 and QuickTime files (ISO 14496-12), read without decoding: orientation, durations, sizes."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from graphhand.types import FloatArray

_MAX_ENTRIES = 64  # sample descriptions
_MAX_RUNS = 2**20  # of frames of one duration
_UPRIGHT = (1.0, 0.0, 0.0, 1.0)


class VideoTrack(NamedTuple):
    """What a container says of its first video track.

    Attributes:
        orientation: 1 (upright) to 8, as EXIF numbers them. A matrix that is not one of the eight is taken for the
            nearest.
        durations_s: (N,) seconds that each frame is shown, in the order of decoding; empty in a fragmented file.
        frame_sizes: width and height of the frames as stored, pixels, in the order of the sample descriptions and each
            once; two where the size changes inside the file.
    """

    orientation: int
    durations_s: FloatArray
    frame_sizes: tuple[tuple[int, int], ...] = ()


class _Box(NamedTuple):
    kind: bytes
    start: int  # of the content
    end: int


def read_video_track(path: Path) -> VideoTrack | None:
    """The first video track of an MP4 or QuickTime file; None for another format, or a damaged table of contents."""
    with path.open("rb") as file:
        if file.read(8)[4:] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
            return None
        try:
            return _read_track(file, path.stat().st_size)
        except (struct.error, StopIteration, IndexError):
            return None


def _read_track(file: BinaryIO, size: int) -> VideoTrack | None:
    movie = _inside(file, _Box(b"", 0, size), b"moov")
    whole = _matrix(file, _inside(file, movie, b"mvhd"), {0: 36, 1: 48})
    for track in _boxes(file, movie):
        if track.kind != b"trak":
            continue
        media = _inside(file, track, b"mdia")
        if _read(file, _inside(file, media, b"hdlr"), 12)[8:] != b"vide":
            continue
        own = _matrix(file, _inside(file, track, b"tkhd"), {0: 40, 1: 52})
        tables = _inside(file, _inside(file, media, b"minf"), b"stbl")
        header = _inside(file, media, b"mdhd")
        version = _read(file, header, 1)[0]
        (timescale,) = struct.unpack_from(">I", _read(file, header, 24), 20 if version == 1 else 12)
        durations_s = _durations(file, _inside(file, tables, b"stts")) / max(1, timescale)
        sizes = _frame_sizes(file, _inside(file, tables, b"stsd"))
        return VideoTrack(_orientation(_product(own, whole)), durations_s, sizes)
    return None


def _boxes(file: BinaryIO, parent: _Box) -> Iterator[_Box]:
    at = parent.start
    while at + 8 <= parent.end:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        start = at + 8
        if length == 1:  # the length proper comes after the name
            (length,) = struct.unpack(">Q", file.read(8))
            start += 8
        elif length == 0:
            length = parent.end - at
        if length < start - at:
            return
        yield _Box(kind, start, min(at + length, parent.end))
        at += length


def _inside(file: BinaryIO, parent: _Box, kind: bytes) -> _Box:
    return next(box for box in _boxes(file, parent) if box.kind == kind)


def _read(file: BinaryIO, box: _Box, count: int) -> bytes:
    file.seek(box.start)
    return file.read(min(count, box.end - box.start))


def _matrix(file: BinaryIO, box: _Box, offsets: dict[int, int]) -> tuple[float, ...]:
    """a, b, c, d: the point (x, y) of a frame is shown at (a x + c y, b x + d y), but for a shift."""
    content = _read(file, box, 100)
    a, b, _, c, d = struct.unpack_from(">5i", content, offsets[1 if content[0] == 1 else 0])
    return (a, b, c, d) if any((a, b, c, d)) else _UPRIGHT


def _product(first: tuple[float, ...], second: tuple[float, ...]) -> tuple[float, ...]:
    a, b, c, d = first
    e, f, g, h = second
    return a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h


def _orientation(matrix: tuple[float, ...]) -> int:
    a, b, c, d = matrix
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return {(False, False): 1, (True, False): 2, (True, True): 3, (False, True): 4}[a < 0, d < 0]
    return {(False, False): 5, (True, False): 6, (True, True): 7, (False, True): 8}[c < 0, b < 0]


def _durations(file: BinaryIO, table: _Box) -> FloatArray:
    """(N,) of the time to sample table, in the track's time scale."""
    content = _read(file, table, 8 + 8 * _MAX_RUNS)
    numbers = len(content) // 8 - 1
    if numbers < 1:
        return np.zeros(0)
    counts, lengths = np.frombuffer(content, ">u4", 2 * numbers, 8).reshape(-1, 2).T.astype(np.int64)
    if counts.sum() > 2**24:  # days of video, or damage
        return np.zeros(0)
    return np.repeat(lengths, counts).astype(np.float64)


def _frame_sizes(file: BinaryIO, descriptions: _Box) -> tuple[tuple[int, int], ...]:
    """Width and height of each sample description, each pair once."""
    entries = _boxes(file, _Box(b"", descriptions.start + 8, descriptions.end))
    found = [struct.unpack_from(">HH", _read(file, entry, 28), 24) for entry in itertools.islice(entries, _MAX_ENTRIES)]
    return tuple(dict.fromkeys((width, height) for width, height in found))
