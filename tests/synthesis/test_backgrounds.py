"""Procedural scenes and images of the user."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from graphhand.errors import InputError
from graphhand.synthesis import RenderConfig, RenderEngine
from graphhand.synthesis.backgrounds import ImageStore, Shapes, paint_shapes, procedural
from graphhand.synthesis.random import CounterRandom


def test_procedural_scenes_are_varied_and_in_range() -> None:
    random = CounterRandom(0, torch.arange(40))
    scenes = procedural(random, 48, torch.full((40, 3), 0.3))
    assert bool(torch.isfinite(scenes).all())
    assert float(scenes.min()) >= 0
    assert float(scenes.max()) <= 1
    flat = scenes.flatten(1)
    assert float((torch.cdist(flat, flat) + 1e3 * torch.eye(40)).min()) > 1
    assert float(scenes.std((2, 3)).mean()) > 0.05


def test_user_images_become_backgrounds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i, colour in enumerate(([250, 10, 10], [10, 250, 10])):
        image = np.clip(np.array(colour) + rng.integers(-5, 5, (90, 120, 3)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{i}.png"), image[..., ::-1])
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not an image")
    with pytest.warns(UserWarning, match=r"1 background images left out, the first: .*broken\.jpg"):
        store = ImageStore([tmp_path])
    broken.unlink()
    assert len(store.images) == 2
    squares = store.sample(CounterRandom(0, torch.arange(30)), 32)
    red = squares[:, 0].mean((1, 2)) > 0.5
    assert 5 < int(red.sum()) < 25
    config = RenderConfig(
        image_size=32, backgrounds=(str(tmp_path),), background_images=1.0, exposure_variation=False,
        occluders=0, noise=0, jpeg=0,
    )  # fmt: skip
    batch = RenderEngine(config).render(range(6))
    corner = batch.image[:, :, :3, :3].mean((2, 3))
    free = batch.mask[:, :3, :3].amax((1, 2)) == 0
    assert bool((corner[free].amax(1) > 3 * corner[free, 2]).all())


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no readable background image"):
        ImageStore([tmp_path])


def test_painted_shapes_agree_with_painting_whole_images() -> None:
    rng = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=rng)

    B, count, size = 3, 5, 40
    shapes = Shapes(
        colour=draw(B, count, 3), place=2.4 * draw(B, count, 2) - 1.2, half=0.05 + 0.6 * draw(B, count, 2),
        tilt=6 * draw(B, count) - 3, round=draw(B, count) < 0.5, edge=0.02 + 0.5 * draw(B, count),
        used=draw(B, count) < 0.8, shade=draw(B, count, 2) - 0.5,
    )  # fmt: skip
    scene = draw(B, 3, size, size)
    line = (torch.arange(size) + 0.5) * (2 / size) - 1
    expected = scene.clone()
    for b in range(B):
        for i in range(count):
            if not shapes.used[b, i]:
                continue
            dx, dy = line[None, :] - shapes.place[b, i, 0], line[:, None] - shapes.place[b, i, 1]
            c, s = shapes.tilt[b, i].cos(), shapes.tilt[b, i].sin()
            u, v = (dx * c + dy * s) / shapes.half[b, i, 0], (dy * c - dx * s) / shapes.half[b, i, 1]
            away = torch.hypot(u, v) if shapes.round[b, i] else torch.maximum(u.abs(), v.abs())
            cover = ((1 - away) / shapes.edge[b, i]).clamp(0, 1)
            light = 1 + u * shapes.shade[b, i, 0] + v * shapes.shade[b, i, 1]
            expected[b] = torch.lerp(expected[b], shapes.colour[b, i, :, None, None] * light, cover)
    assert torch.allclose(paint_shapes(scene, shapes), expected, atol=1e-4)
