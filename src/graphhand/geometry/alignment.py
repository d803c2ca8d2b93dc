"""Aligning one set of points with another: by a root joint, or by the best similarity.

The alignments of :mod:`graphhand.metrics`, by the same names, for tensors during training: on their device, in their
precision, and finite where those raise an error.
"""

from __future__ import annotations

import torch
from torch import Tensor


def root_relative(joints_m: Tensor, root: int = 0) -> Tensor:
    """Joints ``(..., N, 3)`` relative to joint ``root``."""
    return joints_m - joints_m[..., root : root + 1, :]


def best_rotation(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The proper rotation of centred points that fits others best by least squares (Umeyama 1991).

    Args:
        source, target: ``(..., N, 3)``, each with its mean at the origin.

    Returns:
        ``(..., 3, 3)`` R that turns column vectors, the target near ``R source``, and ``(..., 3)`` the covariance's
        singular values, the last one negated where a mirror image would fit better.
    """
    u, singular, vh = torch.linalg.svd(target.transpose(-1, -2) @ source)
    sign = torch.linalg.det(u @ vh).sign()
    sign = torch.where(sign == 0, torch.ones_like(sign), sign)
    flip = torch.stack((torch.ones_like(sign), torch.ones_like(sign), sign), dim=-1)
    return (u * flip[..., None, :]) @ vh, singular * flip


def procrustes_align(source: Tensor, target: Tensor, *, scale: bool = True) -> Tensor:
    """Procrustes: the source moved by the rotation, translation and (optionally) scale that best fit the target.

    Least squares over proper rotations only (Umeyama 1991): a mirrored hand stays a mirrored hand.

    Args:
        source: ``(..., N, 3)``.
        target: ``(..., N, 3)``.
        scale: fit a scale too; False fits a rigid motion.

    Returns:
        ``(..., N, 3)``, the source in the target's frame. A source whose points coincide lands on the target's mean.
    """
    mean_source = source.mean(-2, keepdim=True)
    mean_target = target.mean(-2, keepdim=True)
    s, t = source - mean_source, target - mean_target
    rotation, singular = best_rotation(s, t)
    aligned = s @ rotation.transpose(-1, -2)
    if scale:
        energy = s.square().sum((-1, -2))
        factor = singular.sum(-1) / energy.clamp(min=torch.finfo(energy.dtype).tiny)
        aligned = aligned * factor[..., None, None]
    return aligned + mean_target
