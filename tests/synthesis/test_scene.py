"""Position, orientation and size of hands in the image."""

from __future__ import annotations

import math

import pytest
import torch

from graphhand.geometry import project_perspective
from graphhand.synthesis import RenderConfig
from graphhand.synthesis.poses import palm_normal
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.scene import (
    ELBOW_FURTHEST,
    ELBOW_NEAREST,
    MAX_FIELD_OF_VIEW_DEG,
    PALM_VIEW,
    Scene,
    SceneComposer,
)

COUNT = 2000
SIZE = 96


@pytest.fixture(scope="module")
def scene(composer: SceneComposer) -> Scene:
    with torch.no_grad():
        return composer(CounterRandom(7, torch.arange(COUNT)))


def test_palm_and_back_are_seen_equally_often(scene: Scene) -> None:
    back = palm_normal(scene.joints_cam_m)[:, 2] < 0
    assert abs(float(back.float().mean()) - 0.5) < 4 * math.sqrt(0.25 / COUNT)


def test_every_roll_occurs(scene: Scene) -> None:
    along = scene.joints_cam_m[:, 9, :2] - scene.joints_cam_m[:, 0, :2]
    octant = ((torch.atan2(along[:, 1], along[:, 0]) / (2 * math.pi) + 0.5) * 8).long().clamp(max=7)
    assert int(torch.bincount(octant, minlength=8).min()) > 0.05 * COUNT


def test_palm_view_shows_a_right_hand() -> None:
    # fingers up in the image; the palm of a right hand then has its thumb on the image's right
    assert torch.equal(PALM_VIEW @ torch.tensor([-1.0, 0.0, 0.0]), torch.tensor([0.0, -1.0, 0.0]))
    assert torch.equal(PALM_VIEW @ torch.tensor([0.0, -1.0, 0.0]), torch.tensor([0.0, 0.0, -1.0]))
    assert torch.equal(PALM_VIEW @ torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0]))


def test_hands_are_right_hands(scene: Scene) -> None:
    # across x along points out of the back of a right hand, and the thumb lies on the index finger's side
    j = scene.joints_cam_m
    assert bool((((j[:, 1] - j[:, 17]) * (j[:, 5] - j[:, 17])).sum(1) > 0).all())
    # curled fingers lie on the palm's side of the knuckles
    curled = (scene.angles_deg[:, 2, 0] > 40) & (scene.angles_deg[:, 2, 1] > 40)
    tip = ((j[:, 12] - j[:, 9]) * palm_normal(j)).sum(1)
    assert int(curled.sum()) > 100
    assert bool((tip[curled] < 0).all())


def test_hands_fill_the_stated_share_of_the_image(scene: Scene) -> None:
    at = project_perspective(scene.joints_cam_m, scene.view.K)
    side = (at.amax(1) - at.amin(1)).amax(1) / SIZE
    assert float(side.min()) > 0.18
    assert float(side.max()) < 1.0
    assert 0.08 < float((side < 0.34).float().mean()) < 0.2
    inside = ((at > -0.5) & (at < SIZE - 0.5)).all(-1)
    assert float(inside.float().mean()) > 0.97
    assert float(inside.all(1).float().mean()) < 1  # a few leave the image


def test_cameras_are_plausible(scene: Scene) -> None:
    K = scene.view.K
    assert torch.equal(K[:, 0, 0], K[:, 1, 1])
    assert bool((K[:, :2, 2] == (SIZE - 1) / 2).all())
    view = 2 * torch.rad2deg(torch.atan(SIZE / 2 / K[:, 0, 0]))
    assert float(view.max()) < MAX_FIELD_OF_VIEW_DEG * 1.3
    assert float(view.min()) > 1
    distance = scene.joints_cam_m[..., 2]
    assert float(distance.min()) > 0.08
    assert float(distance.mean(1).max()) < 1.6


def test_arms_keep_clear_of_the_camera(scene: Scene, composer: SceneComposer) -> None:
    assert float(scene.vertices_cam_m[..., 2].min()) > 0.04
    elbow = scene.vertices_cam_m[:, len(composer.mesh.rest_vertices_m) - 1] - scene.joints_cam_m[:, 0]
    z = elbow[:, 2] / elbow.norm(dim=1)
    assert float(((z > ELBOW_NEAREST - 0.15) & (z < ELBOW_FURTHEST + 0.07)).float().mean()) > 0.99


