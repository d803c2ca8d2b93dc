"""One look of the network at an image: the crop it is given, and what its answer means in the image.

The network knows right hands only, so a left hand's crop is mirrored on the way in and its joints on the way out. That
mirrored crop is exactly the crop of the mirrored image with mirrored intrinsics, because the virtual camera's
principal point is the crop's middle and the turn of the mirrored camera is the mirror of the turn.

Where to look: windows of an image of unknown content, and the next crop around an estimate.

Boxes are (4,) x, y, width, height in pixels whose top-left centre is (0, 0), so the whole image is
(-0.5, -0.5, width, height).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from graphhand.errors import InputError
from graphhand.geometry import CROP_MARGIN, HandCrop, square_box
from graphhand.types import Camera, FloatArray, Hand, Image, Side

_SMALLEST_SIDE_PX = 8.0
_LARGEST_SIDE = 2.0
"""Times the image's longer side: hands that are partly outside need some room, a broken estimate asks for more."""


WINDOWS = (0.62, 0.38)
"""Sides of the windows to search, over the image's longer side; neighbours share at least half."""

FINE_WINDOWS = (*WINDOWS, 0.24)
"""Those to search for several hands, which are smaller in an image that shows several."""

_SMALLEST_WINDOW_PX = 48.0


def search_boxes(width: int, height: int, shares: Sequence[float] = WINDOWS) -> list[FloatArray]:
    """Square windows (4,) that cover an image, the sizes in the order given; tiny images have none.

    Args:
        width, height: the image's, pixels.
        shares: sides of the windows over the image's longer side.
    """
    boxes = []
    for share in shares:
        side = share * max(width, height)
        if side >= _SMALLEST_WINDOW_PX:
            for y in _starts(height, side):
                boxes += [np.array([x, y, side, side]) for x in _starts(width, side)]
    return boxes


def _starts(length: int, side: float) -> FloatArray:
    """Where windows along an edge start."""
    if side >= length:
        return np.array([(length - 1 - side) / 2])
    return np.linspace(-0.5, length - 0.5 - side, int(np.ceil(2 * (length - side) / side)) + 1)


def meets_image(hand_box_px: ArrayLike, width: int, height: int) -> bool:
    """Whether any of a box lies in the image.

    Raises:
        ValueError: the box is not four finite numbers with positive width and height.
    """
    box = np.asarray(hand_box_px, dtype=np.float64)
    if box.shape != (4,) or not np.isfinite(box).all() or min(box[2:]) <= 0:
        raise ValueError("a box is x, y, width, height: finite, width and height positive")
    x, y, w, h = box
    return bool(x < width - 0.5 and y < height - 0.5 and x + w > -0.5 and y + h > -0.5)


def check_box(hand_box_px: ArrayLike | None, width: int, height: int, image: str | PathLike[str]) -> None:
    """Refuse a user's box, if there is one, that none of the image is in.

    Raises:
        InputError: the box lies outside the image.
    """
    if hand_box_px is not None and not meets_image(hand_box_px, width, height):
        raise InputError(image, f"the box lies outside its {width} x {height} pixels", "give X,Y,W,H in it")


def recrop_box(joints_px: ArrayLike, width: int, height: int, margin: float = CROP_MARGIN) -> FloatArray | None:
    """The square (4,) to crop next, around estimated (21, 2) joints; None where they make no sense.

    An estimate whose middle lies outside the image, or of absurd size, is one to leave alone, not to zoom into.
    """
    joints = np.asarray(joints_px, dtype=np.float64)
    if not np.isfinite(joints).all():
        return None
    box = square_box(joints, margin)
    middle = box[:2] + box[2:] / 2
    inside = (middle > -0.5).all() and (middle < np.array([width, height]) - 0.5).all()
    sensible = _SMALLEST_SIDE_PX <= box[2] <= _LARGEST_SIDE * max(width, height)
    return box if inside and sensible else None


def iou(a: ArrayLike, b: ArrayLike) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    shared, of_a, of_b = _areas(a, b)
    return shared / (of_a + of_b - shared)


def intersection_over_smaller(a: ArrayLike, b: ArrayLike) -> float:
    """Area of the intersection of two boxes over that of the smaller one, in [0, 1]: 1 where it lies in the other.

    Unlike the IoU it is large, too, for a hand and a part of it.
    """
    shared, of_a, of_b = _areas(a, b)
    return shared / max(min(of_a, of_b), 1e-9)


