"""Labels half way to a network's own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from graphhand import Hand, HandPoseEstimator
from graphhand.inference.crops import CropEstimator
from graphhand.io import read_image
from graphhand.types import Image

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "research" / "weights"
if not SCRIPTS.is_dir():
    pytest.skip("no research/ here (an installed copy)", allow_module_level=True)
sys.path.insert(0, str(SCRIPTS))

import refine_labels  # noqa: E402


@pytest.fixture(scope="module")
def seen() -> tuple[CropEstimator, Image, Hand]:
    """A network, an image, and what the network says of it."""
    estimator = HandPoseEstimator("default", threads=1)
    image = read_image(ROOT / "examples" / "images" / "hand_12.jpg")
    return estimator.crops, image, estimator(image)[0]


def line_of(hand: Hand) -> dict[str, object]:
    camera = {name: getattr(hand.camera, name) for name in ("fx", "fy", "cx", "cy")}
    assert hand.joints_cam_m is not None
    joints = {"joints_px": hand.joints_px.tolist(), "joints_cam_m": hand.joints_cam_m.tolist()}
    return {"side": hand.side, "camera": camera, **joints}


def test_predictions_of_turned_images_are_turned_back(seen: tuple[CropEstimator, Image, Hand]) -> None:
    crops, image, hand = seen
    pixels, relative = refine_labels.predictions(crops, image, hand.camera, hand.side, hand.joints_px)
    assert pixels.shape == (9, 21, 2)
    size = np.ptp(hand.joints_px, axis=0).max()
    assert np.linalg.norm(pixels - hand.joints_px, axis=2).mean(1).max() < 0.04 * size
    assert np.linalg.norm(relative - hand.joints_rel_m, axis=2).mean(1).max() < 0.015


def test_joints_move_half_way_and_unknown_ones_stay_unknown(seen: tuple[CropEstimator, Image, Hand]) -> None:
    crops, image, hand = seen
    line = line_of(hand)
    shifted = (hand.joints_px + np.array([0.02 * np.ptp(hand.joints_px[:, 0]), 0.0])).tolist()
    new = refine_labels.refined(crops, image, line | {"joints_px": [None, *shifted[1:]], "joints_cam_m": None})
    assert new is not None
    assert new["joints_px"][0] is None
    mean = refine_labels.predictions(crops, image, hand.camera, hand.side, np.array([[np.nan, np.nan], *shifted[1:]]))
    np.testing.assert_allclose(new["joints_px"][1:], (mean[0].mean(0) + shifted)[1:] / 2, atol=0.01)
    moved = refine_labels.refined(crops, image, line)
    assert moved is not None
    assert moved["joints_cam_m"][0] == pytest.approx(line["joints_cam_m"][0], abs=1e-5)  # type: ignore[index]


def test_labels_that_the_network_contradicts_are_left_alone(seen: tuple[CropEstimator, Image, Hand]) -> None:
    crops, image, hand = seen
    away = hand.joints_px + 0.2 * np.ptp(hand.joints_px, axis=0).max()
    assert refine_labels.refined(crops, image, line_of(hand) | {"joints_px": away.tolist()}) is None
