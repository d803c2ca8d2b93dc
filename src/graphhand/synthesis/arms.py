"""Inverse kinematics of an arm within the limits of elbow, forearm and wrist.

All arms are solved as right ones: what belongs to a left arm is mirrored (x negated) before and after. Shapes are
(A, N) for A arms with N candidates each; vectors are in the world of `graphhand.synthesis.body`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from graphhand.hand_model.posing import angle_about, axis_rotation
from graphhand.synthesis.poses import WRIST_DEVIATION, WRIST_FLEXION

# turn of the hand about the forearm, from thumb up with a bent elbow: positive is palm down
PRONATION = (-80.0, 82.0)
ELBOW_LEAST_DEG, ELBOW_MOST_DEG = 6.0, 142.0
# turn of the upper arm about its axis beyond this looks dislocated
HUMERAL_TWIST_DEG = 75.0


class ArmRest(NamedTuple):
    """A right arm at rest: shoulder, elbow and wrist (A, 3), and the hand's frame in the world (A, 3, 3)."""

    shoulder_m: Tensor
    elbow_m: Tensor
    wrist_m: Tensor
    hand: Tensor


class ArmPose(NamedTuple):
    """Solved arms.

    Attributes:
        elbow_m, wrist_m: (A, N, 3); hand: (A, N, 3, 3) the hand's frame (fingers -x, back +y, thumb +z) in the world.
        upper, lower: (A, N, 3, 3) rotations of upper arm and forearm against their rest, without their twist.
        twists_deg: (A, N, 2) of the ends of upper arm and forearm about their axis, shoulder to wrist.
        wrist_deg: (A, N, 2) flexion and deviation.
        fault: (A, N) how far limits turned the hand away from what was wanted, and how twisted the arm is; radians.
    """

    elbow_m: Tensor
    wrist_m: Tensor
    hand: Tensor
    upper: Tensor
    lower: Tensor
    twists_deg: Tensor
    wrist_deg: Tensor
    fault: Tensor


