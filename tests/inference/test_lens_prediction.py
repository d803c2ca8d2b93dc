"""A distorted image of a calibrated camera gives the hand that a pinhole image of the same scene gives."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from graphhand import HandPoseEstimator
from graphhand.cli import app
from graphhand.errors import InputError
from graphhand.inference import HandTracker
from graphhand.io import read_image, write_image
from graphhand.types import Camera

PHOTO = Path(__file__).parents[2] / "examples" / "images" / "hand_18.jpg"
WIDTH, HEIGHT = 640, 480
K = np.array([[430.0, 0.0, 319.5], [0.0, 430.0, 239.5], [0.0, 0.0, 1.0]])
LENSES = {"lens": ((-0.32, 0.1, 0.002, -0.001, -0.01), False), "fisheye": ((0.04, -0.01, 0.004, -0.001), True)}


@pytest.fixture(scope="module")
def estimator() -> HandPoseEstimator:
    """The box is given: what differs is the lens, not where a detector sees the hand."""
    return HandPoseEstimator("fast", device="cpu", threads=1, detector=lambda image: [[50, 60, 230, 200]])


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """A hand towards the corner of a pinhole camera's image."""
    image = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    image[:280, :280] = cv2.resize(read_image(PHOTO), (280, 280), interpolation=cv2.INTER_AREA)
    return image


@pytest.fixture(scope="module", params=LENSES)
def camera(request: pytest.FixtureRequest) -> Camera:
    distortion, fisheye = LENSES[request.param]
    return Camera.from_matrix(K, assumed=False, distortion=distortion, fisheye=fisheye)


@pytest.fixture(scope="module")
def distorted(scene: np.ndarray, camera: Camera) -> np.ndarray:
    """The same scene as the lens shows it."""
    small = np.stack(np.meshgrid(np.arange(0, WIDTH + 8, 8), np.arange(0, HEIGHT + 8, 8)), axis=-1).astype(np.float64)
    maps = np.nan_to_num(camera.undistort(small), nan=-1e4).astype(np.float32)
    full = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=-1).astype(np.float32) / 8
    maps = cv2.remap(maps, full[..., 0], full[..., 1], cv2.INTER_LINEAR)
    return cv2.remap(scene, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR)


def test_distortion_that_is_known_does_no_harm(
    estimator: HandPoseEstimator, scene: np.ndarray, distorted: np.ndarray, camera: Camera
) -> None:
    lens = {"K": K, "distortion": camera.distortion, "fisheye": camera.fisheye}
    (plain,) = estimator(scene, K=K)
    (known,) = estimator(distorted, **lens)
    (ignored,) = estimator(distorted, K=K)
    assert known.camera == camera

    def away_mm(hand) -> float:
        return 1e3 * float(np.linalg.norm(hand.joints_cam_m - plain.joints_cam_m, axis=1).mean())

    assert away_mm(known) < 6
    assert away_mm(ignored) > 3 * away_mm(known)
    assert np.linalg.norm(known.joints_px - camera.distort(plain.joints_px), axis=1).mean() < 4
    # 2D, 3D and camera agree, as they do without a lens.
    assert np.linalg.norm(camera.project(known.joints_cam_m) - known.joints_px, axis=1).mean() < 1


def test_videos_know_the_lens_too(estimator: HandPoseEstimator, distorted: np.ndarray, camera: Camera) -> None:
    tracker = HandTracker(estimator, K=K, distortion=camera.distortion, fisheye=camera.fisheye)
    hands = [tracker(distorted, time_s)[0] for time_s in (0.0, 0.04)]
    for hand in hands:
        assert hand.camera == camera
        assert np.linalg.norm(camera.project(hand.joints_cam_m) - hand.joints_px, axis=1).mean() < 1


def test_the_command_reads_a_calibration(distorted: np.ndarray, camera: Camera, tmp_path: Path) -> None:
    write_image(tmp_path / "photo.png", distorted)
    lens = {"K": K.tolist(), "distortion": camera.distortion, "fisheye": camera.fisheye}
    (tmp_path / "camera.json").write_text(json.dumps({"width": WIDTH, "height": HEIGHT, **lens}))
    arguments = ["predict", str(tmp_path / "photo.png"), "--weights", "fast", "--json", "-", "--calibration"]
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "camera.json")])
    assert result.exit_code == 0, result.output
    (hand,) = json.loads(result.stdout)["hands"]
    assert Camera.from_json(hand["camera"]) == camera
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "camera.json"), "--fov", "60"])
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith("--calibration: contradicts a focal length or field of view")
    (tmp_path / "other.json").write_text(json.dumps({"width": 1920, "height": 1080, **lens}))
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "other.json")])
    assert result.exit_code == 1
    assert "its 640 x 480 pixels are not the 1920 x 1080 of the calibration; calibrate" in result.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"distortion": [0.1, 0, 0, 0]}, "distortion: belongs to K"),
        ({"fisheye": True}, "distortion: belongs to K"),
        ({"K": K, "distortion": [0.1]}, "a lens has 4, 5 or 8 coefficients"),
        ({"K": K, "fisheye": True}, "a fisheye lens has 4"),
        ({"K": K, "calibrated_size": (320, 240)}, "are not the 320 x 240 of the calibration"),
        ({"distortion": [0.1, 0, 0, 0], "fov_deg": 60}, "distortion contradicts fov_deg"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    estimator: HandPoseEstimator, scene: np.ndarray, given: dict, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        estimator(scene, **given)
