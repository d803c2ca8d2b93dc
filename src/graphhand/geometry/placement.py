"""Where a posed hand must stand so that its joints project where they were seen. Closed forms, differentiable."""

from __future__ import annotations

import torch
from torch import Tensor

from graphhand.geometry.cameras import pixel_rays

MIN_SPREAD = 1e-9
NEAREST_M = 0.05
"""No joint is placed nearer to the camera than this."""


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
    spread = about_m.square().sum((-2, -1)).clamp(min=MIN_SPREAD)
    scale = ((about_m * about_px).sum((-2, -1)) / spread).clamp(min=1.0)
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
    spread = about.square().sum((-2, -1)).clamp(min=MIN_SPREAD)
    nearest = NEAREST_M - points_m[..., 2].amin(-1)
    depth = torch.maximum(-(about * missing).sum((-2, -1)) / spread, nearest)
    return torch.cat((middle_missing + depth[..., None] * middle_ray, depth[..., None]), dim=-1)
