"""Things in front of the hand."""

from __future__ import annotations

import torch
from torch import Tensor

from graphhand.rendering.backgrounds import octave_noise, random_colours
from graphhand.rendering.counter_random import CounterRandom


def sample_occluders(random: CounterRandom, size: int, share: float, box_px: Tensor) -> tuple[Tensor, Tensor]:
    """A bar or a rounded patch over part of the hand, for a share of the pictures.

    Args:
        random: the batch's random numbers.
        size: side of the picture, pixels.
        share: of pictures with an occluder.
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
