"""Where a teacher's landmarks lie on our hand, and the fit of our hand to them.

A teacher's joints are not ours: MediaPipe's wrist and thumb base lie 15 mm from those of our skeleton. Each landmark
is modelled as a point attached to the hand: its joint plus an offset in the axes of the bone before it and one
in the axes of the bone after it. The offsets are learned from synthetic hands that the teacher saw (`learn`). Relative
depths are calibrated by ridge regression on everything the teacher says, and our joints in the image by a linear map of
its landmarks. `fit` then searches shape, anatomical angles, rotation and place of the hand that agrees with all three.

Units: pixels are divided by the hand's size, the longer side of the landmarks' box, about its middle; depths are those
from the wrist in the same unit (weak perspective). All hands are right ones: mirror left ones first.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphhand.geometry import axis_angle_to_matrix, best_rotation
from graphhand.hand_model import HandModel
from graphhand.hand_model.posing import HandPoser
from graphhand.skeleton import Joint

FOCAL = 2.8
"""Assumed focal length in hand sizes: a hand of 18 cm half a metre from the camera."""
ROBUST = 2.5
"""Residuals beyond this many standard deviations count linearly."""
KEPT = 0.35
"""Share of the fit's residual that the joints in the image keep: the teacher sees what a model of few shapes cannot."""
STRETCH = 0.15
"""Standard deviation of the logarithm of height over width in stretched images, half of it."""
STEPS, RATE = 140, 0.1
RIDGE = 3.0


class TeacherOutput(NamedTuple):
    """A teacher's landmarks of B right hands.

    Attributes:
        px: (B, 21, 2) pixels; z_px: (B, 21) depths in pixels, nearer is smaller; world_m: (B, 21, 3) metres.
    """

    px: Tensor
    z_px: Tensor
    world_m: Tensor

    @property
    def size_px(self) -> Tensor:
        """(B, 1, 1) longer side of the landmarks' box."""
        return (self.px.amax(1) - self.px.amin(1)).amax(1)[:, None, None]

    @property
    def middle_px(self) -> Tensor:
        """(B, 1, 2) middle of the landmarks' box."""
        return (self.px.amax(1, keepdim=True) + self.px.amin(1, keepdim=True)) / 2

    @property
    def points(self) -> Tensor:
        """(B, 21, 2) landmarks in hand sizes about the box's middle."""
        return (self.px - self.middle_px) / self.size_px

    @property
    def features(self) -> Tensor:
        """(B, 127): what the depths are regressed from."""
        depths = (self.z_px - self.z_px[:, :1]) / self.size_px[..., 0]
        world = (self.world_m - self.world_m[:, :1]) * 5.0  # about hand sizes
        rows = (self.points.flatten(1), depths, world.flatten(1), torch.ones_like(depths[:, :1]))
        return torch.cat(rows, 1)


class Hands(NamedTuple):
    """B right hands of our model: angles (B, 5, 5) degrees, shape (B, S), rotation (B, 3, 3) to the camera."""

    angles_deg: Tensor
    shape: Tensor
    rotation: Tensor


class TeacherModel(NamedTuple):
    """What is learned of a teacher.

    Attributes:
        offsets_m: (21, 2, 3) of each landmark from its joint, in the axes of the bone before and after it, metres.
        spread: (21,) robust standard deviation of a landmark in the image, hand sizes.
        joint_map: (21, 21) W: our joints in the image are about p + (p - mean) W, p the landmarks; joint_spread: (21,).
        depth_map: (127, 21) from `TeacherOutput.features` to depths from the wrist; depth_spread: (21,) its errors.
        angle_mean, angle_factor: (25,) degrees, and (25, 25) a root of the covariance: the poses to expect.
    """

    offsets_m: Tensor
    spread: Tensor
    joint_map: Tensor
    joint_spread: Tensor
    depth_map: Tensor
    depth_spread: Tensor
    angle_mean: Tensor
    angle_factor: Tensor

    def save(self, path: Path) -> None:
        np.savez(path, **{name: value.numpy() for name, value in self._asdict().items()})

    @classmethod
    def load(cls, path: Path) -> TeacherModel:
        with np.load(path) as arrays:
            return cls(*(torch.from_numpy(arrays[name]) for name in cls._fields))


