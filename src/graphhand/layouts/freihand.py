"""Writes FreiHAND_pub_v2: 224x224 JPEG pictures, masks, and one JSON file each for cameras, joints and scales."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from graphhand.files import write_text_atomically
from graphhand.images import write_image
from graphhand.layouts.record import HandRecord
from graphhand.layouts.rhd import resized
from graphhand.rendering.mesh import FOREARM_PART
from graphhand.skeleton import Joint

SIZE = 224


class FreiHANDWriter:
    """Right hands only, one version of each picture. MANO parameters and vertices are not written: the hand drawn is
    not MANO's.

    Args:
        root: receives ``training/`` or ``evaluation/`` and the JSON files.
        split: one of the two.
    """

    splits: ClassVar[tuple[str, str]] = ("training", "evaluation")

    def __init__(self, root: Path, split: str) -> None:
        self.root, self.split = root, split
        for name in ("rgb", "mask"):
            (root / split / name).mkdir(parents=True, exist_ok=True)

    @classmethod
    def places(cls, root: Path, split: str) -> list[Path]:
        """What a split is written to."""
        return [root / split, *(root / f"{split}_{name}.json" for name in ("K", "xyz", "scale"))]

    def prepare(self, number: int, record: HandRecord) -> HandRecord:
        """The record as this layout holds it: a right hand, 224x224."""
        right = record if record.side == "right" else record.mirrored()
        height, width = right.image.shape[:2]
        if (height, width) == (SIZE, SIZE):
            return right
        return right.seen_by(resized(right.K, SIZE / width, SIZE / height), SIZE, SIZE)

    def write(self, number: int, record: HandRecord) -> None:
        """Write picture and mask of a prepared record."""
        hand = (record.parts > 0) & (record.parts != FOREARM_PART)
        mask = np.repeat(hand[..., None] * np.uint8(255), 3, axis=2).astype(np.uint8)
        write_image(self.root / self.split / "mask" / f"{number:08d}.jpg", mask)
        write_image(self.root / self.split / "rgb" / f"{number:08d}.jpg", record.image)

    def finish(self, labels: dict[str, npt.NDArray[Any]]) -> None:
        """Write the JSON files from all labels (see LabelParts.read)."""
        joints = labels["joints_cam_m"]
        scale = np.linalg.norm(joints[:, Joint.MIDDLE_PIP] - joints[:, Joint.MIDDLE_MCP], axis=1)
        for name, values in (("K", labels["K"]), ("xyz", joints), ("scale", scale)):
            write_text_atomically(self.root / f"{self.split}_{name}.json", json.dumps(values.tolist()))
