"""One look of the network at a picture: the crop it is given, and what its answer means in the picture.

The network knows right hands only, so a left hand's crop is mirrored on the way in and its joints on the way out. That
mirrored crop is exactly the crop of the mirrored picture with mirrored intrinsics, because the virtual camera's
principal point is the crop's middle and the turn of the mirrored camera is the mirror of the turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from graphhand.geometry import CropCamera, flip_points_cam, flip_points_px
from graphhand.inference.localisation import iou, recrop_box
from graphhand.inference.results import Camera, Hand, Side

FloatArray = NDArray[np.float64]
Image = NDArray[np.uint8]

CLOSEST = 0.5
"""A renewed crop's side is at least this part of the one before: joints found too close must not draw it in."""

SETTLED_IOU = 0.9
"""IoU of two successive crops from which on another look brings nothing."""

UNSURE = 0.04
"""Spread of the heatmaps, see :class:`graphhand.model.Keypoints`, above which it is doubtful that a hand was found."""

SURE = 0.5
"""What each of several hands must score unless the user says otherwise."""


@dataclass(frozen=True, eq=False)
class Look:
    """One crop to be looked at as if it showed a hand of one side."""

    image: Image
    camera: Camera
    side: Side
    box: FloatArray


@dataclass(frozen=True, eq=False)
class Estimate:
    """What one look found: pixels of the picture, metres in its camera's axes; spread is NaN where none is known."""

    look: Look
    right_logit: float
    joints_px: FloatArray
    joints_rel_m: FloatArray
    wrist_cam_m: FloatArray
    spread: float = np.nan

    @classmethod
    def in_picture(
        cls,
        look: Look,
        camera: CropCamera,
        joints_m: FloatArray,
        joints_px: FloatArray,
        wrist_cam_m: FloatArray,
        right_logit: float,
        spread: float,
    ) -> Estimate:
        """Undo mirror and crop: (21, 3), (21, 2), (3,) of the crop to those of the picture."""
        if look.side == "left":
            joints_m, wrist_cam_m = flip_points_cam(joints_m), flip_points_cam(wrist_cam_m)
            joints_px = flip_points_px(joints_px, camera.size)
        # Rows times R_crop_cam are columns times its transpose: from the crop camera's axes to the picture's.
        return cls(
            look,
            right_logit,
            camera.unproject_points(joints_px),
            joints_m @ camera.R_crop_cam,
            wrist_cam_m @ camera.R_crop_cam,
            spread,
        )

    @property
    def score(self) -> float:
        """How much the crop looks like a hand of this side, in [0, 1]; less, where it is open where the joints are."""
        of_side = float(1.0 / (1.0 + np.exp(-np.clip(self.right_logit, -60.0, 60.0))))
        return of_side * UNSURE / self.spread if self.spread > UNSURE else of_side

    @property
    def box_px(self) -> FloatArray:
        """(4,) x, y, width, height of the joints."""
        low, high = self.joints_px.min(0), self.joints_px.max(0)
        return np.concatenate((low, high - low))

    def closer(self, margin: float) -> Look | None:
        """The look to take next, or None where this one is as good as the next."""
        height, width = self.look.image.shape[:2]
        box = recrop_box(self.joints_px, width, height, margin)
        if box is None:
            return None
        side = max(box[2], CLOSEST * self.look.box[2])
        box = np.array([*(box[:2] + (box[2:] - side) / 2), side, side])
        if iou(box, self.look.box) >= SETTLED_IOU:
            return None
        return replace(self.look, box=box)

    def hand(self, model: str, track: int | None = None) -> Hand:
        placed = bool(np.isfinite(self.wrist_cam_m).all() and self.wrist_cam_m[2] > 0)
        return Hand(
            side=self.look.side,
            score=self.score,
            box_px=self.box_px,
            joints_px=self.joints_px,
            joints_rel_m=self.joints_rel_m,
            joints_cam_m=self.joints_rel_m + self.wrist_cam_m if placed else None,
            camera=self.look.camera,
            model=model,
            track=track,
        )


def looks_at(image: Image, camera: Camera, sides: Sequence[Side], box: FloatArray) -> list[Look]:
    """One crop, looked at as each of some sides."""
    return [Look(image, camera, side, box) for side in sides]


def sides_to_try(side: Side | Literal["auto"]) -> tuple[Side, ...]:
    """The sides that a crop is looked at as.

    Raises:
        ValueError: ``side`` is not ``"left"``, ``"right"`` or ``"auto"``.
    """
    if side not in ("left", "right", "auto"):
        raise ValueError(f"side is 'left', 'right' or 'auto', not {side!r}")
    return ("right", "left") if side == "auto" else (side,)


def check_max_hands(max_hands: int, told_where: bool) -> None:
    """Refuse to look for fewer hands than one, or for several in one given place.

    Raises:
        ValueError: ``max_hands`` is less than 1, or more than 1 where the place is given.
    """
    if max_hands < 1:
        raise ValueError(f"max_hands is at least 1, not {max_hands}")
    if max_hands > 1 and told_where:
        raise ValueError("max_hands are searched for: give no box, nor whole_image")


def least_score(min_score: float | None, max_hands: int) -> float:
    """The lowest score of a hand: ``min_score``, or if that is None 0 for a single hand and :data:`SURE` for several.

    Raises:
        ValueError: ``min_score`` is not in [0, 1].
    """
    if min_score is None:
        return SURE if max_hands > 1 else 0.0
    if not 0 <= min_score <= 1:
        raise ValueError(f"min_score is in [0, 1], not {min_score}")
    return min_score


def most_likely_side(group: Sequence[Estimate]) -> Estimate:
    """Of the estimates of one crop, one a side, the one whose side the network finds most likely."""
    return max(group, key=lambda estimate: estimate.right_logit)


def cut_crops(looks: Sequence[Look], cameras: Sequence[CropCamera]) -> list[Image]:
    """What each look sees, (S, S, 3); the two sides of one box share the work."""
    cut: dict[tuple[int, bytes], Image] = {}
    crops = []
    for look, camera in zip(looks, cameras):
        key = (id(look.image), look.box.tobytes())
        if key not in cut:
            cut[key] = camera.warp(look.image)
        crops.append(cut[key][:, ::-1] if look.side == "left" else cut[key])
    return crops
