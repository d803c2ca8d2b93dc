"""Writes the RealSense half of STB: 640x480 colour pictures in sequences, and their label files.

Depth pictures are not written: STB's are seen from the depth camera, which stands 24 mm aside and sees past the hand's
edge other things than the colour camera does, and no loader of colour methods opens them. Nor is the stereo half.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import scipy.io

from graphhand.data.stb import BACKGROUNDS, K_SK_COLOR, MOTIONS, color_to_depth
from graphhand.files import replacing
from graphhand.images import write_image
from graphhand.layouts.record import HandRecord
from graphhand.skeleton import Joint, from_graphhand_order

WIDTH, HEIGHT = 640, 480
DRAWN_AS: dict[str, Any] = {
    "image_size": WIDTH,
    "image_height": HEIGHT,
    # right hands are drawn and mirrored: so is the camera
    "camera": (K_SK_COLOR[0, 0], K_SK_COLOR[1, 1], WIDTH - 1 - K_SK_COLOR[0, 2], K_SK_COLOR[1, 2]),
}
"""Settings of the engine for pictures of STB's colour camera; others are fitted into its picture, blurred around."""


class STBWriter:
    """Left hands before STB's colour camera; picture n goes to sequence n modulo their number.

    The palm centre, which STB labels instead of the wrist, is put halfway between wrist and ring knuckle, so that the
    rule of Ge et al. gives the wrist back.

    Args:
        root: receives ``images/`` and ``labels/``.
        split: "train" (B2 to B6) or "test" (B1).
    """

    splits: ClassVar[tuple[str, str]] = ("train", "test")

    def __init__(self, root: Path, split: str) -> None:
        self.root = root
        self.sequences = _sequences(split)
        (root / "labels").mkdir(parents=True, exist_ok=True)
        for sequence in self.sequences:
            (root / "images" / sequence).mkdir(parents=True, exist_ok=True)

    @classmethod
    def places(cls, root: Path, split: str) -> list[Path]:
        """What a split is written to."""
        sequences = _sequences(split)
        pictures = [root / "images" / sequence for sequence in sequences]
        return [*pictures, *(root / "labels" / f"{sequence}_SK.mat" for sequence in sequences)]

    def prepare(self, number: int, record: HandRecord) -> HandRecord:
        """The record as this layout holds it: a left hand seen by STB's colour camera."""
        left = record if record.side == "left" else record.mirrored()
        if left.image.shape[:2] == (HEIGHT, WIDTH) and np.allclose(left.K, K_SK_COLOR, rtol=1e-6, atol=1e-6):
            return replace(left, K=K_SK_COLOR)  # in double precision
        return left.seen_by(K_SK_COLOR, WIDTH, HEIGHT)

    def write(self, number: int, record: HandRecord) -> None:
        """Write the colour picture of a prepared record."""
        frame, which = divmod(number, len(self.sequences))
        write_image(self.root / "images" / self.sequences[which] / f"SK_color_{frame}.png", record.image)

    def finish(self, labels: dict[str, npt.NDArray[Any]]) -> None:
        """Write the label files from all labels (see LabelParts.read)."""
        joints = np.array(labels["joints_cam_m"], dtype=np.float64)
        joints[:, Joint.WRIST] = (joints[:, Joint.WRIST] + joints[:, Joint.RING_MCP]) / 2.0
        raw_mm = from_graphhand_order(color_to_depth(joints), "stb") * 1000.0
        for which, sequence in enumerate(self.sequences):
            hand_para = raw_mm[which :: len(self.sequences)].transpose(2, 1, 0)
            with replacing(self.root / "labels" / f"{sequence}_SK.mat") as temporary:
                scipy.io.savemat(temporary, {"handPara": np.ascontiguousarray(hand_para)})


def _sequences(split: str) -> list[str]:
    backgrounds = BACKGROUNDS[:1] if split == "test" else BACKGROUNDS[1:]
    return [background + motion for background in backgrounds for motion in MOTIONS]
