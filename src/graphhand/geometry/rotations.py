"""Rotations and rigid alignment. A matrix ``R (..., 3, 3)`` turns column vectors: ``y = R x``. Angles are radians.

Conversions between axis-angle, 6D and matrix rotations have finite gradients at 0 and at pi. Alignment is by a root
joint, or by the similarity of least squares. Tensors stay on their device and in their precision, and results are
finite where points coincide. :mod:`graphhand.metrics` has the same alignments for arrays, with their inputs checked.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graphhand.skeleton import ArrayOrTensor


def skew_matrix(v: Tensor) -> Tensor:
    """Skew-symmetric matrices (..., 3, 3) of vectors (..., 3), which take the cross product: ``[v] y = v x y``."""
    zero = torch.zeros_like(v[..., 0])
    x, y, z = v.unbind(-1)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula.

    Args:
        axis_angle: ``(..., 3)``, the axis times the angle.

    Returns:
        ``(..., 3, 3)``. Value and gradient are exact to machine precision at the zero vector too.
    """
    square = axis_angle.square().sum(-1)[..., None, None]
    # sin(t)/t and (1-cos t)/t^2 by their series near 0. `where` also needs a harmless value in the branch not
    # taken, or its gradient turns into NaN.
    small = square < 1e-4
    safe = torch.where(small, torch.ones_like(square), square)
    angle = safe.sqrt()
    a = torch.where(small, 1 - square / 6 * (1 - square / 20), angle.sin() / angle)
    b = torch.where(small, 0.5 - square / 24 * (1 - square / 30), (1 - angle.cos()) / safe)
    k = skew_matrix(axis_angle)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + a * k + b * (k @ k)


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Unit quaternions x, y, z, w (scipy's and glTF's order) with w not negative.

    Taken from the row whose largest component is on the diagonal, which stays accurate where the antisymmetric part
    vanishes (near half a turn).

    Args:
        matrix: ``(..., 3, 3)`` rotations.

    Returns:
        ``(..., 4)``.
    """
    m = matrix.flatten(-2)
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = m.unbind(-1)
    # Row i is the quaternion (x, y, z, w) times four times its i-th component.
    candidates = torch.stack(
        (
            torch.stack((1 + m00 - m11 - m22, m10 + m01, m02 + m20, m21 - m12), -1),
            torch.stack((m10 + m01, 1 - m00 + m11 - m22, m12 + m21, m02 - m20), -1),
            torch.stack((m20 + m02, m21 + m12, 1 - m00 - m11 + m22, m10 - m01), -1),
            torch.stack((m21 - m12, m02 - m20, m10 - m01, 1 + m00 + m11 + m22), -1),
        ),
        dim=-2,
    )
    best = candidates.diagonal(dim1=-2, dim2=-1).argmax(-1)
    quaternion = candidates.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    quaternion = quaternion / quaternion.norm(dim=-1, keepdim=True)
    return torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """The inverse of :func:`axis_angle_to_matrix`, with the angle in [0, pi].

    At exactly pi the axis is one of the two valid ones.

    Args:
        matrix: ``(..., 3, 3)`` rotations.

    Returns:
        ``(..., 3)``.
    """
    v, w = matrix_to_quaternion(matrix).split((3, 1), dim=-1)
    square = v.square().sum(-1, keepdim=True)
    small = square < 1e-8
    sine = torch.where(small, torch.ones_like(square), square).sqrt()
    # angle / sin(angle / 2), by series where the sine vanishes.
    scale = torch.where(
        small, 2 / w.clamp(min=0.5) * (1 - square / (3 * w.clamp(min=0.5) ** 2)), 2 * torch.atan2(sine, w) / sine
    )
    return v * scale


def rotation_6d_to_matrix(rotation_6d: Tensor) -> Tensor:
    """Gram-Schmidt on two 3-vectors (Zhou et al., CVPR 2019); the continuous representation networks learn best.

    Args:
        rotation_6d: ``(..., 6)``, the first two columns of a matrix, not necessarily orthonormal.

    Returns:
        ``(..., 3, 3)``. Zero or parallel vectors give a valid rotation about an arbitrary axis, never NaN.
    """
    a, b = rotation_6d[..., :3], rotation_6d[..., 3:]
    # The fallback is made where it is used: copied to a GPU it would be waited for.
    x = _unit(a, torch.eye(1, 3, dtype=a.dtype, device=a.device)[0])
    across = b - (x * b).sum(-1, keepdim=True) * x
    # Fallback: the coordinate axis least aligned with x. Of a parallel b, rounding leaves a little, in any direction.
    axis = torch.nn.functional.one_hot(x.detach().abs().argmin(-1), 3).to(x.dtype)
    y = _unit(across, axis, least=(64 * torch.finfo(b.dtype).eps) ** 2 * b.detach().square().sum(-1, keepdim=True))
    # Once more: what was short beside b is not yet quite orthogonal to x.
    y = y - (x * y).sum(-1, keepdim=True) * x
    y = y / y.norm(dim=-1, keepdim=True)
    return torch.stack((x, y, torch.linalg.cross(x, y)), dim=-1)


def matrix_to_rotation_6d(matrix: Tensor) -> Tensor:
    """The first two columns of ``(..., 3, 3)`` rotations as ``(..., 6)``."""
    return matrix[..., :2].transpose(-1, -2).flatten(-2)


def _unit(v: Tensor, fallback: Tensor, least: Tensor | None = None) -> Tensor:
    """``v`` scaled to length one, or ``fallback`` where its squared length is next to none, or below ``least``."""
    square = v.square().sum(-1, keepdim=True)
    degenerate = square < (1e-16 if least is None else least.clamp(min=1e-16))
    length = torch.where(degenerate, torch.ones_like(square), square).sqrt()
    return torch.where(degenerate, fallback.expand_as(v), v / length)


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
