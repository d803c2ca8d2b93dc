"""Poses of the hand model: anatomical angles, 16 rotations, mirroring; and vertex normals of the posed mesh.

Angles are degrees, absolute: flexion 0 is straight, abduction 0 is parallel to the palm's axis (wrist to middle
knuckle) and positive towards the thumb. Five numbers a finger, as a tensor (..., 5 fingers, 5 angles):

    thumb                              CMC flexion, CMC abduction, CMC twist, MCP flexion, IP flexion
    index, middle, ring, little        MCP flexion, PIP flexion, DIP flexion, MCP abduction, MCP twist

All axes come from the rest joints, so every hand with MANO's joint tree can be posed, whatever its rest pose.
Frame (MANO's right hand): fingers along -x, back of the hand +y, thumb side +z.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from graphhand.geometry import skew_matrix
from graphhand.hand_model.arrays import NUM_SKELETON_JOINTS
from graphhand.types import FloatArray

FINGER_NAMES = ("thumb", "index", "middle", "ring", "little")
# rows of MANO's 16 joints, base to the last joint before the tip
MODEL_CHAIN = ((13, 14, 15), (1, 2, 3), (4, 5, 6), (10, 11, 12), (7, 8, 9))
THUMB = 0


class HandPoser:
    """Converts anatomical angles to the hand model's 16 rotations, and joints back to angles.

    Args:
        rest_joints_m: (21, 3) joints of the model's rest pose in GraphHand order, metres, MANO's right-hand frame.
    """

    def __init__(self, rest_joints_m: Tensor) -> None:
        J = rest_joints_m.float()
        self.rest_joints_m = J
        self.chain = torch.tensor([[1 + 4 * f + k for k in range(4)] for f in range(5)], device=J.device)
        knuckles = J[self.chain[1:, 0]]
        forward = normalize(knuckles.mean(0) - J[0], dim=0)
        y = normalize(torch.linalg.cross(forward, knuckles[0] - knuckles[3]), dim=0)
        x = -forward
        z = normalize(torch.linalg.cross(x, y), dim=0)
        self.x, self.y, self.z = x, y, z

        bone = normalize(J[self.chain[:, 1:]] - J[self.chain[:, :-1]], dim=-1)  # (5, 3, 3)
        bend = torch.empty(5, 3, device=J.device)
        rest = torch.zeros(5, 5, device=J.device)
        thumb = bone[THUMB]
        bend[THUMB] = normalize(
            torch.linalg.cross(thumb[1], thumb[2]) + 0.5 * torch.linalg.cross(thumb[0], thumb[1]), dim=0
        )
        rest[THUMB, 3] = angle_about(thumb[0], thumb[1], bend[THUMB])
        rest[THUMB, 4] = angle_about(thumb[1], thumb[2], bend[THUMB])
        for f in range(1, 5):
            points = J[self.chain[f]] - J[self.chain[f]].mean(0)
            _, extent, axes = torch.linalg.svd(points)
            normal = axes[2] * torch.sign((axes[2] * z).sum())
            # a nearly straight finger has no bending plane: use the palm's lateral axis
            trust = ((extent[1] - 2e-3) / 3e-3).clamp(0, 1)
            lateral = normalize(z - (z * bone[f, 0]).sum() * bone[f, 0], dim=0)
            bend[f] = normalize(trust * normal + (1 - trust) * lateral, dim=0)
            about = normalize(bend[f] - (bend[f] * bone[f, 0]).sum() * bone[f, 0], dim=0)
            rest[f, 0] = torch.rad2deg(torch.asin(-(bone[f, 0] * y).sum()))
            rest[f, 1] = angle_about(bone[f, 0], bone[f, 1], about)
            rest[f, 2] = angle_about(bone[f, 1], bone[f, 2], about)
            rest[f, 3] = torch.rad2deg(torch.atan2((bone[f, 0] * z).sum(), -(bone[f, 0] * x).sum()))
        self.bone, self.bend, self.rest = bone, bend, rest

        opening = normalize(torch.linalg.cross(thumb[0], bend[THUMB]), dim=0)
        self._thumb_rotations = [AxisRotation(axis[None]) for axis in (opening, bend[THUMB], thumb[0])]
        self._palm_rotations = [AxisRotation(axis[None]) for axis in (y, z, x)]
        self._bend_rotation = AxisRotation(bend)
        base = self._palm_rotations[0](rest[1:, 3:4])[:, 0] @ self._palm_rotations[1](rest[1:, 0:1])[:, 0]
        self._base_inverse = base.transpose(-1, -2)
        self._model_rows = torch.tensor([j for chain in MODEL_CHAIN for j in chain], device=J.device)

    def local_rotations(self, angles: Tensor) -> Tensor:
        """Angles (..., 5, 5) in degrees -> local rotations (..., 5 fingers, 3 joints, 3, 3)."""
        abd, flex, twist = self._thumb_rotations
        thumb = angles[..., THUMB, :]
        cmc = abd(thumb[..., 1:2]) @ flex(thumb[..., 0:1]) @ twist(thumb[..., 2:3])
        ry, rz, rx = self._palm_rotations
        finger = angles[..., 1:, :, None]
        knuckle = ry(finger[..., 3, :])[..., 0, :, :] @ rz(finger[..., 0, :])[..., 0, :, :]
        knuckle = knuckle @ rx(finger[..., 4, :])[..., 0, :, :] @ self._base_inverse
        bent = angles - self.rest
        second = self._bend_rotation(torch.cat([bent[..., :1, 3], bent[..., 1:, 1]], -1))
        third = self._bend_rotation(torch.cat([bent[..., :1, 4], bent[..., 1:, 2]], -1))
        return torch.stack([torch.cat([cmc, knuckle], -3), second, third], -3)

    def model_pose(self, angles: Tensor) -> Tensor:
        """Angles (..., 5, 5) in degrees -> rotations (..., 16, 3, 3) in the model's joint order; the wrist's is I."""
        local = self.local_rotations(angles)
        pose = torch.eye(3, device=angles.device).expand(*local.shape[:-4], 16, 3, 3).clone()
        pose[..., self._model_rows, :, :] = local.flatten(-4, -3)
        return pose

    def joints(self, angles: Tensor, rest_joints_m: Tensor | None = None) -> Tensor:
        """Joint positions in the hand's frame; each tip moves rigidly with its last bone.

        Args:
            angles: (..., 5, 5) degrees.
            rest_joints_m: (..., 21, 3) rest joints of the shaped hands, or None for the mean hand.
        Returns:
            (..., 21, 3) metres, GraphHand order.
        """
        local = self.local_rotations(angles)
        rest = self.rest_joints_m if rest_joints_m is None else rest_joints_m
        chain = rest[..., self.chain.flatten(), :].unflatten(-2, (5, 4)).expand(*local.shape[:-4], 5, 4, 3)
        offset = chain[..., 1:, :] - chain[..., :-1, :]
        turned, point = local[..., 0, :, :], chain[..., 0, :]
        points = [point]
        for k in range(3):
            if k:
                turned = turned @ local[..., k, :, :]
            point = point + (turned @ offset[..., k, :, None])[..., 0]
            points.append(point)
        fingers = torch.stack(points, -2).flatten(-3, -2)
        wrist = rest[..., :1, :].expand(*fingers.shape[:-2], 1, 3)
        return torch.cat([wrist, fingers], -2)

    def angles_from_joints(self, joints_m: Tensor) -> Tensor:
        """Anatomical flexions and abductions from joint positions.

        Args:
            joints_m: (..., 21, 3) in the hand's frame (wrist unrotated).
        Returns:
            (..., 4 fingers, 4): MCP flexion, PIP bend, DIP bend (unsigned), MCP abduction; degrees. Fingers index to
            little. Abduction is NaN where the knuckle is flexed by more than 80 degrees: at 90 it is not defined.
        """
        chain = joints_m[..., self.chain[1:].flatten(), :].unflatten(-2, (4, 4))
        bone = normalize(chain[..., 1:, :] - chain[..., :-1, :], dim=-1)
        first = bone[..., 0, :]
        along, up, side = -(first * self.x).sum(-1), (first * self.y).sum(-1), (first * self.z).sum(-1)
        level = torch.sqrt(along.square() + side.square())
        # beyond 90 degrees the bone points backwards: keep the branch of small abduction
        forwards = torch.where(along < 0, -level, level)
        flexion = torch.rad2deg(torch.atan2(-up, forwards))
        abduction = torch.rad2deg(torch.atan2(side * torch.sign(along), along.abs()))
        abduction = torch.where(flexion.abs() > 80, torch.full_like(abduction, torch.nan), abduction)
        bends = [
            torch.rad2deg(torch.acos((bone[..., k, :] * bone[..., k + 1, :]).sum(-1).clamp(-1, 1))) for k in (0, 1)
        ]
        return torch.stack([flexion, *bends, abduction], -1)


class AxisRotation:
    """Rotations about fixed axes (n, 3) by angles (..., n) in degrees -> (..., n, 3, 3), by Rodrigues' formula.

    Terms that depend on the axes alone are computed once, unlike in :func:`graphhand.geometry.axis_angle_to_matrix`.
    """

    def __init__(self, axes: Tensor) -> None:
        self.skew = skew_matrix(normalize(axes, dim=-1))
        self.square = self.skew @ self.skew
        self.eye = torch.eye(3, device=axes.device, dtype=axes.dtype)

    def __call__(self, degrees: Tensor) -> Tensor:
        angle = torch.deg2rad(degrees)[..., None, None]
        return self.eye + torch.sin(angle) * self.skew + (1.0 - torch.cos(angle)) * self.square


def axis_rotation(axes: Tensor, degrees: Tensor) -> Tensor:
    """Rotations about axes (..., 3) by degrees (...) -> (..., 3, 3)."""
    return AxisRotation(axes)(degrees)


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
    """Axis-angle to the entries of rotation matrices, in a third of the kernels of Rodrigues' formula.

    For a single hand nearly all time is spent on starting kernels; hence this version beside
    `graphhand.geometry.axis_angle_to_matrix`, to which the tests compare it. The lower bound of the angle keeps value
    and gradient exact at zero: sin(t/2)/t is 1/2 there, and the rounding error of the quotient's gradient is multiplied
    by the vector itself.

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


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals (B, V, 3) of vertices (B, V, 3), faces (F, 3) int64 weighted by area, anticlockwise from outside."""
    batch, count = vertices.shape[:2]
    index = (faces.reshape(1, -1) + torch.arange(batch, device=faces.device)[:, None] * count).reshape(-1)
    corner = vertices.reshape(-1, 3).index_select(0, index).view(-1, 3, 3)
    normal = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    total = torch.zeros(batch * count, 3, dtype=vertices.dtype, device=vertices.device)
    for k in range(3):
        total.index_add_(0, index[k::3], normal)
    return normalize(total, dim=-1).view(batch, count, 3)


def angle_about(a: Tensor, b: Tensor, axis: Tensor) -> Tensor:
    """Signed angle in degrees that turns a to b about the axis."""
    return torch.rad2deg(torch.atan2((torch.linalg.cross(a, b) * axis).sum(-1), (a * b).sum(-1)))
