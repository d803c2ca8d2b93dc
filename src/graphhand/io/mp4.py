"""The video track of MP4 and QuickTime files (ISO 14496-12), read without decoding: orientation, durations, sizes.

Cutting without encoding again stores all frames from the last key frame on; an edit list (``elst``) says which of them
are shown.
"""

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
_MAX_FRAMES = 2**22  # 39 hours of 30 a second; more is damage
_MAX_EDITS = 2**12
_UPRIGHT = (1.0, 0.0, 0.0, 1.0)


class VideoTrack(NamedTuple):
    """What a container says of its first video track.

    Attributes:
        orientation: 1 (upright) to 8, as EXIF numbers them. A matrix that is not one of the eight is taken for the
            nearest.
        durations_s: (N,) seconds that each frame is shown, in the order of showing, of the frames that the edit list
            shows, as often as it shows them; without such a list, of all. Empty in a fragmented file.
        start_s: where in the stored media the edit list begins, seconds.
        frame_sizes: width and height of the frames as stored, pixels, in the order of the sample descriptions and each
            once; two where the size changes inside the file.
    """

    orientation: int
    durations_s: FloatArray
    start_s: float = 0.0
    frame_sizes: tuple[tuple[int, int], ...] = ()


class _Edit(NamedTuple):
    """A part of the media that is shown, in the track's time scale."""

    start: int
    end: float


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
    movie_header = _inside(file, movie, b"mvhd")
    whole = _matrix(file, movie_header, {0: 36, 1: 48})
    for track in _boxes(file, movie):
        if track.kind != b"trak":
            continue
        media = _inside(file, track, b"mdia")
        if _read(file, _inside(file, media, b"hdlr"), 12)[8:] != b"vide":
            continue
        own = _matrix(file, _inside(file, track, b"tkhd"), {0: 40, 1: 52})
        tables = _inside(file, _inside(file, media, b"minf"), b"stbl")
        timescale = _timescale(file, _inside(file, media, b"mdhd"))
        edits = _edits(file, track, timescale / _timescale(file, movie_header))
        durations_s = _shown_durations(file, tables, edits) / timescale
        start_s = min((edit.start for edit in edits), default=0) / timescale
        sizes = _frame_sizes(file, _inside(file, tables, b"stsd"))
        return VideoTrack(_orientation(_product(own, whole)), durations_s, start_s, sizes)
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


def _content(file: BinaryIO, parent: _Box, kind: bytes, limit: int) -> bytes:
    """Up to ``limit`` bytes of a box that need not be there."""
    return next((_read(file, box, limit) for box in _boxes(file, parent) if box.kind == kind), b"")


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


def _timescale(file: BinaryIO, header: _Box) -> int:
    """Units of time a second, of an ``mdhd`` or ``mvhd`` box."""
    content = _read(file, header, 24)
    (timescale,) = struct.unpack_from(">I", content, 20 if content[0] == 1 else 12)
    return max(1, timescale)


def _edits(file: BinaryIO, track: _Box, media_per_movie: float) -> list[_Edit]:
    """The parts of the media that are shown, in their order.

    Args:
        file: the file.
        track: the ``trak`` box.
        media_per_movie: units of the track's time scale in one of the movie's, in which lengths of edits are counted.
    """
    lists = next((box for box in _boxes(file, track) if box.kind == b"edts"), None)
    content = b"" if lists is None else _content(file, lists, b"elst", 8 + 20 * _MAX_EDITS)
    entry = struct.Struct(">Qq4x" if content[:1] == b"\x01" else ">Ii4x")
    entries = entry.iter_unpack(content[8 : 8 + (len(content) - 8) // entry.size * entry.size] if content else b"")
    stated = int.from_bytes(content[4:8], "big")
    return [
        _Edit(start, start + length * media_per_movie)
        for length, start in itertools.islice(entries, stated)
        if start >= 0  # before what is shown there may be a pause
    ]


def _shown_durations(file: BinaryIO, tables: _Box, edits: list[_Edit]) -> FloatArray:
    """(N,) of the frames that the edits show, in the order of showing and in the track's time scale."""
    durations = _runs(_read(file, _inside(file, tables, b"stts"), 8 + 8 * _MAX_RUNS), ">u4")
    if not edits or not len(durations):
        return durations
    delays = np.zeros(len(durations))  # between decoding and showing
    stored = _runs(_content(file, tables, b"ctts", 8 + 8 * _MAX_RUNS), ">i4")[: len(delays)]
    delays[: len(stored)] = stored
    shown_at = np.cumsum(durations) - durations + delays
    order = np.argsort(shown_at, kind="stable")
    bounds = np.searchsorted(shown_at[order], np.array(edits))
    if np.ptp(bounds, axis=1).sum() > _MAX_FRAMES:
        return np.zeros(0)
    return np.concatenate([durations[order[first:last]] for first, last in bounds])


def _runs(content: bytes, kind: str) -> FloatArray:
    """(N,) values of a table of (how many times, value), such as that of times to samples."""
    numbers = len(content) // 8 - 1
    if numbers < 1:
        return np.zeros(0)
    counts = np.frombuffer(content, ">u4", 2 * numbers, 8)[::2].astype(np.int64)
    if counts.sum() > _MAX_FRAMES:
        return np.zeros(0)
    return np.repeat(np.frombuffer(content, kind, 2 * numbers, 8)[1::2], counts).astype(np.float64)


def _frame_sizes(file: BinaryIO, descriptions: _Box) -> tuple[tuple[int, int], ...]:
    """Width and height of each sample description, each pair once."""
    entries = _boxes(file, _Box(b"", descriptions.start + 8, descriptions.end))
    found = [struct.unpack_from(">HH", _read(file, entry, 28), 24) for entry in itertools.islice(entries, _MAX_ENTRIES)]
    return tuple(dict.fromkeys((width, height) for width, height in found))