def hand_frame(fingers: Tensor, palm: Tensor) -> Tensor:
    """Frames (..., 3, 3) of right hands from the directions of their fingers and out of their palms (..., 3)."""
    x = -normalize(fingers, dim=-1)
    y = -normalize(palm - (palm * x).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def solve_arms(
    rest: ArmRest, shoulder_m: Tensor, attached: Tensor, wanted_m: Tensor, wanted_hand: Tensor, swing_deg: Tensor
) -> ArmPose:
    """Two bones to a wrist.

    Args:
        rest: arms at rest.
        shoulder_m: (A, 3) posed; attached: (A, 3, 3) rotation that the shoulder girdle gives the arm.
        wanted_m: (A, N, 3) the wrist's place, brought within reach; wanted_hand: (A, N, 3, 3) the hand's frame.
        swing_deg: (A, N) of the elbow about the line from shoulder to wrist; at 0 it points down and a little out.
    """
    upper_m = torch.linalg.vector_norm(rest.elbow_m - rest.shoulder_m, dim=1)[:, None]
    lower_m = torch.linalg.vector_norm(rest.wrist_m - rest.elbow_m, dim=1)[:, None]
    bend = torch.deg2rad(torch.tensor([180 - ELBOW_MOST_DEG, 180 - ELBOW_LEAST_DEG], device=wanted_m.device)).cos()
    near, far = ((upper_m.square() + lower_m.square() - 2 * upper_m * lower_m * c).sqrt() for c in bend)
    away = wanted_m - shoulder_m[:, None]
    distance = torch.linalg.vector_norm(away, dim=2).clamp(min=1e-4)
    reach = torch.minimum(torch.maximum(distance, near), far)
    line = away / distance[..., None]
    wrist = shoulder_m[:, None] + line * reach[..., None]

    down = normalize(wanted_m.new_tensor([-0.35, 0.25, -1.0]), dim=0).expand_as(line)
    out = normalize(down - (down * line).sum(2, keepdim=True) * line, dim=2)
    out = (axis_rotation(line, swing_deg) @ out[..., None])[..., 0]
    along = (upper_m.square() - lower_m.square() + reach.square()) / (2 * reach)
    height = (upper_m.square() - along.square()).clamp(min=0).sqrt()
    elbow = shoulder_m[:, None] + along[..., None] * line + height[..., None] * out
    u, f = normalize(elbow - shoulder_m[:, None], dim=2), normalize(wrist - elbow, dim=2)
    hinge = normalize(torch.linalg.cross(u, f), dim=2)

    u0, f0 = normalize(rest.elbow_m - rest.shoulder_m, dim=1), normalize(rest.wrist_m - rest.elbow_m, dim=1)
    hinge0 = normalize(torch.linalg.cross(u0, f0), dim=1)
    before = (attached @ u0[..., None])[..., 0]
    swing = _shortest(before[:, None].expand_as(u), u) @ attached[:, None]
    carried = (swing @ hinge0[:, None, :, None])[..., 0]
    humeral = angle_about(carried, hinge, u)
    lower = _frame(f, hinge) @ _frame(f0, hinge0).transpose(1, 2)[:, None]

    neutral, neutral0 = _neutral(f, hinge), _neutral(f0, hinge0)
    limits = (PRONATION, (-WRIST_DEVIATION[1], -WRIST_DEVIATION[0]), WRIST_FLEXION)
    wanted = neutral.transpose(2, 3) @ wanted_hand
    angles = [a.clamp(*limit) for a, limit in zip(_euler(wanted), limits, strict=True)]
    eye = torch.eye(3, device=u.device)
    turns = [axis_rotation(eye[k].expand_as(u), angle) for k, angle in enumerate(angles)]
    hand = neutral @ turns[0] @ turns[1] @ turns[2]
    cosine = ((hand.transpose(2, 3) @ wanted_hand).diagonal(dim1=2, dim2=3).sum(2) - 1) / 2
    pronation0 = _euler(neutral0.transpose(1, 2) @ rest.hand)[0]
    excess = torch.deg2rad((humeral.abs() - HUMERAL_TWIST_DEG).clamp(min=0))
    missed = torch.linalg.vector_norm(wrist - wanted_m, dim=2)
    return ArmPose(
        elbow, wrist, hand, swing, lower,
        torch.stack([humeral, pronation0[:, None] - angles[0]], 2),
        torch.stack([angles[2], -angles[1]], 2),
        torch.acos(cosine.clamp(-1, 1)) + 1.5 * excess + 8 * missed,
    )  # fmt: skip


def _frame(axis: Tensor, hinge: Tensor) -> Tensor:
    return torch.stack([axis, hinge, torch.linalg.cross(axis, hinge)], -1)


def _neutral(forearm: Tensor, hinge: Tensor) -> Tensor:
    """The hand's frame with a straight wrist and the thumb up: its back points out along the elbow's axis."""
    return torch.stack([-forearm, hinge, torch.linalg.cross(-forearm, hinge)], -1)


def _shortest(a: Tensor, b: Tensor) -> Tensor:
    """The smallest rotation that turns unit vectors a to b, (..., 3) -> (..., 3, 3)."""
    axis = torch.linalg.cross(a, b)
    sine = torch.linalg.vector_norm(axis, dim=-1)
    return axis_rotation(axis + 1e-9, torch.rad2deg(torch.atan2(sine, (a * b).sum(-1))))


def _euler(rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Degrees about x, y and z with rotation = Rx Ry Rz."""
    a = torch.atan2(-rotation[..., 1, 2], rotation[..., 2, 2])
    b = torch.asin(rotation[..., 0, 2].clamp(-1, 1))
    c = torch.atan2(-rotation[..., 0, 1], rotation[..., 0, 0])
    return torch.rad2deg(a), torch.rad2deg(b), torch.rad2deg(c)
