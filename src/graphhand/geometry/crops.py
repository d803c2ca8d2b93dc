"""Cropping a hand as a virtual camera would see it.

A hand away from the middle of a picture is seen from the side: cut out plainly, it looks rotated. So a crop here is
the view of a camera at the same place, turned until its axis passes through the middle of the box. Turning a camera
changes a picture by a homography alone, whatever the depths, so picture, joints and intrinsics stay exactly consistent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

CROP_MARGIN = 1.4
"""Side of a crop over the longer side of the hand's tight box: room for the fingertips' flesh and for a loose box. A
network states the margin it was trained with; this is the default."""


@dataclass(frozen=True)
class CropCamera:
    """The virtual camera behind one square crop.

    Attributes:
        K: ``(3, 3)`` intrinsics of the crop, its principal point at the crop's middle.
        R_crop_cam: ``(3, 3)``, from the original camera's axes to the crop camera's: ``x_crop = R_crop_cam x_cam``.
        homography: ``(3, 3)``, from original pixels to crop pixels.
        size: side of the crop in pixels.
    """

    K: FloatArray
    R_crop_cam: FloatArray
    homography: FloatArray
    size: int

    def warp(
        self, image: NDArray[np.uint8], border_value: tuple[int, int, int] = (0, 0, 0), reflect: bool = False
    ) -> NDArray[np.uint8]:
        """The crop of an ``(H, W, 3)`` picture, ``(size, size, 3)``.

        Outside the picture it shows ``border_value``, or with ``reflect`` what a mirror at its edges would.
        Shrinking by more than half goes through a smaller copy first, so that nothing aliases.
        """
        homography = self.homography
        back = _inverse(homography)
        middle = back @ [(self.size - 1) / 2, (self.size - 1) / 2, 1.0]
        scale = local_scale(homography, middle[:2] / middle[2])
        if scale < 0.5:
            factor = max(scale * 1.5, 1.0 / min(image.shape[:2]))
            small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            fx, fy = small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]
            # Pixel centres: u_small + 0.5 = fx (u + 0.5)
            shrink = np.array([[fx, 0, (fx - 1) / 2], [0, fy, (fy - 1) / 2], [0, 0, 1]])
            image, homography, back = small, homography @ np.linalg.inv(shrink), shrink @ back
        left, top, right, bottom = _seen(back, self.size, image.shape)
        # Four channels warp in less than half the time that three take, so a fourth is added to what is seen.
        part = cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_RGB2RGBA)
        shifted = homography @ np.array([[1.0, 0.0, left], [0.0, 1.0, top], [0.0, 0.0, 1.0]])
        crop = cv2.warpPerspective(
            part,
            shifted,
            (self.size, self.size),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101 if reflect else cv2.BORDER_CONSTANT,
            borderValue=(*border_value, 0),
        )
        return cv2.cvtColor(crop, cv2.COLOR_RGBA2RGB)  # type: ignore[return-value]

    def project_points(self, points_px: ArrayLike) -> FloatArray:
        """Original pixels ``(..., 2)`` to crop pixels."""
        return _apply(self.homography, points_px)

    def unproject_points(self, points_px: ArrayLike) -> FloatArray:
        """Crop pixels ``(..., 2)`` to original pixels."""
        return _apply(np.asarray(np.linalg.inv(self.homography)), points_px)


def crop_camera(K: ArrayLike, box_px: ArrayLike, size: int, roll_deg: float = 0.0) -> CropCamera:
    """The camera whose square view holds a box of the original picture.

    Args:
        K: ``(3, 3)`` intrinsics of the original picture.
        box_px: ``(4,)`` x, y, width, height in its pixels. x and y are the outer edge of the box's first pixel minus
            a half, as everywhere: a box of the whole picture is ``(-0.5, -0.5, W, H)``. The longer side fills the crop.
        size: side of the crop in pixels.
        roll_deg: turns the crop camera about its axis; the hand appears turned by minus as much.

    Returns:
        The crop camera. At the box's middle one original pixel becomes ``size / longer side`` crop pixels.

    Raises:
        ValueError: the box is empty or not finite, or the intrinsics are singular.
    """
    K = np.asarray(K, dtype=np.float64)
    x, y, width, height = np.asarray(box_px, dtype=np.float64).tolist()
    if not (all(map(math.isfinite, (x, y, width, height))) and width > 0 and height > 0):
        raise ValueError(f"a box has a finite position and a positive size, not {(x, y, width, height)}")
    if not (math.isfinite(K.sum()) and K[0, 0] > 0 and K[1, 1] > 0):
        raise ValueError("intrinsics are finite with positive focal lengths")
    inverse = _inverse(K)
    ray = inverse @ [x + width / 2, y + height / 2, 1.0]
    distance = math.sqrt(ray @ ray)
    rotation = _rotation_to_axis(ray / distance)
    angle = math.radians(roll_deg)
    c, s = math.cos(angle), math.sin(angle)
    rotation = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]) @ rotation
    middle = (size - 1) / 2
    # The scale of K_crop R K^-1 at the box's middle is focal sqrt(det(K^-1) / w^3), with w = |K^-1 p| there.
    focal = size / max(width, height) / math.sqrt(abs(_determinant(inverse)) / distance**3)
    K_crop = np.array([[focal, 0.0, middle], [0.0, focal, middle], [0.0, 0.0, 1.0]])
    return CropCamera(K=K_crop, R_crop_cam=rotation, homography=K_crop @ rotation @ inverse, size=size)


def square_box(points_px: ArrayLike, margin: float) -> FloatArray:
    """The square box ``(4,)`` around the finite ones of ``(N, 2)`` points, its side ``margin`` times their extent.

    Raises:
        ValueError: no point is finite.
    """
    points = np.asarray(points_px, dtype=np.float64)
    points = points[np.isfinite(points).all(-1)]
    if len(points) == 0:
        raise ValueError("a box needs at least one finite point")
    low, high = points.min(0), points.max(0)
    side = max(float((high - low).max()) * margin, 1.0)
    return np.concatenate(((low + high) / 2 - side / 2, [side, side]))


def local_scale(homography: FloatArray, point_px: ArrayLike) -> float:
    """How many target pixels one source pixel spans at a point (square root of the area ratio)."""
    u, v = np.asarray(point_px, dtype=np.float64)
    w = float(homography[2] @ [u, v, 1.0])
    # The Jacobian determinant of a homography at a point is det(H) / w^3.
    return math.sqrt(abs(_determinant(homography) / w**3))


def _inverse(matrix: FloatArray) -> FloatArray:
    """Of a 3x3 matrix, by its cofactors, in a quarter of the time that the general routine needs."""
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    A, B, C = e * i - f * h, f * g - d * i, d * h - e * g
    determinant = a * A + b * B + c * C
    if determinant == 0.0:
        raise ValueError("the matrix is singular")
    cofactors = (
        (A, c * h - b * i, b * f - c * e),
        (B, a * i - c * g, c * d - a * f),
        (C, b * g - a * h, a * e - b * d),
    )
    return np.array(cofactors) / determinant


def _determinant(matrix: FloatArray) -> float:
    """Of a 3x3 matrix, in a tenth of the time that the general routine needs."""
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    return float(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))


def _seen(back: FloatArray, size: int, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The part (left, top, right, bottom) of a picture of this shape that a crop shows, never empty.

    Args:
        back: (3, 3), from crop pixels to the picture's.
        size: side of the crop.
        shape: of the picture, height and width first.
    """
    height, width = shape[:2]
    corners = back @ [[0, size - 1, 0, size - 1], [0, 0, size - 1, size - 1], [1.0, 1.0, 1.0, 1.0]]
    if (corners[2] * corners[2, 0] <= 0).any():  # a corner looks behind the camera
        return 0, 0, width, height
    u, v = corners[:2] / corners[2]
    # Interpolation reads one pixel farther, and a fully unseen picture keeps one: the border is made by the warp.
    left, top = (min(max(math.floor(low) - 1, 0), length - 1) for low, length in ((u.min(), width), (v.min(), height)))
    right, bottom = (
        min(max(math.ceil(high) + 2, low + 1), length)
        for high, low, length in ((u.max(), left, width), (v.max(), top, height))
    )
    return left, top, right, bottom


def _rotation_to_axis(ray: FloatArray) -> FloatArray:
    """The smallest rotation that takes a unit ray in front of the camera to the z axis."""
    # Rodrigues between two unit vectors: I + [v] + [v]^2 / (1 + c), with v = ray x z and c = ray . z > 0.
    vx, vy = ray[1], -ray[0]
    k = np.array([[0.0, 0.0, vy], [0.0, 0.0, -vx], [-vy, vx, 0.0]])
    return np.asarray(np.eye(3) + k + k @ k / (1.0 + ray[2]))


def _apply(homography: FloatArray, points_px: ArrayLike) -> FloatArray:
    points = np.asarray(points_px, dtype=np.float64)
    mapped = np.concatenate((points, np.ones_like(points[..., :1])), -1) @ homography.T
    return np.asarray(mapped[..., :2] / mapped[..., 2:])
