"""Cameras with distortion, against OpenCV's own functions, and crops that see what a pinhole camera would."""

from __future__ import annotations

import functools

import cv2
import numpy as np
import pytest

from graphhand.geometry.crops import HandCrop, whole_image_box
from graphhand.geometry.lens import LensCrop, crop_of_box
from graphhand.types import Camera

K = np.array([[600.0, 0.0, 322.0], [0.0, 610.0, 238.0], [0.0, 0.0, 1.0]])
WIDTH, HEIGHT = 640, 480
LENSES = {
    "four": ((-0.3, 0.1, 0.001, -0.002), False),
    "five": ((-0.28, 0.08, 0.001, 0.0005, -0.01), False),
    "eight": ((0.2, -0.3, 0.001, 0.002, 0.05, 0.1, -0.1, 0.02), False),
    "fisheye": ((0.05, -0.02, 0.01, -0.003), True),
}


@pytest.fixture(params=LENSES)
def camera(request: pytest.FixtureRequest) -> Camera:
    distortion, fisheye = LENSES[request.param]
    return Camera.from_matrix(K, assumed=False, distortion=distortion, fisheye=fisheye)


@pytest.fixture
def points(rng: np.random.Generator) -> np.ndarray:
    """(200, 3) before the camera, up to 35 degrees off its axis."""
    return rng.uniform(-1, 1, (200, 3)) * [0.5, 0.4, 0.2] + [0.0, 0.0, 1.0]


def opencvs_pixels(camera: Camera, points: np.ndarray) -> np.ndarray:
    coefficients, still = np.array(camera.distortion), np.zeros(3)
    if camera.fisheye:
        return np.asarray(cv2.fisheye.projectPoints(points[None], still, still, K, coefficients)[0][0])
    return np.asarray(cv2.projectPoints(points, still, still, K, coefficients)[0][:, 0])


def test_projection_is_opencvs(camera: Camera, points: np.ndarray) -> None:
    np.testing.assert_allclose(camera.project(points), opencvs_pixels(camera, points), atol=1e-9)


def test_undistorting_inverts_the_lens(camera: Camera, points: np.ndarray) -> None:
    pinhole = Camera.from_matrix(K, assumed=False)
    np.testing.assert_allclose(camera.undistort(camera.project(points)), pinhole.project(points), atol=1e-6)
    np.testing.assert_allclose(camera.distort(pinhole.project(points)), camera.project(points), atol=1e-9)
    assert camera.undistort(np.array([322.0, 238.0])).tolist() == pytest.approx([322.0, 238.0])


def test_where_distortion_folds_back_nothing_is_seen() -> None:
    camera = Camera.from_matrix(K, assumed=False, distortion=(-0.3, 0.0, 0.0, 0.0))  # radii rise up to tan = 1.054
    assert camera.sees([[1.04, 0.0, 1.0], [0.0, 1.07, 1.0], [0.0, 0.0, -1.0]]).tolist() == [True, False, False]
    farthest = 322.0 + 600.0 * 1.054 * (1 - 0.3 * 1.054**2)
    assert np.isfinite(camera.undistort([farthest - 5.0, 238.0])).all()
    assert np.isnan(camera.undistort([farthest + 5.0, 238.0])).all()


@pytest.mark.parametrize(
    ("distortion", "fisheye"), [((0.1,), False), ((0.1,) * 5, True), ((), True), ((np.nan, 0, 0, 0), False)]
)
def test_other_numbers_of_coefficients_are_refused(distortion: tuple, fisheye: bool) -> None:
    with pytest.raises(ValueError, match="coefficients of distortion"):
        Camera.from_matrix(K, assumed=False, distortion=distortion, fisheye=fisheye)
    with pytest.raises(ValueError, match="belongs to K"):
        Camera.of_image(64, 64, distortion=(0.1, 0, 0, 0))


def test_json_keeps_the_lens(camera: Camera) -> None:
    assert Camera.from_json(camera.to_json()) == camera
    assert "distortion" not in Camera.from_matrix(K, assumed=False).to_json()


