"""The batches that a recipe's sources give: synthetic hands rendered as crops, and images that are cropped."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from factories import tiny_recipe
from graphhand.data import HandBatch
from graphhand.data.datasets.synthetic import rendered_batch
from graphhand.errors import InputError
from graphhand.synthesis import RenderConfig, RenderEngine
from graphhand.training.config import parse_config
from graphhand.training.sources import training_batches, validation_batches

CPU = torch.device("cpu")
SYNTHETIC = {"kind": "synthetic", "seed": 4, "samples": 10, "first": 100}


def batches(rank: int = 0, world_size: int = 1, epoch: int = 0, **changes: Any) -> list[HandBatch]:
    config = parse_config(tiny_recipe(**{"train": [SYNTHETIC]} | changes), "test")
    return list(training_batches(config, CPU, rank, world_size).epoch(epoch))


def names(batches: list[HandBatch]) -> list[str]:
    return [name for batch in batches for name in batch.names]


def test_crops_are_rendered_in_the_networks_size_without_further_change():
    (batch, *_) = batches()
    indices = [int(name.removeprefix("rendered-")) for name in batch.names]
    expected = rendered_batch(
        RenderEngine(RenderConfig(seed=4, image_size=32)).render(indices), torch.zeros(4, dtype=torch.bool)
    )
    assert batch.image.dtype == torch.float32
    for name in ("image", "joints_m", "joints_px", "K", "root_depth_m", "visible"):
        torch.testing.assert_close(getattr(batch, name), getattr(expected, name), rtol=0, atol=1e-6)


def test_left_hand_negatives_are_flipped_and_have_no_labels():
    plain, mixed = batches()[0], batches(left_hand_negatives=0.5)[0]
    left = ~mixed.masks.is_right
    assert 0 < left.sum() < 4
    assert torch.equal(mixed.image[left], plain.image[left].flip(-1))
    assert torch.equal(mixed.image[~left], plain.image[~left])
    assert not mixed.labelled[left].any()
    assert not mixed.masks.has_3d[left].any()
    assert all(map(torch.equal, mixed.masks, mixed.masks_on_cpu()))


def test_processes_share_the_batches_of_one():
    whole = batches(left_hand_negatives=0.5)
    shares = [batches(rank, 2, left_hand_negatives=0.5) for rank in range(2)]
    for batch, *parts in zip(whole, *shares, strict=True):
        for name in ("image", "joints_m", "labelled"):
            together = torch.cat([getattr(part, name) for part in parts])
            torch.testing.assert_close(together, getattr(batch, name), rtol=0, atol=1e-6)


def test_a_finite_set_repeats_after_all_its_samples_and_an_endless_one_never():
    finite = names([*batches(epoch=0), *batches(epoch=1)])
    assert len(set(finite[:10])) == len(set(finite)) == 10
    endless = [{"kind": "synthetic", "first": 100, "samples": None}]
    seen = names([batch for epoch in (0, 1) for batch in batches(epoch=epoch, train=endless)])
    assert seen == [f"rendered-{100 + index}" for index in range(24)]


@pytest.mark.parametrize(
    "changes",
    [
        {"augmentation": {"blur": 0.0}},
        {"generator": {"crop_margin": 1.2}},
        {"train": [SYNTHETIC | {"render": {"side": "left"}}]},
        {"train": [SYNTHETIC, SYNTHETIC | {"seed": 5, "samples": None}]},
    ],
    ids=["augmentation", "margin", "left hands", "mixture"],
)
def test_options_that_need_images_crop_them(changes):
    (batch, *_) = batches(**changes)
    assert batch.image.dtype == torch.uint8
    assert batch.image.shape == (4, 3, 32, 32)
    assert batch.masks.is_right.all()


def test_synthetic_images_are_cropped_with_the_margin():
    extents = []
    for margin in (1.2, 2.0):
        config = parse_config(
            tiny_recipe(train=[SYNTHETIC], validation=SYNTHETIC, generator={"crop_margin": margin}), "test"
        )
        (batch, *_) = validation_batches(config).epoch(0)
        extents.append((batch.joints_px.amax(1) - batch.joints_px.amin(1)).amax(1))
    torch.testing.assert_close(extents[0] / extents[1], torch.full((4,), 2.0 / 1.2), rtol=0.1, atol=0)


def test_an_endless_validation_set_is_refused():
    config = parse_config(tiny_recipe(train=[SYNTHETIC], validation=SYNTHETIC | {"samples": None}), "test")
    with pytest.raises(InputError, match="endless"):
        validation_batches(config)


def test_workers_render_the_same_batches():
    for here, there in zip(batches(left_hand_negatives=0.5), batches(left_hand_negatives=0.5, workers=2), strict=True):
        assert here.names == there.names
        assert torch.equal(here.image, there.image)
        assert torch.equal(here.joints_m, there.joints_m)
