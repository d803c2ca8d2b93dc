"""What a camera wrote into a picture: which way up it is, and how long its lens was."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

_ORIENTATION, _EXIF_DIRECTORY = 0x0112, 0x8769
_WIDTH, _HEIGHT, _FOCAL_35MM = 0xA002, 0xA003, 0xA405
_FORMATS = {3: "H", 4: "I"}  # TIFF's SHORT and LONG
_MOST_ENTRIES = 512

_FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)
_SENSOR_ASPECTS = (4 / 3, 3 / 2, 16 / 9)
_SAME_ASPECT = 0.02
_FOCAL_LENGTHS_MM = (8, 800)


class Exif(NamedTuple):
    """The tags that matter here.

    Attributes:
        orientation: 1 (upright) to 8.
        focal_35mm: the focal length that gives 35 mm film the same picture, millimetres; None where nothing is said.
        size: width and height of the picture that the tags were written for; None where nothing is said.
    """

    orientation: int = 1
    focal_35mm: int | None = None
    size: tuple[int, int] | None = None

    def focal_px(self, width: int, height: int) -> float | None:
        """The focal length in pixels of a picture of this size, or None where the tags do not tell it.

        35 mm film and sensors are compared by their diagonals. A picture that has the shape of no sensor was cut, and
        how much of it is left is not said.
        """
        if self.focal_35mm is None or not _FOCAL_LENGTHS_MM[0] <= self.focal_35mm <= _FOCAL_LENGTHS_MM[1]:
            return None
        aspect = max(width, height) / min(width, height)
        wanted = list(_SENSOR_ASPECTS)
        if self.size is not None and min(self.size) > 0:
            wanted = [a for a in wanted if abs(max(self.size) / min(self.size) / a - 1) < _SAME_ASPECT]
        if not any(abs(aspect / a - 1) < _SAME_ASPECT for a in wanted):
            return None
        return self.focal_35mm * math.hypot(width, height) / _FILM_DIAGONAL_MM


NO_EXIF = Exif()


def parse_exif(tiff: bytes) -> Exif:
    """The tags of an EXIF block, a small TIFF file; what is damaged or makes no sense is as if it were not there."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return NO_EXIF
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
    except struct.error:
        return NO_EXIF
    first = _numbers(tiff, order, start)
    inner = _numbers(tiff, order, first.get(_EXIF_DIRECTORY, len(tiff)))
    orientation = first.get(_ORIENTATION, 1)
    size = (inner[_WIDTH], inner[_HEIGHT]) if _WIDTH in inner and _HEIGHT in inner else None
    return Exif(orientation if 1 <= orientation <= 8 else 1, inner.get(_FOCAL_35MM), size)


def _numbers(tiff: bytes, order: str, start: int) -> dict[int, int]:
    """The single whole numbers of a directory, by tag, as far as it can be read."""
    found: dict[int, int] = {}
    try:
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for entry in range(min(count, _MOST_ENTRIES)):
            at = start + 2 + 12 * entry
            tag, kind, values = struct.unpack_from(order + "HHI", tiff, at)
            if kind in _FORMATS and values == 1:
                (found[tag],) = struct.unpack_from(order + _FORMATS[kind], tiff, at + 8)
    except struct.error:
        pass
    return found