BOXES = [(250.0, 150.0, 120.0, 160.0), (20.0, 30.0, 140.0, 90.0), (480.0, 350.0, 150.0, 120.0)]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("flip", [False, True])
def test_points_make_the_round_trip(camera: Camera, box: tuple, flip: bool, rng: np.random.Generator) -> None:
    crop = crop_of_box(camera, box, 128)
    crop = crop.flipped() if flip else crop
    assert isinstance(crop, LensCrop)
    pixels = rng.uniform(0, 1, (50, 2)) * box[2:] + box[:2]
    np.testing.assert_allclose(crop.uncrop_points(crop.crop_points(pixels)), pixels, atol=1e-6)
    np.testing.assert_allclose(crop.crop_points([box[0] + box[2] / 2, box[1] + box[3] / 2]), 63.5, atol=1e-6)


@pytest.mark.parametrize("box", BOXES)
def test_a_crop_projects_by_its_own_pinhole(camera: Camera, box: tuple, points: np.ndarray) -> None:
    """Points that a distorted image shows lie in the crop where the crop's camera projects them."""
    crop = crop_of_box(camera, box, 128)
    in_crop = crop.crop_joints(points)
    seen = in_crop[:, 2] > 0.2
    projected = in_crop[seen] @ crop.K.T
    np.testing.assert_allclose(
        crop.crop_points(camera.project(points[seen])), projected[:, :2] / projected[:, 2:], atol=1e-3
    )


def test_one_pixel_of_the_middle_becomes_the_crops_share(camera: Camera) -> None:
    box = (60.0, 50.0, 100.0, 80.0)
    crop = crop_of_box(camera, box, 200)
    middle = np.array([110.0, 90.0])
    around = crop.crop_points(middle + 0.5 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]))
    by_u, by_v = around[0] - around[1], around[2] - around[3]
    assert np.sqrt(abs(np.linalg.det([by_u, by_v]))) == pytest.approx(2.0, rel=1e-3)


@functools.cache
def picture(camera: Camera) -> np.ndarray:
    """What a camera sees of a smooth pattern painted on a plane at depth 1, brightness by place."""
    grid = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=-1).astype(np.float64)
    rays = (camera.undistort(grid) - K[:2, 2]) / K[[0, 1], [0, 1]]
    x, y = np.moveaxis(np.nan_to_num(rays), -1, 0)
    waves = [np.sin(9 * x) + np.cos(7 * y), np.sin(5 * x + 8 * y), np.cos(11 * x - 4 * y)]
    return (np.clip(np.stack(waves, axis=-1) / 2, -1, 1) * 120 + 128).astype(np.uint8)


@pytest.mark.parametrize("box", [*BOXES, tuple(whole_image_box(WIDTH, HEIGHT))])
def test_the_crop_of_a_distorted_image_is_that_of_a_pinhole_image(camera: Camera, box: tuple) -> None:
    pinhole = Camera.from_matrix(K, assumed=False)
    crop = crop_of_box(camera, box, 96)
    plain = HandCrop(crop.K, crop.R_crop_cam, crop.homography, crop.size)
    ours, theirs = crop.crop_image(picture(camera)), plain.crop_image(picture(pinhole))
    both = ((ours > 0).all(-1) & (theirs > 0).all(-1)).astype(np.uint8)
    both = cv2.erode(both, np.ones((5, 5), np.uint8), borderValue=0) > 0  # images fade over their edges
    assert both.mean() > 0.4
    assert np.abs(ours[both].astype(int) - theirs[both]).mean() < 1.5
    flipped = crop.flipped().crop_image(picture(camera))
    np.testing.assert_allclose(flipped[:, ::-1].astype(int), ours, atol=1)


def test_a_box_where_no_ray_arrives_is_cropped_at_the_edge_of_what_is_seen() -> None:
    camera = Camera.from_matrix(np.diag([200.0, 200.0, 1.0]), assumed=False, distortion=(0.0,) * 4, fisheye=True)
    crop = crop_of_box(camera, (400.0, 400.0, 50.0, 50.0), 64)  # 600 pixels from the middle: 170 degrees
    assert np.isfinite(crop.uncrop_points(np.array([[0.0, 0.0], [63.0, 63.0]]))).all()
    assert crop.crop_image(np.full((480, 640, 3), 255, np.uint8)).shape == (64, 64, 3)


def test_a_pinhole_camera_has_a_plain_crop() -> None:
    crop = crop_of_box(Camera.from_matrix(K, assumed=False), BOXES[0], 64)
    assert type(crop) is HandCrop
