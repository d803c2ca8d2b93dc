"""Scenes: labels agree with the image, an image depends on its index alone."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from graphhand.geometry import project_perspective
from graphhand.hand_model import HandModel
from graphhand.synthesis.config import SceneConfig
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.scene_engine import OUT_OF_SIGHT_JOINTS, SceneEngine
from graphhand.synthesis.scenes import VIEWS, SceneComposer

CONFIG = SceneConfig(width=160, height=120, seed=4, antialiasing=1)
COUNT = 12


@pytest.fixture(scope="module")
def engine() -> SceneEngine:
    return SceneEngine(CONFIG)


@pytest.fixture(scope="module")
def scenes(engine):
    return engine.render(range(COUNT))


def test_images_are_of_the_configured_size(scenes):
    for scene in scenes:
        assert scene.image.shape == (3, 120, 160)
        assert scene.image.std() > 0.02


def test_an_image_depends_on_its_index_alone(engine, scenes):
    for number in (5, 9):
        (alone,) = engine.render([number])
        assert alone.number == number
        assert torch.allclose(alone.hands.joints_cam_m, scenes[number].hands.joints_cam_m, atol=1e-4)
        difference = (alone.image - scenes[number].image).abs()
        assert (difference > 2.5 / 255).float().mean() < 0.01


def test_pixels_are_projected_joints(scenes):
    for scene in scenes:
        joints = scene.hands.joints_cam_m
        seen = joints[..., 2] > 0.05
        projected = project_perspective(joints, scene.K)
        assert torch.allclose(projected[seen], scene.hands.joints_px[seen], atol=1e-2)


def test_visible_joints_lie_in_the_box_of_their_hand(scenes):
    count = 0
    for scene in scenes:
        hands = scene.hands
        for person, side in (hands.pixels > 30).nonzero().tolist():
            x, y, w, h = hands.box_px[person, side]
            # a joint lies within its flesh, which may be cut off by what is in front
            slack = 2 + 0.2 * max(w, h)
            px = hands.joints_px[person, side][hands.visible[person, side]]
            inside = (
                (px[:, 0] > x - slack)
                & (px[:, 0] < x + w + slack)
                & (px[:, 1] > y - slack)
                & (px[:, 1] < y + h + slack)
            )
            assert inside.float().mean() > 0.9
            count += 1
    assert count > 5


def test_out_of_sight_is_few_visible_joints(scenes):
    seen = torch.cat([scene.hands.visible.sum(2).flatten() for scene in scenes])
    hidden = torch.cat([scene.hands.out_of_sight.flatten() for scene in scenes])
    assert torch.equal(hidden, seen < OUT_OF_SIGHT_JOINTS)
    assert hidden.any()
    assert (~hidden).any()


def test_joints_outside_the_image_are_not_visible(scenes):
    for scene in scenes:
        px, visible = scene.hands.joints_px, scene.hands.visible
        outside = (px < -0.5).any(-1) | (px[..., 0] > 159.5) | (px[..., 1] > 119.5)
        assert not (outside & visible).any()


def test_a_view_without_weight_does_not_occur():
    config = SceneConfig(webcam=0, room=0, street=1, close=0, first_person=0, max_people=2)
    with torch.no_grad():
        batch = SceneComposer(config, HandModel.default().float())(CounterRandom(1, torch.arange(12)))
    assert {VIEWS[camera.view] for camera in batch.cameras} == {"street"}
    assert batch.image.bincount().max() == 2


@pytest.mark.gpu
def test_a_gpu_renders_the_same_images(scenes):
    theirs = SceneEngine(CONFIG, device="cuda").render(range(COUNT))
    for ours, other in zip(scenes, theirs, strict=True):
        torch.testing.assert_close(other.hands.joints_cam_m.cpu(), ours.hands.joints_cam_m, atol=1e-3, rtol=1e-3)
        assert ((other.image.cpu() - ours.image).abs() > 3 / 255).float().mean() < 0.02


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"width": 64, "height": 128}, "larger than width"),
        ({name: 0 for name in ("webcam", "room", "street", "close", "first_person")}, "all 0"),
        ({"upright": 1}, "Extra inputs"),
    ],
)
def test_contradictions_are_refused(fields, fault):
    with pytest.raises(ValidationError, match=fault):
        SceneConfig(**fields)
