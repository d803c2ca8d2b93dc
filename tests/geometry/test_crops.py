"""The round trip image -> crop -> image: pixels, points, joints and intrinsics stay consistent."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from graphhand.geometry import (
    CROP_MARGIN,
    HandCrop,
    box_meets_image,
    crop_box,
    crops,
    flip_intrinsics,
    flip_points_cam,
    flip_points_px,
    project_perspective,
    square_box,
    whole_image_box,
)
from graphhand.types import Camera

K = np.array([[600.0, 0, 330.0], [0, 620.0, 225.0], [0, 0, 1]])
BOXES = {
    "centred": (280.0, 175.0, 100.0, 100.0),
    "corner": (0.0, 0.0, 150.0, 150.0),
    "tall": (500.0, 100.0, 80.0, 200.0),
    "past the edge": (-50.0, 400.0, 160.0, 160.0),
}


def joints_in(box, seed=0):
    """(21, 3) joints in front of the camera that project into a box."""
    middle = np.linalg.inv(K) @ [box[0] + box[2] / 2, box[1] + box[3] / 2, 1]
    return np.random.default_rng(seed).normal(size=(21, 3)) * 0.05 + middle * 0.6


def project(joints_m, K):
    return project_perspective(torch.from_numpy(joints_m), torch.from_numpy(K)).numpy()


@pytest.mark.parametrize("flip", [False, True], ids=["right", "left"])
@pytest.mark.parametrize("roll", [0.0, 35.0, -120.0])
@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_cropped_joints_project_onto_cropped_points(box, roll, flip):
    crop = HandCrop.of_box(K, box, 224, flip=flip, roll_deg=roll)
    joints = joints_in(box)
    np.testing.assert_allclose(
        crop.crop_points(project(joints, K)), project(crop.crop_joints(joints), crop.K), atol=1e-9
    )


@pytest.mark.parametrize("stretch", [None, [[1.2, 0.1], [0.1, 1.05]]], ids=["plain", "stretched"])
@pytest.mark.parametrize("flip", [False, True], ids=["right", "left"])
def test_uncropping_inverts_cropping(flip, stretch):
    crop = HandCrop.of_box(K, BOXES["tall"], 224, flip=flip, roll_deg=35.0)
    crop = crop if stretch is None else crop.stretched(stretch)
    joints = joints_in(BOXES["tall"])
    pixels = project(joints, K)
    np.testing.assert_allclose(crop.uncrop_points(crop.crop_points(pixels)), pixels, atol=1e-9)
    np.testing.assert_allclose(crop.uncrop_joints(crop.crop_joints(joints)), joints, atol=1e-12)


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_a_flipped_crop_is_the_crop_of_the_flipped_image(box):
    image = np.random.default_rng(1).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    crop = HandCrop.of_box(K, box, 96, flip=True, roll_deg=20.0)
    x, y, w, h = box
    flipped_box = (image.shape[1] - 1 - x - w, y, w, h)
    other = HandCrop.of_box(flip_intrinsics(K, image.shape[1]), flipped_box, 96, roll_deg=20.0)
    joints = joints_in(box)
    np.testing.assert_allclose(crop.crop_joints(joints), other.crop_joints(flip_points_cam(joints)), atol=1e-12)
    pixels = project(joints, K)
    there = other.crop_points(flip_points_px(pixels, image.shape[1]))
    np.testing.assert_allclose(crop.crop_points(pixels), there, atol=1e-9)
    difference = crop.crop_image(image).astype(int) - other.crop_image(np.ascontiguousarray(image[:, ::-1]))
    assert np.abs(difference).max() <= 8  # fixed-point weights of the interpolation


@pytest.mark.parametrize("flip", [False, True], ids=["right", "left"])
def test_flipping_a_crop_flips_its_pixels(flip):
    image = np.random.default_rng(2).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    crop = HandCrop.of_box(K, BOXES["tall"], 96, flip=flip)
    other = crop.flipped()
    built = HandCrop.of_box(K, BOXES["tall"], 96, flip=not flip)
    np.testing.assert_allclose(other.homography, built.homography, atol=1e-9)
    np.testing.assert_allclose(other.R_crop_cam, built.R_crop_cam, atol=1e-12)
    assert other.flip == built.flip
    assert np.abs(other.crop_image(image)[:, ::-1].astype(int) - crop.crop_image(image)).max() <= 8


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_box_middle_is_the_crop_middle_at_the_stated_scale(box):
    crop = HandCrop.of_box(K, box, 128)
    middle = np.array([box[0] + box[2] / 2, box[1] + box[3] / 2])
    np.testing.assert_allclose(crop.crop_points(middle), [63.5, 63.5], atol=1e-9)
    square = middle + 0.01 * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    x, y = crop.crop_points(square).T
    area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
    assert np.sqrt(area) / 0.01 == pytest.approx(128 / max(box[2:]), rel=1e-3)


def test_rotation_is_proper_and_least():
    crop = HandCrop.of_box(K, BOXES["corner"], 128)
    R = crop.R_crop_cam
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1)
    ray = np.linalg.solve(K, [75.0, 75.0, 1.0])
    ray /= np.linalg.norm(ray)
    assert np.trace(R) == pytest.approx(1 + 2 * ray[2])  # no turn about the ray itself


@pytest.mark.parametrize("side", [40, 90, 400])
def test_warp_moves_a_bright_spot_to_its_projected_pixel(side):
    image = np.zeros((480, 640, 3), np.uint8)
    spot = np.array([410.0, 150.0])
    radius = max(2, side // 30)
    image[150 - radius : 151 + radius, 410 - radius : 411 + radius] = 255
    crop = HandCrop.of_box(K, (400 - side / 2, 160 - side / 2, side, side), 96)
    warped = crop.crop_image(image)[..., 0].astype(float)
    v, u = np.indices(warped.shape)
    centroid = np.array([(u * warped).sum(), (v * warped).sum()]) / warped.sum()
    np.testing.assert_allclose(centroid, crop.crop_points(spot), atol=0.35)


def test_warping_only_the_visible_part_changes_nothing():
    """The warp of the seen part alone, with a fourth channel, is the warp of the whole image."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for _ in range(40):
        u, v, side = rng.uniform(-150, 790), rng.uniform(-150, 630), rng.uniform(50, 180)
        crop = HandCrop.of_box(K, (u - side / 2, v - side / 2, side, side), 96, roll_deg=rng.uniform(-180, 180))
        plain = cv2.warpPerspective(image, crop.homography, (96, 96), flags=cv2.INTER_LINEAR, borderValue=(9, 8, 7))
        assert np.abs(crop.crop_image(image, (9, 8, 7)).astype(int) - plain).max() <= 1


