"""Colour of the skin."""

from __future__ import annotations

import torch

from graphhand.synthesis import RenderConfig
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.skin import sample_skin, tone_colour


def test_tones_run_from_pale_to_dark_and_stay_warm() -> None:
    colours = tone_colour(torch.linspace(0, 1, 50))
    assert bool((colours[1:] < colours[:-1]).all())
    assert bool((colours[:, 0] > colours[:, 1]).all() and (colours[:, 1] > colours[:, 2]).all())


def test_skin_covers_the_human_range() -> None:
    red = sample_skin(CounterRandom(0, torch.arange(2000)), RenderConfig()).base[:, 0]
    assert float(red.quantile(0.02)) < 0.16
    assert float(red.quantile(0.98)) > 0.55


def test_palms_of_dark_hands_are_lighter() -> None:
    skin = sample_skin(CounterRandom(0, torch.arange(500)), RenderConfig())
    dark = skin.base[:, 0] < 0.2
    assert bool((skin.matrix[dark, 1].mean(1) > 0.1).all())
