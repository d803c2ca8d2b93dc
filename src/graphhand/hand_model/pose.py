"""Hand poses: 16 rotations, as axis-angle or as matrices."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from graphhand.hand_model.arrays import NUM_SKELETON_JOINTS, FloatArray


def holds_matrices(pose: Tensor) -> bool:
    """True for (..., 16, 3, 3) rotations, False for (..., 16, 3) axis-angle.

    Raises:
        ValueError: any other shape.
    """
    if pose.ndim >= 3 and pose.shape[-3:] == (NUM_SKELETON_JOINTS, 3, 3):
        return True
    if pose.ndim >= 2 and pose.shape[-2:] == (NUM_SKELETON_JOINTS, 3):
        return False
    raise ValueError(f"pose is (..., 16, 3) axis-angle or (..., 16, 3, 3) rotations, not {tuple(pose.shape)}")


def mirror_pose(pose: Tensor) -> Tensor:
    """The pose whose hand is the mirror image (x negated) on the other side's model; axis-angle or matrices."""
    if holds_matrices(pose):
        return pose * pose.new_tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]])
    return pose * pose.new_tensor([1.0, -1.0, -1.0])


def rotation_entries(axis_angle: Tensor, products: Tensor) -> Tensor:
    """Axis-angle to the entries of rotation matrices, in a third of the kernels that Rodrigues' formula takes.

    For one hand nearly all time goes into starting kernels, so here it pays to have a version beside
    `graphhand.geometry.axis_angle_to_matrix`; the tests hold the two together. The floor on the angle keeps value and
    gradient exact at zero: sin(t/2)/t is 1/2 there, and what the quotient's own gradient loses to rounding is
    multiplied by the vector itself.

    Args:
        axis_angle: (..., 3).
        products: (16, n), `quaternion_products` and any further columns.

    Returns:
        (..., n): the rows of the matrix.
    """
    angle = torch.linalg.vector_norm(axis_angle, dim=-1, keepdim=True).clamp_min(1e-15)
    half = angle * 0.5
    quaternion = torch.cat((half.cos(), axis_angle * (half.sin() / angle)), dim=-1)
    return (quaternion.unsqueeze(-1) * quaternion.unsqueeze(-2)).flatten(-2) @ products


def quaternion_products() -> FloatArray:
    """(16, 9): the entries of a rotation matrix as combinations of the products q_i q_j, q = (w, x, y, z)."""
    table = np.zeros((4, 4, 3, 3))
    for axis in range(3):
        table[0, 0, axis, axis] += 1  # (w^2 - |u|^2) I
        for k in range(1, 4):
            table[k, k, axis, axis] -= 1
        for other in range(3):
            table[axis + 1, other + 1, axis, other] += 2  # 2 u u^T
        after, before = (axis + 1) % 3, (axis + 2) % 3
        table[0, axis + 1, before, after] += 2  # 2 w [u]x
        table[0, axis + 1, after, before] -= 2
    return table.reshape(16, 9)
