"""Stereo Tracking Benchmark (Zhang et al., ICIP 2017): one left hand, 12 sequences of 1,500 frames, two cameras.

Labels are millimetres. Those of the RealSense half (SK) are in its *depth* camera's frame, and are moved to the colour
camera before anything else; those of the Bumblebee half (BB) are in its left camera's frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

import cv2
import numpy as np

from graphhand.data.sample import HandSample
from graphhand.data.validation import CheckedOnce, DatasetInfo, as_names, project, read_sample_image
from graphhand.errors import InputError
from graphhand.io.files import read_mat
from graphhand.skeleton import FINGERS, NUM_JOINTS, Joint, to_graphhand_order
from graphhand.types import FloatArray

View = Literal["SK_color", "BB_left", "BB_right"]
WristRule = Literal["ge", "bihand", "peclr", "four-knuckles", "palm"]

K_SK_COLOR = np.array([[607.92271, 0.0, 314.78337], [0.0, 607.88192, 236.42484], [0.0, 0.0, 1.0]])
K_BB = np.array([[822.79041, 0.0, 318.47345], [0.0, 822.79041, 250.31296], [0.0, 0.0, 1.0]])
BASELINE_M = 0.120054
ROTATION_DEPTH_COLOR = np.array([0.00531, -0.01196, 0.00301])
"""Rotation vector of ``X_depth = R X_color + t``."""
TRANSLATION_DEPTH_COLOR_M = np.array([-24.0381, -0.4563, -1.2326]) / 1000.0

BACKGROUNDS = ("B1", "B2", "B3", "B4", "B5", "B6")
MOTIONS = ("Counting", "Random")
FRAMES = 1500
_KNUCKLES = [FINGERS[name][0] for name in ("index", "middle", "ring", "little")]


def depth_to_color(points_depth_m: FloatArray) -> FloatArray:
    """RealSense depth-camera points (..., 3), metres, to its colour camera: ``X_color = R^T (X_depth - t)``."""
    R, _ = cv2.Rodrigues(ROTATION_DEPTH_COLOR)
    return np.asarray((points_depth_m - TRANSLATION_DEPTH_COLOR_M) @ R)


def color_to_depth(points_color_m: FloatArray) -> FloatArray:
    """The inverse of :func:`depth_to_color`."""
    R, _ = cv2.Rodrigues(ROTATION_DEPTH_COLOR)
    return np.asarray(points_color_m @ R.T + TRANSLATION_DEPTH_COLOR_M)


def move_palm_to_wrist(joints: FloatArray, rule: WristRule) -> FloatArray:
    """Replace the palm centre, joint 0 of (..., 21, 3), by a wrist, as one code base or another does.

    With p the palm centre: ``ge`` (Ge et al., and Zimmermann & Brox) 2 p - ring knuckle; ``bihand`` m + 2.2 (p - m)
    with m the middle knuckle; ``peclr`` 2 p - m; ``four-knuckles`` (in Minimal-Hand, unused) the mean over the four
    fingers' knuckles k of k + 2.25 (p - k); ``palm`` leaves p (Zimmermann & Brox's own evaluation).
    The rules disagree by up to 3 cm: every number on STB must name its rule.
    """
    moved = np.array(joints, dtype=np.float64)
    palm = moved[..., 0, :]
    middle, ring = moved[..., Joint.MIDDLE_MCP, :], moved[..., Joint.RING_MCP, :]
    if rule == "ge":
        moved[..., 0, :] = 2.0 * palm - ring
    elif rule == "bihand":
        moved[..., 0, :] = middle + 2.2 * (palm - middle)
    elif rule == "peclr":
        moved[..., 0, :] = 2.0 * palm - middle
    elif rule == "four-knuckles":
        knuckles = moved[..., _KNUCKLES, :].mean(axis=-2)
        moved[..., 0, :] = knuckles + 2.25 * (palm - knuckles)
    elif rule != "palm":
        raise InputError("wrist_rule", f"no rule {rule!r}", f"choose from {', '.join(get_args(WristRule))}")
    return moved


class _Frame(NamedTuple):
    sequence: str
    view: View
    number: int


class STB:
    """One sample per image.

    Args:
        root: the data set's folder, with the sequences in ``images/`` or directly inside.
        split: "train" (B2 to B6) or "test" (B1).
        views: which images, one or several: ``SK_color`` (Ge et al., BiHand and most after them), ``BB_left`` and
            ``BB_right`` (Zimmermann & Brox evaluate on both).
        wrist_rule: see :func:`move_palm_to_wrist`.

    Raises:
        InputError: files are missing or malformed.
    """

    info = DatasetInfo(
        name="stb",
        title="STB (stereo hand pose tracking benchmark)",
        tree="""\
