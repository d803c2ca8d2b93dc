"""The round trip image -> crop -> image: one class for training, evaluation and inference. NumPy and OpenCV only.

A crop is the view of a virtual camera at the same place as the image's, turned until its axis passes through the
middle of the box. Turning a camera changes an image by a homography alone, whatever the depths, so pixels, joints and
intrinsics stay consistent. The network knows right hands only: the crop of a left hand is flipped left to right, with
its points and joints.

Boxes are ``(4,)`` x, y, width, height in pixels whose top-left centre is (0, 0), so the whole image is
``(-0.5, -0.5, W, H)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import ArrayLike

from graphhand.types import FloatArray, Image

CROP_MARGIN = 1.4
"""Default side of a crop over the longer side of the hand's tight box. A network states the margin of its training."""


@dataclass(frozen=True, eq=False)
class HandCrop:
    """How one square crop is cut from an image, and the way back.

    Build it with :meth:`of_box`. The flip of a left hand is part of ``homography`` and ``R_crop_cam``.

    Attributes:
        K: ``(3, 3)`` intrinsics of the crop; its principal point is the crop's middle.
        R_crop_cam: ``(3, 3)``, from the image's camera axes to the crop's: ``x_crop = R_crop_cam x_cam``. A rotation;
            with ``flip`` a rotation, then ``x' = -x``.
        homography: ``(3, 3)``, from image pixels to crop pixels.
        size: side of the crop in pixels.
        flip: whether the crop is flipped left to right, as for a left hand.
    """

    K: FloatArray
    R_crop_cam: FloatArray
    homography: FloatArray
    size: int
    flip: bool = False

    @classmethod
    def of_box(
        cls, K: ArrayLike, box_px: ArrayLike, size: int, *, flip: bool = False, roll_deg: float = 0.0
    ) -> HandCrop:
        """The crop whose square view holds a box of the image.

        At the box's middle one image pixel becomes ``size / longer side`` crop pixels.

        Args:
            K: ``(3, 3)`` intrinsics of the image.
            box_px: ``(4,)`` x, y, width, height. The longer side fills the crop.
            size: side of the crop in pixels.
            flip: flip the crop left to right.
            roll_deg: turns the crop camera about its axis; the hand in the (flipped) crop turns by minus as much.

        Raises:
            ValueError: the box is empty or not finite, or the intrinsics are singular.
        """
        intrinsics = _rows(np.asarray(K, dtype=np.float64))
        x, y, width, height = np.asarray(box_px, dtype=np.float64).tolist()
        if not (all(map(math.isfinite, (x, y, width, height))) and width > 0 and height > 0):
            raise ValueError(f"a box has a finite position and a positive size, not {(x, y, width, height)}")
        if not (all(math.isfinite(sum(row)) for row in intrinsics) and intrinsics[0][0] > 0 and intrinsics[1][1] > 0):
            raise ValueError("intrinsics are finite with positive focal lengths")
        inverse = _inverse(intrinsics)
        u, v = x + width / 2, y + height / 2
        x, y, z = (a * u + b * v + c for a, b, c in inverse)
        distance = math.hypot(x, y, z)
        rotation = _rotation_to_axis(x / distance, y / distance, z / distance, flip, math.radians(roll_deg))
        middle = (size - 1) / 2
        # The scale of K_crop R K^-1 at the box's middle is focal sqrt(det(K^-1) / w^3), with w = |K^-1 p| there.
        focal = size / max(width, height) / math.sqrt(abs(_determinant(inverse)) / distance**3)
        K_crop = ((focal, 0.0, middle), (0.0, focal, middle), (0.0, 0.0, 1.0))
        homography = _product(_product(K_crop, rotation), inverse)
        return cls(np.array(K_crop), np.array(rotation), np.array(homography), size, flip)

    def crop_image(
        self,
        image: Image,
        border_value: tuple[int, int, int] = (0, 0, 0),
        reflect: bool = False,
        tone: Callable[[Image], Image] | None = None,
    ) -> Image:
        """The crop of an ``(H, W, 3)`` image, ``(size, size, 3)``.

        Shrinking by more than half goes through a smaller copy first, so that nothing aliases. Only the part of the
        image that the crop sees is read: a large photo's small hand costs little.

        Args:
            image: left as it is.
            border_value: what the crop shows outside the image.
            reflect: show there what a mirror at the image's edges would.
            tone: a change of each pixel by its own colour alone, which may write to the image it is given. It is
                applied where there are fewer pixels: before the warp, where the crop enlarges, or after it; so what it
                would make of ``border_value`` may be seen or not.
        """
        rows = _rows(self.homography)
        back = _inverse(rows)
        scale = 1.0 / _scale(back, (self.size - 1) / 2, (self.size - 1) / 2)
        if scale < 0.5:
            # Wide enough that the cut's own edges are out of sight in the smaller copy, too.
            left, top, right, bottom = _seen(back, self.size, image.shape, margin=2.0 / scale)
            image = image[top:bottom, left:right]
            factor = max(scale * 1.5, 1.0 / min(image.shape[:2]))
            # Given factors instead of a size, OpenCV shrinks by these, not by the ratio of the rounded sizes.
            height, width = (round(length * factor) for length in image.shape[:2])
            small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            fx, fy = width / image.shape[1], height / image.shape[0]
            # Pixel centres: u_small + 0.5 = fx (u - left + 0.5)
            shrink = ((fx, 0.0, (fx - 1) / 2 - fx * left), (0.0, fy, (fy - 1) / 2 - fy * top), (0.0, 0.0, 1.0))
            image, rows, back = small, _product(rows, _inverse(shrink)), _product(shrink, back)
        left, top, right, bottom = _seen(back, self.size, image.shape)
        part = image[top:bottom, left:right]
        enlarges = part.shape[0] * part.shape[1] <= self.size**2
        if tone is not None and enlarges:
            part = tone(part.copy())
        # Four channels warp in less than half the time that three take, so a fourth is added to what is seen.
        crop = cv2.warpPerspective(
            cv2.cvtColor(part, cv2.COLOR_RGB2RGBA),
            np.array([(a, b, a * left + b * top + c) for a, b, c in rows]),  # the part begins at (left, top)
            (self.size, self.size),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101 if reflect else cv2.BORDER_CONSTANT,
            borderValue=(*border_value, 0),
        )
        crop = np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGBA2RGB), dtype=np.uint8)
        return crop if tone is None or enlarges else tone(crop)

    def crop_points(self, points_px: ArrayLike) -> FloatArray:
        """Image pixels ``(..., 2)`` to crop pixels."""
        return _apply(self.homography, points_px)

    def uncrop_points(self, points_px: ArrayLike) -> FloatArray:
        """Crop pixels ``(..., 2)`` to image pixels."""
        return _apply(np.asarray(np.linalg.inv(self.homography)), points_px)

    def crop_joints(self, joints_cam_m: ArrayLike) -> FloatArray:
        """Vectors ``(..., 3)`` in the image's camera axes to the crop's."""
        return np.asarray(np.asarray(joints_cam_m) @ self.R_crop_cam.T)

    def uncrop_joints(self, joints_crop_m: ArrayLike) -> FloatArray:
        """Vectors ``(..., 3)`` in the crop's axes to the image's camera axes."""
        return np.asarray(np.asarray(joints_crop_m) @ np.linalg.inv(self.R_crop_cam).T)

    def flipped(self) -> HandCrop:
        """The same crop seen as a hand of the other side: flipped left to right."""
        mirror = np.array([[-1.0, 0.0, self.size - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        turned = self.R_crop_cam * [[-1.0], [1.0], [1.0]]
        return replace(self, R_crop_cam=turned, homography=mirror @ self.homography, flip=not self.flip)

    def stretched(self, stretch: ArrayLike) -> HandCrop:
        """The crop of a scene that is stretched in the plane of the crop, about its middle: K still holds.

        Args:
            stretch: ``(2, 2)``, of the crop camera's x and y.

        Returns:
            A crop whose ``R_crop_cam`` stretches, too.
        """
        S, middle = np.asarray(stretch, dtype=np.float64), (self.size - 1) / 2
        of_pixels, of_space = np.eye(3), np.eye(3)
        of_pixels[:2, :2] = of_space[:2, :2] = S
        of_pixels[:2, 2] = middle - S.sum(1) * middle
        return replace(self, homography=of_pixels @ self.homography, R_crop_cam=of_space @ self.R_crop_cam)


def square_box(points_px: ArrayLike, margin: float) -> FloatArray:
    """The square box ``(4,)`` around the finite ones of ``(N, 2)`` points, its side ``margin`` times their extent.

    Raises:
        ValueError: no point is finite.
    """
    points = np.asarray(points_px, dtype=np.float64)
    if not math.isfinite(points.sum()):
        points = points[np.isfinite(points).all(-1)]
    if len(points) == 0:
        raise ValueError("a box needs at least one finite point")
    (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    side = max(max(right - left, bottom - top) * margin, 1.0)
    return np.array([(left + right - side) / 2, (top + bottom - side) / 2, side, side])


def crop_box(hand_box_px: ArrayLike, margin: float = CROP_MARGIN) -> FloatArray:
    """The square (4,) to crop for a hand's own box (4,) x, y, width, height: its longer side times the margin."""
    x, y, w, h = np.asarray(hand_box_px, dtype=np.float64)
    return square_box([[x, y], [x + w, y + h]], margin)


def whole_image_box(width: int, height: int, margin: float = 1.0) -> FloatArray:
    """The box (4,) whose crop with this margin is the smallest square around an image, with the same middle."""
    side = max(width, height) / margin
    return np.array([(width - 1 - side) / 2, (height - 1 - side) / 2, side, side])


def box_meets_image(box_px: ArrayLike, width: int, height: int) -> bool:
    """Whether any of a box (4,) lies in an image."""
    x, y, w, h = np.asarray(box_px, dtype=np.float64).tolist()
    return bool(x < width - 0.5 and y < height - 0.5 and x + w > -0.5 and y + h > -0.5)


# The rest runs for every example. On 3 x 3 matrices Python's own numbers are several times as fast as arrays.

_Row = tuple[float, float, float]
_Rows = tuple[_Row, _Row, _Row]


def _rows(matrix: FloatArray) -> _Rows:
    first, second, third = map(tuple, matrix.tolist())
    return first, second, third


def _product(one: _Rows, other: _Rows) -> _Rows:
    (a, b, c), (d, e, f), (g, h, i) = other

    def row(x: float, y: float, z: float) -> _Row:
        return x * a + y * d + z * g, x * b + y * e + z * h, x * c + y * f + z * i

    return row(*one[0]), row(*one[1]), row(*one[2])


def _determinant(matrix: _Rows) -> float:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def _inverse(matrix: _Rows) -> _Rows:
    """By cofactors."""
    determinant = _determinant(matrix)
    if determinant == 0.0:
        raise ValueError("the matrix is singular")
    (a, b, c), (d, e, f), (g, h, i) = matrix
    k = 1.0 / determinant
    return (
        ((e * i - f * h) * k, (c * h - b * i) * k, (b * f - c * e) * k),
        ((f * g - d * i) * k, (a * i - c * g) * k, (c * d - a * f) * k),
        ((d * h - e * g) * k, (b * g - a * h) * k, (a * e - b * d) * k),
    )


def _scale(homography: _Rows, u: float, v: float) -> float:
    """How many target pixels one source pixel spans at a point (square root of the area ratio)."""
    g, h, i = homography[2]
    # The Jacobian determinant of a homography at a point is det(H) / w^3.
    return math.sqrt(abs(_determinant(homography) / (g * u + h * v + i) ** 3))


def _seen(back: _Rows, size: int, shape: tuple[int, ...], margin: float = 1.0) -> tuple[int, int, int, int]:
    """The part (left, top, right, bottom) of an image of this shape that a crop shows, never empty.

    Args:
        back: from crop pixels to the image's.
        size: side of the crop.
        shape: of the image, height and width first.
        margin: pixels of the image around what is seen, 1 at least: interpolation reads as much.
    """
    height, width = shape[:2]
    (a, b, c), (d, e, f), (g, h, i) = back
    us, vs, last = [], [], size - 1
    for x, y in ((0, 0), (last, 0), (0, last), (last, last)):
        w = g * x + h * y + i
        if w * i <= 0:  # a corner looks behind the camera
            return 0, 0, width, height
        us.append((a * x + b * y + c) / w)
        vs.append((d * x + e * y + f) / w)
    left, right = _pixels_between(min(us) - margin, max(us) + margin, width)
    top, bottom = _pixels_between(min(vs) - margin, max(vs) + margin, height)
    return left, top, right, bottom


def _pixels_between(low: float, high: float, length: int) -> tuple[int, int]:
    """First and end of the pixels, of ``length``, from one place to another; never none."""
    first = min(max(math.floor(low), 0), length - 1)
    return first, min(max(math.ceil(high) + 1, first + 1), length)


def _rotation_to_axis(x: float, y: float, z: float, flip: bool, roll: float) -> _Rows:
    """The smallest rotation that takes a unit ray in front of the camera to the z axis; then the flip, then a roll."""
    # Rodrigues between two unit vectors: I + [v] + [v]^2 / (1 + c), with v = ray x z-axis and c = z > 0.
    k = 1.0 / (1.0 + z)
    first = (1.0 - k * x * x, -k * x * y, -x)
    if flip:
        first = (-first[0], -first[1], -first[2])
    least = (first, (-k * x * y, 1.0 - k * y * y, -y), (x, y, z))
    c, s = math.cos(roll), math.sin(roll)
    return _product(((c, s, 0.0), (-s, c, 0.0), (0.0, 0.0, 1.0)), least)


def _apply(homography: FloatArray, points_px: ArrayLike) -> FloatArray:
    points = np.asarray(points_px, dtype=np.float64)
    mapped = points @ homography[:, :2].T + homography[:, 2]
    return np.asarray(mapped[..., :2] / mapped[..., 2:])
