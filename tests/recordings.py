"""Frames of one colour, and a writer of video files with variable frame times, which OpenCV cannot write."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np

COLOURS = np.array([[200, 30, 30], [30, 180, 40], [40, 50, 210], [220, 210, 60]], np.uint8)


def frame(number: int, width: int = 96, height: int = 64) -> np.ndarray:
    """One colour, so that a codec hardly changes it."""
    return np.broadcast_to(COLOURS[number % len(COLOURS)], (height, width, 3)).copy()


def element(ident: str, *parts: bytes) -> bytes:
    """A Matroska element: identifier, length, content."""
    body = b"".join(parts)
    return bytes.fromhex(ident) + (1 << 56 | len(body)).to_bytes(8, "big") + body


def write_recording(path: Path, images: list[np.ndarray], times_ms: list[int], length_ms: float | None) -> None:
    """Write a Matroska file as browsers and screen recorders do, without a frame rate.

    Args:
        path: the file.
        images: the frames, (H, W, 3) uint8 RGB, below 256 pixels.
        times_ms: time of each frame.
        length_ms: duration, or None for a file without one.
    """
    height, width = images[0].shape[:2]
    track = [element("d7", b"\1"), element("73c5", b"\1"), element("83", b"\1"), element("86", b"V_MJPEG")]
    size = element("e0", element("b0", bytes([width])), element("ba", bytes([height])))
    length = [] if length_ms is None else [element("4489", struct.pack(">d", length_ms))]
    info = element("1549a966", element("2ad7b1", (1_000_000).to_bytes(4, "big")), *length)
    photos = [cv2.imencode(".jpg", np.ascontiguousarray(image[:, :, ::-1]))[1].tobytes() for image in images]
    clusters = [
        element("1f43b675", element("e7", time_ms.to_bytes(4, "big")), element("a3", b"\x81\0\0\x80", photo))
        for photo, time_ms in zip(photos, times_ms, strict=True)
    ]
    head = element("1a45dfa3", element("4282", b"matroska"), element("4287", b"\4"), element("4285", b"\2"))
    path.write_bytes(head + element("18538067", info, element("1654ae6b", element("ae", *track, size)), *clusters))
