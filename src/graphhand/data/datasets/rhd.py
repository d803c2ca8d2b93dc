"""Rendered Hand Pose Dataset (RHD_published_v2; Zimmermann & Brox, ICCV 2017).

Each image shows a person with both hands and has 42 labelled joints; papers use one hand of each image.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from graphhand.data.sample import HandSample
from graphhand.data.validation import CheckedOnce, DatasetInfo, read_sample_image
from graphhand.errors import InputError, NoHandError
from graphhand.io.files import as_array
from graphhand.io.pickles import load_restricted
from graphhand.skeleton import NUM_JOINTS, to_graphhand_order
from graphhand.types import Side

HandRule = Literal["mask", "visible", "both"]
FIRST_JOINT: dict[Side, int] = {"left": 0, "right": NUM_JOINTS}
HANDS: tuple[Side, ...] = tuple(FIRST_JOINT)
MASK_RANGE: dict[Side, tuple[int, int]] = {"left": (2, 17), "right": (18, 33)}
"""First and last value of each hand's parts in a mask image; 0 is background, 1 the person."""


class RHD:
    """One sample per image, or one a hand.

    Args:
        root: the folder RHD_published_v2, or the one that holds it.
        split: "training" or "evaluation".
        hand_rule: which hand of an image: ``"mask"``, the one with more mask pixels (Zimmermann & Brox, Spurr et
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
        if not all(isinstance(number, int | np.integer) for number in annotations):
            raise InputError(self.file, "frames are not named by numbers", "this is no RHD annotation file")
        # Stacked arrays, not 41,258 dicts: worker processes then share one copy.
        self._numbers = sorted(annotations)
        self._malformed: dict[int, InputError] = {}
        count, joints = len(self._numbers), 2 * NUM_JOINTS
        self._xyz = np.zeros((count, joints, 3), np.float32)
        self._uv_vis = np.zeros((count, joints, 3), np.float32)
        self._K = np.zeros((count, 3, 3))
        for frame, number in enumerate(self._numbers):
            try:
                labels = annotations[number]
                self._xyz[frame] = self._array(labels, number, "xyz", (joints, 3))
                self._uv_vis[frame] = self._array(labels, number, "uv_vis", (joints, 3))
                self._K[frame] = self._array(labels, number, "K", (3, 3))
            except InputError as error:
                self._malformed[frame] = error
        # (frames, hand, joint, 3) in our order: left hand first.
        self._xyz, self._uv_vis = (
            to_graphhand_order(a.reshape(count, 2, NUM_JOINTS, 3), "rhd") for a in (self._xyz, self._uv_vis)
        )
        self._images = str(self.folder / "color")
        self._hands: list[tuple[int, Side | None]] = [(i, None) for i in range(count)]
        if hand_rule == "both":
            self._hands = [(i, side) for i in range(count) for side, n in _visible_counts(self._uv_vis[i]).items() if n]
        self._checked = CheckedOnce(len(self))

    def __len__(self) -> int:
        return len(self._hands)

    def __getitem__(self, index: int) -> HandSample:
        """Read one hand.

        Raises:
            NoHandError: the frame is degenerate: the chosen hand has neither a mask pixel nor a visible joint.
            InputError: an image or mask is missing or damaged, or labels are malformed or impossible.
        """
        frame, side = self._hands[index]
        if frame in self._malformed:
            raise self._malformed[frame]
        number, uv_vis = self._numbers[frame], self._uv_vis[frame]
        if side is None:
            side = self._choose(number, uv_vis)
            self._hands[index] = frame, side  # a mask is decoded once, not once an epoch
        hand = HANDS.index(side)
        sample = HandSample(
            image=read_sample_image(f"{self._images}/{number:05d}.png"),
            joints_px=uv_vis[hand, :, :2],
            visible=uv_vis[hand, :, 2] > 0.5,
            side=side,
            name=f"{self.split}/{number:05d}" + (f"-{side}" if self.hand_rule == "both" else ""),
            joints_cam_m=self._xyz[frame, hand],
            K=self._K[frame],
            image_path=f"{self.split}/color/{number:05d}",
        )
        return self._checked(index, sample, self.file)

    @property
    def protocol(self) -> dict[str, str]:
        """The options that a score on this set depends on."""
        return {"dataset": "rhd", "split": self.split, "hand_rule": self.hand_rule}

    def _array(self, labels: Any, number: int, key: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        if not isinstance(labels, dict) or key not in labels:
            raise InputError(self.file, f"frame {number} has no '{key}'", "copy or download it again")
        return as_array(labels[key], shape, self.file, f"frame {number}, {key}")

    def _choose(self, number: int, uv_vis: npt.NDArray[np.float32]) -> Side:
        visible = _visible_counts(uv_vis)
        size = visible
        if self.hand_rule == "mask":
            size = mask_areas(self.folder / "mask" / f"{number:05d}.png")
        side: Side = "left" if size["left"] > size["right"] else "right"
        if size[side] == 0 and visible[side] == 0:
            raise NoHandError(self.file, f"frame {number} shows no hand", "it is left out, nothing to do")
        return side


def _visible_counts(uv_vis: npt.NDArray[np.float32]) -> dict[Side, int]:
    seen = (uv_vis[..., 2] > 0.5).sum(axis=1).tolist()
    return dict(zip(HANDS, seen))


def mask_areas(path: Path) -> dict[Side, int]:
    """Pixels of each hand in an RHD mask image.

    Raises:
        InputError: the mask is missing or damaged.
    """
    remedy = "restore it, or choose the hand with hand_rule=visible"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(path, "no such mask", remedy) from None
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", remedy) from None
    mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if mask is None:
        raise InputError(path, "not readable as a mask", "copy or download it again")
    mask = mask if mask.ndim == 2 else mask[..., 0]
    counts = np.bincount(mask.reshape(-1), minlength=256)
    return {side: int(counts[first : last + 1].sum()) for side, (first, last) in MASK_RANGE.items()}