class Fit(NamedTuple):
    """Fitted hands.

    Attributes:
        joints_m: (B, 21, 3) of our skeleton in the assumed camera: focal length FOCAL, the principal point in the
            middle of the landmarks' box.
        residual: (B,) mean distance of the fitted landmarks from the teacher's, hand sizes.
        depth_residual: (B,) mean difference of depths from the calibrated ones, hand sizes.
        pose_cost: (B,) squared distance of the angles from the poses to expect, standard deviations, per angle.
        joints: (B, 21, 2) ours in the image, hand sizes about the middle of the landmarks' box.
        hands: the parameters.
    """

    joints_m: Tensor
    residual: Tensor
    depth_residual: Tensor
    pose_cost: Tensor
    joints: Tensor
    hands: Hands


class Weights(NamedTuple):
    """Of the fit's terms; those of the landmarks and of the linear map's joints add up to 1."""

    joints: float = 0.5
    depth: float = 1.0
    pose: float = 1.0
    shape: float = 4.0


DEFAULT_WEIGHTS = Weights()


class LandmarkHand:
    """Our hand with a teacher's landmarks on it. Each fingertip moves rigidly with its last bone."""

    def __init__(self) -> None:
        model = HandModel.default()
        self.num_shape = model.num_shape
        flat = torch.eye(3).expand(16, 3, 3)
        self.rest = model(flat)
        self.rest = self.rest - self.rest[0]
        shaped = model(flat, torch.eye(self.num_shape))
        self.by_shape = shaped - shaped[:, :1] - self.rest  # (S, 21, 3): at rest the joints are affine in the shape
        self.poser = HandPoser(self.rest)

    def points(self, hands: Hands, offsets_m: Tensor) -> tuple[Tensor, Tensor]:
        """Joints and landmarks, (B, 21, 3) metres each, from the wrist in the camera's axes."""
        rest = self.rest + torch.einsum("bs,sjc->bjc", hands.shape, self.by_shape)
        chain = rest[:, 1:].unflatten(1, (5, 4))
        local = self.poser.local_rotations(hands.angles_deg)
        first = local[:, :, 0]
        second = first @ local[:, :, 1]
        third = second @ local[:, :, 2]
        axes = torch.stack((torch.eye(3).expand_as(first), first, second, third, third), 2)  # (B, 5, 5, 3, 3)
        bones = (axes[:, :, 1:4] @ chain.diff(dim=2)[..., None])[..., 0]
        fingers = torch.cat((chain[:, :, :1], chain[:, :, :1] + bones.cumsum(2)), 2)
        offset = axes[:, :, :4] @ offsets_m[1:, 0].view(5, 4, 3, 1) + axes[:, :, 1:] @ offsets_m[1:, 1].view(5, 4, 3, 1)
        joints = torch.cat((rest[:, :1], fingers.flatten(1, 2)), 1)
        wrist = offsets_m[0].sum(0).expand(len(rest), 1, 3)
        landmarks = joints + torch.cat((wrist, offset[..., 0].flatten(1, 2)), 1)
        turned = hands.rotation.transpose(1, 2)
        return joints @ turned, landmarks @ turned


