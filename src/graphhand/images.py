"""Pictures in and out: files to upright ``(H, W, 3)`` uint8 RGB arrays and back.

OpenCV decodes, but it is lenient: half a JPEG comes back as a whole picture with grey where the data stopped, and a
16-gigapixel header is believed. So the container is walked first (a few microseconds: markers, chunk lengths and
checksums, never pixel data), which also yields the size and the EXIF orientation. A picture that does not hold
together raises :class:`~graphhand.errors.InputError` before anything is decoded.

Colour profiles are ignored: values are taken as sRGB.
"""

from __future__ import annotations

import os
import re
import secrets
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from graphhand.errors import InputError

__all__ = ["IMAGE_SUFFIXES", "MAX_PIXELS", "decode_image", "list_images", "read_image", "write_image"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""File name endings that :func:`list_images` looks for and :func:`write_image` can write (lower case)."""

MAX_PIXELS = 200_000_000
"""Largest picture that is decoded: the biggest phone sensors give 200 megapixels, more is a mistake or a bomb."""

_MAX_BYTES = 2 * 1024**3
_SAVE_AGAIN = "save it again as JPEG, PNG, WebP or BMP"
_COPY_AGAIN = "copy or download it again"

RGBImage = NDArray[np.uint8]


def read_image(path: str | os.PathLike[str]) -> RGBImage:
    """Read a picture file as it is meant to be seen.

    Args:
        path: a JPEG, PNG, WebP or BMP file; the content decides, not the name.

    Returns:
        (H, W, 3) uint8 RGB, turned upright by its EXIF orientation. Grey is repeated in three channels, 16 bits are
        rounded to 8, transparency is laid over white. Of an animation, the first picture.

    Raises:
        InputError: the file is missing, empty, no picture, in a format we do not read, incomplete, damaged, or larger
            than :data:`MAX_PIXELS`.
    """
    source = os.fspath(path)
    file = Path(path)
    try:
        # Devices and pipes never end: only a regular file is read.
        if not file.exists():
            raise InputError(source, "no such file", "check the path")
        if not file.is_file():
            raise InputError(source, "is not a file", "give a picture file")
        if file.stat().st_size > _MAX_BYTES:
            raise InputError(source, f"is larger than {_MAX_BYTES >> 30} GiB", "shrink the picture first")
        data = file.read_bytes()
    except OSError as error:
        raise InputError(source, f"cannot be read ({error.strerror or error})", "check its permissions") from error
    except ValueError as error:  # a NUL character inside the name
        raise InputError(repr(source), f"is no valid path ({error})", "check the path") from error
    return decode_image(data, source)


def decode_image(data: bytes, source: str = "image") -> RGBImage:
    """Decode a picture held in memory; see :func:`read_image`.

    Args:
        data: the bytes of a picture file.
        source: what to call it in an error.

    Returns:
        (H, W, 3) uint8 RGB, upright.

    Raises:
        InputError: as :func:`read_image`.
    """
    if not data:
        raise InputError(source, "is empty (0 bytes)", _COPY_AGAIN)
    inspect = _inspector(data)
    if inspect is None:
        kind = _foreign_format(data)
        if kind:
            raise InputError(source, f"is {kind}, which is not supported", _SAVE_AGAIN)
        raise InputError(source, "is not a picture", "give a JPEG, PNG, WebP or BMP file")
    try:
        header = inspect(data)
    except _DamagedError as error:
        raise InputError(source, str(error), _COPY_AGAIN) from None
    except (struct.error, IndexError):
        raise InputError(source, "is cut short inside its header", _COPY_AGAIN) from None
    if header.width < 1 or header.height < 1:
        raise InputError(source, f"claims a size of {header.width} x {header.height} pixels", _COPY_AGAIN)
    if header.width * header.height > MAX_PIXELS:
        raise InputError(
            source,
            f"has {header.width} x {header.height} pixels, more than the {MAX_PIXELS // 1_000_000} megapixels allowed",
            "shrink or crop it first",
        )
    # Only here may a fourth channel be read as transparency: in 32-bit BMP files it is padding, mostly zero.
    flags = cv2.IMREAD_UNCHANGED if header.alpha else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.shape[:2] != (header.height, header.width):
        raise InputError(source, "is damaged: it could not be decoded", _SAVE_AGAIN)
    return np.ascontiguousarray(_turn_upright(_to_rgb(pixels), header.orientation))


def write_image(path: str | os.PathLike[str], rgb: RGBImage) -> None:
    """Write a picture so that the file is either whole or not there, even if the process dies.

    Args:
        path: the file; its suffix, one of :data:`IMAGE_SUFFIXES`, chooses the format. Its folder must exist.
        rgb: (H, W, 3) uint8 RGB.

    Raises:
        InputError: another suffix, or the file cannot be written.
        ValueError: ``rgb`` is not (H, W, 3) uint8.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise ValueError(f"write_image needs an (H, W, 3) uint8 array, not {rgb.shape} {rgb.dtype}")
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise InputError(os.fspath(path), f"has no picture suffix ({suffix or 'none'})", "end it in .png or .jpg")
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if suffix in (".jpg", ".jpeg") else []
    ok, encoded = cv2.imencode(suffix, np.ascontiguousarray(rgb[:, :, ::-1]), options)
    if not ok:
        raise InputError(os.fspath(path), f"cannot be encoded as {suffix}", "end it in .png")
    try:
        # Not files.replacing: its two syncs to disk take longer than drawing a picture, which can be made again.
        temporary = file.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with temporary.open("xb") as stream:
                stream.write(encoded.tobytes())
            temporary.replace(file)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise InputError(
            os.fspath(path), f"cannot be written ({error.strerror or error})", "choose a folder you may write to"
        ) from error


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """The picture files directly inside a folder, sorted by name; hidden files are left out.

    Raises:
        InputError: the folder is missing, is no folder, or cannot be read.
    """
    directory = Path(folder)
    try:
        if not directory.exists():
            raise InputError(os.fspath(folder), "no such folder", "check the path")
        if not directory.is_dir():
            raise InputError(os.fspath(folder), "is not a folder", "give a folder of pictures")
        return sorted(
            entry
            for entry in directory.iterdir()
            if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".") and entry.is_file()
        )
    except OSError as error:
        raise InputError(
            os.fspath(folder), f"cannot be read ({error.strerror or error})", "check its permissions"
        ) from error


