"""Fits the hand model to joints: shape and rotations that reproduce them.

Joints determine the lengths and directions of bones, not their twist, and estimated joints are not exactly those of any
hand. The remaining freedom is regularised by anatomy: hinges bend about their own axis, and twist is penalised.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from graphhand.errors import InputError
from graphhand.geometry import axis_angle_to_matrix, best_rotation, matrix_to_axis_angle
from graphhand.hand_model.layer import HandModel
from graphhand.hand_model.posing import MODEL_CHAIN, THUMB, HandPoser, mirror_pose
from graphhand.skeleton import FINGERS, KNUCKLES, Joint, bone_vectors
from graphhand.types import Hand, HandMesh, Side

LENGTH_MM = 3.0
"""Standard deviation of an estimated bone's length; shape coefficients have a standard deviation of 1."""

STIFFNESS_MM = {
    # The joint error that costs as much as a rotation by one radian: about the hinge, sideways, about the bone.
    "knuckle": (0.3, 1.0, 8.0),
    "hinge": (0.3, 15.0, 15.0),
    "thumb's base": (0.5, 0.5, 2.0),
}

_MAX_BATCH = 512  # frames fitted together, to bound the memory
_STEPS = 40
_INITIAL_DAMPING = 1e-2
_CONVERGED = 1e-4  # relative decrease of the cost
_MIRROR = (-1.0, 1.0, 1.0)


class FittedHands(NamedTuple):
    """Poses of one hand, fitted to B frames.

    Attributes:
        pose: (B, 16, 3, 3) rotations for :class:`HandModel`; the first rotations the hand into the joints' axes.
        shape: (S,) coefficients, the same for all frames.
        wrist_m: (B, 3) position of the wrist, to which the model's rest wrist is translated.
        joints_m: (B, 21, 3) of the fitted hands.
        error_m: (B,) mean distance to the input joints.
    """

    pose: Tensor
    shape: Tensor
    wrist_m: Tensor
    joints_m: Tensor
    error_m: Tensor


def fit_hands(model: HandModel, joints_m: Tensor) -> FittedHands:
    """Fit poses of one hand to the joints of an image, or of a video's frames, which share the bone lengths.

    Args:
        model: a right or left hand.
        joints_m: (B, 21, 3) metres, of hands of the model's side.

    Raises:
        ValueError: the joints are not such a tensor, or not finite.
    """
    if joints_m.ndim != 3 or joints_m.shape[1:] != (21, 3) or not len(joints_m):
        raise ValueError(f"joints_m is (B, 21, 3), not {tuple(joints_m.shape)}")
    if not bool(joints_m.isfinite().all()):
        raise ValueError("joints_m is not finite")
    joints_m = joints_m.to(model.rest_joints())
    if model.side == "left":  # anatomy is defined for right hands
        mirror = joints_m.new_tensor(_MIRROR)
        right = fit_hands(model.mirrored(), joints_m * mirror)
        pose = mirror_pose(right.pose)
        return FittedHands(pose, right.shape, right.wrist_m * mirror, right.joints_m * mirror, right.error_m)
    shape = fit_shape(model, _bone_lengths(joints_m).median(0).values)
    parts = [_PoseFit(model, shape, part).solve() for part in joints_m.split(_MAX_BATCH)]
    pose, wrist_m, fitted = (torch.cat(part) for part in zip(*parts))
    error_m = torch.linalg.vector_norm(fitted - joints_m, dim=-1).mean(1)
    return FittedHands(pose, shape, wrist_m, fitted, error_m)


@cache
def hand_models(path: str = "default") -> dict[Side, HandModel]:
    """The right hand of a file and its mirror image, read once.

    Raises:
        InputError: there is no such file, or it is no right hand.
    """
    right = HandModel.load(path)
    if right.side != "right":
        raise InputError(path, "is a left hand", "give the right one; left hands are posed as its mirror image")
    return {"right": right, "left": right.mirrored()}


def fit_mesh(hand: Hand, path: str = "default") -> HandMesh:
    """The mesh of one estimated hand; its shape is that of this image alone.

    Args:
        hand: with or without an absolute position.
        path: the hand model, see :func:`hand_models`.

    Raises:
        InputError: there is no such file, or it is no right hand.
        ValueError: the joints are not finite.
    """
    model = hand_models(path)[hand.side]
    placed = hand.joints_cam_m is not None
    joints_m = hand.joints_rel_m if hand.joints_cam_m is None else hand.joints_cam_m
    fitted = fit_hands(model, torch.from_numpy(np.array(joints_m))[None])
    count = model.hand_vertex_count
    faces = model.faces[(model.faces < count).all(1)]
    return HandMesh(
        vertices_m=fitted_vertices(model, fitted)[0, :count].double().numpy(),
        faces=faces.numpy(),
        pose=matrix_to_axis_angle(fitted.pose[0]).double().numpy(),
        shape=fitted.shape.double().numpy(),
        joints_m=fitted.joints_m[0].double().numpy(),
        fit_error_m=float(fitted.error_m[0]),
        side=hand.side,
        placed=placed,
        hand_model=model.fingerprint,
    )


