"""Whole people: a body of random shape and pose that carries the hand model's hands on its wrists.

The hand asset is cut from the body's mesh, so a hand replaces the body's vertices one for one; along the forearm the
two are blended. Joints and fingers are therefore those of all other rendered hands.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from graphhand.hand_model import HandModel
from graphhand.hand_model.posing import HandPoser
from graphhand.synthesis.body import BodyModel, Rest, Skeleton
from graphhand.synthesis.body_poses import PoseComposer
from graphhand.synthesis.mesh import CapsuleCollider, RenderMesh
from graphhand.synthesis.poses import PoseSampler
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.scene import forearm_rotation

# hands are this share of the body's height, and the hand model's is this long
HAND_OF_STATURE, _MODEL_HAND_M = 0.108, 0.182
# the hand model's vertices count fully up to here along the forearm, and no more from there on
_BLEND_FROM_M, _BLEND_TO_M = 0.012, 0.095
_EXPRESSION_SHARES = {"mouth open": 0.35, "smile": 0.5, "corners down": 0.15, "pursed": 0.1, "eyes closed": 0.12,
                      "brows up": 0.25, "brows down": 0.25}  # fmt: skip


class People(NamedTuple):
    """Posed people in the world of `graphhand.synthesis.body`, hands right before left.

    Attributes:
        vertices_m: (M, V, 3).
        joints_m: (M, 2, 21, 3) of the hands.
        hand, wrist_m: (M, 2, 3, 3) frames (of the mirror image for left hands) and (M, 2, 3); hand_scale: (M, 2).
        hand_joints_m: (M, 2, 21, 3) in the hands' own frames, before scale and mirroring.
        holds: (M, 2) 0 nothing, 1 an object, 2 a phone; seated: (M,).
        skeleton, rest: for what hangs on the body.
        traits: name -> (M,), MakeHuman's sliders.
    """

    vertices_m: Tensor
    joints_m: Tensor
    hand: Tensor
    wrist_m: Tensor
    hand_scale: Tensor
    hand_joints_m: Tensor
    holds: Tensor
    seated: Tensor
    skeleton: Skeleton
    rest: Rest
    traits: dict[str, Tensor]


class PeopleComposer:
    """Samples people and their poses.

    Args:
        hand: the default right hand, whose vertices name those of the body's mesh.
        device: where to compute.
    """

    def __init__(self, hand: HandModel, device: torch.device | str = "cpu") -> None:
        self.hand, self.body = hand, BodyModel(device)
        self.mesh = RenderMesh(hand)
        self.poser = HandPoser(self.mesh.rest_joints_m)
        template = self.mesh.rest_vertices_m[: hand.num_vertices]
        collider = CapsuleCollider(template, self.mesh.rest_joints_m, self.mesh.skin_weights)
        self.poses = PoseComposer(self.body, PoseSampler(self.poser, collider, candidates=4))
        along = ((template[:, 0] - _BLEND_FROM_M) / (_BLEND_TO_M - _BLEND_FROM_M)).clamp(0, 1)
        self._share = 1 - along.square() * (3 - 2 * along)
        palm = (self.mesh.skin_weights[:, 0] > 0.9) & (template[:, 0] < 0.0)
        self._palm = palm.nonzero().squeeze(1)
        self._palm_template = template[self._palm]
        self._flip = torch.tensor([-1.0, 1.0, 1.0], device=device)

    def __call__(self, random: CounterRandom) -> People:
        """One person an index."""
        count, body = random.batch, self.body
        shape, traits = self._identity(random)
        shares = torch.tensor([_EXPRESSION_SHARES[name] for name in body.expression_names], device=body.device)
        shown = random.uniform("expression/shown", len(shares)) < shares
        rest = body.rest(shape, random.uniform("expression", len(shares)) * shown)
        stature = rest.vertices_m[..., 2].amax(1)
        size = HAND_OF_STATURE / _MODEL_HAND_M * stature * torch.exp(random.normal("hand size", std=0.03))
        scale = size[:, None].expand(count, 2)
        palm = torch.stack([self._palm_frame(rest, side) for side in (0, 1)], 1)
        posed = self.poses(random, rest, palm, scale)
        vertices = body.skin(rest, posed.skeleton)

        hand_shape = 0.8 * random.normal("hand shape", self.hand.num_shape).clamp(-2.2, 2.2)
        pose = self.poser.model_pose(posed.angles_deg.flatten(0, 1))
        forearm = forearm_rotation(*posed.wrist_deg.flatten(0, 1).unbind(1))
        both = hand_shape[:, None].expand(count, 2, -1).flatten(0, 1)
        joints = self.hand(pose, both)
        points = self.hand.vertices(pose, both, forearm) - joints[:, :1]
        joints = (joints - joints[:, :1]).view(count, 2, 21, 3)
        points = points.view(count, 2, -1, 3)
        mirrored = torch.stack([torch.ones_like(self._flip), self._flip])[None, :, None]

        def place(local: Tensor) -> Tensor:
            turned = (scale[..., None, None] * local) @ posed.hand.transpose(2, 3)
            return turned * mirrored + posed.wrist_m[:, :, None]

        points = place(points)
        share = self._share[:, None]
        for side in (0, 1):
            rows = self.body.hand_vertices[side]
            vertices[:, rows] = torch.lerp(vertices[:, rows], points[:, side], share)
        return People(
            vertices, place(joints), posed.hand, posed.wrist_m, scale, joints, posed.holds, posed.seated,
            posed.skeleton, rest, traits,
        )  # fmt: skip

    def _identity(self, random: CounterRandom) -> tuple[Tensor, dict[str, Tensor]]:
        """Shape coefficients and traits: mostly of one of the asset's people, mixed with a little of another."""
        total = len(self.body.people)
        first, second = ((random.uniform("identity", 2) * total).long().clamp(max=total - 1)).unbind(1)
        share = 0.35 * random.uniform("identity/share")
        shape = torch.lerp(self.body.people[first], self.body.people[second], share[:, None])
        shape = shape + 0.2 * random.normal("identity/own", shape.shape[1])
        return shape, {name: torch.lerp(v[first], v[second], share) for name, v in self.body.traits.items()}

    def _palm_frame(self, rest: Rest, side: int) -> Tensor:
        """(M, 3, 3) rotation from the hand model's rest pose to the body's, of the mirror image for the left hand."""
        rows = self.body.hand_vertices[side][self._palm]
        points = rest.vertices_m[:, rows] * (self._flip if side else 1.0)
        template = self._palm_template - self._palm_template.mean(0)
        u, _, v = torch.linalg.svd((points - points.mean(1, keepdim=True)).transpose(1, 2) @ template)
        u = torch.cat([u[..., :2], u[..., 2:] * torch.det(u @ v)[:, None, None]], 2)
        return u @ v
