"""Lights: one that casts shadows, a fill, and a sky and ground of diffuse light."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from graphhand.rendering.counter_random import CounterRandom


class Lights(NamedTuple):
    """Light on a batch, camera frame; directions point to the light.

    Attributes:
        key, fill: (B, 3) unit vectors; key_colour, fill_colour: (B, 3) linear irradiance.
        up: (B, 3) direction of the sky; sky, ground: (B, 3) irradiance from it and from its opposite.
        softness: (B,) blur of the key light's shadow, shadow-map texels.
    """

    key: Tensor
    key_colour: Tensor
    fill: Tensor
    fill_colour: Tensor
    up: Tensor
    sky: Tensor
    ground: Tensor
    softness: Tensor


def _warmth(value: Tensor) -> Tensor:
    """Colour of light, (B, 3) around 1: warm for positive values."""
    scale = torch.tensor([0.35, 0.0, -0.45], device=value.device)
    return torch.exp(value[:, None] * scale)


def sample_lights(random: CounterRandom, vary: bool, scene: Tensor) -> Lights:
    """Draw lights; their total on a surface that faces them is near 1.

    Args:
        random: the batch's random numbers.
        vary: False gives every sample the same light.
        scene: (B, 2, 3) mean colour of the upper and lower background, which tints the diffuse light.
    """
    batch, device = random.batch, random.indices.device
    if not vary:
        one = torch.ones(batch, 3, device=device)
        key = normalize(torch.tensor([0.3, -0.7, -0.8], device=device), dim=0).expand(batch, 3)
        up = torch.tensor([0.0, -1.0, 0.0], device=device).expand(batch, 3)
        return Lights(key, 0.6 * one, key, 0 * one, up, 0.45 * one, 0.35 * one, torch.ones(batch, device=device))
    # lights hang above and stand on the camera's side more often than not; some scenes are lit from behind
    key = random.normal("key", 3) + torch.tensor([0.0, -0.9, -0.9], device=device)
    fill = random.normal("fill", 3) + torch.tensor([0.0, -0.2, -0.8], device=device)
    up = torch.tensor([0.0, -1.0, 0.0], device=device) + random.normal("up", 3, std=0.35)
    diffuse = random.triangular("diffuse", low=0.15, mode=0.45, high=0.9)[:, None]
    second = random.uniform("second", low=0.0, high=0.6)[:, None].square() * 1.4
    warm = random.normal("warm", std=0.3)
    sky = _warmth(-0.6 * warm + random.normal("sky warm", std=0.18))
    tint = scene / scene.mean(2, keepdim=True).clamp(min=0.02)
    mix = random.uniform("tint of the scene", low=0.0, high=0.3)[:, None]
    contrast = random.uniform("ground", low=0.25, high=0.95)[:, None]
    return Lights(
        key=normalize(key, dim=1),
        key_colour=(1 - diffuse) * 1.25 * _warmth(warm),
        fill=normalize(fill, dim=1),
        fill_colour=(1 - diffuse) * second * _warmth(random.normal("fill warm", std=0.5)),
        up=normalize(up, dim=1),
        sky=diffuse * 1.1 * torch.lerp(sky, tint[:, 0], mix),
        ground=diffuse * contrast * torch.lerp(torch.ones_like(sky), tint[:, 1], mix),
        softness=random.uniform("softness", low=0.5, high=3.0),
    )
