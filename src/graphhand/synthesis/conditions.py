"""What even light and a faithful sensor lack: hard light, underexposure, a steep tone curve, sharpening.

Photographed hands have about twice the contrast of evenly lit rendered ones (research/benchmarks/real_or_synthetic.py).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from graphhand.synthesis import shading
from graphhand.synthesis.config import RenderConfig
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.shading import Lights


def develop(random: CounterRandom, image: Tensor, light: Tensor, config: RenderConfig) -> Tensor:
    """What a camera makes of the light (B, 3, S, S) that falls on it: (B, 3, S, S) in steps of 1/255.

    Args:
        random: of the images.
        image: linear light.
        light: (B,) mean light of the hands or people, which exposure goes by.
        config: which variations, and how often.
    """
    image = shading.expose(random, image, light, config.exposure_variation)
    if config.dim > 0:
        image = dim(random, image, config.dim)
    if config.steep > 0:
        image = steepen(random, image, config.steep)
    image = shading.blur(random, image, config)
    if config.noise > 0:
        image = shading.add_noise(random, image, config.noise)
    if config.sharpening > 0:
        image = sharpen(random, image, config.sharpening)
    if config.jpeg > 0:
        image = shading.compress(random, image, config.jpeg)
    return (image * 255).round_().clamp_(0, 255).div_(255)


def harden(random: CounterRandom, lights: Lights, share: float) -> tuple[Lights, Tensor]:
    """Less diffuse light and more from one lamp, for a share of the images.

    Returns:
        The lights, and (B,) the exponent of the ambient occlusion: crevices are darker as well.
    """
    amount = torch.where(random.chance("hard light", share), random.uniform("hardness", low=0.3, high=1.0), 0.0)
    kept = (1 - 0.7 * amount)[:, None]
    lost = (lights.sky + lights.ground).mean(1, keepdim=True) / 2 * (1 - kept)
    level = lights.key_colour.mean(1, keepdim=True).clamp(min=0.05)
    hard = lights._replace(
        sky=lights.sky * kept,
        ground=lights.ground * kept,
        fill_colour=lights.fill_colour * kept,
        key_colour=lights.key_colour * (1 + lost / level),
    )
    return hard, 1 + 1.5 * amount


def dim(random: CounterRandom, image: Tensor, share: float) -> Tensor:
    """Underexposed images, for a share of them; (B, 3, H, W) in [0, 1], after the tone curve."""
    factor = torch.where(random.chance("dim", share), random.uniform("dimness", low=0.4, high=0.85), 1.0)
    return image * factor[:, None, None, None]


def steepen(random: CounterRandom, image: Tensor, share: float) -> Tensor:
    """A steeper tone curve around middle grey, for a share of the images; (B, 3, H, W) in [0, 1]."""
    amount = torch.where(random.chance("steep", share), random.uniform("steepness", low=0.3, high=1.0), 0.0)
    return torch.lerp(image, image * image * (3 - 2 * image), amount[:, None, None, None])


def sharpen(random: CounterRandom, image: Tensor, share: float) -> Tensor:
    """Unsharp masking, as phones and webcams do, for a share of the images; (B, 3, H, W) in [0, 1]."""
    rows = random.chance("sharpening", share).nonzero().squeeze(1)
    if not len(rows):
        return image
    amount = random.uniform("sharpening/amount", low=0.2, high=1.2)[rows, None, None, None]
    sharp = image[rows]
    smooth = avg_pool2d(sharp, 3, 1, 1, count_include_pad=False)
    return image.index_copy(0, rows, (sharp + amount * (sharp - smooth)).clamp_(0, 1))
