"""Photographed skin on rendered hands: tones, what lies on it, and what stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphhand.synthesis import RenderConfig, RenderedBatch, RenderEngine, benchmark
from graphhand.synthesis.photo_skin import sample_photo_skin, spots
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.skin import palm_tone, sample_appearance, skin_image, tone_colour
from graphhand.synthesis.skin_atlas import default_atlas

PHOTOGRAPHIC = RenderConfig(image_size=96, seed=7, skin="photographic")


@pytest.fixture(scope="module")
def photographic() -> RenderedBatch:
    return RenderEngine(PHOTOGRAPHIC).render(range(24))


@pytest.mark.parametrize("tone", [0.0, 0.35, 0.7, 1.0])
def test_every_skin_reaches_the_asked_tone(tone):
    palm, charts = default_atlas().palm, chart_mask()
    for skin in range(len(default_atlas().names)):
        encoded = skin_image(tone, skin).astype(np.float64) / 255
        linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
        for zone, colour in ((palm < 0.05, tone_colour), (palm > 0.95, palm_tone)):
            mean = linear[zone & charts].mean(0)
            np.testing.assert_allclose(mean, colour(torch.tensor(tone)).numpy(), rtol=0.12, atol=0.004)


def chart_mask() -> np.ndarray:
    """Pixels of the atlas next to a triangle's centre, roughly."""
    atlas = default_atlas()
    inside = np.zeros(atlas.palm.shape, bool)
    column, row = np.round(atlas.corners_px[: len(atlas.hand_faces)].mean(1)).astype(int).T
    inside[row, column] = True
    return inside


def test_same_index_same_sample_in_any_batch(photographic):
    alone = RenderEngine(PHOTOGRAPHIC).render([17, 3])
    difference = (alone.image - photographic.image[[17, 3]]).abs()
    assert float(difference.max()) <= 2.5 / 255
    assert float(difference.mean()) < 1e-4


def test_skin_changes_hands_and_no_label(photographic, images):
    procedural = images
    for name in ("joints_cam_m", "K", "visible", "mask", "part", "depth_m", "shape"):
        assert torch.equal(getattr(photographic, name), getattr(procedural, name)[:24]), name
    assert float((photographic.image - procedural.image[:24]).abs().amax((1, 2, 3)).min()) > 0.01


def test_the_benchmark_has_procedural_skin():
    for split in benchmark.COUNTS:
        assert benchmark.config(split).skin == "procedural"
    depth, focal = torch.ones(4), torch.full((4,), 300.0)
    _, photo = sample_appearance(CounterRandom(1, torch.arange(4)), benchmark.config("training"), depth, focal)
    assert photo is None


def test_dark_skins_are_for_dark_hands_and_both_mixes_them_with_procedural_ones():
    atlas = default_atlas()
    random = CounterRandom(0, torch.arange(4000))
    tone = torch.linspace(0, 1, 4000)
    photo = sample_photo_skin(random, RenderConfig(skin="both"), atlas, tone, torch.full((4000,), 1.0))
    dark = torch.isin(photo.skins, torch.tensor(atlas.dark))
    assert not bool(dark[tone < 0.4].any())
    assert bool(dark[tone > 0.65].all())
    assert torch.equal(dark[:, 0], dark[:, 1])
    assert set(photo.skins.unique().tolist()) == set(range(len(atlas.names)))
    assert 0.2 < float((photo.share == 0).float().mean()) < 0.3
    assert float(photo.share.max()) == 1


@pytest.mark.parametrize(("texels", "level"), [(0.3, 0), (1.2, 0), (2.0, 1), (4.0, 2), (30.0, 2)])
def test_small_hands_use_coarse_skins(texels, level):
    config = RenderConfig(skin="photographic")
    random = CounterRandom(0, torch.arange(3))
    photo = sample_photo_skin(random, config, default_atlas(), torch.full((3,), 0.5), torch.full((3,), texels))
    assert photo.level.tolist() == [level] * 3


STILL = dict(
    image_size=160, seed=3, skin="photographic", upright=1.0, cropped=1.0, occluders=0, objects=0, second_hand=0,
    noise=0, blur=0, motion_blur=0, low_resolution=0, jpeg=0, sleeves=0, gloves=0, wristbands=0, rings=0,
    exposure_variation=False, freckles=0, hair=0, dirt=0, wet=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def clean() -> RenderedBatch:
    return RenderEngine(RenderConfig(**STILL)).render(range(8))


@pytest.mark.parametrize("kind", ["freckles", "hair", "dirt", "wet"])
def test_what_lies_on_the_skin_changes_the_skin_alone(clean, kind):
    batch = RenderEngine(RenderConfig(**{**STILL, kind: 1.0})).render(range(8))
    changed = (batch.image - clean.image).abs().amax(1)
    assert int((changed > 0.04).sum()) > 200
    near = torch.nn.functional.max_pool2d((clean.mask > 0).float(), 3, 1, 1) > 0
    assert float(changed[~near].max()) < 0.08  # the exposure follows the hand
    if kind in ("freckles", "hair", "dirt"):
        lost = (clean.image - batch.image).mean(1)[changed > 0.04]
        assert float(lost.mean()) > 0.02


def test_spots_are_as_dense_as_asked_and_round():
    rng = torch.Generator().manual_seed(0)
    points = torch.rand(20000, 3, generator=rng)
    shares = []
    for density in (0.0, 0.3, 0.9):
        value = spots(points, 0.01, torch.full((20000,), density), 0.1, 0.3, seed=1)
        assert float(value.min()) >= 0
        assert float(value.max()) <= 1
        shares.append(float((value > 0).float().mean()))
    assert shares[0] == 0
    assert 0 < shares[1] < shares[2]
    assert shares[2] == pytest.approx(3 * shares[1], rel=0.2)


def test_skin_detail_is_needed():
    with pytest.raises(ValueError, match="skin_detail"):
        RenderConfig(skin="photographic", skin_detail=False)
