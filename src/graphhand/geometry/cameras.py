"""Projection by pinhole and weak-perspective cameras, its closed-form inverses, and flipping left to right.

All functions are differentiable and take leading batch dimensions; the ``flip`` functions take NumPy arrays too.
Camera frame: x right, y down, z forward. Pixels: u right, v down; the centre of the top-left pixel is (0, 0).
"""

from __future__ import annotations

import torch
from torch import Tensor

from graphhand.skeleton import ArrayOrTensor

MIN_DEPTH_M = 1e-3
"""Points nearer than this, or behind the camera, project as if they stood here: finite, and far off the image."""

NEAREST_M = 0.05
"""No joint is placed nearer to the camera than this."""

_MIN_VARIANCE = 1e-9


def intrinsics_matrix(fx: float, fy: float, cx: float, cy: float) -> Tensor:
    """``(3, 3)`` float64 pinhole matrix from focal lengths and principal point in pixels."""
    return torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]], dtype=torch.float64)


def project_perspective(points_cam_m: Tensor, K: Tensor) -> Tensor:
    """Pinhole projection.

    Args:
        points_cam_m: ``(..., N, 3)`` in the camera frame; any length unit.
        K: ``(..., 3, 3)`` intrinsics, broadcast over N.

    Returns:
        ``(..., N, 2)`` pixels.
    """
    depth = points_cam_m[..., 2:].clamp(min=MIN_DEPTH_M)
    return (points_cam_m / depth) @ K[..., :2, :].transpose(-1, -2)


def project_weak_perspective(points_m: Tensor, scale_px_per_m: Tensor, translation_px: Tensor) -> Tensor:
    """Scaled orthographic projection ``uv = s (x, y) + t``.

    Args:
        points_m: ``(..., N, 3)``.
        scale_px_per_m: ``(...)``.
        translation_px: ``(..., 2)``, where the origin lands.

    Returns:
        ``(..., N, 2)`` pixels.
    """
    return scale_px_per_m[..., None, None] * points_m[..., :2] + translation_px[..., None, :]


def pixel_rays(points_px: Tensor, K: Tensor) -> Tensor:
    """Where the rays of pixels pass the plane at depth 1.

    Args:
        points_px: ``(..., N, 2)``.
        K: ``(..., 3, 3)`` intrinsics: upper triangular, the last row 0, 0, 1.

    Returns:
        ``(..., N, 2)``.
    """
    y = (points_px[..., 1] - K[..., 1, 2, None]) / K[..., 1, 1, None]
    x = (points_px[..., 0] - K[..., 0, 2, None] - K[..., 0, 1, None] * y) / K[..., 0, 0, None]
    return torch.stack((x, y), dim=-1)


def unproject(points_px: Tensor, depth_m: Tensor, K: Tensor) -> Tensor:
    """The camera points that project to given pixels at given depths.

    Args:
        points_px: ``(..., N, 2)``.
        depth_m: ``(..., N)``.
        K: ``(..., 3, 3)`` as in :func:`pixel_rays`.

    Returns:
        ``(..., N, 3)``.
    """
    return torch.cat((pixel_rays(points_px, K) * depth_m[..., None], depth_m[..., None]), dim=-1)


def flip_intrinsics(K: ArrayOrTensor, width: int) -> ArrayOrTensor:
    """Intrinsics ``(..., 3, 3)`` of the image mirrored left to right: ``cx' = W - 1 - cx``, the skew changes sign."""
    flipped = _copy(K)
    flipped[..., 0, 1] = 0.0 - K[..., 0, 1]  # no skew stays 0.0, not -0.0
    flipped[..., 0, 2] = width - 1 - K[..., 0, 2]
    return flipped


def flip_points_px(points_px: ArrayOrTensor, width: int) -> ArrayOrTensor:
    """Pixels ``(..., 2)`` in the mirrored image: ``u' = W - 1 - u``."""
    flipped = _copy(points_px)
    flipped[..., 0] = width - 1 - points_px[..., 0]
    return flipped


def flip_points_cam(points_cam_m: ArrayOrTensor) -> ArrayOrTensor:
    """Camera points ``(..., 3)`` of the mirrored scene: ``x' = -x``."""
    flipped = _copy(points_cam_m)
    flipped[..., 0] = -points_cam_m[..., 0]
    return flipped


def _copy(values: ArrayOrTensor) -> ArrayOrTensor:
    return values.clone() if isinstance(values, Tensor) else values.copy()


def fit_weak_perspective(points_m: Tensor, points_px: Tensor) -> tuple[Tensor, Tensor]:
    """The scaled orthographic camera ``uv = s (x, y) + t`` of least squares.

    Args:
        points_m: ``(..., N, 3)``.
        points_px: ``(..., N, 2)``.

    Returns:
        ``s (...)`` in pixels per metre, at least 1, and ``t (..., 2)``.
    """
    plane = points_m[..., :2]
    middle_m, middle_px = plane.mean(-2), points_px.mean(-2)
    about_m, about_px = plane - middle_m[..., None, :], points_px - middle_px[..., None, :]
    variance = about_m.square().sum((-2, -1)).clamp(min=_MIN_VARIANCE)
    scale = ((about_m * about_px).sum((-2, -1)) / variance).clamp(min=1.0)
    return scale, middle_px - scale[..., None] * middle_m


def fit_translation(points_m: Tensor, points_px: Tensor, K: Tensor) -> Tensor:
    """The translation that brings points onto the rays of their pixels.

    It solves ``x + t_x = a (z + t_z)``, ``y + t_y = b (z + t_z)`` for the rays ``(a, b, 1)`` in least squares: t_z is
    the slope of a regression, t_x and t_y its intercepts.

    Args:
        points_m: ``(..., N, 3)`` in the camera's axes, about any origin.
        points_px: ``(..., N, 2)`` where they were seen.
        K: ``(..., 3, 3)`` intrinsics.

    Returns:
        ``(..., 3)`` metres; every point ends up at least ``NEAREST_M`` before the camera. Where pixels contradict the
        points, the regression would have the camera among them, or them behind it.
    """
    rays = pixel_rays(points_px, K)
    missing = rays * points_m[..., 2:] - points_m[..., :2]
    middle_ray, middle_missing = rays.mean(-2), missing.mean(-2)
    about = rays - middle_ray[..., None, :]
    variance = about.square().sum((-2, -1)).clamp(min=_MIN_VARIANCE)
    nearest = NEAREST_M - points_m[..., 2].amin(-1)
    depth = torch.maximum(-(about * missing).sum((-2, -1)) / variance, nearest)
    return torch.cat((middle_missing + depth[..., None] * middle_ray, depth[..., None]), dim=-1)