# ---------------------------------------------------------------------------------------------- container structure


class _DamagedError(Exception):
    """The container does not hold together; the text completes '<file>: ...'."""


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    orientation: int = 1
    alpha: bool = False


def _inspector(data: bytes) -> Callable[[bytes], _Header] | None:
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
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftyphei", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIC picture"),
    (4, b"ftyp", "a video"),
    (8, b"AVI ", "a video"),
    (0, b"\x1a\x45\xdf\xa3", "a video"),
    (0, b"%PDF", "a PDF"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"<svg", "an SVG drawing"),
)


def _foreign_format(data: bytes) -> str | None:
    return next((name for at, magic, name in _FOREIGN if data[at : at + len(magic)] == magic), None)


# A marker is 0xFF and a code; within compressed data 0xFF00 is a literal 0xFF, 0xFFD0-D7 restart and 0xFFFF padding.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _inspect_jpeg(data: bytes) -> _Header:
    """Walk the segments to the end-of-image marker, which an interrupted copy lacks; bytes after it are allowed.

    A thumbnail inside the EXIF segment has an end marker of its own: segments are skipped by length, never searched.
    """
    size: tuple[int, int] | None = None
    orientation, scans, position = 1, 0, 2
    while True:
        marker = _JPEG_MARKER.search(data, position)
        if marker is None:
            raise _DamagedError("is cut short: the JPEG has no end marker")
        code, position = data[marker.start() + 1], marker.end()
        if code == 0xD9:
            break
        (length,) = struct.unpack_from(">H", data, position)
        if length < 2 or position + length > len(data):
            raise _DamagedError("is cut short or damaged inside a JPEG segment")
        segment = data[position + 2 : position + length]
        if code in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", segment, 1)
            size = (width, height)
        elif code == 0xE1 and segment.startswith(b"Exif\0"):
            orientation = _exif_orientation(segment[6:])
        elif code == 0xDA:
            scans += 1
        position += length
    if size is None or not scans:
        raise _DamagedError("is damaged: a JPEG without picture data")
    return _Header(*size, orientation)


