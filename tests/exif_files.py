"""Image files with EXIF, in every place where it may stand."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

WIDTH, HEIGHT = 40, 30


def tiff(focal_35mm: int, order: str = "<", orientation: int = 1) -> bytes:
    inner = struct.pack(order + "H", 3)
    for tag, value in ((0xA002, 4000), (0xA003, 3000), (0xA405, focal_35mm)):
        inner += struct.pack(order + "HHII", tag, 4, 1, value)
    first = struct.pack(order + "HHHIHH", 2, 0x0112, 3, 1, orientation, 0)
    first += struct.pack(order + "HHIII", 0x8769, 4, 1, 8 + 30, 0)
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8) + first + inner + bytes(4)


def encoded(suffix: str, *options: int) -> bytes:
    """A smooth image without symmetry."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    image = np.stack([200 - 3 * rows, 5 * columns, 2 * rows + columns], axis=-1).astype(np.uint8)
    image[:9, :12] = (20, 10, 250)
    return cv2.imencode(suffix, image, options)[1].tobytes()


def segment(body: bytes, code: int = 0xE1) -> bytes:
    return bytes([0xFF, code]) + struct.pack(">H", len(body) + 2) + body


def app1(focal_35mm: int, order: str = "<") -> bytes:
    return segment(b"Exif\0\0" + tiff(focal_35mm, order))


def jpeg(*segments: bytes) -> bytes:
    data = encoded(".jpg")
    return data[:2] + b"".join(segments) + data[2:]


def png(*blocks: bytes, at_end: bool = False) -> bytes:
    data = encoded(".png")
    place = len(data) - 12 if at_end else 33
    bodies = [b"eXIf" + block for block in blocks]
    chunks = b"".join(struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one)) for one in bodies)
    return data[:place] + chunks + data[place:]


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    extended = b"\x08\0\0\0" + (WIDTH - 1).to_bytes(3, "little") + (HEIGHT - 1).to_bytes(3, "little")
    body = b"WEBP" + riff(b"VP8X", extended) + encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 101)[12:]
    body += b"".join(riff(*chunk) for chunk in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def riff(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
