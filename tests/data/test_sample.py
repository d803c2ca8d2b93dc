from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from factories import hand_batch
from graphhand.data import HandSample, collate, make_example
from graphhand.data.sample import RowMasks

GOOD = {
    "image": np.zeros((4, 5, 3), np.uint8),
    "joints_px": np.zeros((21, 2)),
    "visible": np.ones(21),
    "side": "left",
    "name": "a",
}


def test_a_sample_has_the_documented_types():
    sample = HandSample(**GOOD, joints_cam_m=np.ones((21, 3)), K=np.eye(3, dtype=np.float32), box_px=[0, 0, 1, 1])
    assert sample.joints_px.dtype == np.float32
    assert sample.visible.dtype == np.bool_
    assert sample.joints_cam_m.dtype == np.float32
    assert sample.K.dtype == np.float64
    assert sample.box_px.dtype == np.float64


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image", np.zeros((4, 5), np.uint8)),
        ("image", np.zeros((4, 5, 3), np.float32)),
        ("joints_px", np.zeros((20, 2))),
        ("joints_px", np.zeros((21, 3))),
        ("visible", np.ones(42)),
        ("side", "both"),
        ("joints_cam_m", np.zeros((42, 3))),
        ("K", np.zeros((3, 4))),
        ("box_px", np.zeros(3)),
    ],
)
def test_wrong_shapes_and_types_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        HandSample(**{**GOOD, field: value})


def test_a_joint_is_labelled_where_both_coordinates_are_numbers():
    pixels = np.zeros((21, 2))
    pixels[3, 0] = np.nan
    labelled = HandSample(**{**GOOD, "joints_px": pixels}).labelled
    assert not labelled[3]
    assert labelled.sum() == 20


def test_a_pose_with_a_missing_joint_has_no_3d():
    joints = np.ones((21, 3))
    assert HandSample(**GOOD, joints_cam_m=joints).has_3d
    joints[5] = np.nan
    assert not HandSample(**GOOD, joints_cam_m=joints).has_3d
    assert not HandSample(**GOOD).has_3d


def test_a_batch_stacks_its_examples(dotted_sample):
    examples = [make_example(dotted_sample(seed, side), 64) for seed, side in enumerate(("left", "right", "left"))]
    batch = collate(examples).as_float()
    assert len(batch) == 3
    assert batch.names == ("left-0", "right-1", "left-2")
    for row, example in enumerate(examples):
        np.testing.assert_allclose(batch.image[row].numpy() * 255, example.image.transpose(2, 0, 1), atol=1e-4)
        for field in ("joints_m", "joints_px", "labelled", "visible", "K"):
            np.testing.assert_array_equal(getattr(batch, field)[row].numpy(), getattr(example, field))
        assert bool(batch.has_camera[row]) == example.has_camera
        for field in ("has_3d", "is_negative", "is_right"):
            assert bool(getattr(batch.masks, field)[row]) == getattr(example, field)
        assert batch.root_depth_m[row].item() == pytest.approx(example.root_depth_m)


def test_a_batch_has_the_documented_types_and_range(dotted_sample):
    batch = collate([make_example(dotted_sample(0), 64)]).as_float()
    assert batch.image.shape == (1, 3, 64, 64)
    assert 0.0 <= batch.image.min() < batch.image.max() <= 1.0
    floats = (batch.image, batch.joints_m, batch.joints_px, batch.K, batch.root_depth_m)
    assert {t.dtype for t in floats} == {torch.float32}
    bools = (batch.labelled, batch.visible, batch.has_camera, *batch.masks)
    assert {t.dtype for t in bools} == {torch.bool}


def test_to_moves_every_tensor_and_keeps_the_names(dotted_sample):
    batch = collate([make_example(dotted_sample(0), 64)], skipped=["a.png: broken; remove it"])
    moved = batch.to("meta")
    assert all(v.device.type == "meta" for v in vars(moved).values() if isinstance(v, torch.Tensor))
    assert all(mask.device.type == "meta" for mask in moved.masks)
    assert moved.names == batch.names
    assert moved.skipped == batch.skipped


def test_images_stay_bytes_until_as_float(dotted_sample):
    batch = collate([make_example(dotted_sample(0), 64)])
    assert batch.to("cpu").image.dtype == torch.uint8
    floats = batch.as_float()
    assert batch.image.dtype == torch.uint8  # the loader's batch is left as it was
    assert torch.equal(floats.image, batch.image.float() * (1 / 255))
    assert torch.equal(floats.as_float().image, floats.image)


def test_no_examples_and_mixed_sizes_are_refused(dotted_sample):
    with pytest.raises(ValueError, match="zero"):
        collate([])
    with pytest.raises(ValueError, match="sizes"):
        collate([make_example(dotted_sample(0), 64), make_example(dotted_sample(0), 32)])


def test_masks_follow_their_rows(dotted_sample):
    """On the move, in parts, and whether asked for before or after."""
    examples = [make_example(dotted_sample(k), 64) for k in range(4)]
    nothing = {"is_negative": True, "is_right": False, "labelled": np.zeros(21, dtype=bool)}
    examples[1] = replace(examples[1], has_3d=False)
    examples[2] = replace(examples[2], has_3d=False, **nothing)
    examples[3] = replace(examples[3], is_right=False)
    expected = RowMasks(
        has_3d=torch.tensor([True, False, False, True]),
        has_2d=torch.tensor([True, True, False, True]),
        is_negative=torch.tensor([False, False, True, False]),
        is_right=torch.tensor([True, True, False, False]),
    )
    batch = collate(examples)
    for moved in (batch, batch.to("cpu"), batch.to("cpu").to("cpu")):
        for rows in (slice(0, 4), slice(1, 3)):
            for mask, whole in zip(moved.rows(rows).masks_on_cpu(), expected, strict=True):
                assert torch.equal(mask, whole[rows])


def test_masks_of_a_moved_batch_are_known_on_the_cpu(dotted_sample):
    batch = collate([make_example(dotted_sample(k), 64) for k in range(3)])
    moved = batch.to("meta")  # whose values cannot be read
    for mask, whole in zip(moved.rows(slice(1, 3)).masks_on_cpu(), batch.masks, strict=True):
        assert torch.equal(mask, whole[1:])


def test_rows_are_selected_by_a_mask():
    batch, keep = hand_batch(6), torch.tensor([True, False, True, True, False, False])
    some = batch.select(keep)
    assert len(some) == 3
    assert torch.equal(some.joints_m, batch.joints_m[keep])
    assert torch.equal(some.masks.has_3d, batch.masks.has_3d[keep])
    assert some.names == ()
