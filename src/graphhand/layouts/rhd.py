"""Writes RHD_published_v2: colour, depth and mask pictures of 320x320 and the annotation pickle."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from graphhand.data.labels import project
from graphhand.data.rhd import FIRST_JOINT, MASK_RANGE
from graphhand.data.sample import Side
from graphhand.files import replacing, temporary_name
from graphhand.images import write_image
from graphhand.layouts.record import HandRecord
from graphhand.rendering.mesh import FOREARM_PART, PALM_PART
from graphhand.skeleton import NUM_JOINTS, from_graphhand_order

SIZE = 320
FARTHEST_M = 5.0
"""Depth is stored as a 16-bit part of this, high byte in red, low byte in green."""
PERSON = 1


class RHDWriter:
    """One hand a picture; the other hand's 21 joints are zero and invisible, as its mask is empty.

    Args:
        root: receives ``training/`` or ``evaluation/``.
        split: one of the two.
    """

    splits: ClassVar[tuple[str, str]] = ("training", "evaluation")

    def __init__(self, root: Path, split: str) -> None:
        self.folder = root / split
        self.split = split
        for name in ("color", "depth", "mask"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @classmethod
    def places(cls, root: Path, split: str) -> list[Path]:
        """What a split is written to."""
        return [root / split]

    def prepare(self, number: int, record: HandRecord) -> HandRecord:
        """The record as this layout holds it: 320x320, and odd pictures of left hands, as both occur in RHD."""
        if record.image.shape[:2] != (SIZE, SIZE):
            height, width = record.image.shape[:2]
            record = record.seen_by(resized(record.K, SIZE / width, SIZE / height), SIZE, SIZE)
        wanted: Side = "left" if number % 2 else "right"
        return record if record.side == wanted else record.mirrored()

    def write(self, number: int, record: HandRecord) -> None:
        """Write the three pictures of a prepared record."""
        name = f"{number:05d}.png"
        write_image(self.folder / "color" / name, record.image)
        write_image(self.folder / "depth" / name, encode_depth(record.depth_m))
        _write_gray(self.folder / "mask" / name, encode_mask(record.parts, record.side))

    def finish(self, labels: dict[str, npt.NDArray[Any]]) -> None:
        """Write the annotation file from all labels (see LabelParts.read)."""
        annotations = {}
        for number, (joints, K, visible, is_right) in enumerate(zip(*labels.values())):
            first = FIRST_JOINT["right" if is_right else "left"]
            mine = slice(first, first + NUM_JOINTS)
            xyz, uv_vis = np.zeros((2, 2 * NUM_JOINTS, 3))
            xyz[mine] = from_graphhand_order(joints, "rhd")
            uv_vis[mine, :2] = from_graphhand_order(project(joints, K), "rhd")
            uv_vis[mine, 2] = from_graphhand_order(visible[:, None].astype(np.float64), "rhd")[:, 0]
            annotations[number] = {"xyz": xyz, "uv_vis": uv_vis, "K": np.array(K)}
        with replacing(self.folder / f"anno_{self.split}.pickle") as temporary, temporary.open("wb") as file:
            pickle.dump(annotations, file, protocol=2)


def encode_depth(depth_m: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """(H, W) metres to (H, W, 3) RGB: ``depth = 5 m (256 R + G) / 65535``; nothing near is the farthest depth."""
    far = np.where(depth_m > 0, depth_m, FARTHEST_M)
    level = np.rint(np.clip(far / FARTHEST_M, 0.0, 1.0) * 65535).astype(np.uint16)
    return np.stack([level >> 8, level & 255, np.zeros_like(level)], axis=-1).astype(np.uint8)


def decode_depth(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The inverse of :func:`encode_depth`, to within 0.04 mm."""
    return np.asarray(FARTHEST_M * (image[..., 0].astype(np.float64) * 256 + image[..., 1]) / 65535)


def encode_mask(parts: npt.NDArray[np.uint8], side: Side) -> npt.NDArray[np.uint8]:
    """Our part values to RHD's: 0 background, 1 person, then this hand's fingers, each tip first, then its palm."""
    first, last = MASK_RANGE[side]
    table = np.zeros(256, dtype=np.uint8)
    table[FOREARM_PART], table[PALM_PART] = PERSON, last
    for finger in range(5):
        for segment in range(3):  # ours run base to tip, RHD's tip to base
            table[2 + 3 * finger + segment] = first + 3 * finger + (2 - segment)
    return np.asarray(table[parts])


def resized(K: npt.NDArray[np.float64], fx: float, fy: float) -> npt.NDArray[np.float64]:
    """Intrinsics of a picture scaled by fx and fy: pixel centres move as ``u' + 0.5 = fx (u + 0.5)``."""
    return np.array([[fx, 0.0, (fx - 1) / 2], [0.0, fy, (fy - 1) / 2], [0.0, 0.0, 1.0]]) @ K


def _write_gray(path: Path, image: npt.NDArray[np.uint8]) -> None:
    temporary = temporary_name(path)
    temporary.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    temporary.replace(path)
