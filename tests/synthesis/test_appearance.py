"""Skin, background and sensor, each on its own."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from graphhand.errors import InputError
from graphhand.hand_model.posing import MODEL_CHAIN
from graphhand.synthesis import RenderConfig, RenderEngine, backgrounds, objects
from graphhand.synthesis import shading as sensor
from graphhand.synthesis import skin_texture as tex
from graphhand.synthesis.backgrounds import ImageStore, procedural
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.scene import SceneComposer
from graphhand.synthesis.shading import ShadowMap
from graphhand.synthesis.skin import sample_skin, tone_colour
from graphhand.synthesis.skin_texture import pad_heights


def smooth_image(size: int = 64) -> torch.Tensor:
    line = torch.linspace(0, 6, size)
    waves = 0.5 + 0.4 * torch.sin(line[:, None] * torch.tensor([1.0, 1.7, 2.2])[:, None, None] + line[None])
    return waves[None]


def test_tones_run_from_pale_to_dark_and_stay_warm() -> None:
    colours = tone_colour(torch.linspace(0, 1, 50))
    assert bool((colours[1:] < colours[:-1]).all())
    assert bool((colours[:, 0] > colours[:, 1]).all() and (colours[:, 1] > colours[:, 2]).all())


def test_skin_covers_the_human_range() -> None:
    red = sample_skin(CounterRandom(0, torch.arange(2000)), RenderConfig()).base[:, 0]
    assert float(red.quantile(0.02)) < 0.16
    assert float(red.quantile(0.98)) > 0.55


def test_palms_of_dark_hands_are_lighter() -> None:
    skin = sample_skin(CounterRandom(0, torch.arange(500)), RenderConfig())
    dark = skin.base[:, 0] < 0.2
    assert bool((skin.matrix[dark, 1].mean(1) > 0.1).all())


def test_texture_knows_nails_palm_and_creases(composer: SceneComposer) -> None:
    mesh = composer.mesh
    texels = tex.bake(mesh, composer.poser, variants=1).view(len(mesh.faces), tex.TEXELS, tex.CHANNELS)
    centre, normal = mesh.rest_vertices_m[mesh.faces].mean(1), mesh.rest_normals[mesh.faces].mean(1)
    nails = texels[..., tex.NAIL].mean(1) > 0.5
    tips = mesh.rest_joints_m[[4, 8, 12, 16, 20]]
    assert int(nails.sum()) >= 15
    assert float(torch.cdist(centre[nails], tips).amin(1).max()) < 0.02
    fingers = nails & (centre[:, 0] < -0.1)
    assert float(normal[fingers, 1].mean()) > 0.3  # on the back
    assert float(normal[fingers, 1].min()) > -0.4  # and a little round the tip
    palm = texels[..., tex.PALM].mean(1)
    assert float(palm[(normal[:, 1] < -0.8) & (centre[:, 0] < -0.01)].mean()) > 0.9
    assert float(palm[(normal[:, 1] > 0.5) & (centre[:, 2] < 0.02)].max()) < 0.2
    crease = texels[..., tex.CREASE]
    assert float(crease.max()) > 0.6
    assert 0.01 < float((crease > 0.4).float().mean()) < 0.25


@pytest.mark.parametrize("seed", [0, 1])
def test_pads_rise_on_palm_and_fingers_with_hollows_between_and_not_on_the_back(
    composer: SceneComposer, seed: int
) -> None:
    mesh, poser = composer.mesh, composer.poser
    joints = mesh.rest_joints_m

    def height(places: torch.Tensor, normal: torch.Tensor, chain: tuple[int, ...] = (0,)) -> torch.Tensor:
        weights = torch.zeros(len(places), 16)
        weights[:, chain[0]] = 1
        normals = normal.expand(len(places), 3)
        return pad_heights(places + 0.006 * normals, normals, weights, joints, poser, seed=seed)

    down = torch.tensor([0.0, -1.0, 0.0])
    hollow = joints[0] + 0.62 * (joints[9] - joints[0])
    mounds = height(joints[[5, 9, 13, 17]], down)
    assert float(mounds.min()) > 0
    assert float(height(hollow[None], down)) < float(mounds.min())
    assert float(height(joints, -down).abs().max()) == 0
    for finger, chain in enumerate(MODEL_CHAIN):
        start, end = joints[2 + 4 * finger], joints[3 + 4 * finger]
        palmar = normalize(torch.linalg.cross(poser.bend[finger], end - start), dim=0)
        joint, middle = height(torch.stack([start, (start + end) / 2]), palmar, chain)
        assert float(middle) > max(float(joint), 0)


def test_texel_rows_are_unique_and_in_range() -> None:
    steps = torch.linspace(0.001, 0.999, 60)
    b0, b1 = torch.meshgrid(steps, steps, indexing="ij")
    inside = b0 + b1 < 1
    weights = torch.stack([b0[inside], b1[inside], 1 - b0[inside] - b1[inside]], 1)
    zero = torch.zeros(len(weights), dtype=torch.int64)
    row = tex.texel_row(zero, weights, zero, 1)
    assert sorted(row.unique().tolist()) == list(range(tex.TEXELS))


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_jpeg_loses_what_the_real_codec_loses(quality: int) -> None:
    image = (smooth_image() + 0.05 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    ours = sensor.jpeg(image, torch.tensor([float(quality)]))
    bgr = (image[0].permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype(np.uint8)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    real = cv2.imdecode(np.frombuffer(io.BytesIO(data.tobytes()).read(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1] / 255.0
    loss_ours = float((ours - image).square().mean().sqrt())
    loss_real = float(np.sqrt(np.mean((real - image[0].permute(1, 2, 0).numpy()) ** 2)))
    assert loss_ours == pytest.approx(loss_real, rel=0.15)
    assert float(np.abs(ours[0].permute(1, 2, 0).numpy() - real).mean()) < 0.4 * loss_real + 0.006


def test_blur_matrices_keep_brightness() -> None:
    matrix = sensor.gaussian_matrix(32, torch.tensor([0.0, 0.7, 3.0]))
    assert torch.allclose(matrix.sum(2), torch.ones(3, 32), atol=1e-5)
    assert torch.allclose(matrix[0], torch.eye(32), atol=1e-6)


def test_motion_blur_smears_along_its_direction() -> None:
    image = torch.zeros(2, 3, 48, 48)
    image[:, :, 24, 24] = 1
    smeared = sensor.motion_blur(image, torch.tensor([0.0, torch.pi / 2]), torch.tensor([7.0, 7.0]))
    assert float(smeared[0, 0, 24].max()) < 0.3
    spread = [float((smeared[i, 0] > 0.05).any(d).sum()) for i, d in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert spread[0] >= 6 > 3 >= spread[1]
    assert spread[3] >= 6 > 3 >= spread[2]


def test_procedural_scenes_are_varied_and_in_range() -> None:
    random = CounterRandom(0, torch.arange(40))
    scenes = procedural(random, 48, torch.full((40, 3), 0.3))
    assert bool(torch.isfinite(scenes).all())
    assert float(scenes.min()) >= 0
    assert float(scenes.max()) <= 1
    flat = scenes.flatten(1)
    assert float((torch.cdist(flat, flat) + 1e3 * torch.eye(40)).min()) > 1
    assert float(scenes.std((2, 3)).mean()) > 0.05


def test_user_images_become_backgrounds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i, colour in enumerate(([250, 10, 10], [10, 250, 10])):
        image = np.clip(np.array(colour) + rng.integers(-5, 5, (90, 120, 3)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{i}.png"), image[..., ::-1])
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not an image")
    with pytest.warns(UserWarning, match=r"1 background images left out, the first: .*broken\.jpg"):
        store = ImageStore([tmp_path])
    broken.unlink()
    assert len(store.images) == 2
    drawn = store.draw(CounterRandom(0, torch.arange(30)), 32)
    red = drawn[:, 0].mean((1, 2)) > 0.5
    assert 5 < int(red.sum()) < 25
    config = RenderConfig(
        image_size=32, backgrounds=(str(tmp_path),), background_images=1.0, exposure_variation=False,
        occluders=0, noise=0, jpeg=0,
    )  # fmt: skip
    batch = RenderEngine(config).render(range(6))
    corner = batch.image[:, :, :3, :3].mean((2, 3))
    free = batch.mask[:, :3, :3].amax((1, 2)) == 0
    assert bool((corner[free].amax(1) > 3 * corner[free, 2]).all())


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no readable background image"):
        ImageStore([tmp_path])


def test_painted_shapes_agree_with_painting_whole_images() -> None:
    rng = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=rng)

    B, count, size = 3, 5, 40
    shapes = backgrounds.Shapes(
        colour=draw(B, count, 3), place=2.4 * draw(B, count, 2) - 1.2, half=0.05 + 0.6 * draw(B, count, 2),
        tilt=6 * draw(B, count) - 3, round=draw(B, count) < 0.5, edge=0.02 + 0.5 * draw(B, count),
        used=draw(B, count) < 0.8, shade=draw(B, count, 2) - 0.5,
    )  # fmt: skip
    scene = draw(B, 3, size, size)
    line = (torch.arange(size) + 0.5) * (2 / size) - 1
    expected = scene.clone()
    for b in range(B):
        for i in range(count):
            if not shapes.used[b, i]:
                continue
            dx, dy = line[None, :] - shapes.place[b, i, 0], line[:, None] - shapes.place[b, i, 1]
            c, s = shapes.tilt[b, i].cos(), shapes.tilt[b, i].sin()
            u, v = (dx * c + dy * s) / shapes.half[b, i, 0], (dy * c - dx * s) / shapes.half[b, i, 1]
            away = torch.hypot(u, v) if shapes.round[b, i] else torch.maximum(u.abs(), v.abs())
            cover = ((1 - away) / shapes.edge[b, i]).clamp(0, 1)
            light = 1 + u * shapes.shade[b, i, 0] + v * shapes.shade[b, i, 1]
            expected[b] = torch.lerp(expected[b], shapes.colour[b, i, :, None, None] * light, cover)
    assert torch.allclose(backgrounds.painted(scene, shapes), expected, atol=1e-4)


def test_a_mesh_shades_another_of_its_image_and_of_no_other() -> None:
    square = torch.tensor([[-0.05, -0.05, 0.0], [-0.05, 0.05, 0.0], [0.05, 0.05, 0.0], [0.05, -0.05, 0.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])  # its front towards the camera
    behind, before = square + torch.tensor([0, 0, 0.6]), 0.4 * square + torch.tensor([0, 0, 0.5])
    light = torch.tensor([[0.0, 0.0, -1.0]]).expand(2, 3)
    points = torch.stack([behind, behind, before])  # the third is in the second image
    shadow = ShadowMap(points, faces, light, 4, torch.tensor([0, 1, 1]), torch.zeros(3, dtype=torch.bool))
    at = torch.tensor([[0.0, 0.0, 0.6], [0.04, 0.04, 0.6]])
    lit = [shadow.lit(at, torch.full((2,), i), torch.ones(2)).tolist() for i in (0, 1)]
    assert lit == [[1.0, 1.0], [0.0, 1.0]]


def test_objects_leave_room_for_the_fingers_that_do_not_hold_them(composer: SceneComposer) -> None:
    with torch.no_grad():
        hand = composer._pose(CounterRandom(5, torch.arange(300)))
        thing = objects.sample_objects(CounterRandom(5, torch.arange(300)), hand.joints_m, 1.0)
    extent = (thing.vertices_m.amax(1) - thing.vertices_m.amin(1)).norm(dim=1)
    drawn = extent > 1e-6
    assert float(drawn.float().mean()) > 0.75
    distance = torch.cdist(hand.joints_m, thing.vertices_m).amin(2)
    # an object that is gripped touches thumb and one finger, or the palm; it keeps clear of the other joints
    free = (distance[drawn] > 0.004).float().mean(0)
    assert float(free.mean()) > 0.9
