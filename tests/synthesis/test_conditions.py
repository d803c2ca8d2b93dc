"""Hard light, underexposure, tone curve and sharpening."""

from __future__ import annotations

import torch

from graphhand.synthesis.conditions import dim, harden, sharpen, steepen
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.shading import sample_lights

RANDOM = CounterRandom(3, torch.arange(64))


def test_hard_light_comes_from_one_lamp_and_is_as_bright():
    lights = sample_lights(RANDOM, True, torch.full((64, 2, 3), 0.4))
    hard, crevices = harden(RANDOM, lights, 1.0)

    def around(light):
        return (light.sky + light.ground).mean(1) / 2

    assert bool((around(hard) < 0.85 * around(lights)).all())
    assert bool((hard.key_colour.mean(1) > lights.key_colour.mean(1)).all())
    total = around(lights) + lights.key_colour.mean(1)
    torch.testing.assert_close(around(hard) + hard.key_colour.mean(1), total)
    assert float(crevices.min()) > 1


def test_no_share_changes_nothing():
    lights = sample_lights(RANDOM, True, torch.full((64, 2, 3), 0.4))
    same, crevices = harden(RANDOM, lights, 0.0)
    for a, b in zip(same, lights):
        torch.testing.assert_close(a, b)
    assert bool((crevices == 1).all())
    image = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(dim(RANDOM, image, 0.0), image)
    assert torch.equal(steepen(RANDOM, image, 0.0), image)
    assert torch.equal(sharpen(RANDOM, image, 0.0), image)


def test_dim_images_are_darker_in_proportion():
    image = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    factor = dim(RANDOM, image, 1.0) / image
    assert 0.4 < float(factor.min()) < float(factor.max()) < 0.85
    assert float(factor.flatten(1).std(1).max()) < 1e-5


def test_a_steep_tone_curve_rises_and_keeps_black_grey_and_white():
    line = torch.linspace(0, 1, 101).expand(64, 3, 1, 101)
    curve = steepen(RANDOM, line, 1.0)
    torch.testing.assert_close(curve[..., [0, 50, 100]], line[..., [0, 50, 100]])
    assert bool((curve.diff(dim=-1) > -1e-6).all())
    assert bool((curve[..., 75] > 0.76).all())
    assert bool((curve[..., 25] < 0.24).all())


def test_sharpening_steepens_edges_and_keeps_plain_areas():
    image = torch.full((64, 3, 16, 16), 0.4)
    image[..., 8:] = 0.6
    sharp = sharpen(RANDOM, image, 1.0)
    assert bool((sharp[..., 8] > 0.61).all())
    assert bool((sharp[..., 7] < 0.39).all())
    torch.testing.assert_close(sharp[..., :6], image[..., :6])
    torch.testing.assert_close(sharp[..., 11:], image[..., 11:])
