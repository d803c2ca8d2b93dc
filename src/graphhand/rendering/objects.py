"""Things in the hand or near it: superquadrics (Barr 1981), from pens and cups to balls and boxes."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from graphhand.rendering.counter_random import CounterRandom

RINGS, SIDES = 10, 18
VERTICES = RINGS * SIDES
_FLESH_M = 0.0075  # a finger's bone lies this deep under the skin it grips with
_FINGERS = slice(5, 21)


class Objects(NamedTuple):
    """One object a sample; those without have all vertices at one point, which draws nothing.

    Attributes:
        vertices_m, normals: (B, VERTICES, 3) in the hand's frame; colour: (B, 2, 3) linear; gloss: (B,).
    """

    vertices_m: Tensor
    normals: Tensor
    colour: Tensor
    gloss: Tensor


def faces() -> Tensor:
    """(2 * (RINGS - 1) * SIDES, 3) triangles, anticlockwise from outside, ring by ring."""
    triangles = []
    for i in range(RINGS - 1):
        for j in range(SIDES):
            a, b = i * SIDES + j, i * SIDES + (j + 1) % SIDES
            c, d = a + SIDES, b + SIDES
            triangles += [(a, b, d), (a, d, c)]
    return torch.tensor(triangles)


def _power(base: Tensor, exponent: Tensor) -> Tensor:
    return torch.sign(base) * base.abs().clamp(min=1e-6).pow(exponent)


def sample_objects(random: CounterRandom, joints_m: Tensor, share: float) -> Objects:
    """Objects for a share of the samples: two in five in the palm, two between thumb and fingertips, one anywhere near.

    A held object is as thick as the grip leaves room for; a closed fist gets a stick.

    Args:
        random: the batch's random numbers.
        joints_m: (B, 21, 3) posed joints in the hand's frame (fingers -x, back +y, thumb +z).
        share: of samples with an object.
    """
    B, device = random.batch, joints_m.device
    kind = random.choice("object/kind", torch.tensor([2.0, 2.0, 1.0]))
    knuckles, tips = joints_m[:, [5, 9, 13]].mean(1), joints_m[:, [8, 12, 16]].mean(1)
    middle = joints_m[:, [6, 10, 14]].mean(1)
    in_palm = (knuckles + tips + middle) / 3 + joints_m.new_tensor([0.008, -0.012, 0.0])
    finger_tip = 8 + 4 * (random.uniform("object/finger") * 2).long()  # index or middle
    other = joints_m.gather(1, finger_tip[:, None, None].expand(B, 1, 3))[:, 0]
    between = 0.5 * (joints_m[:, 4] + other)
    anywhere = joints_m[:, 9] + 0.06 * random.normal("object/away", 3)
    centre = torch.where((kind == 0)[:, None], in_palm, torch.where((kind == 1)[:, None], between, anywhere))

    # a stick in the fist runs across the palm; one between the tips points anywhere
    across = normalize(joints_m[:, 5] - joints_m[:, 17] + 0.012 * random.normal("object/tilt", 3), dim=1)
    loose = normalize(random.normal("object/axis", 3), dim=1)
    axis = torch.where((kind == 0)[:, None], across, loose)
    from_axis = joints_m[:, _FINGERS] - centre[:, None]
    if_long = from_axis - (from_axis @ axis[..., None]) * axis[:, None]
    clearance = torch.linalg.vector_norm(if_long, dim=2).amin(1) - _FLESH_M
    gap = 0.5 * torch.linalg.vector_norm(joints_m[:, 4] - other, dim=1)
    room = torch.where(kind == 0, clearance, torch.where(kind == 1, gap, random.uniform("object/size") * 0.03))
    radius = room.clamp(0.0035, 0.036) * random.uniform("object/fit", low=0.75, high=1.0)
    long = torch.exp(random.uniform("object/length", low=math.log(1.0), high=math.log(7.0)))
    half = torch.stack(
        [radius, radius * random.uniform("object/flat", low=0.6, high=1.0), (radius * long).clamp(max=0.12)], 1
    )

    helper = torch.where(axis[:, :1].abs() < 0.9, axis.new_tensor([[1.0, 0, 0]]), axis.new_tensor([[0, 1.0, 0]]))
    u = normalize(torch.linalg.cross(helper, axis), dim=1)
    turn = torch.stack([u, torch.linalg.cross(axis, u), axis], 2)

    rounded = torch.tensor([0.18, 0.18, 1.0, 1.0, 0.3], device=device)  # can, box, ball, ...
    edge = torch.tensor([1.0, 0.25, 1.0, 0.6, 1.0], device=device)
    form = random.choice("object/form", torch.tensor([2.0, 1.2, 1.0, 0.5, 1.0]))
    e1, e2 = rounded[form][:, None], edge[form][:, None]
    i = torch.arange(VERTICES, device=device)
    # the rings crowd towards the ends, where cans and boxes turn
    polar = (torch.div(i, SIDES, rounding_mode="floor") / (RINGS - 1) - 0.5) * math.pi
    round_ = (i % SIDES) * (2 * math.pi / SIDES)
    cp, sp, cr, sr = polar.cos(), polar.sin(), round_.cos(), round_.sin()
    point = torch.stack([_power(cp, e1) * _power(cr, e2), _power(cp, e1) * _power(sr, e2), _power(sp, e1)], 2)
    slope = torch.stack(
        [_power(cp, 2 - e1) * _power(cr, 2 - e2), _power(cp, 2 - e1) * _power(sr, 2 - e2), _power(sp, 2 - e1)], 2
    )
    there = random.chance("object", share)[:, None, None]
    vertices = (point * half[:, None]) @ turn.transpose(1, 2) * there + centre[:, None]
    normals = normalize(slope / half[:, None], dim=2) @ turn.transpose(1, 2)
    grey = random.uniform("object/grey", 2, 1).square()
    colour = torch.lerp(grey.expand(B, 2, 3), random.uniform("object/colour", 2, 3).square(), 0.7) * 0.9 + 0.02
    colour[:, 1] = torch.where(random.chance("object/striped", 0.5)[:, None], colour[:, 1], colour[:, 0])
    return Objects(vertices, normals, colour, random.uniform("object/gloss").square() * 6)
