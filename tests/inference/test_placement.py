"""2D joints, 3D joints and camera of a result agree: in photos and videos, whatever is known of the camera."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphhand import Hand, HandPoseEstimator
from graphhand.cli.outputs import csv_header, csv_rows
from graphhand.inference import HandTracker
from graphhand.models import Generator, GeneratorConfig
from graphhand.synthesis import RenderConfig, RenderEngine
from graphhand.types import DEFAULT_CUT_FOV_DEG, DEFAULT_FOV_DEG, Camera, Prediction

MAX_ERROR = 0.005
"""Mean distance over the longer side of the hand's box."""

CAMERAS: list[dict[str, Any]] = [{}, {"fov_deg": 60.0}, {"fov_deg": 25.0}, {"focal_px": 200.0}]


@pytest.fixture(scope="module")
def estimator() -> HandPoseEstimator:
    return HandPoseEstimator("fast", device="cpu")


@pytest.fixture(scope="module")
def near_hands() -> list[np.ndarray]:
    """Four images of 240 x 180 pixels, of hands near the camera."""
    config = RenderConfig(image_size=240, image_height=180, seed=7, camera=(210.0, 210.0, 119.5, 89.5), side="both")
    images = RenderEngine(config).render(range(4)).image
    return list((255 * images.permute(0, 2, 3, 1)).round().byte().numpy())


def projection_error(hand: Hand) -> float:
    """Of the hand as its JSON says it."""
    hand = Hand.from_json(hand.to_json(), hand.model)
    assert hand.joints_cam_m is not None
    distances = np.linalg.norm(hand.camera.project(hand.joints_cam_m) - hand.joints_px, axis=1)
    return float(distances.mean() / hand.box_px[2:].max())


@pytest.mark.parametrize("camera", CAMERAS, ids=str)
def test_joints_in_space_are_projected_onto_those_in_the_image(
    estimator: HandPoseEstimator, near_hands: list[np.ndarray], camera: dict[str, Any]
) -> None:
    rng = np.random.default_rng(0)
    placed = 0
    for image in near_hands:
        side = int(rng.integers(60, 150))
        box = [int(rng.integers(-20, 240 - side)), int(rng.integers(-20, 180 - side // 2)), side, side]
        for where in ({}, {"whole_image": True}, {"box": box, "side": str(rng.choice(["left", "right"]))}):
            hand = estimator(image, min_score=0.0, **where, **camera)[0]
            assert hand.camera.assumed is not bool(camera)
            if hand.joints_cam_m is not None:
                placed += 1
                assert projection_error(hand) < MAX_ERROR
                np.testing.assert_allclose(hand.joints_cam_m - hand.joints_cam_m[0], hand.joints_rel_m, atol=1e-9)
    assert placed >= 10  # of 12


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("camera", CAMERAS[:2], ids=str)
def test_they_agree_in_videos_too(
    estimator: HandPoseEstimator, near_hands: list[np.ndarray], camera: dict[str, Any], smooth: bool
) -> None:
    tracker = HandTracker(estimator, smooth=smooth, max_hands=1, min_score=0.0, **camera)
    placed = 0
    for k in range(12):
        moved = np.roll(near_hands[k // 6], (2 * k, 3 * k), axis=(0, 1))
        (hand,) = tracker(moved, k / 25)
        if hand.joints_cam_m is not None:
            placed += 1
            assert projection_error(hand) < MAX_ERROR
    assert placed >= 10


def test_a_table_has_the_wrist_of_the_same_place(estimator: HandPoseEstimator, near_hands: list[np.ndarray]) -> None:
    (hand,) = estimator(near_hands[0], max_hands=1, min_score=0.0)
    prediction = Prediction("photo.jpg", 240, 180, (hand,), "fast")
    (row,) = csv_rows(prediction)
    said = dict(zip(csv_header().split(","), row.split(",")))
    wrist = [float(said[f"wrist_cam_{axis}_m"]) for axis in "xyz"]
    seen = [float(said[f"wrist_{axis}_px"]) for axis in "uv"]
    np.testing.assert_allclose(hand.camera.project(wrist), seen, atol=MAX_ERROR * hand.box_px[2:].max())


def test_a_network_of_weak_perspective_gives_no_place_that_contradicts_its_pixels(
    near_hands: list[np.ndarray],
) -> None:
    network = Generator(
        GeneratorConfig(image_size=64, projection="weak", backbone={"name": "resnet18", "width": 8}, refinement=None)
    )
    for hands in HandPoseEstimator.from_generator(network, "weak").predict_many(near_hands, min_score=0.0, fov_deg=60):
        assert hands[0].joints_cam_m is None or projection_error(hands[0]) < MAX_ERROR


@pytest.mark.parametrize(
    ("hand", "fov_deg"),
    [
        ([60, 40, 119, 90], DEFAULT_FOV_DEG),
        ([60, 40, 120, 90], DEFAULT_CUT_FOV_DEG),
        ([0, 0, 90, 120], DEFAULT_CUT_FOV_DEG),
    ],
    ids=str,
)
def test_the_assumed_camera_of_an_image_cut_to_the_hand_is_narrower(
    near_hands: list[np.ndarray], hand: list[float], fov_deg: float
) -> None:
    """Cut to it are images of which its box spans half, whether it is given or detected."""
    estimator = HandPoseEstimator("fast", device="cpu", detector=lambda _: [[*hand, 0.9], [5, 5, 9, 9, 0.2]])
    assumed = Camera.of_image(240, 180, fov_deg=fov_deg).fx
    for where in ({}, {"box": hand}):
        found = estimator(near_hands[0], min_score=0.0, **where)[0]
        assert found.camera.assumed
        assert found.camera.fx == pytest.approx(assumed)
        assert estimator(near_hands[0], min_score=0.0, focal_px=300.0, **where)[0].camera.fx == 300.0
    whole = estimator(near_hands[0], min_score=0.0, whole_image=True)[0]
    assert whole.camera.fx == pytest.approx(Camera.of_image(240, 180, fov_deg=DEFAULT_CUT_FOV_DEG).fx)


def test_points_behind_the_camera_have_no_projection() -> None:
    camera = Camera.of_image(640, 480)
    assert np.isnan(camera.project([[0.1, 0.0, -1.0], [0.1, 0.0, 0.0]])).all()
    np.testing.assert_allclose(camera.project([0.0, 0.0, 2.0]), [319.5, 239.5])
