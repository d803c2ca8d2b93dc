"""The virtual crop camera: image, pixels, joints and intrinsics stay consistent."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from graphhand.geometry import (
    CROP_MARGIN,
    crop_box,
    crop_camera,
    crops,
    intrinsics_from_fov,
    project_perspective,
    square_box,
    whole_image_box,
)

K = np.array([[600.0, 0, 330.0], [0, 620.0, 225.0], [0, 0, 1]])
BOXES = {
    "centred": (280.0, 175.0, 100.0, 100.0),
    "corner": (0.0, 0.0, 150.0, 150.0),
    "tall": (500.0, 100.0, 80.0, 200.0),
    "past the edge": (-50.0, 400.0, 160.0, 160.0),
}


@pytest.mark.parametrize("roll", [0.0, 35.0, -120.0])
@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_projecting_turned_joints_equals_warping_their_pixels(box, roll):
    crop = crop_camera(K, box, 224, roll_deg=roll)
    rng = np.random.default_rng(0)
    joints = rng.normal(size=(21, 3)) * 0.05 + np.linalg.inv(K) @ [box[0] + box[2] / 2, box[1] + box[3] / 2, 1] * 0.6
    pixels = project_perspective(torch.from_numpy(joints), torch.from_numpy(K)).numpy()
    through_camera = project_perspective(torch.from_numpy(joints @ crop.R_crop_cam.T), torch.from_numpy(crop.K)).numpy()
    np.testing.assert_allclose(crop.project_points(pixels), through_camera, atol=1e-9)
    np.testing.assert_allclose(crop.unproject_points(crop.project_points(pixels)), pixels, atol=1e-9)


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_box_middle_is_the_crop_middle_at_the_stated_scale(box):
    crop = crop_camera(K, box, 128)
    middle = np.array([box[0] + box[2] / 2, box[1] + box[3] / 2])
    np.testing.assert_allclose(crop.project_points(middle), [63.5, 63.5], atol=1e-9)
    square = middle + 0.01 * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    x, y = crop.project_points(square).T
    area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
    assert np.sqrt(area) / 0.01 == pytest.approx(128 / max(box[2:]), rel=1e-3)


def test_rotation_is_proper_and_least():
    crop = crop_camera(K, BOXES["corner"], 128)
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
    crop = crop_camera(K, (400 - side / 2, 160 - side / 2, side, side), 96)
    warped = crop.warp(image)[..., 0].astype(float)
    v, u = np.indices(warped.shape)
    centroid = np.array([(u * warped).sum(), (v * warped).sum()]) / warped.sum()
    np.testing.assert_allclose(centroid, crop.project_points(spot), atol=0.35)


def test_cutting_out_what_is_seen_changes_nothing():
    """The warp of the seen part alone, with a fourth channel, is the warp of the whole image."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for _ in range(40):
        u, v, side = rng.uniform(-150, 790), rng.uniform(-150, 630), rng.uniform(50, 180)
        crop = crop_camera(K, (u - side / 2, v - side / 2, side, side), 96, rng.uniform(-180, 180))
        plain = cv2.warpPerspective(image, crop.homography, (96, 96), flags=cv2.INTER_LINEAR, borderValue=(9, 8, 7))
        assert np.abs(crop.warp(image, (9, 8, 7)).astype(int) - plain).max() <= 1


@pytest.mark.parametrize("box", [(40, 40, 300, 300), (800, 500, 380, 380), (-100, 300, 700, 700)], ids=str)
@pytest.mark.parametrize("size", [32, 128])
@pytest.mark.parametrize("fov_deg", [60.0, 120.0, 160.0])
def test_cutting_before_shrinking_shows_the_same(fov_deg, size, box, monkeypatch):
    """Shrinking starts its grid at another pixel; at 160 degrees corners of these crops look behind the camera."""
    v, u = np.mgrid[0:900, 0:1200]
    waves = [np.sin(u / 140) * np.cos(v / 180), np.cos((u + v) / 220), np.sin(v / 160)]
    image = (127 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)
    crop = crop_camera(intrinsics_from_fov(1200, 900, fov_deg).numpy(), box, size)
    cut = crop.warp(image).astype(int)
    monkeypatch.setattr(crops, "_seen", lambda back, size, shape, margin=1.0: (0, 0, shape[1], shape[0]))
    difference = np.abs(cut - crop.warp(image))
    # Black outside begins a fraction of a crop pixel elsewhere: that is for the few pixels along the image's edge.
    assert difference.mean() < 2.0
    assert np.quantile(difference, 0.95) <= 8


@pytest.mark.parametrize(("side", "before"), [(60, True), (150, False), (400, False)])
def test_a_change_of_tone_is_made_where_there_are_fewer_pixels(side, before):
    rng = np.random.default_rng(4)
    image = np.kron(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8), np.ones((20, 20, 1), np.uint8))
    seen = []

    def darker(photo):
        seen.append(photo.shape[:2])
        return photo // 2 + 5

    crop = crop_camera(K, (300 - side / 2, 200 - side / 2, side, side), 96, 30.0)
    untouched, plain = image.copy(), crop.warp(image)
    changed = crop.warp(image, tone=darker)
    assert len(seen) == 1
    assert (seen[0] == (96, 96)) == (not before)
    # Rounding apart, an affine change of colours before interpolation is the same as after it.
    assert np.abs(changed.astype(int) - (plain // 2 + 5)).max() <= 1
    np.testing.assert_array_equal(image, untouched)


def test_a_ramp_comes_out_to_a_tenth_of_a_pixel():
    """An image whose brightness is its own column: each crop pixel tells where it was read."""
    image = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (160, 1, 3))
    crop = crop_camera(np.array([[300.0, 0, 99.5], [0, 300, 79.5], [0, 0, 1]]), (60, 40, 80, 80), 224, 20.0)
    v, u = np.indices((224, 224))
    read = crop.unproject_points(np.stack([u, v], axis=-1))[..., 0]
    difference = crop.warp(image)[..., 0] - read
    assert abs(difference.mean()) < 0.1
    assert np.abs(difference).max() < 0.7  # half a grey level of rounding, and the fixed-point weights


@pytest.mark.parametrize("side", [420, 487, 590])
def test_shrinking_reads_each_pixel_where_it_is(side):
    """On a ramp, whatever the rounded size of the smaller copy."""
    image = np.tile(np.linspace(0, 250, 1003).round().astype(np.uint8)[None, :, None], (701, 1, 3))
    crop = crop_camera(np.array([[900.0, 0, 501], [0, 900, 350], [0, 0, 1]]), (350, 80, side, side), 64)
    v, u = np.indices((64, 64))
    read = crop.unproject_points(np.stack([u, v], axis=-1))[..., 0] * 250 / 1002
    assert abs((crop.warp(image)[..., 0] - read).mean()) < 0.05


def test_shrinking_does_not_alias():
    # A one-pixel checkerboard has mean 127.5 everywhere: aliasing would show as contrast.
    image = (np.indices((480, 640)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, -1)
    crop = crop_camera(K, (100, 0, 460, 460), 64).warp(image)
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
        crop_camera(K, box, 64)
