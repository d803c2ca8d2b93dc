"""Triangle meshes to render, and capsules that measure collisions.

`RenderMesh` is the hand with a longer, closed arm. `Objects` are superquadrics (Barr 1981) in the hand or near it, from
pens and cups to balls and boxes. `CapsuleCollider` measures how deep a posed hand runs into itself.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from graphhand.errors import InputError
from graphhand.hand_model import HandModel
from graphhand.hand_model.posing import MODEL_CHAIN, vertex_normals
from graphhand.skeleton import KNUCKLES, TIPS, Joint
from graphhand.synthesis.random import CounterRandom

# part ids: 0 background, 1 palm and wrist, then 2-4 thumb, 5-7 index, ... 14-16 little (base to tip), 17 forearm
PALM_PART, FOREARM_PART = 1, 17
ARM_EXTENSION_M = 0.30
NEAREST_M = 0.06  # no part of the arm comes nearer to the camera
# thinner than the real palm, since fingertips of a fist press into it
PALM_RADIUS_M = 0.0065
PALM_START = 0.35  # the palm's bones start this far from the wrist towards the knuckle: the carpus hides the rest
OBJECT_RINGS, OBJECT_SIDES = 10, 18
OBJECT_VERTICES = OBJECT_RINGS * OBJECT_SIDES
_FLESH_M = 0.0075  # a finger's bone lies this deep under the skin it grips with
_PUSHES = 6
_BASES = torch.tensor([j for j in range(1, 21) if j % 4])  # joints with a bone to the next one of their finger


def boundary_loop(faces: np.ndarray) -> list[int]:
    """Vertices of the one open edge loop of a triangle mesh (F, 3), in the direction opposite to its triangles."""
    directed = {(int(t[i]), int(t[(i + 1) % 3])) for t in faces for i in range(3)}
    following = {b: a for a, b in directed if (b, a) not in directed}
    if not following:
        return []
    start = min(following)
    loop, vertex = [start], following[start]
    while vertex != start:
        loop.append(vertex)
        vertex = following[vertex]
    if len(loop) != len(following):
        raise InputError(
            "hand model", "its mesh has more than one open edge", "use a hand that is open at the arm only"
        )
    return loop


class RenderMesh:
    """A right hand whose arm is longer by up to `ARM_EXTENSION_M` and closed at its end: topology and rest pose.

    Attributes:
        faces: (F, 3) int64 over V + R + 1 vertices (the model's, a ring of R, the cap's centre).
        all_faces: (F', 3) the same and the triangles of an object, whose vertices follow the hand's.
        rest_vertices_m: (V + R + 1, 3) and rest_joints_m (21, 3), weights (V + R + 1, 16): rest pose, wrist at 0.
        face_part: (F',) uint8 part ids; 0 for the object.
        hand_face_count: triangles of the model itself; the rest of `faces` is the extended arm.
        flesh_m: (21,) greatest depth of each joint under the skin, from any side.
    """

    def __init__(self, hand: HandModel) -> None:
        if hand.side != "right":
            raise InputError("hand model", "it is a left hand", "load the right hand")
        arrays = hand.arrays
        device = hand.faces.device
        self.hand = hand
        joints = hand(torch.eye(3, device=device).expand(16, 3, 3)).float()
        self.rest_joints_m = joints - joints[0]  # MANO's wrist is not at its origin
        rest = torch.from_numpy(np.asarray(arrays.v_template, dtype=np.float32)).to(device) - joints[0]
        weights = torch.from_numpy(np.asarray(arrays.weights, dtype=np.float32)).to(device)
        self.skin_weights = weights

        loop = boundary_loop(np.asarray(arrays.faces))
        self.loop = torch.tensor(loop, dtype=torch.int64, device=device)
        count, ring = len(rest), len(loop)
        extra: list[tuple[int, int, int]] = []
        for i in range(ring):
            a, b = loop[i], loop[(i + 1) % ring]
            c, d = count + i, count + (i + 1) % ring
            extra += [(a, b, d), (a, d, c), (c, d, count + ring)]
        more = torch.tensor(extra, dtype=torch.int64, device=device).reshape(-1, 3)
        self.faces = torch.cat([hand.faces.long(), more])
        self.hand_face_count = len(hand.faces)

        forearm = hand.forearm_weight.float()
        tail = weights.new_zeros(ring + 1, 16)
        tail[:, 0] = 1
        self.weights = torch.cat([weights, tail])
        self.forearm_weight = torch.cat([forearm, forearm.new_ones(ring + 1)])
        elbow = torch.tensor([1.0, 0.0, 0.0], device=device)
        self.rest_vertices_m = self.extend(rest[None], elbow[None], rest.new_full((1,), ARM_EXTENSION_M))[0]
        self.rest_normals = vertex_normals(self.rest_vertices_m[None], self.faces)[0]

        part_of_bone = torch.full((16,), PALM_PART, dtype=torch.int64, device=device)
        for finger, chain in enumerate(MODEL_CHAIN):
            for k, bone in enumerate(chain):
                part_of_bone[bone] = 2 + 3 * finger + k
        face_weights = self.weights[self.faces].sum(1)
        part = part_of_bone[face_weights.argmax(1)]
        arm = self.forearm_weight[self.faces].mean(1) > 0.5
        arm[self.hand_face_count :] = True
        part = torch.where(arm, torch.full_like(part, FOREARM_PART), part).to(torch.uint8)
        objects = object_faces().to(device)
        self.all_faces = torch.cat([self.faces, objects + len(self.rest_vertices_m)])
        self.face_part = torch.cat([part, part.new_zeros(len(objects))])
        self.flesh_m = self._flesh()

    def _flesh(self) -> Tensor:
        """Furthest skin around each joint, in the plane across its bone."""
        rest, joints = self.rest_vertices_m, self.rest_joints_m
        depth = torch.zeros(21, device=rest.device)
        for j in range(21):
            if j == 0:
                away = rest - joints[0]
                depth[0] = torch.linalg.vector_norm(away[away[:, 0].abs() < 0.006][:, 1:], dim=1).max()
                continue
            finger, k = divmod(j - 1, 4)
            if k == 3:
                depth[j] = 0.006  # a tip lies on the skin: the tolerance is for the depth of the pixel beside it
                continue
            bone = normalize(joints[j + 1] - joints[j], dim=0)
            own = self.weights[:, MODEL_CHAIN[finger][k]] > 0.3
            away = rest[own] - joints[j]
            along = (away @ bone).abs() < 0.006
            across = away - (away @ bone)[:, None] * bone
            depth[j] = torch.linalg.vector_norm(across, dim=1)[along].quantile(0.9)
        return depth

    def extend(self, vertices_m: Tensor, elbow: Tensor, length_m: Tensor) -> Tensor:
        """Append the arm's ring and cap.

        Args:
            vertices_m: (B, V, 3) posed vertices of the model.
            elbow: (B, 3) direction of the forearm, from wrist to elbow.
            length_m: (B,) by how much to extend the arm.
        Returns:
            (B, V + R + 1, 3).
        """
        ring = vertices_m[:, self.loop]
        centre = ring.mean(1, keepdim=True)
        shift = (elbow * length_m[:, None])[:, None]
        wider = centre + 1.12 * (ring - centre) + shift
        return torch.cat([vertices_m, wider, centre + shift], 1)

    def arm_length_m(self, vertices_cam_m: Tensor, elbow_cam: Tensor) -> Tensor:
        """(B,) by how much the arm can be extended without coming too near to the camera; at most `ARM_EXTENSION_M`."""
        nearest = vertices_cam_m[:, self.loop, 2].amin(1)
        towards = (-elbow_cam[:, 2]).clamp(min=1e-4)
        return ((nearest - NEAREST_M) / towards).clamp(0.0, ARM_EXTENSION_M)


class Objects(NamedTuple):
    """One object per sample. Samples without one have all its vertices at one point, which renders nothing.

    Attributes:
        vertices_m, normals: (B, OBJECT_VERTICES, 3) in the hand's frame; colour: (B, 2, 3) linear; gloss: (B,).
    """

    vertices_m: Tensor
    normals: Tensor
    colour: Tensor
    gloss: Tensor


def object_faces() -> Tensor:
    """(2 * (OBJECT_RINGS - 1) * OBJECT_SIDES, 3) triangles, anticlockwise from outside, ring by ring."""
    triangles = []
    for i in range(OBJECT_RINGS - 1):
        for j in range(OBJECT_SIDES):
            a, b = i * OBJECT_SIDES + j, i * OBJECT_SIDES + (j + 1) % OBJECT_SIDES
            c, d = a + OBJECT_SIDES, b + OBJECT_SIDES
            triangles += [(a, b, d), (a, d, c)]
    return torch.tensor(triangles)


def _power(base: Tensor, exponent: Tensor) -> Tensor:
    return torch.sign(base) * base.abs().clamp(min=1e-6).pow(exponent)


def _pushed_clear(
    centre: Tensor, axis: Tensor, radius: Tensor, length: Tensor, points: Tensor
) -> tuple[Tensor, Tensor]:
    """Move rods out of fingers, `_PUSHES` times away from the point with the deepest overlap.

    Args:
        centre, axis: (B, 3); radius, length: (B,) of the rods, metres.
        points: (B, P, 3) along the fingers' bones; infinite ones are ignored.
    Returns:
        (B, 3) new centres and (B,) the largest radius that fits.
    """
    reach = (length - radius).clamp(min=0)[:, None]
    row = torch.arange(len(centre), device=centre.device)
    for step in range(_PUSHES + 1):
        away = (points - centre[:, None]).nan_to_num(posinf=1e3)
        along = (away @ axis[..., None])[..., 0]
        away = away - torch.minimum(torch.maximum(along, -reach), reach)[..., None] * axis[:, None]
        distance = torch.linalg.vector_norm(away, dim=2)
        nearest, which = distance.min(1)
        if step < _PUSHES:
            out = away[row, which] / nearest[:, None].clamp(min=1e-4)
            centre = centre - (radius + _FLESH_M - nearest).clamp(min=0)[:, None] * out
    return centre, nearest - _FLESH_M


def sample_objects(random: CounterRandom, joints_m: Tensor, share: float) -> Objects:
    """Objects for a share of the samples: 40 % in the palm, 40 % between thumb and a fingertip, 20 % anywhere near.

    A held object is as thick as the grip allows; a closed fist holds a stick. Objects that would intersect fingers that
    do not hold them are moved aside, then made thinner, and left out where they do not fit.

    Args:
        random: the batch's random numbers.
        joints_m: (B, 21, 3) posed joints in the hand's frame (fingers -x, back +y, thumb +z).
        share: of samples with an object.
    """
    B, device = random.batch, joints_m.device
    kind = random.choice("object/kind", torch.tensor([2.0, 2.0, 1.0]))
    knuckles, tips = joints_m[:, KNUCKLES[:3]].mean(1), joints_m[:, TIPS[1:4]].mean(1)
    middle = joints_m[:, [Joint.INDEX_PIP, Joint.MIDDLE_PIP, Joint.RING_PIP]].mean(1)
    in_palm = (knuckles + tips + middle) / 3 + joints_m.new_tensor([0.008, -0.012, 0.0])
    finger_tip = Joint.INDEX_TIP + 4 * (random.uniform("object/finger") * 2).long()  # index or middle
    other = joints_m.gather(1, finger_tip[:, None, None].expand(B, 1, 3))[:, 0]
    between = 0.5 * (joints_m[:, Joint.THUMB_TIP] + other)
    anywhere = joints_m[:, Joint.MIDDLE_MCP] + 0.06 * random.normal("object/away", 3)
    centre = torch.where((kind == 0)[:, None], in_palm, torch.where((kind == 1)[:, None], between, anywhere))

    # a stick in the fist runs across the palm; one between the tips points anywhere
    across = joints_m[:, Joint.INDEX_MCP] - joints_m[:, Joint.LITTLE_MCP]
    across = normalize(across + 0.012 * random.normal("object/tilt", 3), dim=1)
    loose = normalize(random.normal("object/axis", 3), dim=1)
    axis = torch.where((kind == 0)[:, None], across, loose)
    # points along the fingers' bones (joints and middles of bones), with the joint that each belongs to
    bases = _BASES.to(device)
    points = torch.cat([joints_m[:, 1:], 0.5 * (joints_m[:, bases] + joints_m[:, bases + 1])], 1)
    joint = torch.cat([torch.arange(1, 21, device=device), bases])
    away = points - centre[:, None]
    along = (away @ axis[..., None])[..., 0]
    across_axis = torch.linalg.vector_norm(away - along[..., None] * axis[:, None], dim=2)
    clearance = across_axis[:, joint > 4].amin(1) - _FLESH_M
    gap = 0.5 * torch.linalg.vector_norm(joints_m[:, 4] - other, dim=1)
    room = torch.where(kind == 0, clearance, torch.where(kind == 1, gap, random.uniform("object/size") * 0.03))
    radius = room.clamp(0.0035, 0.036) * random.uniform("object/fit", low=0.75, high=1.0)
    long = torch.exp(random.uniform("object/length", low=math.log(1.0), high=math.log(7.0)))
    length = (radius * long).clamp(max=0.12)
    # held objects may touch: all fingers for one in the palm, thumb and finger for one between their tips
    tip = joint[None] - finger_tip[:, None]
    between_tips = ((joint == 3) | (joint == 4))[None] | (tip == 0) | (tip == -1)
    holds = (kind == 0)[:, None] | ((kind == 1)[:, None] & between_tips)
    centre, free = _pushed_clear(centre, axis, radius, length, torch.where(holds[..., None], torch.inf, points))
    fits = free > 0.0035
    radius = torch.minimum(radius, free.clamp(min=0.0035))
    half = torch.stack([radius, radius * random.uniform("object/flat", low=0.6, high=1.0), length], 1)

    helper = torch.where(axis[:, :1].abs() < 0.9, axis.new_tensor([[1.0, 0, 0]]), axis.new_tensor([[0, 1.0, 0]]))
    u = normalize(torch.linalg.cross(helper, axis), dim=1)
    turn = torch.stack([u, torch.linalg.cross(axis, u), axis], 2)

    rounded = torch.tensor([0.18, 0.18, 1.0, 1.0, 0.3], device=device)  # can, box, ball, ...
    edge = torch.tensor([1.0, 0.25, 1.0, 0.6, 1.0], device=device)
    form = random.choice("object/form", torch.tensor([2.0, 1.2, 1.0, 0.5, 1.0]))
    e1, e2 = rounded[form][:, None], edge[form][:, None]
    i = torch.arange(OBJECT_VERTICES, device=device)
    # the rings crowd towards the ends, where cans and boxes turn
    polar = (torch.div(i, OBJECT_SIDES, rounding_mode="floor") / (OBJECT_RINGS - 1) - 0.5) * math.pi
    round_ = (i % OBJECT_SIDES) * (2 * math.pi / OBJECT_SIDES)
    cp, sp, cr, sr = polar.cos(), polar.sin(), round_.cos(), round_.sin()
    point = torch.stack([_power(cp, e1) * _power(cr, e2), _power(cp, e1) * _power(sr, e2), _power(sp, e1)], 2)
    slope = torch.stack(
        [_power(cp, 2 - e1) * _power(cr, 2 - e2), _power(cp, 2 - e1) * _power(sr, 2 - e2), _power(sp, 2 - e1)], 2
    )
    there = (random.chance("object", share) & fits)[:, None, None]
    vertices = (point * half[:, None]) @ turn.transpose(1, 2) * there + centre[:, None]
    normals = normalize(slope / half[:, None], dim=2) @ turn.transpose(1, 2)
    grey = random.uniform("object/grey", 2, 1).square()
    colour = torch.lerp(grey.expand(B, 2, 3), random.uniform("object/colour", 2, 3).square(), 0.7) * 0.9 + 0.02
    colour[:, 1] = torch.where(random.chance("object/striped", 0.5)[:, None], colour[:, 1], colour[:, 0])
    return Objects(vertices, normals, colour, random.uniform("object/gloss").square() * 6)


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