def fitted_vertices(model: HandModel, fitted: FittedHands) -> Tensor:
    """The meshes (B, V, 3) of fitted hands, in the frame of their joints."""
    at_rest = model.rest_joints(fitted.shape)[0]
    return model.vertices(fitted.pose, fitted.shape) + (fitted.wrist_m - at_rest)[:, None]


def fit_shape(model: HandModel, lengths_m: Tensor) -> Tensor:
    """The most likely shape (S,), with a normal prior, for bone lengths (20,) in metres (Gauss-Newton)."""
    flat = torch.eye(3).to(lengths_m).expand(16, 3, 3)
    each = torch.eye(model.num_shape).to(lengths_m)
    # At rest the joints, and so the bones, are affine in the shape.
    mean = bone_vectors(model(flat))
    directions = bone_vectors(model(flat, each)) - mean  # (S, 20, 3)
    weight = 1e3 / LENGTH_MM
    shape = lengths_m.new_zeros(model.num_shape)
    for _ in range(8):  # nearly linear: three suffice
        bones = mean + torch.einsum("s,sbc->bc", shape, directions)
        off = torch.linalg.vector_norm(bones, dim=-1) - lengths_m
        residual = torch.cat((weight * off, shape))
        by_shape = torch.einsum("bc,sbc->bs", normalize(bones, dim=-1), directions)
        jacobian = torch.cat((weight * by_shape, each))
        shape = shape - torch.linalg.solve(jacobian.T @ jacobian, jacobian.T @ residual)
    return shape


