"""Joint limits of the hand, and a mixture of poses within them.

Angles are laid out as in `graphhand.hand_model.posing`, degrees. Prototypes are gestures, grips and pinches that are
varied; those with contact were solved for on the default hand: least distance between the pads that touch, within the
joint limits and without self-collision. Limits, couplings and resting angles are those with which hands of the default
model look right (docs/synthetic_data.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from graphhand.hand_model.posing import THUMB, HandPoser
from graphhand.skeleton import DISTAL, TIPS
from graphhand.synthesis.mesh import CapsuleCollider
from graphhand.synthesis.random import CounterRandom

Fingers = Sequence[Sequence[float]]

_OPEN = [[8, 10, 6, 9, 0], [5, 8, 5, 0, 0], [5, 10, 6, -5, 0], [6, 12, 6, -12, 0]]
_STRAIGHT = [[-2, 2, 0, 5, 0], [-2, 2, 0, 0, 0], [-2, 2, 0, -3, 0], [-2, 2, 0, -7, 0]]
_FIST = [[87, 103, 55, 2, 5], [79, 84, 55, 1, 0], [85, 96, 58, -2, -6], [87, 95, 56, -5, -13]]
_HOOK = [[-1, 100, 62, 4, 0], [-9, 96, 64, -1, 0], [-5, 100, 64, -2, 0], [-5, 96, 62, -5, 0]]


# a hand at rest
RELAXED_POSE = torch.tensor(
    [[6, 0, 7, 14, 18], [20, 28, 14, 9, 1], [24, 32, 16, 0, 0], [28, 34, 17, -5, -2], [32, 34, 17, -12, -4]]
).float()


class Prototype(NamedTuple):
    """A pose to vary.

    Attributes:
        angles: degrees.
        std_deg: standard deviation of the variation.
        touches: the finger whose pad touches the thumb's; 0 is none.
        weight: in the mixture.
    """

    angles: Fingers
    std_deg: float
    touches: int
    weight: float


def _with(fingers: Fingers, thumb: Sequence[float], **changed: Sequence[float]) -> Fingers:
    order = ("index", "middle", "ring", "little")
    return [thumb, *(changed.get(name, fingers[i]) for i, name in enumerate(order))]


PROTOTYPES: dict[str, Prototype] = {
    "fist, thumb over index": Prototype(_with(_FIST, [5, 16, 9, 27, 60]), 5, 0, 1.0),
    "fist, thumb over middle": Prototype(_with(_FIST, [11, 23, 13, 28, 39]), 5, 0, 1.0),
    "fist, thumb beside": Prototype(_with(_FIST, [8, -8, 8, 15, 5]), 6, 0, 0.6),
    "thumb up": Prototype(_with(_FIST, [-16, -24, 5, -6, -14]), 6, 0, 1.0),
    "key grip": Prototype(_with(_FIST, [32, -6, 16, 7, -5], index=[45, 75, 40, 2, 3]), 5, 0, 0.7),
    "hook": Prototype(_with(_HOOK, [5, 0, 8, 15, 15]), 8, 0, 0.5),
    "table top": Prototype(
        _with([[78, 8, 5, 3, 2], [80, 8, 5, 0, 0], [80, 8, 5, -2, -3], [80, 10, 5, -5, -6]], [18, 5, 12, 14, 10]),
        8, 0, 0.4,
    ),
    "flat, fingers together": Prototype(_with(_STRAIGHT, [-5, -14, 3, 5, 5]), 5, 0, 1.0),
    "flat, thumb across": Prototype(_with(_STRAIGHT, [46, 14, 14, 50, 42]), 5, 0, 0.5),
    "point": Prototype(_with(_FIST, [18, 21, 15, 22, 47], index=_OPEN[0]), 5, 0, 1.0),
    "two up": Prototype(_with(_FIST, [22, 28, 19, 44, 29], index=[0, 4, 2, 14, 0], middle=[0, 4, 2, -5, 0]), 5, 0, 1.0),
    "two together": Prototype(_with(_FIST, [22, 28, 19, 44, 29], index=_STRAIGHT[0], middle=_STRAIGHT[1]), 5, 0, 0.4),
    "three up": Prototype(
        _with(_OPEN, [45, 8, 18, 57, 52], little=[75, 85, 48, -6, -10]), 5, 0, 0.5
    ),
    "pistol": Prototype(_with(_FIST, [-14, -22, 5, -4, -5], index=_STRAIGHT[0]), 6, 0, 0.7),
    "thumb and little": Prototype(_with(_FIST, [-16, -22, 5, -4, -8], little=[0, 8, 4, -20, 0]), 6, 0, 0.4),
    "index and little": Prototype(
        _with(_FIST, [14, 22, 15, 32, 40], index=_STRAIGHT[0], little=[2, 8, 4, -14, 0]), 6, 0, 0.4
    ),
    "OK": Prototype(_with(_OPEN, [49, -5, 20, -3, -14], index=[9, 69, 57, -3, 0]), 4, 1, 1.0),
    "pinch index, round": Prototype(_with(_OPEN, [43, -9, 17, 4, -11], index=[5, 74, 54, 0, 1]), 5, 1, 0.6),
    "pinch index, curled": Prototype(_with(_FIST, [38, -13, 8, 13, -18], index=[-3, 80, 54, 4, 4]), 4, 1, 1.0),
    "pinch middle": Prototype(_with(_OPEN, [47, 24, 30, -7, -16], middle=[39, 65, 25, -7, 0]), 4, 2, 0.6),
    "pinch ring": Prototype(_with(_OPEN, [34, -6, 17, 57, 65], ring=[77, 99, 63, -15, 0]), 4, 3, 0.3),
    "pinch little": Prototype(_with(_OPEN, [45, -9, 17, 57, 73], little=[91, 90, 46, -30, 0]), 4, 4, 0.3),
    "three-finger grip": Prototype(
        _with(_FIST, [32, 30, 13, 6, -19], index=[56, 28, 14, 3, 5], middle=[61, 47, 26, -8, 0]), 4, 2, 1.0
    ),
    "loose three-finger grip": Prototype(
        [[27, 22, 13, 8, -6], [50, 35, 18, 5, 3], [56, 46, 26, -6, 0], [58, 55, 30, -6, -4], [60, 60, 34, -10, -6]],
        6, 0, 0.8,
    ),
    "all tips together": Prototype(
        [[35, -9, 18, 55, 57], [80, 87, 36, 20, 0], [57, 76, 40, 4, 0], [70, 92, 59, -14, -1], [71, 76, 51, -17, 1]],
        5, 0, 0.4,
    ),
    "cylinder grasp": Prototype(
        [[28, 18, 14, 22, 25], [54, 55, 32, 6, 2], [44, 53, 34, 0, 0], [56, 58, 34, -5, -3], [58, 54, 32, -10, -6]],
        8, 0, 1.2,
    ),
    "ball grasp": Prototype(
        [[24, 16, 12, 14, 18], [32, 42, 26, 18, 0], [32, 44, 28, 2, 0], [34, 44, 28, -11, 0], [36, 42, 26, -24, 0]],
        7, 0, 0.8,
    ),
}  # fmt: skip


# (5 fingers, 5 angles), degrees
LOWER = torch.tensor(
    [
        [-20.0, -30.0, -15.0, -10.0, -20.0],
        [-20.0, 0.0, -5.0, -4.0, -2.0],
        [-20.0, 0.0, -5.0, -8.0, -4.0],
        [-20.0, 0.0, -5.0, -16.0, -11.0],
        [-20.0, 0.0, -5.0, -32.0, -18.0],
    ]
)
UPPER = torch.tensor(
    [
        [50.0, 30.0, 50.0, 60.0, 75.0],
        [90.0, 112.0, 78.0, 26.0, 10.0],
        [92.0, 112.0, 78.0, 8.0, 4.0],
        [92.0, 112.0, 78.0, 4.0, 3.0],
        [95.0, 108.0, 84.0, 4.0, 4.0],
    ]
)
# abduction of index to little finger: relaxed, closed, and at its limit
RELAXED_ABDUCTION = torch.tensor([9.0, 0.0, -5.0, -12.0])
CLOSED_ABDUCTION = torch.tensor([2.0, 0.0, -2.0, -5.0])
MAX_ABDUCTION = torch.tensor([24.0, 3.0, -13.0, -28.0])
# a curled finger turns about its own axis, so that all tips point at the scaphoid bone
CURL_TWIST = torch.tensor([5.0, 0.0, -6.0, -13.0])
MAX_NEIGHBOUR_GAP = 55.0  # degrees between knuckles of ring and middle or little, softly held: they share tendons

# share of each family of poses; "prototype" varies a prototype, the others sample the angles directly
FAMILIES = {"synergy": 0.24, "gesture": 0.26, "flat": 0.10, "independent": 0.10, "prototype": 0.30}
# one more family: straight fingers bent at the knuckles. Its share is RenderConfig.bent, taken from all others alike
BENT = len(FAMILIES)


class PoseSample(NamedTuple):
    """Sampled poses.

    Attributes:
        angles: (B, 5, 5) degrees.
        depth_m: (B,) deepest self-overlap of the capsules.
        attempt: (B,) which candidate was taken.
    """

    angles: Tensor
    depth_m: Tensor
    attempt: Tensor


class PoseSampler:
    """Samples poses within the limits. Of several candidates it takes the first without self-penetration.

    Args:
        poser, collider: of the hand that is posed.
        candidates: poses per sample. Their family is sampled once, so rejection does not change the mixture.
        tolerance_m: overlap of the capsules that is accepted, as flesh is soft.
    """

    def __init__(
        self, poser: HandPoser, collider: CapsuleCollider, candidates: int = 8, tolerance_m: float = 0.004
    ) -> None:
        device = poser.bend.device
        self.poser, self.collider = poser, collider
        self.candidates, self.tolerance_m = candidates, tolerance_m
        self.lower, self.upper = LOWER.to(device), UPPER.to(device)
        self.relaxed, self.closed = RELAXED_ABDUCTION.to(device), CLOSED_ABDUCTION.to(device)
        self.widest = MAX_ABDUCTION.to(device)
        self.curl_twist = CURL_TWIST.to(device)
        table = list(PROTOTYPES.values())
        self.prototype_angles = torch.tensor([p.angles for p in table], dtype=torch.float32, device=device)
        self.prototype_std = torch.tensor([p.std_deg for p in table], dtype=torch.float32, device=device)
        self.prototype_touch = torch.tensor([p.touches for p in table], device=device)
        self.prototype_weight = torch.tensor([p.weight for p in table])
        # thumb CMC angles move the tip most, and a finger's twist and abduction vary less than its flexion
        self.jitter = torch.tensor([[0.7, 0.7, 0.6, 1.0, 1.2]] + [[1.0, 1.1, 0.9, 0.5, 0.3]] * 4, device=device)
        # pad of each finger: towards the palm from a point two thirds along the last bone
        self.pad_radius_m = torch.tensor([0.0085, 0.0075, 0.0075, 0.007, 0.0065], device=device)
        self.pad_direction = torch.linalg.cross(poser.bend, poser.bone[:, 2])

    def __call__(
        self, random: CounterRandom, rest_joints_m: Tensor | None = None, blend: float = 0.15, bent: float = 0.0
    ) -> PoseSample:
        """Sample one pose per index.

        Args:
            random: the batch's random numbers.
            rest_joints_m: (B, 21, 3) rest joints of the shaped hands, or None for the mean hand.
            blend: share of the poses that lie between two others.
            bent: share of the poses with straight fingers bent at the knuckles.
        """
        n = self.candidates
        angles, touch = self._candidates(random, "pose", n, bent)
        other, _ = self._candidates(random, "other pose", n, bent)
        mixed = random.chance("blend", blend)
        share = random.uniform("blend share", n)[..., None, None]
        angles = torch.where(mixed[:, None, None, None], torch.lerp(angles, other, share), angles)
        touch = torch.where(mixed, torch.zeros_like(touch), touch)
        angles = torch.minimum(torch.maximum(angles, self.lower), self.upper)

        rest = None if rest_joints_m is None else rest_joints_m[:, None]
        joints = self.poser.joints(angles, rest)
        depth = self.collider.depth(joints)
        gap = self._pad_gap(angles, joints, touch)
        fault = (depth - self.tolerance_m).clamp(min=0) + 0.3 * (gap - 0.006).clamp(min=0)
        # the tiny ramp makes the first faultless candidate the least
        attempt = (fault + 1e-7 * torch.arange(n, device=fault.device)).argmin(1)
        row = torch.arange(len(attempt), device=fault.device)
        return PoseSample(angles[row, attempt], depth[row, attempt], attempt)

    def _pad_gap(self, angles: Tensor, joints: Tensor, touch: Tensor) -> Tensor:
        """Distance between the pads of the thumb and the finger that ought to touch; (B, n), 0 where none does."""
        local = self.poser.local_rotations(angles)
        turned = local[..., 0, :, :] @ local[..., 1, :, :] @ local[..., 2, :, :]
        inward = (turned @ self.pad_direction[..., None])[..., 0]
        last, tip = joints[..., DISTAL, :], joints[..., TIPS, :]
        pad = torch.lerp(last, tip, 0.68) + self.pad_radius_m[:, None] * inward
        finger = touch[:, None, None, None].expand(*pad.shape[:2], 1, 3)
        gap = torch.linalg.vector_norm(pad.gather(2, finger)[:, :, 0] - pad[:, :, THUMB], dim=-1)
        return torch.where(touch[:, None] > 0, gap, torch.zeros_like(gap))

    def _candidates(self, random: CounterRandom, name: str, n: int, bent: float) -> tuple[Tensor, Tensor]:
        """Angles (B, n, 5, 5), not yet clipped, and the finger (B,) that touches the thumb (0: none)."""
        family = random.choice(f"{name}/family", torch.tensor(list(FAMILIES.values())))
        family = torch.where(random.chance(f"{name}/bent", bent), BENT, family)
        free = self._free_fingers(random, name, n, family)
        thumb = self._free_thumb(random, name, n)
        free = torch.cat([thumb[:, :, None], free], 2)

        kind = random.choice(f"{name}/prototype", self.prototype_weight)
        std = self.prototype_std[kind][:, None, None, None] * self.jitter
        looseness = random.triangular(f"{name}/looseness", n, low=0.2, mode=0.8, high=1.6)[..., None, None]
        varied = self.prototype_angles[kind][:, None] + std * looseness * random.normal(f"{name}/jitter", n, 5, 5)
        is_prototype = family == list(FAMILIES).index("prototype")
        angles = torch.where(is_prototype[:, None, None, None], varied, free)
        touch = torch.where(is_prototype, self.prototype_touch[kind], torch.zeros_like(kind))
        return angles, touch

    def _free_fingers(self, random: CounterRandom, name: str, n: int, family: Tensor) -> Tensor:
        """(B, n, 4, 5) of the families without prototype."""
        stream = f"{name}/"
        # one closure for all fingers, with a slope across the hand
        rank = torch.arange(4, device=family.device) - 1.5
        base = random.triangular(stream + "closure", low=-0.1, mode=0.35, high=1.05)[:, None, None]
        slope = 0.08 * random.normal(stream + "slope")[:, None, None] * rank
        closure = (base + slope + 0.10 * random.normal(stream + "closure of each", n, 4)).clamp(-0.1, 1.0)
        synergy_mcp = closure * 85 + 10 * random.normal(stream + "synergy MCP", n, 4)
        synergy_pip = closure * 88 + 8 + 12 * random.normal(stream + "synergy PIP", n, 4)
        # each finger out or in
        out = random.chance(stream + "out", 0.5, 4)[:, None]
        gesture_mcp = torch.where(
            out,
            random.triangular(stream + "out MCP", n, 4, low=-14, mode=0, high=30),
            random.triangular(stream + "in MCP", n, 4, low=40, mode=80, high=92),
        )
        gesture_pip = torch.where(
            out,
            random.triangular(stream + "out PIP", n, 4, low=0, mode=5, high=35),
            random.triangular(stream + "in PIP", n, 4, low=60, mode=97, high=110),
        )
        flat_mcp = random.triangular(stream + "flat MCP", n, 4, low=-20, mode=0, high=25)
        flat_pip = random.triangular(stream + "flat PIP", n, 4, low=0, mode=4, high=20)
        free_mcp = random.uniform(stream + "free MCP", n, 4, low=-18, high=88)
        free_pip = random.uniform(stream + "free PIP", n, 4, low=0, high=105)
        # all knuckles bent about alike, as when beckoning, scooping or holding something flat
        bend = random.triangular(stream + "bent knuckles", low=0, mode=30, high=88)[:, None, None]
        bend_slope = 6 * random.normal(stream + "bent slope")[:, None, None] * rank
        bent_mcp = bend + bend_slope + 5 * random.normal(stream + "bent MCP", n, 4)
        bent_pip = random.triangular(stream + "bent middle joints", low=0, mode=4, high=32)[:, None, None]
        bent_pip = bent_pip + 5 * random.normal(stream + "bent PIP", n, 4)
        which = family[:, None, None]
        mcp, pip = synergy_mcp, synergy_pip
        for i, a, b in (
            (1, gesture_mcp, gesture_pip),
            (2, flat_mcp, flat_pip),
            (3, free_mcp, free_pip),
            (BENT, bent_mcp, bent_pip),
        ):
            mcp, pip = torch.where(which == i, a, mcp), torch.where(which == i, b, pip)
        mcp = torch.minimum(torch.maximum(mcp, self.lower[1:, 0]), self.upper[1:, 0])
        pip = torch.minimum(torch.maximum(pip, self.lower[1:, 1]), self.upper[1:, 1])

        ring = mcp[..., 2]
        for neighbour in (1, 3):
            gap = ring - mcp[..., neighbour]
            ring = ring - 0.7 * torch.sign(gap) * (gap.abs() - MAX_NEIGHBOUR_GAP).clamp(min=0)
        mcp = torch.stack([mcp[..., 0], mcp[..., 1], ring, mcp[..., 3]], -1)

        # the last joint cannot bend without the middle one, nor stay straight with it
        coupled = pip * random.uniform(stream + "DIP share", n, 4, low=0.4, high=0.75)
        dip = coupled + 5 * random.normal(stream + "DIP", n, 4)

        # abduction: fan = 1 is the limit, negative values close the fingers; it vanishes as the finger curls
        fan = random.uniform(stream + "fan", low=-0.35, high=1.0)[:, None, None]
        fan = fan + 0.22 * random.normal(stream + "fan of each", n, 4)
        abduction = self.relaxed + (self.widest - self.relaxed) * fan.clamp(min=0)
        abduction = abduction + 3 * (self.closed - self.relaxed) * (-fan).clamp(min=0)
        curl = torch.maximum(mcp / 75, pip / 105).clamp(0, 1)
        abduction = torch.lerp(abduction, self.closed.expand_as(abduction), curl)
        abduction = abduction + 1.5 * random.normal(stream + "abduction", n, 4)
        twist = curl * self.curl_twist + 2 * random.normal(stream + "twist", n, 4)
        return torch.stack([mcp, pip, dip, abduction, twist], -1)

    def _free_thumb(self, random: CounterRandom, name: str, n: int) -> Tensor:
        """(B, n, 5): from stretched away (opposition -1) to across the palm (1)."""
        stream = f"{name}/thumb "
        opposition = random.uniform(stream + "opposition", low=-1.0, high=1.15)[:, None]
        opposition = opposition + 0.12 * random.normal(stream + "opposition of each", n)
        flexion = 10 + 24 * opposition + 7 * random.normal(stream + "flexion", n)
        abduction = 2 + 6 * opposition + 11 * random.normal(stream + "abduction", n)
        # turning towards the fingers comes with flexion
        twist = 5 + 0.35 * flexion + 4 * random.normal(stream + "twist", n)
        mcp = random.triangular(stream + "MCP", n, low=-10, mode=10, high=45) + 10 * opposition.clamp(min=0)
        ip = random.triangular(stream + "IP", n, low=-20, mode=12, high=68)
        return torch.stack([flexion, abduction, twist, mcp, ip], -1)


class WristSample(NamedTuple):
    """Bend of the wrist: flexion (towards the palm) and deviation (towards the little finger), degrees, each (B,)."""

    flexion: Tensor
    deviation: Tensor


WRIST_FLEXION = (-62.0, 65.0)
WRIST_DEVIATION = (-18.0, 28.0)


def sample_wrist(random: CounterRandom) -> WristSample:
    """Wrist angles, mostly near straight, within the limits above."""
    flexion = random.normal("wrist flexion", std=24.0).clamp(*WRIST_FLEXION)
    deviation = random.normal("wrist deviation", mean=4.0, std=10.0).clamp(*WRIST_DEVIATION)
    return WristSample(flexion, deviation)


def palm_normal(joints_m: Tensor) -> Tensor:
    """Direction the back of a right hand faces; (..., 21, 3) -> (..., 3) unit vectors."""
    across = joints_m[..., 5, :] - joints_m[..., 17, :]
    along = joints_m[..., 9, :] - joints_m[..., 0, :]
    return normalize(torch.linalg.cross(along, across), dim=-1)