def learn(
    truth: Hands, wrist_m: Tensor, K: Tensor, joints_m: Tensor, seen: TeacherOutput, poses_deg: Tensor
) -> TeacherModel:
    """Learn a teacher's landmarks from hands that are known.

    Args:
        truth, wrist_m, K, joints_m: B hands, their wrists (B, 3), cameras (B, 3, 3) and joints (B, 21, 3).
        seen: the teacher's output for them.
        poses_deg: (N, 5, 5) angles to expect.
    """
    hand = LandmarkHand()
    pixels = (seen.px - K[:, None, :2, 2]) / K[:, 0, 0][:, None, None]
    scale = K[:, 0, 0][:, None, None] / seen.size_px

    def residuals(offsets_m: Tensor) -> Tensor:
        points = hand.points(truth, offsets_m)[1] + wrist_m[:, None]
        return torch.linalg.vector_norm((points[..., :2] / points[..., 2:] - pixels) * scale, dim=-1)

    offsets = torch.zeros(21, 2, 3, requires_grad=True)
    optimizer = torch.optim.Adam([offsets], 1e-3)
    for step in range(250):
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 - step / 250)
        loss = _robust(residuals(offsets) / 0.03).mean() + 20.0 * offsets.square().sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    offsets = offsets.detach()
    spread = residuals(offsets).median(0).values / 1.18  # median of a Rayleigh distribution

    depths = (joints_m[..., 2] - joints_m[:, :1, 2]) / joints_m[:, :1, 2] * K[:, 0, 0][:, None] / seen.size_px[..., 0]
    features = seen.features
    half = torch.arange(len(features)) % 2 == 0
    flat = (joints_m[..., :2] / joints_m[..., 2:] - pixels) * scale + seen.points
    away = [
        joint_estimates(seen.points[~part], _joint_map(seen.points[part], flat[part])) - flat[~part]
        for part in (half, ~half)
    ]
    joint_spread = torch.linalg.vector_norm(torch.cat(away), dim=-1).median(0).values / 1.18
    errors = torch.cat(
        [depths[~part] - features[~part] @ _ridge(features[part], depths[part]) for part in (half, ~half)]
    )
    depth_spread = errors.abs().median(0).values / 0.674
    angles = poses_deg.flatten(1)
    covariance = torch.cov(angles.T) + torch.eye(25) * 4.0
    factor = torch.linalg.cholesky(covariance)
    return TeacherModel(
        offsets,
        spread,
        _joint_map(seen.points, flat),
        joint_spread,
        _ridge(features, depths),
        depth_spread.clamp(min=0.01),
        angles.mean(0),
        factor,
    )


def joint_estimates(points: Tensor, joint_map: Tensor) -> Tensor:
    """(B, 21, 2) our joints from landmarks, by the linear map, hand sizes."""
    return points + torch.einsum("bki,kj->bji", points - points.mean(1, keepdim=True), joint_map)


