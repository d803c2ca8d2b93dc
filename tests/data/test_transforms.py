from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from graphhand.data import Augmentation, make_example
from graphhand.geometry import project_perspective

SIZE = 192
GEOMETRY_ONLY = Augmentation(
    brightness=0, contrast=0, tint=0, saturation=0, gamma=0, blur=0, noise=0, occlusion=0, rotation_deg=180
)
BROADER = replace(GEOMETRY_ONLY, breadth=0.5)


def pose_in_crop(example):
    """The example's pose in the crop camera, metres."""
    ray = np.linalg.solve(example.K.astype(np.float64), [*example.joints_px[0], 1.0])
    return example.joints_m + ray * example.root_depth_m


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("augmentation", [None, GEOMETRY_ONLY, BROADER])
@pytest.mark.parametrize("seed", range(3))
def test_image_and_joints_agree_after_any_crop(dotted_sample, side, augmentation, seed):
    """Every joint inside the crop lies on the dot drawn for it; nothing else is bright."""
    example = make_example(dotted_sample(seed, side), SIZE, augmentation, np.random.default_rng(seed))
    inside = ((example.joints_px > 3) & (example.joints_px < SIZE - 4)).all(axis=1)
    assert inside.sum() >= 10
    for u, v in np.rint(example.joints_px[inside]).astype(int):
        assert example.image[v, u].min() > 200
    bright = np.argwhere(example.image.min(axis=2) > 150)[:, ::-1]
    nearest = np.linalg.norm(bright[:, None] - example.joints_px[None], axis=2).min(axis=1)
    assert nearest.max() < 5.5


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("augmentation", [None, GEOMETRY_ONLY, BROADER])
def test_pose_camera_and_pixels_agree_in_the_crop(dotted_sample, side, augmentation):
    for seed in range(5):
        example = make_example(dotted_sample(seed, side), SIZE, augmentation, np.random.default_rng(seed))
        projected = project_perspective(torch.tensor(pose_in_crop(example)), torch.tensor(example.K).double())
        np.testing.assert_allclose(projected.numpy(), example.joints_px, atol=2e-3)


def test_a_left_hand_gives_the_crop_of_its_mirror_image(dotted_sample):
    """Mirroring image, labels and camera by hand, and calling it right, must not change the example."""
    left = dotted_sample(4, "left")
    width = left.image.shape[1]
    mirror = np.array([-1.0, 1.0, 1.0])
    K = left.K.copy()
    K[0, 2] = width - 1 - K[0, 2]
    right = replace(
        left,
        image=np.ascontiguousarray(left.image[:, ::-1]),
        joints_px=np.stack([width - 1 - left.joints_px[:, 0], left.joints_px[:, 1]], axis=1),
        joints_cam_m=left.joints_cam_m * mirror,
        K=K,
        side="right",
    )
    a, b = make_example(left, SIZE), make_example(right, SIZE)
    np.testing.assert_allclose(a.joints_m, b.joints_m, atol=1e-7)
    np.testing.assert_allclose(a.joints_px, b.joints_px, atol=1e-3)
    np.testing.assert_allclose(a.K, b.K, rtol=1e-6)
    assert np.abs(a.image.astype(int) - b.image).max() <= 2
    assert a.crop.flip
    assert not b.crop.flip


def test_the_crop_turns_the_pose_rigidly_and_keeps_the_distance_to_the_camera(dotted_sample):
    sample = dotted_sample(1)
    example = make_example(sample, SIZE, GEOMETRY_ONLY, np.random.default_rng(3))
    relative = sample.joints_cam_m - sample.joints_cam_m[0]
    np.testing.assert_allclose(example.crop.crop_joints(relative), example.joints_m, atol=1e-6)
    np.testing.assert_allclose(
        np.linalg.norm(pose_in_crop(example), axis=1), np.linalg.norm(sample.joints_cam_m, axis=1), rtol=1e-5
    )


def test_the_crop_holds_the_hand_with_its_margin(dotted_sample):
    example = make_example(dotted_sample(2, camera=True), SIZE, margin=1.5)
    extent = np.ptp(example.joints_px, axis=0).max()
    assert extent == pytest.approx(SIZE / 1.5, rel=0.05)


def test_a_box_of_the_sample_is_cropped(dotted_sample):
    sample = dotted_sample(0)
    x, y, w, h = 250.0, 150.0, 120.0, 80.0
    example = make_example(replace(sample, box_px=np.array([x, y, w, h])), SIZE, margin=2.0)
    middle_of_box = np.array([x + w / 2, y + h / 2])
    # The image-to-crop scale at the box's middle is size / (2 * longer side).
    offset = (sample.joints_px - middle_of_box) * SIZE / (2.0 * w)
    near = np.linalg.norm(offset, axis=1) < 40
    assert near.any()
    np.testing.assert_allclose(example.joints_px[near], offset[near] + (SIZE - 1) / 2, atol=3.0)


def test_a_box_of_the_sample_is_flipped_with_a_left_hand(dotted_sample):
    sample = dotted_sample(0, "left")
    low, high = sample.joints_px.min(0), sample.joints_px.max(0)
    boxed = replace(sample, box_px=np.array([*low, *(high - low)]))
    np.testing.assert_allclose(make_example(boxed, SIZE).joints_px, make_example(sample, SIZE).joints_px, atol=1e-3)


@pytest.mark.parametrize(("camera", "depth"), [(True, False), (False, False), (False, True)])
def test_missing_3d_and_camera_are_flagged_and_zero(dotted_sample, camera, depth):
    example = make_example(dotted_sample(0, camera=camera, depth=depth), SIZE)
    assert example.has_camera == camera
    assert example.has_3d == depth
    assert example.labelled.all()
    if not depth:
        assert not example.joints_m.any()
        assert example.root_depth_m == 0.0


def test_unlabelled_joints_do_not_affect_labels_and_crop(dotted_sample):
    sample = dotted_sample(0, depth=False)
    pixels = sample.joints_px.copy()
    pixels[[4, 8]] = np.nan
    example = make_example(replace(sample, joints_px=pixels), SIZE)
    assert np.flatnonzero(~example.labelled).tolist() == [4, 8]
    assert not example.visible[[4, 8]].any()
    assert np.isfinite(example.joints_px).all()


def test_joints_outside_the_crop_are_labelled_but_not_visible(dotted_sample):
    example = make_example(dotted_sample(0), SIZE, margin=0.5)
    outside = ((example.joints_px < -0.5) | (example.joints_px > SIZE - 0.5)).any(axis=1)
    assert outside.any()
    assert not example.visible[outside].any()
    assert example.labelled.all()


def test_a_left_hand_negative_shows_a_left_hand_without_pose_labels(dotted_sample):
    always = replace(GEOMETRY_ONLY, scale=0, shift=0, rotation_deg=0)
    left = dotted_sample(3, "left")
    example = make_example(left, SIZE, always, np.random.default_rng(0), left_hand_negatives=1.0)
    assert not example.is_right
    assert not example.has_3d
    assert not example.labelled.any()
    # A left hand's mirrored negative is its own, unmirrored crop.
    unmirrored = make_example(replace(left, side="right"), SIZE)
    np.testing.assert_array_equal(example.image, unmirrored.image)


def test_augmentation_without_rng_and_samples_without_box_are_refused(dotted_sample):
    with pytest.raises(ValueError, match="rng"):
        make_example(dotted_sample(0), SIZE, Augmentation())
    with pytest.raises(ValueError, match="box"):
        make_example(dotted_sample(0, joints_px=np.full((21, 2), np.nan)), SIZE)
