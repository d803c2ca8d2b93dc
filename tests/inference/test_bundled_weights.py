"""What ships: weights that still do what they were trained to do, small enough, with their provenance beside them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from graphhand import HandPoseEstimator
from graphhand.metrics import joint_errors_mm, joint_errors_px, procrustes_align
from graphhand.models import bundled_weights
from graphhand.synthesis import RenderConfig, RenderEngine

WEIGHTS = sorted(bundled_weights())


@pytest.fixture(scope="module")
def drawn():
    """Twelve held-up hands, whole in the image, nothing before them: images (12, 144, 144, 3) and labels."""
    settings = dict(occluders=0, objects=0, second_hand=0, gloves=0, low_resolution=0, motion_blur=0)
    batch = RenderEngine(RenderConfig(image_size=144, seed=20261126, upright=1, cropped=1, **settings)).render(
        range(12)
    )
    return (255 * batch.image.permute(0, 2, 3, 1)).round().byte().numpy(), batch


@pytest.mark.parametrize("name", WEIGHTS)
def test_drawn_hands_are_found(name, drawn):
    """A quarter worse than their cards say of such images would be a fault of the code around them."""
    images, batch = drawn
    estimator = HandPoseEstimator(name, device="cpu")
    off, apart = [], []
    for i, image in enumerate(images):
        hand = estimator(image, whole_image=True, side="right", K=batch.K[i].numpy())[0]
        truth = batch.joints_cam_m[i].numpy()
        off.append(joint_errors_px(hand.joints_px, batch.joints_px[i].numpy()).mean())
        apart.append(joint_errors_mm(procrustes_align(hand.joints_rel_m, truth), truth).mean())
    assert np.mean(off) < 0.05 * 144
    assert np.mean(apart) < 13


def test_they_fit_the_repository_and_a_card_says_where_they_come_from():
    assert "default" in WEIGHTS
    folders = bundled_weights().values()
    assert sum(file.stat().st_size for folder in folders for file in folder.iterdir()) < 48e6
    for folder in folders:
        card = (folder / "README.md").read_text("utf-8")
        for stated in ("Apache-2.0", "graphhand train", "graphhand evaluate", "seed", "MediaPipe", "Known failures"):
            assert stated in card, f"{folder.name} does not say {stated}"
        about = json.loads((folder / "model.json").read_text("utf-8"))
        assert about["card"]["name"] == folder.name