def _areas(a: ArrayLike, b: ArrayLike) -> tuple[float, float, float]:
    """Of the intersection of two boxes, and of each."""
    ax, ay, aw, ah = np.asarray(a, dtype=np.float64).tolist()
    bx, by, bw, bh = np.asarray(b, dtype=np.float64).tolist()
    w = max(0.0, min(ax + aw, bx + bw) - max(ax, bx))
    h = max(0.0, min(ay + ah, by + bh) - max(ay, by))
    return w * h, aw * ah, bw * bh


MIN_RECROP_RATIO = 0.5
"""A renewed crop's side is at least this part of the one before: joints found too close must not draw it in."""

RECROP_IOU = 0.9
"""IoU of two successive crops from which on another look brings nothing."""

MAX_SPREAD = 0.04
"""Spread of the heatmaps, see :class:`graphhand.models.Keypoints`, above which it is doubtful that a hand was found."""

SURE = 0.5
"""What each of several hands must score unless the user says otherwise."""


@dataclass(frozen=True, eq=False)
class CropView:
    """One crop to be looked at as if it showed a hand of one side."""

    image: Image
    camera: Camera
    side: Side
    box: FloatArray


@dataclass(frozen=True, eq=False)
class Estimate:
    """What one look found: pixels of the image, metres in its camera's axes; spread is NaN where none is known."""

    look: CropView
    handedness_logit: float
    joints_px: FloatArray
    joints_rel_m: FloatArray
    wrist_cam_m: FloatArray
    spread: float = np.nan

    @classmethod
    def in_image(
        cls,
        look: CropView,
        crop: HandCrop,
        joints_m: FloatArray,
        joints_px: FloatArray,
        wrist_cam_m: FloatArray,
        handedness_logit: float,
        spread: float,
    ) -> Estimate:
        """Undo the crop: (21, 3), (21, 2), (3,) of the crop to those of the image."""
        return cls(
            look,
            handedness_logit,
            crop.uncrop_points(joints_px),
            crop.uncrop_joints(joints_m),
            crop.uncrop_joints(wrist_cam_m),
            spread,
        )

    @property
    def score(self) -> float:
        """How much the crop looks like a hand of this side, in [0, 1]; less, where it is open where the joints are."""
        of_side = float(1.0 / (1.0 + np.exp(-np.clip(self.handedness_logit, -60.0, 60.0))))
        return of_side * MAX_SPREAD / self.spread if self.spread > MAX_SPREAD else of_side

    @property
    def box_px(self) -> FloatArray:
        """(4,) x, y, width, height of the joints."""
        low, high = self.joints_px.min(0), self.joints_px.max(0)
        return np.concatenate((low, high - low))

    def closer(self, margin: float) -> CropView | None:
        """The look to take next, or None where this one is as good as the next."""
        height, width = self.look.image.shape[:2]
        box = recrop_box(self.joints_px, width, height, margin)
        if box is None:
            return None
        side = max(box[2], MIN_RECROP_RATIO * self.look.box[2])
        box = np.array([*(box[:2] + (box[2:] - side) / 2), side, side])
        if iou(box, self.look.box) >= RECROP_IOU:
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


def crop_views(image: Image, camera: Camera, sides: Sequence[Side], box: FloatArray) -> list[CropView]:
    """One crop, looked at as each of some sides."""
    return [CropView(image, camera, side, box) for side in sides]


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
    return max(group, key=lambda estimate: estimate.handedness_logit)


def extract_crops(looks: Sequence[CropView], size: int) -> tuple[list[HandCrop], list[Image]]:
    """How each look is cut, and what it sees, (S, S, 3); the two sides of one box share the work."""
    unflipped: dict[tuple[int, bytes], tuple[HandCrop, Image]] = {}
    crops, images = [], []
    for look in looks:
        key = (id(look.image), look.box.tobytes())
        if key not in unflipped:
            crop = HandCrop.of_box(look.camera.K, look.box, size)
            unflipped[key] = crop, crop.crop_image(look.image)
        crop, image = unflipped[key]
        crops.append(crop.flipped() if look.side == "left" else crop)
        images.append(image[:, ::-1] if look.side == "left" else image)
    return crops, images
