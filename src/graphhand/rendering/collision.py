"""How deep a posed hand runs into itself, measured on capsules around its bones."""

from __future__ import annotations

import torch
from torch import Tensor

from graphhand.hand_model.posing import MODEL_CHAIN
from graphhand.skeleton import KNUCKLES

# less than the flesh that is there: fingertips of a fist press into it
PALM_RADIUS_M = 0.0065
PALM_START = 0.35  # the palm's bones start this far from the wrist towards the knuckle: the carpus hides the rest


def segment_distance(p1: Tensor, q1: Tensor, p2: Tensor, q2: Tensor) -> Tensor:
    """Least distance between segments p1-q1 and p2-q2, each (..., 3) -> (...) (Ericson 2005, section 5.1.9)."""
    d1, d2, r = q1 - p1, q2 - p2, p1 - p2
    a, e, f = (d1 * d1).sum(-1), (d2 * d2).sum(-1), (d2 * r).sum(-1)
    c, b = (d1 * r).sum(-1), (d1 * d2).sum(-1)
    det = a * e - b * b
    s = torch.where(det > 1e-12, ((b * f - c * e) / det.clamp(min=1e-12)).clamp(0, 1), torch.zeros_like(det))
    t = (b * s + f) / e
    clamped = t.clamp(0, 1)
    s = torch.where(t == clamped, s, ((b * clamped - c) / a).clamp(0, 1))
    return torch.linalg.vector_norm(p1 + s[..., None] * d1 - p2 - clamped[..., None] * d2, dim=-1)


class CapsuleCollider:
    """Fifteen finger capsules and four palm capsules with radii measured on the rest mesh.

    Args:
        rest_vertices_m: (V, 3), rest_joints_m: (21, 3), weights: (V, 16) skinning weights; one frame, metres.
    """

    def __init__(self, rest_vertices_m: Tensor, rest_joints_m: Tensor, weights: Tensor) -> None:
        owner = weights.argmax(1)
        segments: list[tuple[int, int, int, int]] = []
        radii: list[float] = []
        for finger in range(5):
            for k in range(3):
                a, b = 1 + 4 * finger + k, 2 + 4 * finger + k
                segments.append((a, b, finger, k))
                points = rest_vertices_m[owner == MODEL_CHAIN[finger][k]]
                start, bone = rest_joints_m[a], rest_joints_m[b] - rest_joints_m[a]
                t = ((points - start) @ bone) / (bone @ bone)
                middle = (t > 0.3) & (t < 0.85)
                away = torch.linalg.vector_norm(points - start - t[:, None] * bone, dim=1)[middle]
                radii.append(float(away.median()) if len(away) > 5 else 0.008)
        device = rest_joints_m.device
        self.radius_m = torch.tensor(radii, device=device).clamp(0.005, 0.0095)
        self.start = torch.tensor([s[0] for s in segments], device=device)
        self.end = torch.tensor([s[1] for s in segments], device=device)

        def may_touch(i: int, j: int) -> bool:
            (_, _, f, k), (_, _, g, m) = segments[i], segments[j]
            neighbours = f > 0 and k == 0 and m == 0 and abs(f - g) == 1  # flesh joins there
            return f != g and not neighbours

        pairs = [(i, j) for i in range(15) for j in range(i + 1, 15) if may_touch(i, j)]
        palm = [
            (i, p)
            for i, (_, _, f, k) in enumerate(segments)
            for p in KNUCKLES
            if (f > 0 and k >= 1) or (f == 0 and k == 2)
        ]
        self.first = torch.tensor([i for i, _ in pairs], device=device)
        self.second = torch.tensor([j for _, j in pairs], device=device)
        self.palm_segment = torch.tensor([i for i, _ in palm], device=device)
        self.palm_knuckle = torch.tensor([p for _, p in palm], device=device)

    def depth(self, joints_m: Tensor) -> Tensor:
        """Deepest overlap of two capsules; joints (..., 21, 3) -> (...) metres, negative where nothing touches."""
        a, b = joints_m[..., self.start, :], joints_m[..., self.end, :]
        knuckle = joints_m[..., self.palm_knuckle, :]
        inner = joints_m[..., :1, :] + PALM_START * (knuckle - joints_m[..., :1, :])
        p1 = torch.cat([a[..., self.first, :], a[..., self.palm_segment, :]], -2)
        q1 = torch.cat([b[..., self.first, :], b[..., self.palm_segment, :]], -2)
        p2 = torch.cat([a[..., self.second, :], inner], -2)
        q2 = torch.cat([b[..., self.second, :], knuckle], -2)
        reach = torch.cat(
            [self.radius_m[self.first] + self.radius_m[self.second], self.radius_m[self.palm_segment] + PALM_RADIUS_M]
        )
        return (reach - segment_distance(p1, q1, p2, q2)).amax(-1)