def fit(teacher: TeacherModel, seen: TeacherOutput, weights: Weights = DEFAULT_WEIGHTS, stretched: bool = False) -> Fit:
    """Fit our hand to a teacher's landmarks of B right hands.

    Args:
        teacher, seen: what is known of the teacher, and what it says.
        weights: of the terms.
        stretched: the images may have been scaled unequally along their axes, by a factor that is fitted too.
    """
    hand, points = LandmarkHand(), seen.points
    estimates = joint_estimates(points, teacher.joint_map)
    depths = seen.features @ teacher.depth_map
    rotation, distance = _start(hand, teacher, points, depths)
    batch = len(points)
    angles, turn, shape = torch.zeros(batch, 25), torch.zeros(batch, 3), torch.zeros(batch, hand.num_shape)
    wrist = torch.stack((points[:, 0, 0], points[:, 0, 1], distance.log()), 1)
    aspect = torch.zeros(batch, 1)
    parameters = [value.requires_grad_() for value in (angles, turn, shape, wrist)]
    if stretched:
        parameters.append(aspect.requires_grad_())
    optimizer = torch.optim.Adam(parameters, RATE, betas=(0.9, 0.95))

    def project(points_m: Tensor) -> Tensor:
        return points_m[..., :2] / points_m[..., 2:] * FOCAL * torch.cat((aspect.exp(), (-aspect).exp()), 1)[:, None]

    def pose() -> tuple[Hands, Tensor, Tensor]:
        """The hands, and their joints and landmarks in the camera."""
        degrees = (teacher.angle_mean + angles @ teacher.angle_factor.T).unflatten(1, (5, 5))
        hands = Hands(degrees, shape, axis_angle_to_matrix(turn) @ rotation)
        joints, landmarks = hand.points(hands, teacher.offsets_m)
        depth = wrist[:, 2].exp()
        place = torch.stack((wrist[:, 0] * depth / FOCAL, wrist[:, 1] * depth / FOCAL, depth), 1)[:, None]
        return hands, joints + place, landmarks + place

    def misfit(joints: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the landmarks, of the linear map's joints, and of the depths."""
        away = torch.linalg.vector_norm(project(landmarks) - points, dim=-1)
        apart = torch.linalg.vector_norm(project(joints) - estimates, dim=-1)
        return away, apart, (joints[..., 2] / joints[:, :1, 2] - 1) * FOCAL - depths

    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, 2.0 * (1 - step / STEPS))
        _, joints, landmarks = pose()
        away, apart, behind = misfit(joints, landmarks)
        cost = _robust(away / teacher.spread).sum(1) * (1 - weights.joints)
        cost = cost + weights.joints * _robust(apart / teacher.joint_spread).sum(1)
        cost = cost + weights.depth * _robust(behind[:, 1:] / teacher.depth_spread[1:]).sum(1)
        cost = cost + weights.pose * angles.square().sum(1) / 2 + weights.shape * shape.square().sum(1) / 2
        cost = cost + (aspect[:, 0] / STRETCH).square() / 2
        optimizer.zero_grad()
        cost.sum().backward()
        optimizer.step()
    with torch.no_grad():
        hands, joints, landmarks = pose()
        away, _, behind = misfit(joints, landmarks)
        flat = project(joints) + KEPT * (points - project(landmarks))
        found = Hands(*(value.detach() for value in hands))
        return Fit(joints, away.mean(1), behind.abs().mean(1), angles.detach().square().mean(1), flat, found)


def _start(hand: LandmarkHand, teacher: TeacherModel, points: Tensor, depths: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations (B, 3, 3) and distances (B,) of the wrist: the expected pose, aligned by the palm."""
    mean = teacher.angle_mean.view(1, 5, 5)
    at_rest = Hands(mean, torch.zeros(1, hand.num_shape), torch.eye(3)[None])
    rest = hand.points(at_rest, teacher.offsets_m)[1][0]
    palm = [Joint.WRIST, Joint.THUMB_CMC, Joint.INDEX_MCP, Joint.MIDDLE_MCP, Joint.RING_MCP, Joint.LITTLE_MCP]
    seen = torch.cat((points, depths[..., None]), 2)[:, palm]
    seen = seen - seen.mean(1, keepdim=True)
    source = (rest[palm] - rest[palm].mean(0)).expand_as(seen)
    rotation, _ = best_rotation(source, seen)
    scale = seen.square().sum((1, 2)).sqrt() / source.square().sum((1, 2)).sqrt()  # hand sizes a metre
    return rotation, FOCAL / scale


def _robust(x: Tensor) -> Tensor:
    """Huber's function of residuals in standard deviations."""
    size = x.abs()
    return torch.where(size < ROBUST, x.square() / 2, ROBUST * (size - ROBUST / 2))


def _joint_map(points: Tensor, joints: Tensor) -> Tensor:
    """(21, 21) ridge regression of `joint_estimates`."""
    rows, targets = (
        values.transpose(1, 2).flatten(0, 1) for values in (points - points.mean(1, keepdim=True), joints - points)
    )
    return torch.linalg.solve(rows.T @ rows + torch.eye(21), rows.T @ targets)


def _ridge(features: Tensor, targets: Tensor) -> Tensor:
    """Ridge regression; the last feature is the constant."""
    penalty = torch.eye(features.shape[1]) * RIDGE
    penalty[-1, -1] = 0.0
    return torch.linalg.solve(features.T @ features + penalty, features.T @ targets)
