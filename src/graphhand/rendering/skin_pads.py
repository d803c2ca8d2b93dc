"""Flesh that the hand model is too smooth for: pads of fingers and palm, the hollow between, valleys along the creases.

Heights on the rest hand, which the renderer shades as relief. They are given for the mean hand and follow its size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from graphhand.hand_model.posing import MODEL_CHAIN, THUMB, HandPoser
from graphhand.rendering.counter_random import CounterRandom
from graphhand.skeleton import Joint

# places on the palm: shares of the way from wrist to middle knuckle (along), and from there of the width between little
# and index knuckle (across); height and radii, metres
_PALM = (
    (0.45, 0.45, 0.0016, 0.015, 0.012),  # ball of the thumb
    (0.45, -0.45, 0.0016, 0.018, 0.010),  # ball of the little finger
    (0.62, 0.02, -0.0018, 0.013, 0.012),  # hollow
    (0.16, 0.0, -0.0006, 0.006, 0.010),  # between the balls, above the wrist
)
_MOUND_M, _MOUND_RADIUS_M = 0.0011, 0.0065  # at each finger's base
_PAD_M, _VALLEY_M, _VALLEY_RADIUS_M = 0.0010, -0.0006, 0.0028  # of a phalanx; at the joints between
_STRENGTH = 2.5  # the renderer scales relief down to between a tenth and two thirds


def hand_scale(joints_m: Tensor) -> float:
    """Size of a rest hand (21, 3) against the one that lengths on the skin are given for: wrist to middle knuckle."""
    return float(torch.linalg.vector_norm(joints_m[Joint.MIDDLE_MCP] - joints_m[Joint.WRIST])) / 0.0844


def pad_heights(
    points: Tensor, normals: Tensor, weights: Tensor, joints_m: Tensor, poser: HandPoser, seed: int
) -> Tensor:
    """Height outwards in metres, before the strength of a sample's relief.

    Args:
        points, normals: (N, 3) on the rest hand, whose palm faces -y.
        weights: (N, 16) of skinning.
        joints_m: (21, 3) of the rest hand.
        poser: knows in which direction each finger bends.
        seed: of the differences between hands: each height is its usual one by a factor between 0.2 and 1.8.
    """
    random = CounterRandom(seed, torch.zeros(1, dtype=torch.int64, device=points.device))
    wrist, middle = joints_m[Joint.WRIST], joints_m[Joint.MIDDLE_MCP]
    along, across = middle - wrist, joints_m[Joint.INDEX_MCP] - joints_m[Joint.LITTLE_MCP]
    scale = hand_scale(joints_m)
    palm = (-normals[:, 1] * 1.5).clamp(0, 1)
    flat = torch.tensor([1.0, 0.0, 1.0], device=points.device)

    def hill(place: Tensor, first: Tensor, radius_m: float, other_radius_m: float) -> Tensor:
        away = (points - place) * flat
        direction = normalize(first * flat, dim=0)
        forward = away @ direction
        beside = away - forward[:, None] * direction
        return torch.exp(
            -0.5 * ((forward / (radius_m * scale)).square() + (beside / (other_radius_m * scale)).square().sum(1))
        )

    def vary(name: str) -> float:
        return float(random.uniform(name, low=0.2, high=1.8))

    height = torch.zeros(len(points), device=points.device)
    for i, (share_along, share_across, peak_m, length_m, width_m) in enumerate(_PALM):
        place = wrist + share_along * along + share_across * across
        height += vary(f"palm {i}") * peak_m * palm * hill(place, along, length_m, width_m)
    for finger, chain in enumerate(MODEL_CHAIN):
        own = weights[:, list(chain)].sum(1).clamp(0, 1)
        if finger != THUMB:
            mound = hill(joints_m[1 + 4 * finger], along, _MOUND_RADIUS_M, _MOUND_RADIUS_M)
            height += vary(f"mound {finger}") * _MOUND_M * palm * mound
        for k in range(3):
            start, end = joints_m[1 + 4 * finger + k], joints_m[2 + 4 * finger + k]
            length = torch.linalg.vector_norm(end - start)
            bone = (end - start) / length
            palmar = normalize(torch.linalg.cross(poser.bend[finger], bone), dim=0)
            front = own * ((normals @ palmar) * 1.5).clamp(0, 1)
            t = (points - start) @ bone
            near = torch.linalg.vector_norm(points - start - t.clamp(min=0, max=float(length))[:, None] * bone, dim=1)
            front = front * (near < 0.02 * scale)
            middle_share = 0.7 if k == 0 else 0.5  # the first phalanx is free of the palm only beyond its middle
            pad = torch.exp(-0.5 * ((t / length - middle_share) / 0.22).square())
            height += vary(f"pad {finger} {k}") * _PAD_M * front * pad
            if k or finger != THUMB:
                at = 0.48 * length if k == 0 else 0.0
                valley = torch.exp(-0.5 * ((t - at) / (_VALLEY_RADIUS_M * scale)).square())
                height += vary(f"valley {finger} {k}") * _VALLEY_M * front * valley
    return _STRENGTH * scale * height