_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _inspect_png(data: bytes) -> _Header:
    """Walk the chunks to IEND and check the checksum of every chunk a decoder cannot do without."""
    size: tuple[int, int] | None = None
    orientation, alpha, seen_data, position = 1, False, False, len(_PNG_SIGNATURE)
    while True:
        if position + 12 > len(data):
            raise _DamagedError("is cut short: the PNG has no end chunk")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise _DamagedError("is cut short: a PNG chunk runs past the end of the file")
        critical = not kind[0] & 0x20
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if critical and zlib.crc32(memoryview(data)[position + 4 : end - 4]) != checksum:
            raise _DamagedError("is damaged: a PNG chunk fails its checksum")
        body = position + 8
        if kind == b"IHDR":
            width, height, _, colour = struct.unpack_from(">IIBB", data, body)
            size, alpha = (width, height), colour in (4, 6)
        elif kind == b"tRNS":
            alpha = True
        elif kind == b"eXIf":
            orientation = _exif_orientation(data[body : end - 4])
        elif kind == b"IDAT":
            seen_data = True
        elif kind == b"IEND":
            break
        position = end
    if size is None or not seen_data:
        raise _DamagedError("is damaged: a PNG without picture data")
    return _Header(*size, orientation, alpha)


def _inspect_webp(data: bytes) -> _Header:
    """Check that the RIFF container and its chunks are whole; sizes as in RFC 9649."""
    (riff_size,) = struct.unpack_from("<I", data, 4)
    end = 8 + riff_size
    if end > len(data):
        raise _DamagedError("is cut short: the WebP container runs past the end of the file")
    size: tuple[int, int] | None = None
    orientation, alpha, seen_data = 1, False, False
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
        elif kind == b"EXIF":
            exif = data[body : body + length]
            orientation = _exif_orientation(exif[6:] if exif.startswith(b"Exif\0\0") else exif)
    if size is None or not seen_data:
        raise _DamagedError("is damaged: a WebP without picture data")
    return _Header(*size, orientation, alpha)


def _riff_chunks(data: bytes, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while position + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, position)
        if position + 8 + length > end:
            raise _DamagedError("is cut short: a WebP chunk runs past its container")
        yield kind, position + 8, length
        position += 8 + length + (length & 1)


_BMP_HEADER_SIZES = tuple(struct.pack("<I", size) for size in (12, 40, 52, 56, 64, 108, 124))


def _inspect_bmp(data: bytes) -> _Header:
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
        raise _DamagedError("is cut short: the BMP lacks pixel rows")
    return _Header(width, height)


def _exif_orientation(tiff: bytes) -> int:
    """EXIF tag 0x0112 of the first directory: 1 (upright) to 8; 1 where it is absent or makes no sense."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(count):
            tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, directory + 2 + 12 * entry)
            if tag == 0x0112:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


# ------------------------------------------------------------------------------------------------------------ pixels


def _to_rgb(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> RGBImage:
    """OpenCV's grey, BGR or BGRA of 8 or 16 bits to 8-bit RGB, transparency over white."""
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2).astype(np.uint8)
    rgb: RGBImage = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    if pixels.shape[2] == 4:
        alpha = pixels[:, :, 3:].astype(np.uint32)
        if alpha.min() < 255:
            rgb = ((rgb * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return rgb


def _turn_upright(image: RGBImage, orientation: int) -> RGBImage:
    """Undo an EXIF orientation (where the stored first row and column belong in the scene)."""
    if orientation >= 5:  # 5-8: rows and columns exchanged
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image