def test_perspective_can_be_disabled(composer: SceneComposer) -> None:
    flat = SceneComposer(RenderConfig(image_size=SIZE, perspective_variation=False), composer.hand)
    with torch.no_grad():
        scene = flat(CounterRandom(7, torch.arange(50)))
    assert torch.allclose(scene.joints_cam_m[..., 2].mean(1), torch.tensor(1.5), atol=0.1)


def test_cropped_images_hold_a_large_hand_in_their_middle(composer: SceneComposer, scene: Scene) -> None:
    half = SceneComposer(RenderConfig(image_size=SIZE, cropped=0.5), composer.hand)
    with torch.no_grad():
        mixed = half(CounterRandom(7, torch.arange(COUNT)))
    at = project_perspective(mixed.joints_cam_m, mixed.view.K)
    low, high = at.amin(1), at.amax(1)
    same = (at - project_perspective(scene.joints_cam_m, scene.view.K)).abs().amax((1, 2)) < 1e-3
    assert abs(float(same.float().mean()) - 0.5) < 4 * math.sqrt(0.25 / COUNT)  # the others stay where they were
    side = (high - low).amax(1)[~same] / SIZE
    assert 0.5 < float(side.min()) < float(side.max()) < 0.95
    off = ((low + high) / 2 - (SIZE - 1) / 2)[~same].abs() / SIZE
    assert float(off.max()) < 0.07


def test_one_given_camera_sees_every_hand_somewhere_in_its_image(composer: SceneComposer) -> None:
    camera = (607.9, 607.8, 324.2, 236.4)
    config = RenderConfig(image_size=640, image_height=480, camera=camera)
    with torch.no_grad():
        scene = SceneComposer(config, composer.hand)(CounterRandom(7, torch.arange(400)))
    K = scene.view.K
    expected = torch.tensor([[camera[0], 0, camera[2]], [0, camera[1], camera[3]], [0, 0, 1]])
    assert torch.equal(K, expected.expand(400, 3, 3))
    at = project_perspective(scene.joints_cam_m, K)
    centre = 0.5 * (at.amin(1) + at.amax(1))
    assert float(centre[:, 0].std()) > 80
    assert float(centre[:, 1].std()) > 50
    inside = ((at > -0.5) & (at < torch.tensor([639.5, 479.5]))).all(-1)
    assert float(inside.float().mean()) > 0.97
    side = (at.amax(1) - at.amin(1)).amax(1)
    assert float(side.min()) > 0.15 * 480
    assert float(side.max()) < 480


def test_images_of_less_height_contain_their_hands(composer: SceneComposer) -> None:
    config = RenderConfig(image_size=160, image_height=96)
    with torch.no_grad():
        scene = SceneComposer(config, composer.hand)(CounterRandom(7, torch.arange(400)))
    assert torch.equal(scene.view.K[:, :2, 2], torch.tensor([79.5, 47.5]).expand(400, 2))
    at = project_perspective(scene.joints_cam_m, scene.view.K)
    inside = ((at > -0.5) & (at < torch.tensor([159.5, 95.5]))).all(-1)
    assert float(inside.float().mean()) > 0.97


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"image_size": 64, "image_height": 65}, "image_height"),
        ({"camera": (0.0, 600.0, 112.0, 112.0)}, "focal"),
        ({"camera": (600.0, 600.0, 112.0, 112.0), "perspective_variation": False}, "perspective_variation"),
        ({"camera": (600.0, 600.0, 112.0, 112.0), "cropped": 0.5}, "cropped"),
        ({"camera": (600.0, 600.0, float("nan"), 112.0)}, "finite"),
        ({"camera": (float("inf"), 600.0, 112.0, 112.0)}, "finite"),
        ({"backgrounds": ("images",), "background_variation": False}, "background_variation"),
    ],
)
def test_contradictory_settings_are_refused(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        RenderConfig(**settings)  # type: ignore[arg-type]
