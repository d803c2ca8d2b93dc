"""Properties of the rotation conversions, above all at 0 and at pi."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from graphhand.geometry import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
    skew_matrix,
)

ANGLES = [0.0, 1e-9, 1e-5, 9.9e-3, 1.01e-2, 0.5, 2.0, math.pi - 1e-3, math.pi - 1e-6, math.pi]


def _axis_angles(angle: float, n: int = 16) -> torch.Tensor:
    axes = torch.randn(n, 3, dtype=torch.float64)
    return axes / axes.norm(dim=-1, keepdim=True) * angle


@pytest.mark.parametrize("angle", ANGLES)
def test_axis_angle_agrees_with_scipy(angle):
    v = _axis_angles(angle)
    expected = torch.from_numpy(Rotation.from_rotvec(v.numpy()).as_matrix())
    torch.testing.assert_close(axis_angle_to_matrix(v), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("angle", ANGLES)
def test_quaternions_agree_with_scipy(angle):
    R = axis_angle_to_matrix(_axis_angles(angle))
    expected = torch.from_numpy(Rotation.from_matrix(R.numpy()).as_quat())
    found = matrix_to_quaternion(R)
    assert (found[:, 3] >= 0).all()
    # q and -q are one rotation
    torch.testing.assert_close(found * (found * expected).sum(-1, keepdim=True).sign(), expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize("angle", ANGLES)
def test_axis_angle_round_trips_as_a_rotation(angle):
    R = axis_angle_to_matrix(_axis_angles(angle))
    back = matrix_to_axis_angle(R)
    torch.testing.assert_close(axis_angle_to_matrix(back), R, atol=1e-9, rtol=0)
    assert (back.norm(dim=-1) <= math.pi + 1e-9).all()


@pytest.mark.parametrize("angle", [1e-6, 1e-3, 0.7, 3.0])
def test_axis_angle_round_trips_as_a_vector_below_pi(angle):
    v = _axis_angles(angle)
    torch.testing.assert_close(matrix_to_axis_angle(axis_angle_to_matrix(v)), v, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite(angle, dtype):
    v = _axis_angles(angle).to(dtype).requires_grad_()
    R = axis_angle_to_matrix(v)
    (R.sum() + matrix_to_axis_angle(R).sum() + rotation_6d_to_matrix(matrix_to_rotation_6d(R)).sum()).backward()
    assert v.grad is not None
    assert v.grad.isfinite().all()


def test_axis_angle_gradcheck_through_both_branches():
    v = torch.cat([_axis_angles(a, 2) for a in (0.0, 5e-3, 0.2, 2.5)]).requires_grad_()
    assert torch.autograd.gradcheck(axis_angle_to_matrix, (v,))


def test_matrix_to_axis_angle_gradcheck_away_from_pi():
    v = torch.cat([_axis_angles(a, 2) for a in (0.3, 1.0, 2.5)]).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: matrix_to_axis_angle(axis_angle_to_matrix(x)), (v,))


def test_6d_round_trip_and_orthonormality():
    R = axis_angle_to_matrix(_axis_angles(2.0).reshape(4, 4, 3))
    torch.testing.assert_close(rotation_6d_to_matrix(matrix_to_rotation_6d(R)), R)
    Q = rotation_6d_to_matrix(torch.randn(50, 6, dtype=torch.float64))
    torch.testing.assert_close(Q @ Q.mT, torch.eye(3, dtype=torch.float64).expand_as(Q), atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.linalg.det(Q), torch.ones(50, dtype=torch.float64))


@pytest.mark.parametrize(
    "six",
    [[0.0] * 6, [1.0, 0, 0, 0, 0, 0], [1.0, 2, 3, 2, 4, 6], [0, 0, 0, 0, 1.0, 0]],
    ids=["all zero", "second zero", "parallel", "first zero"],
)
def test_degenerate_6d_still_gives_a_rotation_with_finite_gradient(six):
    v = torch.tensor(six, dtype=torch.float64, requires_grad=True)
    R = rotation_6d_to_matrix(v)
    torch.testing.assert_close(R @ R.mT, torch.eye(3, dtype=torch.float64), atol=1e-6, rtol=0)
    R.sum().backward()
    assert v.grad is not None
    assert v.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("apart", [0.0, 1e-16, 1e-10, 1e-7, 1e-5, 1e-3])
def test_nearly_parallel_6d_gives_a_rotation_too(dtype, apart):
    """Of vectors that are parallel up to rounding, what is left of the second is mostly rounding."""
    generator = torch.Generator().manual_seed(0)
    first, factor, other = (torch.randn(500, n, generator=generator, dtype=dtype) for n in (3, 1, 3))
    v = torch.cat((first, factor * first + apart * other), -1).requires_grad_()
    R = rotation_6d_to_matrix(v)
    torch.testing.assert_close(R @ R.mT, torch.eye(3, dtype=dtype).expand_as(R), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.linalg.det(R), torch.ones(500, dtype=dtype))
    R.sum().backward()
    assert v.grad is not None
    assert v.grad.isfinite().all()


def test_the_skew_matrix_takes_the_cross_product():
    v, y = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close((skew_matrix(v) @ y[..., None])[..., 0], torch.linalg.cross(v, y))
    torch.testing.assert_close(skew_matrix(v).mT, -skew_matrix(v))