DIR/
  labels/B1Counting_SK.mat ... B6Random_SK.mat      and ..._BB.mat for the stereo half
  images/B1Counting/ ... B6Random/                  or B1Counting/ ... directly in DIR
    SK_color_0.png ... SK_color_1499.png            640x480
    BB_left_0.png ..., BB_right_0.png ...           for the stereo half
""",
        splits=("train", "test"),
        test_split="test",
        counts={"train": 15000, "test": 3000},
        licence="no terms stated for the images",
    )

    def __init__(
        self,
        root: str | PathLike[str],
        split: str = "train",
        *,
        views: View | Sequence[View] = ("SK_color",),
        wrist_rule: WristRule = "ge",
    ) -> None:
        self.split = self.info.require_split(split)
        self.views, self.wrist_rule = cast("tuple[View, ...]", as_names(views)), wrist_rule
        for view in self.views:
            if view not in get_args(View):
                raise InputError("views", f"no view {view!r}", f"choose from {', '.join(get_args(View))}")
        self.root = self.info.require(root)
        self.images = self.root / "images" if (self.root / "images").is_dir() else self.root
        self._labels: dict[tuple[str, str], FloatArray] = {}
        self._frames: list[_Frame] = []
        for background in BACKGROUNDS[:1] if split == "test" else BACKGROUNDS[1:]:
            for motion in MOTIONS:
                for view in self.views:
                    frames = len(self._sequence_labels(background + motion, view[:2]))
                    self._frames += [_Frame(background + motion, view, i) for i in range(frames)]
        self._checked = CheckedOnce(len(self))

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> HandSample:
        """Read one image.

        Raises:
            InputError: the image is missing or damaged, or its labels are impossible.
        """
        frame = self._frames[index]
        joints = self._labels[frame.sequence, frame.view[:2]][frame.number]
        if frame.view == "SK_color":
            joints, K = depth_to_color(joints), K_SK_COLOR
        else:
            K = K_BB
            if frame.view == "BB_right":
                joints = joints - [BASELINE_M, 0.0, 0.0]
        name = f"{frame.sequence}/{frame.view}_{frame.number}"
        sample = HandSample(
            image=read_sample_image(self.images / f"{name}.png"),
            joints_px=project(joints, K).astype(np.float32),
            visible=np.ones(NUM_JOINTS, dtype=np.bool_),  # STB does not label visibility
            side="left",
            name=name,
            joints_cam_m=joints.astype(np.float32),
            K=K,
        )
        return self._checked(index, sample, self._label_file(frame.sequence, frame.view[:2]))

    @property
    def protocol(self) -> dict[str, str]:
        """The options that a score on this set depends on."""
        return {
            "dataset": "stb",
            "split": self.split,
            "views": "+".join(self.views),
            "wrist_rule": self.wrist_rule,
        }

    def _label_file(self, sequence: str, camera: str) -> Path:
        return self.root / "labels" / f"{sequence}_{camera}.mat"

    def _sequence_labels(self, sequence: str, camera: str) -> FloatArray:
        """(frames, 21, 3) metres in the label's own camera frame, wrist moved, our order."""
        if (sequence, camera) not in self._labels:
            path = self.info.require(self._label_file(sequence, camera))
            raw = read_mat(path, "handPara")["handPara"]
            if raw.ndim != 3 or raw.shape[:2] != (3, NUM_JOINTS) or raw.dtype.kind not in "fiu":
                raise InputError(path, f"handPara has shape {raw.shape}, not (3, 21, frames)", "check the file")
            joints = to_graphhand_order(raw.transpose(2, 1, 0).astype(np.float64) / 1000.0, "stb")
            self._labels[sequence, camera] = move_palm_to_wrist(joints, self.wrist_rule)
        return self._labels[sequence, camera]
