"""Cameras: pinhole intrinsics and the distortion of a lens, as OpenCV calibrates them.

A distorted camera is a pinhole camera whose pixels were moved. :meth:`Camera.undistort` moves them back, so that all
geometry after it is that of the pinhole camera with the same matrix.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from graphhand.types.arrays import DEFAULT_FOV_DEG, BoolArray, FloatArray, rounded

# Decimals in JSON: a thousandth of a pixel; distortion as calibrations are written.
_PX_DECIMALS = 3
_DISTORTION_DECIMALS = 9

_SHORTEST_PX, _LONGEST_PX = 1e-3, 1e9  # focal lengths read from JSON lie between
_COUNTS = (4, 5, 8)  # coefficients of a lens without fisheye
_MAX_COEFFICIENT = 1e6
_NEWTON_STEPS = 50
_SAME_PX = 1e-3  # distorting an undistorted pixel leads back this near, or it has no ray
_SAME_RAY = 1e-10  # of Newton's method
_NEAR_AXIS = 1e-9
_ANGLES = 2000  # at which the radius is looked at, to find where it stops to rise
_MAX_ANGLE = math.radians(89.9)  # from the axis, of a fisheye lens's rays: the pinhole camera has none at 90 degrees


@dataclass(frozen=True, repr=False)
class Camera:
    """Intrinsics of an image, in its pixels: a pinhole, and the distortion of its lens.

    Attributes:
        fx, fy: focal lengths.
        cx, cy: principal point.
        assumed: True where neither the user nor the file gave a camera and a field of view was assumed
            (:data:`DEFAULT_FOV_DEG`, or :data:`DEFAULT_CUT_FOV_DEG` of an image already cut to one hand). Depths, and
            so ``joints_cam_m``, are then right only up to a factor.
        distortion: OpenCV's coefficients; none of a pinhole camera. Without ``fisheye`` k1, k2, p1, p2, then k3, then
            k4, k5, k6 (Brown and Conrady, rational); with it the four of ``cv2.fisheye`` (Kannala and Brandt).
        fisheye: which of the two models.

    Raises:
        ValueError: the number of coefficients is not one of those, or one is not finite.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    assumed: bool
    distortion: tuple[float, ...] = ()
    fisheye: bool = False

    def __post_init__(self) -> None:
        counts = (4,) if self.fisheye else (0, *_COUNTS)
        coefficients = tuple(map(float, self.distortion))
        if len(coefficients) not in counts:
            kind = "a fisheye lens has 4" if self.fisheye else "a lens has 4, 5 or 8"
            raise ValueError(f"{kind} coefficients of distortion, not {len(coefficients)}")
        if not all(math.isfinite(value) and abs(value) < _MAX_COEFFICIENT for value in coefficients):
            raise ValueError("coefficients of distortion are finite numbers")
        object.__setattr__(self, "distortion", coefficients)

    @classmethod
    def from_matrix(
        cls, K: ArrayLike, *, assumed: bool, distortion: Sequence[float] = (), fisheye: bool = False
    ) -> Camera:
        """From a (3, 3) intrinsic matrix, and OpenCV's coefficients of distortion.

        Raises:
            ValueError: it is not (3, 3), not finite, skewed, or has a focal length that is not positive; or the
                coefficients are not those of a lens.
        """
        matrix = np.asarray(K, dtype=np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
            raise ValueError("intrinsics are a finite (3, 3) matrix")
        if not np.allclose(matrix[[0, 1, 2, 2, 2], [1, 0, 0, 1, 2]], [0, 0, 0, 0, 1], atol=1e-9):
            raise ValueError("intrinsics are [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]; undo skew first")
        if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
            raise ValueError("focal lengths are positive")
        fx, fy, cx, cy = (float(matrix[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
        return cls(fx, fy, cx, cy, assumed, tuple(distortion), fisheye)

    @classmethod
    def of_image(
        cls,
        width: int,
        height: int,
        K: ArrayLike | None = None,
        focal_px: float | None = None,
        fov_deg: float | None = None,
        file_focal_px: float | None = None,
        default_fov_deg: float = DEFAULT_FOV_DEG,
        distortion: Sequence[float] = (),
        fisheye: bool = False,
    ) -> Camera:
        """Of an image, from the one thing known about its camera, or with an assumed field of view if there is none.

        Args:
            width, height: the image's, pixels.
            K: (3, 3) intrinsics; or
            focal_px: focal length, the principal point being the middle; or
            fov_deg: field of view across the longer side.
            file_focal_px: from the image's file; used where none of the three is given.
            default_fov_deg: the field of view to assume.
            distortion, fisheye: of the lens, which belong to K.

        Raises:
            ValueError: more than one was given, one is out of its range, or distortion without K.
        """
        if sum(value is not None for value in (K, focal_px, fov_deg)) > 1:
            raise ValueError("K, focal_px and fov_deg exclude each other")
        if K is not None:
            return cls.from_matrix(K, assumed=False, distortion=distortion, fisheye=fisheye)
        if len(distortion) or fisheye:
            raise ValueError("distortion belongs to K: give both")
        if focal_px is None and fov_deg is None:
            focal_px = file_focal_px
        if focal_px is not None:
            matrix = [[focal_px, 0.0, (width - 1) / 2], [0.0, focal_px, (height - 1) / 2], [0.0, 0.0, 1.0]]
            return cls.from_matrix(matrix, assumed=False)
        fov = default_fov_deg if fov_deg is None else fov_deg
        if not 0.0 < fov < 180.0:
            raise ValueError(f"a field of view lies between 0 and 180 degrees, not {fov}")
        focal_px = max(width, height) / (2 * math.tan(math.radians(fov) / 2))
        return cls(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2, assumed=fov_deg is None)

    @property
    def K(self) -> FloatArray:  # noqa: N802, the field's own letter
        """The (3, 3) intrinsic matrix."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def is_distorted(self) -> bool:
        """Whether its pixels are not those of a pinhole camera."""
        return self.fisheye or any(self.distortion)

    def __repr__(self) -> str:
        lens = f", {'fisheye' if self.fisheye else 'distorted'}" if self.is_distorted else ""
        assumed = ", assumed" if self.assumed else ""
        return f"Camera(fx={self.fx:.1f}, fy={self.fy:.1f}, cx={self.cx:.1f}, cy={self.cy:.1f}{lens}{assumed})"

    def project(self, points_cam_m: ArrayLike) -> FloatArray:
        """Pixels (..., 2) of points (..., 3) in camera axes; NaN for points that are not in front of the camera."""
        points = np.asarray(points_cam_m, dtype=np.float64)
        depth = np.where(points[..., 2:] > 0, points[..., 2:], np.nan)
        return np.asarray(self._distorted(points[..., :2] / depth) * (self.fx, self.fy) + (self.cx, self.cy))

    def distort(self, pinhole_px: ArrayLike) -> FloatArray:
        """Pixels (..., 2) of the image, from those of a pinhole camera with the same matrix."""
        pixels = np.asarray(pinhole_px, dtype=np.float64)
        if not self.is_distorted:
            return pixels
        rays = (pixels - (self.cx, self.cy)) / (self.fx, self.fy)
        return np.asarray(self._distorted(rays) * (self.fx, self.fy) + (self.cx, self.cy))

    def undistort(self, pixels: ArrayLike) -> FloatArray:
        """The inverse of :meth:`distort`; NaN for pixels that no ray in front of the camera reaches."""
        given = np.asarray(pixels, dtype=np.float64)
        if not self.is_distorted:
            return given
        wanted = (given - (self.cx, self.cy)) / (self.fx, self.fy)
        rays = self._fisheye_rays(wanted) if self.fisheye else self._lens_rays(wanted)
        pinhole = rays * (self.fx, self.fy) + (self.cx, self.cy)
        away = np.linalg.norm(self.distort(pinhole) - given, axis=-1)
        return np.where((away < _SAME_PX)[..., None], pinhole, np.nan)

    def sees(self, rays: ArrayLike) -> BoolArray:
        """Which of directions (..., 3) a lens maps: in front of the camera, before the distortion folds back."""
        directions = np.asarray(rays, dtype=np.float64)
        ahead = directions[..., 2] > 0
        depth = np.where(ahead, directions[..., 2], 1.0)
        return np.asarray(ahead & (np.linalg.norm(directions[..., :2], axis=-1) <= self._widest * depth))

    @cached_property
    def _widest(self) -> float:
        """Tangent of the angle from the axis up to which distorted radii rise."""
        if not self.is_distorted:
            return math.inf
        angles = np.linspace(0.0, _MAX_ANGLE, _ANGLES)
        tangents = np.tan(angles)
        radii = self._distorted(np.stack((tangents, np.zeros_like(tangents)), axis=-1))[..., 0]
        rises = np.diff(radii) > 0
        return float(tangents[-1] if rises.all() else tangents[int(rises.argmin())])

    def _distorted(self, rays: FloatArray) -> FloatArray:
        """Where rays (..., 2), at depth 1, meet the plane of the distorted image at depth 1."""
        if not self.is_distorted:
            return rays
        x, y = rays[..., 0], rays[..., 1]
        r2 = x * x + y * y
        if self.fisheye:
            r = np.sqrt(r2)
            theta = np.arctan(r)
            scale = np.where(r > _NEAR_AXIS, self._fisheye_radius(theta) / np.maximum(r, _NEAR_AXIS), 1.0)
            return rays * scale[..., None]
        k1, k2, p1, p2, k3, k4, k5, k6 = (*self.distortion, *(0.0,) * (8 - len(self.distortion)))
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        return np.stack(
            (
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            ),
            axis=-1,
        )

    def _fisheye_radius(self, theta: FloatArray) -> FloatArray:
        k1, k2, k3, k4 = self.distortion
        t2 = theta * theta
        return np.asarray(theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4)))))

    def _lens_rays(self, wanted: FloatArray) -> FloatArray:
        """Rays by Newton's method, with a Jacobian by differences, from the distorted place."""
        rays, step = wanted.copy(), 1e-6
        steps = step * np.eye(2)
        with np.errstate(all="ignore"):  # what diverges is NaN in the end
            for _ in range(_NEWTON_STEPS):
                residual = self._distorted(rays) - wanted
                by_x, by_y = ((self._distorted(rays + d) - self._distorted(rays - d)) / (2 * step) for d in steps)
                determinant = by_x[..., 0] * by_y[..., 1] - by_x[..., 1] * by_y[..., 0]
                change = np.stack(
                    (
                        residual[..., 0] * by_y[..., 1] - residual[..., 1] * by_y[..., 0],
                        residual[..., 1] * by_x[..., 0] - residual[..., 0] * by_x[..., 1],
                    ),
                    axis=-1,
                )
                rays = rays - change / determinant[..., None]
                if not (np.abs(residual) > _SAME_RAY).any():
                    break
        return rays

    def _fisheye_rays(self, wanted: FloatArray) -> FloatArray:
        """Rays by bisection of the angle."""
        radius = np.linalg.norm(wanted, axis=-1)
        low, high = np.zeros_like(radius), np.full_like(radius, math.atan(self._widest))
        for _ in range(60):
            middle = (low + high) / 2
            beyond = self._fisheye_radius(middle) > radius
            low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
        scale = np.where(radius > _NEAR_AXIS, np.tan(low) / np.maximum(radius, _NEAR_AXIS), 1.0)
        return np.asarray(wanted * scale[..., None])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``distortion`` and ``fisheye`` of a distorted camera alone."""
        lens: dict[str, Any] = {}
        if self.is_distorted:
            lens = {"distortion": rounded(np.array(self.distortion), _DISTORTION_DECIMALS), "fisheye": self.fisheye}
        focal = {key: round(getattr(self, key), _PX_DECIMALS) for key in ("fx", "fy", "cx", "cy")}
        return {**focal, "assumed": self.assumed, **lens}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Camera:
        """The inverse of :meth:`to_json`, up to its rounding.

        Raises:
            KeyError: a field is missing.
            ValueError: a field has the wrong shape or value.
        """
        fx, fy, cx, cy = (float(values[key]) for key in ("fx", "fy", "cx", "cy"))
        if not all(_SHORTEST_PX <= focal <= _LONGEST_PX for focal in (fx, fy)):
            raise ValueError("focal lengths are positive numbers of pixels")
        if not all(math.isfinite(place) for place in (cx, cy)):
            raise ValueError("a principal point is finite")
        distortion = tuple(map(float, values.get("distortion", ())))
        return cls(fx, fy, cx, cy, bool(values["assumed"]), distortion, bool(values.get("fisheye", False)))
