"""A calibrated camera: its intrinsics, the size of its images, and where it stands in the world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from graphhand.types.arrays import FloatArray
from graphhand.types.camera import Camera

_ORTHONORMAL = 1e-3


@dataclass(frozen=True, eq=False)
class Calibration:
    """A camera, and optionally the rigid motion from the world's axes to its own: ``x_cam = R x_world + t``.

    This is the motion that ``cv2.solvePnP`` and ``cv2.stereoCalibrate`` give. The world's axes are anyone's choice.

    Attributes:
        camera: intrinsics and lens.
        width, height: of the images that it was calibrated with, pixels; None where unknown.
        R_cam_world: (3, 3) rotation; None where the camera's place is unknown.
        t_cam_world_m: (3,) metres; None alike.

    Raises:
        ValueError: one of R and t is missing, R is no rotation, or t is not three finite numbers.
    """

    camera: Camera
    width: int | None = None
    height: int | None = None
    R_cam_world: FloatArray | None = None
    t_cam_world_m: FloatArray | None = None

    def __post_init__(self) -> None:
        if (self.R_cam_world is None) != (self.t_cam_world_m is None):
            raise ValueError("R_cam_world and t_cam_world_m belong together")
        if self.R_cam_world is None:
            return
        R, t = (np.array(value, dtype=np.float64) for value in (self.R_cam_world, self.t_cam_world_m))
        if R.shape != (3, 3) or not np.allclose(R @ R.T, np.eye(3), atol=_ORTHONORMAL) or np.linalg.det(R) < 0:
            raise ValueError("R_cam_world is a (3, 3) rotation")
        t = t.reshape(-1)
        if t.shape != (3,) or not np.isfinite(t).all():
            raise ValueError("t_cam_world_m is three finite numbers, metres")
        object.__setattr__(self, "R_cam_world", R)
        object.__setattr__(self, "t_cam_world_m", t)

    @property
    def is_placed(self) -> bool:
        """Whether its place in the world is known."""
        return self.R_cam_world is not None

    @property
    def pose(self) -> tuple[FloatArray, FloatArray]:
        """R and t.

        Raises:
            ValueError: its place is unknown.
        """
        if self.R_cam_world is None or self.t_cam_world_m is None:
            raise ValueError("a camera without R_cam_world and t_cam_world_m has no place in the world")
        return self.R_cam_world, self.t_cam_world_m

    @property
    def centre_world_m(self) -> FloatArray:
        """(3,) the camera's place in the world."""
        R, t = self.pose
        return np.asarray(-R.T @ t)

    def to_world(self, points_cam_m: ArrayLike) -> FloatArray:
        """Points (..., 3) in the camera's axes, in the world's."""
        R, t = self.pose
        return np.asarray((np.asarray(points_cam_m, dtype=np.float64) - t) @ R)

    def to_camera(self, points_world_m: ArrayLike) -> FloatArray:
        """The inverse of :meth:`to_world`."""
        R, t = self.pose
        return np.asarray(np.asarray(points_world_m, dtype=np.float64) @ R.T + t)
