"""Where to look: windows of a picture of unknown content, and the next crop around an estimate.

Boxes are (4,) x, y, width, height in pixels whose top-left centre is (0, 0), so the whole picture is
(-0.5, -0.5, width, height).
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphhand.errors import InputError
from graphhand.geometry import CROP_MARGIN, square_box

FloatArray = NDArray[np.float64]

_SMALLEST_SIDE_PX = 8.0
_LARGEST_SIDE = 2.0
"""Times the picture's longer side: hands that are partly outside need some room, a broken estimate asks for more."""


WINDOWS = (0.62, 0.38)
"""Sides of the windows to search, over the picture's longer side; neighbours share at least half."""

FINE_WINDOWS = (*WINDOWS, 0.24)
"""Those to search for several hands, which are smaller in a picture that shows several."""

_SMALLEST_WINDOW_PX = 48.0


def search_boxes(width: int, height: int, shares: Sequence[float] = WINDOWS) -> list[FloatArray]:
    """Square windows (4,) that cover a picture, the sizes in the order given; tiny pictures have none.

    Args:
        width, height: the picture's, pixels.
        shares: sides of the windows over the picture's longer side.
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
    """Whether any of a box lies in the picture.

    Raises:
        ValueError: the box is not four finite numbers with positive width and height.
    """
    box = np.asarray(hand_box_px, dtype=np.float64)
    if box.shape != (4,) or not np.isfinite(box).all() or min(box[2:]) <= 0:
        raise ValueError("a box is x, y, width, height: finite, width and height positive")
    x, y, w, h = box
    return bool(x < width - 0.5 and y < height - 0.5 and x + w > -0.5 and y + h > -0.5)


def check_box(hand_box_px: ArrayLike | None, width: int, height: int, picture: str | PathLike[str]) -> None:
    """Refuse a user's box, if there is one, that none of the picture is in.

    Raises:
        InputError: the box lies outside the picture.
    """
    if hand_box_px is not None and not meets_image(hand_box_px, width, height):
        raise InputError(picture, f"the box lies outside its {width} x {height} pixels", "give X,Y,W,H in it")


def recrop_box(joints_px: ArrayLike, width: int, height: int, margin: float = CROP_MARGIN) -> FloatArray | None:
    """The square (4,) to crop next, around estimated (21, 2) joints; None where they make no sense.

    An estimate whose middle lies outside the picture, or of absurd size, is one to leave alone, not to zoom into.
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
