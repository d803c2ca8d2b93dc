"""Cropping a hand as a virtual camera would see it.

A hand away from the middle of a picture is seen from the side: cut out plainly, it looks rotated. So a crop here is
the view of a camera at the same place, turned until its axis passes through the middle of the box. Turning a camera
changes a picture by a homography alone, whatever the depths, so picture, joints and intrinsics stay exactly consistent.
"""

from __future__ import annotations

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

    def warp(self, image: NDArray[np.uint8], border_value: tuple[int, int, int] = (0, 0, 0)) -> NDArray[np.uint8]:
        """The crop of an ``(H, W, 3)`` picture, ``(size, size, 3)``; outside the picture, ``border_value``.

        Shrinking by more than half goes through a smaller copy first, so that nothing aliases.
        """
        homography = self.homography
        middle = np.linalg.inv(homography) @ [(self.size - 1) / 2, (self.size - 1) / 2, 1.0]
        scale = local_scale(homography, middle[:2] / middle[2])
        if scale < 0.5:
            factor = max(scale * 1.5, 1.0 / min(image.shape[:2]))
            small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            fx, fy = small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]
            # Pixel centres: u_small + 0.5 = fx (u + 0.5)
            shrink = np.array([[fx, 0, (fx - 1) / 2], [0, fy, (fy - 1) / 2], [0, 0, 1]])
            image, homography = small, homography @ np.linalg.inv(shrink)
        return cv2.warpPerspective(
            image, homography, (self.size, self.size), flags=cv2.INTER_LINEAR, borderValue=border_value
        )

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
    x, y, width, height = np.asarray(box_px, dtype=np.float64)
    if not (np.isfinite([x, y, width, height]).all() and width > 0 and height > 0):
        raise ValueError(f"a box has a finite position and a positive size, not {(x, y, width, height)}")
    if not (np.isfinite(K).all() and K[0, 0] > 0 and K[1, 1] > 0):
        raise ValueError("intrinsics are finite with positive focal lengths")
    ray = np.linalg.solve(K, [x + width / 2, y + height / 2, 1.0])
    rotation = _rotation_to_axis(ray / np.linalg.norm(ray))
    angle = np.radians(roll_deg)
    c, s = np.cos(angle), np.sin(angle)
    rotation = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]) @ rotation
    middle = (size - 1) / 2

    def homography_for(focal: float) -> tuple[FloatArray, FloatArray]:
        K_crop = np.array([[focal, 0.0, middle], [0.0, focal, middle], [0.0, 0.0, 1.0]])
        return K_crop, K_crop @ rotation @ np.linalg.inv(K)

    # A homography's scale at the box's middle is proportional to the crop's focal length.
    _, trial = homography_for(1.0)
    target = size / max(width, height)
    focal = target / local_scale(trial, (x + width / 2, y + height / 2))
    K_crop, homography = homography_for(focal)
    return CropCamera(K=K_crop, R_crop_cam=rotation, homography=homography, size=size)


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
    return float(np.sqrt(abs(np.linalg.det(homography) / w**3)))


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
