"""Crops of images whose lens distorts: what a pinhole camera would see of them. NumPy and OpenCV only.

The crop's homography acts on undistorted pixels. On the way in and out, pixels are moved by the lens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import ArrayLike

from graphhand.geometry.crops import HandCrop
from graphhand.types import Camera, FloatArray, Image

_STEP_PX = 0.5  # of the differences that give the lens's local scale
_BACK_STEPS = 50  # towards the principal point, from a box's middle that no ray reaches
_SEEN_MARGIN_PX = 2
_OUTSIDE_PX = -1e4


@dataclass(frozen=True, eq=False)
class LensCrop(HandCrop):
    """A :class:`HandCrop` whose image pixels are those of a distorted camera.

    Attributes:
        camera: the image's. ``homography`` maps its undistorted pixels to the crop's.
    """

    camera: Camera = field(kw_only=True)

    def crop_image(
        self,
        image: Image,
        border_value: tuple[int, int, int] = (0, 0, 0),
        reflect: bool = False,
        tone: Callable[[Image], Image] | None = None,
    ) -> Image:
        """As :meth:`HandCrop.crop_image`. What lies outside the lens's view is outside the image."""
        grid = np.stack(np.meshgrid(np.arange(self.size), np.arange(self.size)), axis=-1).astype(np.float64)
        rays = self._rays(grid)
        pixels = np.where(self.camera.sees(rays)[..., None], self.camera.project(_before(rays)), np.nan)
        step = np.linalg.norm(np.diff(pixels, axis=1), axis=-1)
        shrinks = float(np.nanmedian(step)) if np.isfinite(step).any() else 1.0
        part, pixels = _seen(image, pixels)
        if shrinks > 2.0:  # through a smaller copy, so that nothing aliases
            factor = max(1.5 / shrinks, 1.0 / min(part.shape[:2]))
            height, width = (max(1, round(length * factor)) for length in part.shape[:2])
            scale = np.array([width / part.shape[1], height / part.shape[0]])
            part = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
            pixels = scale * (pixels + 0.5) - 0.5
        maps = np.nan_to_num(pixels, nan=_OUTSIDE_PX).clip(_OUTSIDE_PX, -_OUTSIDE_PX * 4).astype(np.float32)
        crop = cv2.remap(
            part,
            maps[..., 0],
            maps[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101 if reflect else cv2.BORDER_CONSTANT,
            borderValue=border_value,
        )
        crop = np.asarray(crop, dtype=np.uint8)
        return crop if tone is None else tone(crop)

    def crop_points(self, points_px: ArrayLike) -> FloatArray:
        """Image pixels ``(..., 2)`` to crop pixels; NaN for those that no ray reaches."""
        return super().crop_points(self.camera.undistort(points_px))

    def uncrop_points(self, points_px: ArrayLike) -> FloatArray:
        """Crop pixels ``(..., 2)`` to image pixels."""
        return self.camera.project(_before(self._rays(np.asarray(points_px, dtype=np.float64))))

    def _rays(self, points_px: FloatArray) -> FloatArray:
        """Directions ``(..., 3)`` of crop pixels, in the image's camera axes."""
        plane = (points_px - self.K[:2, 2]) / self.K[[0, 1], [0, 1]]
        return self.uncrop_joints(np.concatenate((plane, np.ones_like(plane[..., :1])), axis=-1))


def crop_of_box(camera: Camera, box_px: ArrayLike, size: int) -> HandCrop:
    """The crop whose square view holds a box of a camera's image, distorted or not.

    At the box's middle one image pixel becomes ``size / longer side`` crop pixels. Where no ray reaches the middle, as
    in the corners of a fisheye image, the nearest place towards the principal point stands for it.

    Args:
        camera: the image's.
        box_px: ``(4,)`` x, y, width, height.
        size: side of the crop in pixels.

    Raises:
        ValueError: the box is empty or not finite.
    """
    if not camera.is_distorted:
        return HandCrop.of_box(camera.K, box_px, size)
    x, y, width, height = np.asarray(box_px, dtype=np.float64).tolist()
    middle = np.array([x + width / 2, y + height / 2])
    centre = np.array([camera.cx, camera.cy])
    for back in np.linspace(0.0, 1.0, _BACK_STEPS):
        place = middle + back * (centre - middle)
        around = camera.undistort(place + _STEP_PX * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]]))
        if np.isfinite(around).all():
            break
    by_u, by_v = (around[1] - around[2]) / (2 * _STEP_PX), (around[3] - around[4]) / (2 * _STEP_PX)
    scale = math.sqrt(abs(by_u[0] * by_v[1] - by_u[1] * by_v[0]))
    side = max(width, height) * scale
    crop = HandCrop.of_box(camera.K, (*(around[0] - side / 2), side, side), size)
    return LensCrop(crop.K, crop.R_crop_cam, crop.homography, crop.size, crop.flip, camera=camera)


def _before(rays: FloatArray) -> FloatArray:
    """Rays, those behind the camera turned to just before it: far off the image, and finite."""
    least = 1e-3 * np.linalg.norm(rays, axis=-1, keepdims=True)
    return np.concatenate((rays[..., :2], np.maximum(rays[..., 2:], least)), axis=-1)


def _seen(image: Image, pixels: FloatArray) -> tuple[Image, FloatArray]:
    """The part of an image that is looked at, and the pixels (..., 2) in it."""
    height, width = image.shape[:2]
    size = np.array([width, height])
    finite = pixels[np.isfinite(pixels).all(-1)]
    if not len(finite):
        return image[:1, :1], pixels
    low = np.clip(np.floor(finite.min(0)) - _SEEN_MARGIN_PX, 0, size - 1).astype(int)
    high = np.clip(np.ceil(finite.max(0)) + _SEEN_MARGIN_PX + 1, low + 1, size).astype(int)
    return image[low[1] : high[1], low[0] : high[0]], pixels - low
