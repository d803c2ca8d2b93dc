"""Image containers and EXIF, read without decoding: markers, chunk lengths and checksums, in microseconds."""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

_ORIENTATION, _EXIF_DIRECTORY = 0x0112, 0x8769
_WIDTH, _HEIGHT, _FOCAL_35MM = 0xA002, 0xA003, 0xA405
_FORMATS = {3: "H", 4: "I"}  # TIFF's SHORT and LONG
_MAX_ENTRIES = 512

_FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)
_SENSOR_ASPECTS = (4 / 3, 3 / 2, 16 / 9)
_SAME_ASPECT = 0.02
_FOCAL_LENGTHS_MM = (8, 800)


class Exif(NamedTuple):
    """The tags that are used. Of several EXIF blocks in a file the first counts.

    Attributes:
        orientation: 1 (upright) to 8.
        focal_35mm: the focal length that gives 35 mm film the same image, millimetres; None where nothing is said.
        size: width and height of the image that the tags were written for; None where nothing is said.
    """

    orientation: int = 1
    focal_35mm: int | None = None
    size: tuple[int, int] | None = None

    def focal_px(self, width: int, height: int) -> float | None:
        """The focal length in pixels of an image of this size, or None where the tags do not tell it.

        35 mm film and sensors are compared by their diagonals. An image that has the shape of no sensor was cut, and
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
    """The tags of an EXIF block, a small TIFF file; damaged or impossible ones are left out."""
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
        for entry in range(min(count, _MAX_ENTRIES)):
            at = start + 2 + 12 * entry
            tag, kind, values = struct.unpack_from(order + "HHI", tiff, at)
            if kind in _FORMATS and values == 1:
                (found[tag],) = struct.unpack_from(order + _FORMATS[kind], tiff, at + 8)
    except struct.error:
        pass
    return found


class DamagedError(Exception):
    """The container is damaged; the text completes '<file>: ...'."""


@dataclass(frozen=True)
class Header:
    """What a file says of its image.

    Attributes:
        width, height: pixels, as stored.
        exif: the camera's tags.
        alpha: whether it may be transparent.
        deep: whether a value has 16 bits.
        clear_grey: of a grey PNG, the value that stands for transparency, as decoded; None where there is none.
    """

    width: int
    height: int
    exif: Exif = NO_EXIF
    alpha: bool = False
    deep: bool = False
    clear_grey: int | None = None


def inspector(data: bytes) -> Callable[[bytes], Header] | None:
    """The function that checks the container of ``data`` and reads its header; None for a format that is not read.

    It raises DamagedError, struct.error or IndexError for a damaged file.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _inspect_jpeg
    if data.startswith(_PNG_SIGNATURE):
        return _inspect_png
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _inspect_webp
    # Two letters are a weak signature: the size of the second header settles it.
    if data.startswith(b"BM") and len(data) >= 18 and data[14:18] in _BMP_HEADER_SIZES:
        return _inspect_bmp
    return None


_FOREIGN = (
    (0, b"GIF8", "a GIF"),
    (0, b"II*\0", "a TIFF or a camera's raw file"),
    (0, b"MM\0*", "a TIFF or a camera's raw file"),
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftypmif1", "a HEIC image"),
    (4, b"ftyp", "a video"),
    (8, b"AVI ", "a video"),
    (0, b"\x1a\x45\xdf\xa3", "a video"),
    (0, b"%PDF", "a PDF"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"<svg", "an SVG drawing"),
)


def foreign_format(data: bytes) -> str | None:
    """The name of a known format that is not read, or None."""
    return next((name for at, magic, name in _FOREIGN if data[at : at + len(magic)] == magic), None)


# A marker is 0xFF and a code; within compressed data 0xFF00 is a literal 0xFF, 0xFFD0-D7 restart and 0xFFFF padding.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _inspect_jpeg(data: bytes) -> Header:
    """Walk the segments to the end-of-image marker, which an interrupted copy lacks; bytes after it are allowed.

    A thumbnail inside the EXIF segment has an end marker of its own: segments are skipped by length, never searched.
    """
    size: tuple[int, int] | None = None
    exif: Exif | None = None
    scans, position = 0, 2
    while True:
        marker = _JPEG_MARKER.search(data, position)
        if marker is None:
            raise DamagedError("is cut short: the JPEG has no end marker")
        code, position = data[marker.start() + 1], marker.end()
        if code == 0xD9:
            break
        (length,) = struct.unpack_from(">H", data, position)
        if length < 2 or position + length > len(data):
            raise DamagedError("is cut short or damaged inside a JPEG segment")
        segment = data[position + 2 : position + length]
        if code in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", segment, 1)
            size = (width, height)
        elif code == 0xE1 and segment.startswith(b"Exif\0") and exif is None:
            exif = parse_exif(segment[6:])
        elif code == 0xDA:
            scans += 1
        position += length
    if size is None or not scans:
        raise DamagedError("is damaged: a JPEG without image data")
    return Header(*size, exif or NO_EXIF)