@pytest.mark.parametrize("box", [(40, 40, 300, 300), (800, 500, 380, 380), (-100, 300, 700, 700)], ids=str)
@pytest.mark.parametrize("size", [32, 128])
@pytest.mark.parametrize("fov_deg", [60.0, 120.0, 160.0])
def test_cutting_before_shrinking_shows_the_same(fov_deg, size, box, monkeypatch):
    """Shrinking starts its grid at another pixel; at 160 degrees corners of these crops look behind the camera."""
    v, u = np.mgrid[0:900, 0:1200]
    waves = [np.sin(u / 140) * np.cos(v / 180), np.cos((u + v) / 220), np.sin(v / 160)]
    image = (127 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)
    crop = HandCrop.of_box(Camera.of_image(1200, 900, fov_deg=fov_deg).K, box, size)
    cut = crop.crop_image(image).astype(int)
    monkeypatch.setattr(crops, "_seen", lambda back, size, shape, margin=1.0: (0, 0, shape[1], shape[0]))
    difference = np.abs(cut - crop.crop_image(image))
    # Black outside begins a fraction of a crop pixel elsewhere: that is for the few pixels along the image's edge.
    assert difference.mean() < 2.0
    assert np.quantile(difference, 0.95) <= 8


@pytest.mark.parametrize(("side", "before"), [(60, True), (150, False), (400, False)])
def test_tone_is_applied_where_there_are_fewer_pixels(side, before):
    rng = np.random.default_rng(4)
    image = np.kron(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8), np.ones((20, 20, 1), np.uint8))
    seen = []

    def darker(photo):
        seen.append(photo.shape[:2])
        return photo // 2 + 5

    crop = HandCrop.of_box(K, (300 - side / 2, 200 - side / 2, side, side), 96, roll_deg=30.0)
    untouched, plain = image.copy(), crop.crop_image(image)
    changed = crop.crop_image(image, tone=darker)
    assert len(seen) == 1
    assert (seen[0] == (96, 96)) == (not before)
    # Rounding apart, an affine change of colours before interpolation is the same as after it.
    assert np.abs(changed.astype(int) - (plain // 2 + 5)).max() <= 1
    np.testing.assert_array_equal(image, untouched)


def test_crop_pixels_are_read_within_a_tenth_of_a_pixel():
    """An image whose brightness is its own column: each crop pixel tells where it was read."""
    image = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (160, 1, 3))
    crop = HandCrop.of_box(
        np.array([[300.0, 0, 99.5], [0, 300, 79.5], [0, 0, 1]]), (60, 40, 80, 80), 224, roll_deg=20.0
    )
    v, u = np.indices((224, 224))
    read = crop.uncrop_points(np.stack([u, v], axis=-1))[..., 0]
    difference = crop.crop_image(image)[..., 0] - read
    assert abs(difference.mean()) < 0.1
    assert np.abs(difference).max() < 0.7  # half a grey level of rounding, and the fixed-point weights


@pytest.mark.parametrize("side", [420, 487, 590])
def test_shrinking_reads_each_pixel_where_it_is(side):
    """On a ramp, whatever the rounded size of the smaller copy."""
    image = np.tile(np.linspace(0, 250, 1003).round().astype(np.uint8)[None, :, None], (701, 1, 3))
    crop = HandCrop.of_box(np.array([[900.0, 0, 501], [0, 900, 350], [0, 0, 1]]), (350, 80, side, side), 64)
    v, u = np.indices((64, 64))
    read = crop.uncrop_points(np.stack([u, v], axis=-1))[..., 0] * 250 / 1002
    assert abs((crop.crop_image(image)[..., 0] - read).mean()) < 0.05


def test_shrinking_does_not_alias():
    # A one-pixel checkerboard has mean 127.5 everywhere: aliasing would show as contrast.
    image = (np.indices((480, 640)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, -1)
    crop = HandCrop.of_box(K, (100, 0, 460, 460), 64).crop_image(image)
    assert crop[8:-8, 8:-8].astype(float).std() < 10


def test_square_box_holds_the_points_and_ignores_missing_ones():
    points = np.array([[10.0, 20.0], [30.0, 25.0], [np.nan, 0.0]])
    np.testing.assert_allclose(square_box(points, margin=2.0), [0.0, 2.5, 40.0, 40.0])
    with pytest.raises(ValueError, match="finite"):
        square_box(np.full((3, 2), np.nan), 2.0)


def test_a_crop_has_the_middle_of_the_box_and_room_around_it():
    np.testing.assert_allclose(crop_box([10, 20, 100, 40]), [60 - 70, 40 - 70, 140, 140])
    assert CROP_MARGIN > 1


@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 640), (7, 7), (1, 3)])
def test_the_whole_image_is_cropped_by_the_smallest_square_around_it(width, height):
    x, y, w, h = whole_image_box(width, height)
    assert w == h == max(width, height)
    assert (x + w / 2, y + h / 2) == ((width - 1) / 2, (height - 1) / 2)
    for margin in (1.0, 1.4):
        np.testing.assert_allclose(crop_box(whole_image_box(width, height, margin), margin), (x, y, w, h), atol=1e-9)


@pytest.mark.parametrize("box", [(0, 0, 0, 10), (0, 0, -5, 10), (np.nan, 0, 10, 10)])
def test_empty_boxes_are_refused(box):
    with pytest.raises(ValueError, match="box"):
        HandCrop.of_box(K, box, 64)


def test_a_box_meets_the_image_up_to_its_edge() -> None:
    assert box_meets_image([-9, -9, 9, 9], 320, 240)
    assert box_meets_image([319, 239, 5, 5], 320, 240)
    for box in ([-10, 0, 9, 9], [0, -10, 9, 9], [320, 0, 9, 9], [0, 240, 9, 9]):
        assert not box_meets_image(box, 320, 240)
