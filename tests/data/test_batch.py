from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from graphhand.data import collate, make_example
from graphhand.data.sample import RowFlags


def test_a_batch_equals_its_examples_one_by_one(dotted_sample):
    examples = [make_example(dotted_sample(seed, side), 64) for seed, side in enumerate(("left", "right", "left"))]
    batch = collate(examples).to("cpu")
    assert len(batch) == 3
    assert batch.names == ("left-0", "right-1", "left-2")
    for row, example in enumerate(examples):
        np.testing.assert_allclose(batch.image[row].numpy() * 255, example.image.transpose(2, 0, 1), atol=1e-4)
        for field in ("joints_m", "joints_px", "labelled", "visible", "K", "R_crop_cam"):
            np.testing.assert_array_equal(getattr(batch, field)[row].numpy(), getattr(example, field))
        for field in ("has_3d", "has_camera", "has_hand", "is_right", "flipped"):
            assert bool(getattr(batch, field)[row]) == getattr(example, field)
        assert batch.root_depth_m[row].item() == pytest.approx(example.root_depth_m)


def test_types_and_range_are_as_documented(dotted_sample):
    batch = collate([make_example(dotted_sample(0), 64)]).to("cpu")
    assert batch.image.shape == (1, 3, 64, 64)
    assert 0.0 <= batch.image.min() < batch.image.max() <= 1.0
    floats = (batch.image, batch.joints_m, batch.joints_px, batch.K, batch.root_depth_m, batch.R_crop_cam)
    assert {t.dtype for t in floats} == {torch.float32}
    bools = (
        batch.labelled,
        batch.visible,
        batch.has_3d,
        batch.has_camera,
        batch.has_hand,
        batch.is_right,
        batch.flipped,
    )
    assert {t.dtype for t in bools} == {torch.bool}


def test_moving_a_batch_moves_every_tensor_and_keeps_the_names(dotted_sample):
    batch = collate([make_example(dotted_sample(0), 64)], skipped=["a.png: broken; remove it"])
    moved = batch.to("meta")
    assert all(v.device.type == "meta" for v in vars(moved).values() if isinstance(v, torch.Tensor))
    assert moved.names == batch.names
    assert moved.skipped == batch.skipped


def test_images_stay_bytes_until_they_are_moved_and_moving_twice_changes_nothing(dotted_sample):
    batch = collate([make_example(dotted_sample(0), 64)])
    assert batch.image.dtype == torch.uint8
    moved = batch.to("cpu")
    assert batch.image.dtype == torch.uint8  # the loader's batch is left as it was
    assert torch.equal(moved.image, batch.image.float() * (1 / 255))
    assert torch.equal(moved.to("cpu").image, moved.image)


def test_nothing_and_mixed_sizes_cannot_be_stacked(dotted_sample):
    with pytest.raises(ValueError, match="zero"):
        collate([])
    with pytest.raises(ValueError, match="sizes"):
        collate([make_example(dotted_sample(0), 64), make_example(dotted_sample(0), 32)])


def test_flags_of_rows_follow_them(dotted_sample):
    """On the move, in parts, and whether asked for before or after."""
    examples = [make_example(dotted_sample(k), 64) for k in range(4)]
    examples[1] = replace(examples[1], has_3d=False)
    examples[2] = replace(examples[2], has_3d=False, has_hand=False, is_right=False, labelled=np.zeros(21, dtype=bool))
    examples[3] = replace(examples[3], is_right=False)
    expected = RowFlags(
        posed=torch.tensor([True, False, False, True]),
        labelled=torch.tensor([True, True, False, True]),
        handless=torch.tensor([False, False, True, False]),
        right=torch.tensor([True, True, False, False]),
    )
    batch = collate(examples)
    assert batch.flags is None
    for moved in (batch, batch.to("cpu"), batch.to("cpu").to("cpu")):
        for rows in (slice(0, 4), slice(1, 3)):
            for flag, whole in zip(moved.part(rows).row_flags(), expected, strict=True):
                assert torch.equal(flag, whole[rows])
    assert batch.to("cpu").flags is not None