_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_GREY = 0  # its type of colour
_PNG_GREY_SCALES = {1: 255, 2: 85, 4: 17, 8: 1, 16: 1}  # from a stored value to a decoded one, by bits


def _inspect_png(data: bytes) -> Header:
    """Walk the chunks to IEND and check the checksum of every chunk a decoder cannot do without."""
    size: tuple[int, int] | None = None
    exif: Exif | None = None
    clear_grey: int | None = None
    depth, colour, alpha, seen_data, position = 8, -1, False, False, len(_PNG_SIGNATURE)
    while True:
        if position + 12 > len(data):
            raise DamagedError("is cut short: the PNG has no end chunk")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise DamagedError("is cut short: a PNG chunk runs past the end of the file")
        critical = not kind[0] & 0x20
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if critical and zlib.crc32(memoryview(data)[position + 4 : end - 4]) != checksum:
            raise DamagedError("is damaged: a PNG chunk fails its checksum")
        body = position + 8
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack_from(">IIBB", data, body)
            size, alpha = (width, height), colour in (4, 6)
        elif kind == b"tRNS":
            alpha = True
            if colour == _PNG_GREY and length == 2 and depth in _PNG_GREY_SCALES and not seen_data:
                (value,) = struct.unpack_from(">H", data, body)
                clear_grey = (value & 2**depth - 1) * _PNG_GREY_SCALES[depth]
        elif kind == b"eXIf" and exif is None:
            exif = parse_exif(data[body : end - 4])
        elif kind == b"IDAT":
            seen_data = True
        elif kind == b"IEND":
            break
        position = end
    if size is None or not seen_data:
        raise DamagedError("is damaged: a PNG without image data")
    return Header(*size, exif or NO_EXIF, alpha, depth == 16, clear_grey)


def _inspect_webp(data: bytes) -> Header:
    """Check that the RIFF container and its chunks are whole; sizes as in RFC 9649."""
    (riff_size,) = struct.unpack_from("<I", data, 4)
    end = 8 + riff_size
    if end > len(data):
        raise DamagedError("is cut short: the WebP container runs past the end of the file")
    size: tuple[int, int] | None = None
    exif: Exif | None = None
    alpha, seen_data = False, False
    for kind, body, length in _riff_chunks(data, 12, end):
        if kind == b"VP8X":
            alpha = bool(data[body] & 0x10)
            size = (
                1 + int.from_bytes(data[body + 4 : body + 7], "little"),
                1 + int.from_bytes(data[body + 7 : body + 10], "little"),
            )
        elif kind == b"VP8 ":
            seen_data = True
            width, height = struct.unpack_from("<HH", data, body + 6)
            size = size or (width & 0x3FFF, height & 0x3FFF)
        elif kind == b"VP8L":
            seen_data = True
            (bits,) = struct.unpack_from("<I", data, body + 1)
            size = size or (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
            alpha = alpha or bool(bits >> 28 & 1)
        elif kind == b"ANMF":
            seen_data = True
        elif kind == b"EXIF" and exif is None:
            block = data[body : body + length]
            exif = parse_exif(block[6:] if block.startswith(b"Exif\0\0") else block)
    if size is None or not seen_data:
        raise DamagedError("is damaged: a WebP without image data")
    return Header(*size, exif or NO_EXIF, alpha)


def _riff_chunks(data: bytes, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while position + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, position)
        if position + 8 + length > end:
            raise DamagedError("is cut short: a WebP chunk runs past its container")
        yield kind, position + 8, length
        position += 8 + length + (length & 1)


_BMP_HEADER_SIZES = tuple(struct.pack("<I", size) for size in (12, 40, 52, 56, 64, 108, 124))


def _inspect_bmp(data: bytes) -> Header:
    """Check that the pixel rows fit in the file; the file size field itself is often wrong and is not trusted."""
    offset, header_size = struct.unpack_from("<II", data, 10)
    if header_size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression, image_bytes = struct.unpack_from("<iiHHII", data, 18)
    height = abs(height)  # negative: rows run from the top
    if compression in (0, 3, 6):  # plain rows, padded to four bytes
        needed = (width * bits + 31) // 32 * 4 * height
    else:
        needed = image_bytes
    if offset + needed > len(data):
        raise DamagedError("is cut short: the BMP lacks pixel rows")
    return Header(width, height)
