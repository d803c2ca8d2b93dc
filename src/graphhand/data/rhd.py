"""Rendered Hand Pose Dataset (RHD_published_v2; Zimmermann & Brox, ICCV 2017).

Each picture shows a person with both hands and has 42 labelled joints; papers use one hand of each picture.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from graphhand.data.info import DatasetInfo
from graphhand.data.labelfiles import as_array
from graphhand.data.labels import require_plausible
from graphhand.data.sample import HandSample, Side
from graphhand.errors import InputError
from graphhand.images import read_image
from graphhand.pickles import load_restricted
from graphhand.skeleton import NUM_JOINTS, to_graphhand_order

HandRule = Literal["mask", "visible", "both"]
FIRST_JOINT: dict[Side, int] = {"left": 0, "right": NUM_JOINTS}
MASK_RANGE: dict[Side, tuple[int, int]] = {"left": (2, 17), "right": (18, 33)}
"""First and last value of each hand's parts in a mask picture; 0 is background, 1 the person."""


class RHD:
    """One sample a picture, or one a hand.

    Args:
        root: the folder RHD_published_v2, or the one that holds it.
        split: "training" or "evaluation".
        hand_rule: which hand of a picture: ``"mask"``, the one with more mask pixels (Zimmermann & Brox, Spurr et
            al., BiHand); ``"visible"``, the one with more visible joints (Minimal-Hand); a tie gives the right hand.
            ``"both"`` gives every hand that has a visible joint.

    Raises:
        InputError: files are missing or malformed.
    """

    info = DatasetInfo(
        name="rhd",
        title="RHD (RHD_published_v2)",
        tree="""\
DIR/                                    RHD_published_v2, or the folder that holds it
  training/
    anno_training.pickle
    color/00000.png ... 41257.png       320x320
    mask/00000.png ... 41257.png        needed for hand_rule=mask
    depth/                              not read
  evaluation/
    anno_evaluation.pickle
    color/00000.png ... 02727.png
    mask/00000.png ... 02727.png
""",
        splits=("training", "evaluation"),
        test_split="evaluation",
        counts={"training": 41258, "evaluation": 2728},
        licence="research only, no commercial use",
    )

    def __init__(self, root: str | PathLike[str], split: str = "training", *, hand_rule: HandRule = "mask") -> None:
        self.split = self.info.require_split(split)
        if hand_rule not in get_args(HandRule):
            raise InputError("hand_rule", f"no rule {hand_rule!r}", f"choose from {', '.join(get_args(HandRule))}")
        self.hand_rule = hand_rule
        root = Path(root)
        self.folder = root / split if (root / split).exists() else root / "RHD_published_v2" / split
        self.file = self.info.require(self.folder / f"anno_{split}.pickle")
        annotations = load_restricted(self.file)
        if not isinstance(annotations, dict) or not annotations:
            raise InputError(self.file, "not a dict of frames", "this is no RHD annotation file")
        self._frames: list[tuple[int, Any]] = sorted(annotations.items())
        self._hands: list[tuple[int, Side | None]] = [(i, None) for i in range(len(self._frames))]
        if hand_rule == "both":
            self._hands = [(i, side) for i in range(len(self._frames)) for side in self._visible_hands(i)]

    def __len__(self) -> int:
        return len(self._hands)

    def __getitem__(self, index: int) -> HandSample:
        """Read one hand.

        Raises:
            InputError: a picture or mask is missing or damaged, labels are malformed or impossible, or the frame is
                degenerate (the chosen hand has neither a mask pixel nor a visible joint).
        """
        frame, side = self._hands[index]
        number = self._frames[frame][0]
        xyz, uv_vis, K = self._joints(frame)
        if side is None:
            side = self._choose(number, uv_vis)
        first = FIRST_JOINT[side]
        mine = slice(first, first + NUM_JOINTS)
        sample = HandSample(
            image=read_image(self.folder / "color" / f"{number:05d}.png"),
            joints_px=to_graphhand_order(uv_vis[mine, :2], "rhd").astype(np.float32),
            visible=to_graphhand_order(uv_vis[mine, 2:], "rhd")[:, 0] > 0.5,
            side=side,
            name=f"{self.split}/{number:05d}" + (f"-{side}" if self.hand_rule == "both" else ""),
            joints_cam_m=to_graphhand_order(xyz[mine], "rhd").astype(np.float32),
            K=K,
        )
        return require_plausible(sample, self.file)

    @property
    def protocol(self) -> dict[str, str]:
        """The choices that a number taken on this set depends on."""
        return {"dataset": "rhd", "split": self.split, "hand_rule": self.hand_rule}

    def _joints(self, frame: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The 42 joints' metres (42, 3), pixels with visibility (42, 3), and K of a frame."""
        number, labels = self._frames[frame]
        if not isinstance(labels, dict):
            raise InputError(self.file, f"frame {number} is not a dict", "this is no RHD annotation file")
        for key in ("xyz", "uv_vis", "K"):
            if key not in labels:
                raise InputError(self.file, f"frame {number} has no '{key}'", "copy or download it again")
        both = 2 * NUM_JOINTS
        return (
            as_array(labels["xyz"], (both, 3), self.file, f"frame {number}, xyz"),
            as_array(labels["uv_vis"], (both, 3), self.file, f"frame {number}, uv_vis"),
            as_array(labels["K"], (3, 3), self.file, f"frame {number}, K"),
        )

    def _visible_hands(self, frame: int) -> list[Side]:
        counts = _visible_counts(self._joints(frame)[1])
        return [side for side in FIRST_JOINT if counts[side] > 0]

    def _choose(self, number: int, uv_vis: npt.NDArray[np.float64]) -> Side:
        visible = _visible_counts(uv_vis)
        size = visible
        if self.hand_rule == "mask":
            size = mask_areas(self.folder / "mask" / f"{number:05d}.png")
        side: Side = "left" if size["left"] > size["right"] else "right"
        if size[side] == 0 and visible[side] == 0:
            raise InputError(self.file, f"frame {number} shows no hand", "it is left out, nothing to do")
        return side


def _visible_counts(uv_vis: npt.NDArray[np.float64]) -> dict[Side, int]:
    seen = uv_vis[:, 2] > 0.5
    return {side: int(seen[first : first + NUM_JOINTS].sum()) for side, first in FIRST_JOINT.items()}


def mask_areas(path: Path) -> dict[Side, int]:
    """Pixels of each hand in an RHD mask picture.

    Raises:
        InputError: the mask is missing or damaged.
    """
    if not path.is_file():
        raise InputError(path, "no such mask", "restore it, or choose the hand with hand_rule=visible")
    mask = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if mask is None:
        raise InputError(path, "not readable as a mask", "copy or download it again")
    mask = mask if mask.ndim == 2 else mask[..., 0]
    counts = np.bincount(mask.reshape(-1), minlength=256)
    return {side: int(counts[first : last + 1].sum()) for side, (first, last) in MASK_RANGE.items()}
