"""Aligning one set of points with another: by a root joint, or by the similarity of least squares.

Tensors stay on their device and in their precision, and results are finite where points coincide.
:mod:`graphhand.metrics` has the same alignments for arrays, with their inputs checked.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graphhand.skeleton import ArrayOrTensor


def root_relative(joints_m: ArrayOrTensor, root: int = 0) -> ArrayOrTensor:
    """Joints ``(..., N, 3)`` relative to joint ``root``; arrays or tensors."""
    return joints_m - joints_m[..., root : root + 1, :]


def best_rotation(source: Tensor, target: Tensor, *, reflection: bool = False) -> tuple[Tensor, Tensor]:
    """The rotation of centred points that fits others best by least squares (Umeyama 1991).

    Args:
        source, target: ``(..., N, 3)``, each with its mean at the origin.
        reflection: admit det R = -1 too.

    Returns:
        ``(..., 3, 3)`` R that turns column vectors, the target near ``R source``, and ``(..., 3)`` the covariance's
        singular values; the last one is negated where a mirror image would fit better and is not admitted.
    """
    u, singular, vh = torch.linalg.svd(target.transpose(-1, -2) @ source)
    if reflection:
        return u @ vh, singular
    sign = torch.linalg.det(u @ vh).sign()
    sign = torch.where(sign == 0, torch.ones_like(sign), sign)
    flip = torch.stack((torch.ones_like(sign), torch.ones_like(sign), sign), dim=-1)
    return (u * flip[..., None, :]) @ vh, singular * flip


def similarity_transform(
    source: Tensor, target: Tensor, valid: Tensor | None = None, *, scale: bool = True, reflection: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Least-squares similarity ``target ~ s R source + t`` (Umeyama 1991; generalised Procrustes).

    Args:
        source, target: ``(..., N, 3)``.
        valid: ``(..., N)`` bool; the fit uses these points alone. By default all.
        scale: fit s; otherwise s = 1 (a rigid motion).
        reflection: admit det R = -1 too. A mirrored hand is a wrong hand, so the default does not.

    Returns:
        ``s (...)``, ``R (..., 3, 3)``, ``t (..., 3)`` for column vectors.
    """
    s, R, source_mean, target_mean = _fit(source, target, valid, scale, reflection)
    return s, R, target_mean[..., 0, :] - s[..., None] * (R @ source_mean.transpose(-1, -2))[..., 0]


def procrustes_align(
    source: Tensor, target: Tensor, valid: Tensor | None = None, *, scale: bool = True, reflection: bool = False
) -> Tensor:
    """The source moved by :func:`similarity_transform`, ``(..., N, 3)``.

    A source whose points coincide lands on the target's mean.
    """
    s, R, source_mean, target_mean = _fit(source, target, valid, scale, reflection)
    aligned = (source - source_mean) @ R.transpose(-1, -2)
    return (aligned * s[..., None, None] if scale else aligned) + target_mean


def _fit(
    source: Tensor, target: Tensor, valid: Tensor | None, scale: bool, reflection: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """s, R and the means ``(..., 1, 3)`` of source and target."""
    a, source_mean = _centred(source, valid)
    b, target_mean = _centred(target, valid)
    R, singular = best_rotation(a, b, reflection=reflection)
    energy = a.square().sum((-1, -2))
    s = singular.sum(-1) / energy.clamp(min=torch.finfo(energy.dtype).tiny) if scale else torch.ones_like(energy)
    return s, R, source_mean, target_mean


def _centred(points: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Points about the mean of the valid ones, the others at the origin, and that mean."""
    if valid is None:
        mean = points.mean(-2, keepdim=True)
        return points - mean, mean
    weight = valid[..., None]
    mean = torch.where(weight, points, 0.0).sum(-2, keepdim=True) / weight.sum(-2, keepdim=True).clamp(min=1)
    return torch.where(weight, points - mean, 0.0), mean
