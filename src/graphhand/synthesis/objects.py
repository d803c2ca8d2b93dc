"""Things in front of the hand.

Things in the hand or near it: superquadrics (Barr 1981), from pens and cups to balls and boxes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from graphhand.skeleton import KNUCKLES, TIPS, Joint
from graphhand.synthesis.backgrounds import octave_noise, random_colours
from graphhand.synthesis.random import CounterRandom

RINGS, SIDES = 10, 18
VERTICES = RINGS * SIDES
_FLESH_M = 0.0075  # a finger's bone lies this deep under the skin it grips with
_PUSHES = 6
_BASES = torch.tensor([j for j in range(1, 21) if j % 4])  # joints with a bone to the next one of their finger


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


def _pushed_clear(
    centre: Tensor, axis: Tensor, radius: Tensor, length: Tensor, points: Tensor
) -> tuple[Tensor, Tensor]:
    """Move rods out of fingers: away from the point that they run into deepest, a few times.

    Args:
        centre, axis: (B, 3); radius, length: (B,) of the rods, metres.
        points: (B, P, 3) along the fingers' bones; infinite ones are ignored.
    Returns:
        (B, 3) new centres and (B,) the radius that there is room for.
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
    """Objects for a share of the samples: two in five in the palm, two between thumb and fingertips, one anywhere near.

    A held object is as thick as the grip leaves room for; a closed fist gets a stick. What would run through fingers
    that do not hold it is pushed aside, then made thinner, and left out where there is no room.

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
    # the fingers as points along their bones: joints and middles, with the joint at whose side each lies
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
    # a grip holds what is in it, thumb and finger what is between their tips
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
    i = torch.arange(VERTICES, device=device)
    # the rings crowd towards the ends, where cans and boxes turn
    polar = (torch.div(i, SIDES, rounding_mode="floor") / (RINGS - 1) - 0.5) * math.pi
    round_ = (i % SIDES) * (2 * math.pi / SIDES)
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


def sample_occluders(random: CounterRandom, size: int, share: float, box_px: Tensor) -> tuple[Tensor, Tensor]:
    """A bar or a rounded patch over part of the hand, for a share of the images.

    Args:
        random: the batch's random numbers.
        size: side of the image, pixels.
        share: of images with an occluder.
        box_px: (B, 4) x, y, width, height of the hand.
    Returns:
        (B, S, S) opacity and (B, 3, S, S) linear colour.
    """
    device = box_px.device
    line = torch.arange(size, device=device, dtype=torch.float32)

    def per(value: Tensor) -> Tensor:
        return value[:, None, None]

    reach = box_px[:, 2:].amax(1)
    # its centre lies near the edge of the hand's box, so most of the hand stays in view
    bearing = random.uniform("occluder/bearing", low=0, high=6.2832)
    away = random.uniform("occluder/away", low=0.22, high=0.6) * reach
    cx = box_px[:, 0] + 0.5 * box_px[:, 2] + away * bearing.cos()
    cy = box_px[:, 1] + 0.5 * box_px[:, 3] + away * bearing.sin()
    bar = random.chance("occluder/bar", 0.5)
    wide = random.uniform("occluder/width", low=0.04, high=0.16) * reach
    long = torch.where(bar, 3.0 * reach, random.uniform("occluder/length", low=0.06, high=0.24) * reach)
    # a bar runs across the bearing, so it stays beside the middle of the hand
    tilt = torch.where(bar, bearing + 1.5708, bearing) + random.normal("occluder/tilt", std=0.4)
    dx, dy = line[None, None, :] - per(cx), line[None, :, None] - per(cy)
    u = (dx * per(tilt.cos()) + dy * per(tilt.sin())) / per(long)
    v = (dy * per(tilt.cos()) - dx * per(tilt.sin())) / per(wide)
    power = per(random.uniform("occluder/power", low=2.0, high=6.0))
    distance = (u.abs().clamp(max=4).pow(power) + v.abs().clamp(max=4).pow(power)).pow(1 / power)
    cover = ((1 - distance) * per(wide) + 0.5).clamp(0, 1) * per(random.chance("occluder", share))
    colour = random_colours(random, "occluder", 1)[:, 0, :, None, None]
    light = 1 - 0.5 * v.clamp(-1, 1).square() + 0.3 * v.clamp(-1, 1)
    texture = octave_noise(random, "occluder texture", size, 1, (5, 17))
    return cover, (colour * light[:, None] * (1 + 0.3 * texture)).clamp(0, 1)
