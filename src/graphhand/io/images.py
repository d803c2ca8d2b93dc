"""Images: files to upright ``(H, W, 3)`` uint8 RGB arrays and back.

OpenCV decodes, but it is lenient: half a JPEG comes back as a whole image with grey where the data stopped, and a
16-gigapixel header is believed. So :mod:`.containers` checks the file first, and reads its size and EXIF tags. A
damaged file raises :class:`~graphhand.errors.InputError` before anything is decoded.

Colour profiles are ignored: values are taken as sRGB.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from graphhand.errors import InputError
from graphhand.io.containers import DamagedError, foreign_format, inspector
from graphhand.io.files import refuse_address, temporary_name
from graphhand.types import Image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""File name endings that :func:`list_images` looks for and :func:`write_image` can write (lower case)."""

MAX_PIXELS = 200_000_000
"""Largest image that is decoded: the biggest phone sensors give 200 megapixels, more is a mistake or a bomb."""

_BAND_PIXELS = 2**20
_MAX_BYTES = 2 * 1024**3
_SAVE_AGAIN = "save it again as JPEG, PNG, WebP or BMP"
_FOREIGN_REMEDIES = {
    "a GIF": "save it again as JPEG, or an animation as MP4",
    "a HEIC image": "save it again as JPEG (iPhones do with Settings > Camera > Formats > Most Compatible)",
    "a video": "name it as a video, such as .mp4",
}
_COPY_AGAIN = "copy or download it again"

# OpenCV's log level belongs to the process: the first thread in quiet_opencv sets it, the last restores it.
_quiet_lock = threading.Lock()
_quiet_threads = 0
_level_before = 0


class Photo(NamedTuple):
    """An image, and what its file says of the camera.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright.
        focal_px: the focal length in its pixels, from EXIF; None where the file does not tell it.
    """

    image: Image
    focal_px: float | None


def read_image(path: str | os.PathLike[str]) -> Image:
    """Read an image file as it is meant to be seen.

    Args:
        path: a JPEG, PNG, WebP or BMP file; the content decides, not the name.

    Returns:
        (H, W, 3) uint8 RGB, turned upright by its EXIF orientation. Grey is repeated in three channels, 16 bits are
        rounded to 8, transparency is laid over white. Of an animation, the first image.

    Raises:
        InputError: the file is missing, empty, no image, in a format we do not read, incomplete, damaged, or larger
            than :data:`MAX_PIXELS`.
    """
    return read_photo(path).image


def read_photo(path: str | os.PathLike[str]) -> Photo:
    """:func:`read_image`, with what the file says of the camera."""
    source = os.fspath(path)
    refuse_address(source)
    file = Path(path)
    try:
        # Devices and pipes never end: only a regular file is read.
        if not file.exists():
            raise InputError(source, "no such file", "check the path")
        if not file.is_file():
            raise InputError(source, "is not a file", "give an image file")
        if file.stat().st_size > _MAX_BYTES:
            raise InputError(source, f"is larger than {_MAX_BYTES >> 30} GiB", "shrink the image first")
        data = file.read_bytes()
    except OSError as error:
        raise InputError(source, f"cannot be read ({error.strerror or error})", "check its permissions") from error
    except ValueError as error:  # a NUL character inside the name
        raise InputError(repr(source), f"is no valid path ({error})", "check the path") from error
    return decode_photo(data, source)


def decode_image(data: bytes, source: str = "image") -> Image:
    """Decode an image held in memory; see :func:`read_image`.

    Args:
        data: the bytes of an image file.
        source: what to call it in an error.

    Returns:
        (H, W, 3) uint8 RGB, upright.

    Raises:
        InputError: as :func:`read_image`.
    """
    return decode_photo(data, source).image