class _PoseFit:
    """Fits rotations and wrist of right hands by Levenberg's method, with a damping for each row of the batch.

    Rotations are updated by R <- R exp(d), d in the joint's own axes.
    """

    def __init__(self, model: HandModel, shape: Tensor, joints_m: Tensor) -> None:
        self.model, self.shape, self.target = model, shape, joints_m
        identity = torch.eye(3, dtype=joints_m.dtype, device=joints_m.device)
        self.rest = model(identity.expand(16, 3, 3), shape)
        self.moves = joints_m.new_zeros(16, 21)
        self.moves[0, 1:] = 1.0
        stiffness = joints_m.new_zeros(15, 3, 3)
        poser = HandPoser(self.rest)
        for finger, (chain, joints) in enumerate(zip(MODEL_CHAIN, FINGERS.values())):
            for place, row in enumerate(chain):
                self.moves[row, joints[place + 1] : joints[-1] + 1] = 1.0
                bone = poser.bone[finger, place].to(joints_m)
                bend = poser.bend[finger].to(joints_m)
                bend = normalize(bend - (bend @ bone) * bone, dim=0)
                kind = "hinge" if place else ("thumb's base" if finger == THUMB else "knuckle")
                axes = torch.stack((bend, torch.linalg.cross(bone, bend), bone))
                stiffness[row - 1] = joints_m.new_tensor(STIFFNESS_MM[kind])[:, None] * axes
        self.stiffness = stiffness
        # Jacobian of the stiffness terms by d. The derivative of exp is approximated by the identity: either the
        # rotation or its stiffness is small.
        self.stiffness_jacobian = pad(torch.block_diag(*stiffness), (3, 3))

    def joints(self, pose: Tensor, wrist_m: Tensor) -> Tensor:
        """(B, 21, 3) metres."""
        return self.model(pose, self.shape) + (wrist_m - self.rest[0])[:, None]

    def solve(self) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 16, 3, 3), (B, 3), and the joints (B, 21, 3) there."""
        pose, wrist_m = self._start()
        joints_m = self.joints(pose, wrist_m)
        residual = self._residual(pose, joints_m)
        cost = residual.square().sum(1)
        damping = torch.full_like(cost, _INITIAL_DAMPING)
        for _ in range(_STEPS):
            jacobian = self._jacobian(pose, joints_m - wrist_m[:, None])
            normal = jacobian.transpose(1, 2) @ jacobian
            diagonal = normal.diagonal(dim1=1, dim2=2)
            damped = normal + torch.diag_embed(damping[:, None] * diagonal + 1e-6)
            step = -torch.linalg.solve(damped, (jacobian.transpose(1, 2) @ residual[..., None]))[..., 0]
            rotations, move = step[:, :48].unflatten(1, (16, 3)), step[:, 48:] * 1e-3
            trial_pose, trial_wrist_m = pose @ axis_angle_to_matrix(rotations), wrist_m + move
            trial_joints_m = self.joints(trial_pose, trial_wrist_m)
            trial_residual = self._residual(trial_pose, trial_joints_m)
            trial_cost = trial_residual.square().sum(1)
            better = trial_cost < cost
            gain = torch.where(better, 1 - trial_cost / cost.clamp(min=1e-12), torch.zeros_like(cost))
            pose = torch.where(better[:, None, None, None], trial_pose, pose)
            wrist_m = torch.where(better[:, None], trial_wrist_m, wrist_m)
            joints_m = torch.where(better[:, None, None], trial_joints_m, joints_m)
            residual = torch.where(better[:, None], trial_residual, residual)
            cost = torch.where(better, trial_cost, cost)
            converged = better & (gain < _CONVERGED) | (damping > 1e6)
            if bool(converged.all()):
                break
            damping = torch.where(better, damping * 0.3, damping * 10)
        return pose, wrist_m, joints_m

    def _start(self) -> tuple[Tensor, Tensor]:
        """The palm by least squares, and each bone by the shortest rotation to its direction."""
        palm = [Joint.WRIST, Joint.THUMB_CMC, *KNUCKLES]
        source = self.rest[palm] - self.rest[palm].mean(0)
        target = self.target[:, palm] - self.target[:, palm].mean(1, keepdim=True)
        rotation, _ = best_rotation(source.expand_as(target), target)
        pose = torch.eye(3).to(self.target).expand(len(self.target), 16, 3, 3).clone()
        pose[:, 0] = rotation
        for chain, joints in zip(MODEL_CHAIN, FINGERS.values()):
            world = rotation
            for row, joint in zip(chain, joints):
                bone = self.rest[joint + 1] - self.rest[joint]
                wanted = (self.target[:, joint + 1] - self.target[:, joint])[:, None] @ world
                pose[:, row] = _shortest_rotation(bone.expand(len(wanted), 3), wanted[:, 0])
                world = world @ pose[:, row]
        return pose, self.target[:, 0].clone()

    def _residual(self, pose: Tensor, joints_m: Tensor) -> Tensor:
        """(B, 63 + 45) millimetres: joints, and rotations times their stiffness."""
        away = (joints_m - self.target) * 1e3
        rotations = matrix_to_axis_angle(pose[:, 1:])
        return torch.cat((away.flatten(1), (self.stiffness @ rotations[..., None]).flatten(1)), dim=1)

    def _jacobian(self, pose: Tensor, from_wrist_m: Tensor) -> Tensor:
        """(B, 63 + 45, 48 + 3) of the residual by d, radians, and the wrist, millimetres.

        ``from_wrist_m (B, 21, 3)`` are the joints from the wrist, in the world's axes.
        """
        moved = self.model.skinning_transforms(pose, self.shape)
        pivots = moved.joints_m - moved.joints_m[:, :1]
        lever = (from_wrist_m[:, None] - pivots[:, :, None]) * self.moves[..., None]  # (B, 16, 21, 3)
        axes = moved.rotation.transpose(-1, -2)  # rows are the joint's own axes in the world
        levers = torch.linalg.cross(axes[:, :, :, None], lever[:, :, None], dim=-1) * 1e3  # (B, 16, 3, 21, 3)
        of_rotations = levers.flatten(1, 2).flatten(2).transpose(1, 2)  # (B, 63, 48)
        of_wrist = torch.eye(3).to(pose).repeat(21, 1).expand(len(pose), 63, 3)
        of_stiffness = self.stiffness_jacobian.expand(len(pose), 45, 51)
        return torch.cat((torch.cat((of_rotations, of_wrist), dim=2), of_stiffness), dim=1)


def _bone_lengths(joints_m: Tensor) -> Tensor:
    """(..., 20) metres."""
    return torch.linalg.vector_norm(bone_vectors(joints_m), dim=-1)


def _shortest_rotation(source: Tensor, target: Tensor) -> Tensor:
    """Rotations (B, 3, 3) between directions (B, 3); for opposite ones, any half turn."""
    a, b = normalize(source, dim=-1), normalize(target, dim=-1)
    axis = torch.linalg.cross(a, b)
    sine, cosine = torch.linalg.vector_norm(axis, dim=-1), (a * b).sum(-1)
    other = torch.linalg.cross(a, torch.eye(3).to(a)[a.abs().argmin(-1)])
    axis = torch.where((sine < 1e-6)[:, None], other, axis)
    return axis_angle_to_matrix(normalize(axis, dim=-1) * torch.atan2(sine, cosine)[:, None])
