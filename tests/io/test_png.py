"""What a PNG may hold beyond 8-bit colours: 16 bits, and a level that is transparent."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from graphhand.io import decode_image


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of_rows(width: int, depth: int, colour: int, rows: list[bytes], *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + data + chunk(b"IEND", b"")


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_rounded_not_cut(channels: int) -> None:
    """Of random 16-bit values, which a cut puts one level too low in half of the cases."""
    deep = np.random.default_rng(channels).integers(0, 65536, (32, 48, channels)).astype(np.uint16)
    deep[:, :, 3:] = 65535
    colours = np.repeat(deep, 3, axis=2) if channels == 1 else deep[:, :, :3]
    rows = [row.astype(">u2").tobytes() for row in deep]
    found = decode_image(png_of_rows(48, 16, {1: 0, 3: 2, 4: 6}[channels], rows))
    np.testing.assert_array_equal(found, np.rint(colours / 257))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_clear_level_of_a_grey_png_lies_over_white(depth: int) -> None:
    most = 2**depth - 1
    stored = np.random.default_rng(depth).integers(0, min(most, 7) + 1, (6, 16))
    clear = int(stored[0, 0])
    bits = ["".join(f"{value:0{depth}b}" for value in row) for row in stored.tolist()]
    rows = [int(row, 2).to_bytes(len(row) // 8, "big") for row in bits]
    levels = np.rint(stored * 255 / most)
    opaque = decode_image(png_of_rows(16, depth, 0, rows))
    np.testing.assert_array_equal(opaque, np.repeat(levels[:, :, None], 3, axis=2))
    found = decode_image(png_of_rows(16, depth, 0, rows, chunk(b"tRNS", struct.pack(">H", clear))))
    over_white = np.where(stored == clear, 255, levels)
    np.testing.assert_array_equal(found, np.repeat(over_white[:, :, None], 3, axis=2))


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\1\0"])
def test_a_malformed_clear_level_is_ignored(body: bytes) -> None:
    data = png_of_rows(4, 8, 0, [bytes([0, 1, 2, 3])], chunk(b"tRNS", body))
    np.testing.assert_array_equal(decode_image(data)[0, :, 0], [0, 1, 2, 3])
