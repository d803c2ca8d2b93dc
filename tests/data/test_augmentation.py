from __future__ import annotations

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from graphhand.data import Augmentation, make_example
from graphhand.data.transforms import _add_noise, _defocus, _low_resolution, _motion_blur
from graphhand.skeleton import Joint

OFF = {f.name: 0.0 for f in fields(Augmentation)}
SIZE = 96


@pytest.fixture
def textured(dotted_sample):
    """A sample over colourful, smooth texture."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(40, 216, (12, 16, 3)).astype(np.uint8)
    sample = dotted_sample(0)
    sample.image[:] = np.kron(coarse, np.ones((40, 40, 1), np.uint8))
    return sample


def test_augmentation_of_zeros_leaves_the_crop_unchanged(textured):
    plain = make_example(textured, SIZE)
    off = make_example(textured, SIZE, Augmentation(**OFF), np.random.default_rng(0))
    np.testing.assert_array_equal(plain.image, off.image)
    np.testing.assert_array_equal(plain.joints_px, off.joints_px)


@pytest.mark.parametrize("name", sorted(set(OFF) - {"reflect", "unknown_camera"}))
def test_each_augmentation_changes_the_image(textured, name):
    strength = 40.0 if name == "rotation_deg" else 1.0
    plain = make_example(textured, SIZE)
    changed = make_example(textured, SIZE, Augmentation(**{**OFF, name: strength}), np.random.default_rng(1))
    assert np.abs(plain.image.astype(int) - changed.image).mean() > 0.3


def test_reflect_fills_the_crop_beyond_the_image(textured):
    over_the_edge = replace(textured, box_px=np.array([-80.0, 100.0, 200.0, 200.0]))
    plain = make_example(over_the_edge, SIZE)
    changed = make_example(over_the_edge, SIZE, Augmentation(**{**OFF, "reflect": 1.0}), np.random.default_rng(1))
    outside = (plain.image == 0).all(axis=-1)  # the texture is nowhere black
    assert 0.2 < outside.mean() < 0.8
    assert (changed.image.max(axis=-1) > 20).all()
    inside = cv2.erode((~outside).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    np.testing.assert_array_equal(plain.image[inside], changed.image[inside])
    np.testing.assert_array_equal(plain.joints_px, changed.joints_px)


@pytest.mark.parametrize("name", sorted(set(OFF) - {"scale", "shift", "rotation_deg", "breadth", "occlusion"}))
def test_photometric_augmentation_leaves_the_labels_unchanged(textured, name):
    plain = make_example(textured, SIZE)
    changed = make_example(textured, SIZE, Augmentation(**{**OFF, name: 1.0}), np.random.default_rng(1))
    np.testing.assert_array_equal(plain.joints_px, changed.joints_px)
    np.testing.assert_array_equal(plain.joints_m, changed.joints_m)
    np.testing.assert_array_equal(plain.visible, changed.visible)


def test_grey_probability_is_the_share_of_colourless_crops(textured):
    setting = Augmentation(**{**OFF, "grey": 0.3, "tint": 0.5, "saturation": 0.5, "contrast": 0.2, "brightness": 0.2})
    crops = [make_example(textured, SIZE, setting, np.random.default_rng(i)).image.astype(int) for i in range(200)]
    spread = np.array([np.ptp(crop, axis=-1).mean() for crop in crops])
    colourless = spread < 1.0
    assert 0.2 < colourless.mean() < 0.4
    assert spread[~colourless].min() > 5.0


@pytest.mark.parametrize("blur", [_defocus, _motion_blur, _low_resolution])
def test_blurs_keep_the_centre_of_a_spot(blur):
    """Labels stay true under every blur: to a tenth of a pixel of the image left, a quarter as fine at the least."""
    at = np.array([101.0, 118.0])
    image = np.zeros((224, 224, 3), np.uint8)
    cv2.circle(image, (int(at[0]), int(at[1])), 16, (255, 255, 255), -1)
    v, u = np.indices(image.shape[:2])
    for seed in range(20):
        spread = blur(image.copy(), np.random.default_rng(seed))[..., 0].astype(float)
        middle = np.array([(u * spread).sum(), (v * spread).sum()]) / spread.sum()
        np.testing.assert_allclose(middle, at, atol=0.4 if blur is _low_resolution else 0.1)
        assert ((spread > 20) & (spread < 235)).sum() > 40


def test_noise_has_zero_mean_and_its_standard_deviation():
    grey = np.full((224, 224, 3), 128, np.uint8)
    noise = np.stack([_add_noise(grey, np.random.default_rng(seed)) - 128.0 for seed in range(40)])
    assert np.abs(noise.mean(axis=(1, 2, 3))).max() < 0.1
    strengths = noise.std(axis=(1, 2, 3))
    assert 1.0 <= strengths.min() < 2.0
    assert 5.0 < strengths.max() <= 6.1


def test_noise_covers_images_larger_than_its_table():
    image = np.full((640, 640, 3), 128, np.uint8)
    changed = _add_noise(image, np.random.default_rng(0))
    assert (changed != image).any(axis=2).mean(axis=1).min() > 0.3


def test_augmentation_is_a_function_of_the_rng(textured):
    everything = Augmentation(blur=0.5, noise=0.5, occlusion=0.5)
    for seed in range(20):
        a, b, c = (
            make_example(textured, SIZE, everything, np.random.default_rng(s), left_hand_negatives=0.3)
            for s in (seed, seed, seed + 100)
        )
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.joints_m, b.joints_m)
        assert (a.image != c.image).any()


def test_scale_shift_and_roll_stay_within_their_ranges():
    augmentation = Augmentation(scale=0.25, shift=0.1, rotation_deg=30)
    jitters = [augmentation.crop_jitter(np.random.default_rng(seed)) for seed in range(500)]
    scales = np.array([j.scale for j in jitters])
    assert scales.min() >= 1 / 1.25
    assert scales.max() <= 1.25
    assert abs(np.log(scales).mean()) < 0.02
    assert max(np.abs(j.shift).max() for j in jitters) <= 0.1
    rolls = np.array([j.roll_deg for j in jitters])
    assert 28 < np.abs(rolls).max() <= 30
    assert abs(rolls.mean()) < 2


def test_roll_turns_the_pose_about_the_viewing_axis(dotted_sample):
    sample = dotted_sample(0)
    only_roll = Augmentation(**{**OFF, "rotation_deg": 90.0})
    plain, rolled = make_example(sample, SIZE), make_example(sample, SIZE, only_roll, np.random.default_rng(2))
    np.testing.assert_allclose(plain.joints_m[:, 2], rolled.joints_m[:, 2], atol=1e-6)
    assert np.abs(plain.joints_m[:, :2] - rolled.joints_m[:, :2]).max() > 0.02


def test_breadth_stretches_pose_and_image_across_the_knuckles_only(dotted_sample):
    """In the crop's plane by up to the part that is said; along the axis, across the hand's direction, not at all."""
    factors = []
    for seed in range(20):
        sample = dotted_sample(seed % 4)
        plain = make_example(sample, SIZE)
        broad = make_example(sample, SIZE, Augmentation(**{**OFF, "breadth": 0.4}), np.random.default_rng(seed))
        knuckles = plain.joints_m[Joint.INDEX_MCP] - plain.joints_m[Joint.LITTLE_MCP]
        across = (knuckles / np.linalg.norm(knuckles))[:2]
        straight = np.array([-across[1], across[0]])
        np.testing.assert_array_equal(plain.joints_m[:, 2], broad.joints_m[:, 2])
        np.testing.assert_allclose(plain.joints_m[:, :2] @ straight, broad.joints_m[:, :2] @ straight, atol=1e-7)
        ratio = (broad.joints_m[1:, :2] @ across) / (plain.joints_m[1:, :2] @ across)
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
        factors.append((ratio[0] - 1) / (across @ across))
        np.testing.assert_array_equal(plain.K, broad.K)
    assert 0 <= min(factors) < 0.1
    assert 0.3 < max(factors) <= 0.4


@pytest.mark.parametrize("labels", ["none", "without a knuckle"])
def test_breadth_leaves_hands_without_3d_labels_unchanged(dotted_sample, labels):
    pose = dotted_sample(0).joints_cam_m.copy()
    pose[Joint.LITTLE_MCP] = np.nan
    flat = replace(dotted_sample(0), joints_cam_m=None if labels == "none" else pose)
    broad = make_example(flat, SIZE, Augmentation(**{**OFF, "breadth": 1.0}), np.random.default_rng(0))
    np.testing.assert_array_equal(make_example(flat, SIZE).image, broad.image)


def test_unknown_camera_changes_has_camera_only(textured):
    told = make_example(textured, SIZE, Augmentation(), np.random.default_rng(3))
    untold = make_example(textured, SIZE, Augmentation(unknown_camera=1.0), np.random.default_rng(3))
    assert told.has_camera
    assert not untold.has_camera
    for field in ("image", "joints_m", "joints_px", "K", "visible"):
        np.testing.assert_array_equal(getattr(told, field), getattr(untold, field))
    half = Augmentation(unknown_camera=0.5)
    shares = [make_example(textured, SIZE, half, np.random.default_rng(seed)).has_camera for seed in range(60)]
    assert 0.3 < np.mean(shares) < 0.7
    without = replace(textured, K=None)
    assert not make_example(without, SIZE, half, np.random.default_rng(0)).has_camera


def test_occluded_joints_are_not_visible(dotted_sample):
    """A joint counts as covered exactly where its dot is gone (colour fills only hide dots; patches may copy some)."""
    sample = dotted_sample(1)
    only = Augmentation(**{**OFF, "occlusion": 1.0})
    plain = make_example(sample, SIZE)
    hidden = 0
    for seed in range(30):
        example = make_example(sample, SIZE, only, np.random.default_rng(seed))
        assert example.labelled.all()
        newly = plain.visible & ~example.visible
        hidden += newly.sum()
        pixels = np.rint(plain.joints_px).astype(int)
        kept = example.visible
        np.testing.assert_array_equal(
            example.image[pixels[kept, 1], pixels[kept, 0]], plain.image[pixels[kept, 1], pixels[kept, 0]]
        )
    assert hidden > 30


def test_samples_without_labels_can_be_occluded(dotted_sample):
    sample = dotted_sample(0, joints_px=np.full((21, 2), np.nan), joints_cam_m=None, box_px=[200, 100, 200, 200])
    example = make_example(sample, SIZE, Augmentation(**{**OFF, "occlusion": 1.0}), np.random.default_rng(0))
    assert not example.labelled.any()


@pytest.mark.parametrize(("name", "value"), [("scale", -0.1), ("rotation_deg", 181), ("blur", 1.5), ("noise", -1)])
def test_values_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        Augmentation(**{name: value})


def test_far_crops_have_no_detail_that_fewer_pixels_could_not_hold():
    """At most 0.4 of the pixels along each side are left, so of white noise little contrast is."""
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    joints_px = np.full((21, 2), np.nan)
    augmentation = Augmentation(**{**OFF, "far": 1.0})
    for seed in range(8):
        far, covered = augmentation.change_pixels(noise.copy(), joints_px, np.random.default_rng(seed))
        assert far.std() < 0.5 * noise.std()
        assert not covered.any()