def decode_photo(data: bytes, source: str = "image") -> Photo:
    """:func:`decode_image`, with what the file says of the camera."""
    if not data:
        raise InputError(source, "is empty (0 bytes)", _COPY_AGAIN)
    inspect = inspector(data)
    if inspect is None:
        kind = foreign_format(data)
        if kind:
            raise InputError(source, f"is {kind}, which is not supported", _FOREIGN_REMEDIES.get(kind, _SAVE_AGAIN))
        raise InputError(source, "is not an image", "give a JPEG, PNG, WebP or BMP file")
    try:
        header = inspect(data)
    except DamagedError as error:
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
    if header.deep and not header.alpha:
        flags |= cv2.IMREAD_ANYDEPTH  # else OpenCV cuts 16 bits to 8
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.shape[:2] != (header.height, header.width):
        raise InputError(source, "is damaged: it could not be decoded", _SAVE_AGAIN)
    if header.clear_grey is not None and pixels.ndim == 2:  # which OpenCV leaves as it is
        pixels[pixels == header.clear_grey] = np.iinfo(pixels.dtype).max
    image = np.ascontiguousarray(turn_upright(_to_rgb(pixels), header.exif.orientation))
    return Photo(image, header.exif.focal_px(header.width, header.height))


def write_image(path: str | os.PathLike[str], rgb: Image) -> None:
    """Write an image so that the file is either whole or not there, even if the process dies.

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
        raise InputError(os.fspath(path), f"has no image suffix ({suffix or 'none'})", "end it in .png or .jpg")
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if suffix in (".jpg", ".jpeg") else []
    try:
        with quiet_opencv():
            ok, encoded = cv2.imencode(suffix, np.ascontiguousarray(rgb[:, :, ::-1]), options)
    except cv2.error:  # before OpenCV 4.10
        ok = False
    if not ok:
        problem = f"cannot be encoded as {suffix} with {rgb.shape[1]} x {rgb.shape[0]} pixels"
        raise InputError(os.fspath(path), problem, "end it in .png" if suffix != ".png" else "shrink it first")
    try:
        # Not files.replacing: its two syncs to disk take longer than drawing an image, which can be made again.
        temporary = temporary_name(file)
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
    """The image files directly inside a folder, sorted by name; hidden files are left out.

    Raises:
        InputError: the folder is missing, is no folder, or cannot be read.
    """
    directory = Path(folder)
    try:
        if not directory.exists():
            raise InputError(os.fspath(folder), "no such folder", "check the path")
        if not directory.is_dir():
            raise InputError(os.fspath(folder), "is not a folder", "give a folder of images")
        return sorted(
            entry
            for entry in directory.iterdir()
            if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".") and entry.is_file()
        )
    except OSError as error:
        raise InputError(
            os.fspath(folder), f"cannot be read ({error.strerror or error})", "check its permissions"
        ) from error


_logging: Any = getattr(cv2.utils, "logging", cv2)  # OpenCV 5; 4 has the two functions at the top
_SILENT = 0


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Silence OpenCV's own warnings, which would stand between our lines."""
    global _quiet_threads, _level_before
    with _quiet_lock:
        if _quiet_threads == 0:
            _level_before = _logging.getLogLevel()
            _logging.setLogLevel(_SILENT)
        _quiet_threads += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_threads -= 1
            if _quiet_threads == 0:
                _logging.setLogLevel(_level_before)


def _to_rgb(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> Image:
    """OpenCV's grey, BGR or BGRA of 8 or 16 bits to 8-bit RGB, transparency over white."""
    height, width = pixels.shape[:2]
    rgb = np.empty((height, width, 3), np.uint8)
    # In bands of rows: a large image's 32-bit numbers would take ten times the memory of the result.
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        rgb[top : top + rows] = _band_to_rgb(pixels[top : top + rows])
    return rgb


def _band_to_rgb(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> Image:
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2).astype(np.uint8)
    rgb: Image = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    if pixels.shape[2] == 4:
        alpha = pixels[:, :, 3:].astype(np.uint32)
        if alpha.min() < 255:
            rgb = ((rgb * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return rgb


def rgb_of_pil(image: Any) -> Image:
    """A PIL image's pixels (H, W, 3) uint8 RGB, as :func:`read_image` gives a file's: transparency over white, 16-bit
    grey to 8 bits."""
    if image.mode.startswith("I") and np.asarray(image).max() > 255:
        return _to_rgb(np.asarray(image).clip(0, 65535).astype(np.uint16))
    if "A" in image.getbands() or "transparency" in image.info:
        return _to_rgb(np.asarray(image.convert("RGBA"), dtype=np.uint8)[..., [2, 1, 0, 3]])
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def turn_upright(image: Image, orientation: int) -> Image:
    """Undo an EXIF orientation (where the stored first row and column belong in the scene), 1 to 8."""
    if orientation >= 5:  # 5-8: rows and columns exchanged
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image
