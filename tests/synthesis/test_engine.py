"""Images and labels agree, depend on (seed, index) alone, and follow each field of RenderConfig."""

from __future__ import annotations

import dataclasses
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch

from graphhand.errors import InputError
from graphhand.geometry import project_perspective
from graphhand.hand_model import HandModel
from graphhand.synthesis import FixedHands, RenderConfig, RenderedBatch, RenderEngine
from graphhand.synthesis.poses import palm_normal

SIZE = 96
# sums of a batched product may be ordered differently in another batch: two steps of 8 bits where a rounding tips over
IMAGE_TOLERANCE = 2.5 / 255


def same(a: RenderedBatch, b: RenderedBatch) -> None:
    for f in fields(RenderedBatch):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if f.name == "image":
            assert (x - y).abs().max() <= IMAGE_TOLERANCE
            assert (x - y).abs().mean() < 1e-4
        elif x.dtype.is_floating_point:
            assert torch.allclose(x, y, rtol=1e-5, atol=2e-5), f.name
        else:
            assert (x == y).float().mean() > 0.9995, f.name


def rows(batch: RenderedBatch, index: list[int]) -> RenderedBatch:
    return RenderedBatch(**{f.name: getattr(batch, f.name)[index] for f in fields(RenderedBatch)})


@pytest.mark.parametrize("indices", [[5], [40, 5, 5, 11], list(range(3, 20))])
def test_same_index_same_sample_in_any_batch(engine: RenderEngine, images: RenderedBatch, indices: list[int]) -> None:
    same(engine.render(indices), rows(images, indices))


def test_same_sample_in_another_engine(images: RenderedBatch) -> None:
    same(RenderEngine(RenderConfig(image_size=SIZE, seed=7)).render([2, 30]), rows(images, [2, 30]))


def test_indices_and_seeds_differ(images: RenderedBatch) -> None:
    flat = images.image.flatten(1)
    assert torch.cdist(flat, flat).add(torch.eye(len(flat)) * 1e3).min() > 3
    other = RenderEngine(RenderConfig(image_size=SIZE, seed=8)).render([0]).image
    assert (other - images.image[:1]).abs().mean() > 0.02


def test_shapes_types_and_ranges(images: RenderedBatch) -> None:
    B = len(images)
    assert images.image.shape == (B, 3, SIZE, SIZE)
    assert images.image.dtype == torch.float32
    assert float(images.image.min()) >= 0
    assert float(images.image.max()) <= 1
    assert torch.allclose(images.image * 255, (images.image * 255).round(), atol=1e-3)
    assert images.image_uint8.shape == (B, SIZE, SIZE, 3)
    assert images.joints_cam_m.shape == (B, 21, 3)
    assert set(images.mask.unique().tolist()) <= {0, 1, 2}
    assert int(images.part.max()) == 17
    assert torch.equal(images.mask > 0, images.part > 0)
    assert torch.equal(images.mask == 2, images.part == 17)
    assert torch.equal(images.depth_m > 0, images.mask > 0)
    for f in fields(RenderedBatch):
        assert bool(torch.isfinite(getattr(images, f.name).float()).all()), f.name


def test_images_have_content(images: RenderedBatch) -> None:
    assert float(images.image.std((1, 2, 3)).median()) > 0.1
    assert 0.2 < float(images.image.mean()) < 0.7
    assert float((images.mask == 1).float().mean((1, 2)).min()) > 0.005


def test_projected_joints_are_the_pixels(images: RenderedBatch) -> None:
    again = project_perspective(images.joints_cam_m.double(), images.K.double())
    assert (again - images.joints_px).abs().max() < 1e-3


def check_visible_joints(engine: RenderEngine, batch: RenderedBatch) -> None:
    """Visible joints lie on the hand's mask and under no more than their own flesh; hidden ones have a reason."""
    near = (batch.joints_px.round().long()).clamp(0, batch.image.shape[-1] - 1)
    row = torch.arange(len(batch))[:, None]
    # a tip may project half a pixel outside its silhouette
    grown = torch.nn.functional.max_pool2d((batch.mask > 0).float()[:, None], 3, 1, 1)[:, 0] > 0
    on_hand = grown[row, near[..., 1], near[..., 0]]
    assert float(on_hand[batch.visible].float().mean()) > 0.997
    surface = batch.depth_m[row, near[..., 1], near[..., 0]]
    known = batch.visible & (surface > 0)
    under = batch.joints_cam_m[..., 2] - surface
    limit = engine.mesh.flesh_m + 0.006
    # the label's depth is the nearest in the pixel, which beside another finger may be that finger's
    assert float((under <= limit)[known].float().mean()) > 0.98
    # skin cannot lie behind a bone that is inside it, except beside the silhouette
    assert float((under > -0.012)[known].float().mean()) > 0.97
    # and the flesh that is seen there is of the joint's own finger, or palm where fingers begin
    part = batch.part[row, near[..., 1], near[..., 0]].long()
    joint = torch.arange(21)
    finger, place = (joint - 1) // 4, (joint - 1) % 4
    own = (part >= 2 + 3 * finger) & (part <= 4 + 3 * finger) & (joint > 0)
    palm = ((part == 1) | (part == 17)) & ((joint == 0) | (place == 0) | (joint == 2))
    assert float((own | palm)[known].float().mean()) > 0.97
    inside = ((batch.joints_px > 0) & (batch.joints_px < batch.image.shape[-1] - 1)).all(-1)
    hidden = ~batch.visible & inside & (surface > 0)
    assert float((under > engine.mesh.flesh_m)[hidden].float().mean()) > 0.9


def test_visible_joints_lie_under_their_own_flesh(engine: RenderEngine, images: RenderedBatch) -> None:
    assert 0.4 < float(images.visible.float().mean()) < 0.85
    check_visible_joints(engine, images)


@pytest.mark.slow
def test_visible_joints_lie_under_their_own_flesh_in_many(engine: RenderEngine) -> None:
    check_visible_joints(engine, engine.render(range(1000, 2000)))


def test_joint_angles_recovered_from_the_labels_are_anatomical(engine: RenderEngine, images: RenderedBatch) -> None:
    local = (images.joints_cam_m - images.joints_cam_m[:, :1]) @ images.rotation_cam_hand
    found = engine.composer.poser.angles_from_joints(local)
    flexion, pip, dip, abduction = found.unbind(-1)
    # the shape of a hand turns its bones by a few degrees against the mean hand's
    assert float(flexion.min()) > -28
    assert float(flexion.max()) < 103
    assert float(pip.max()) < 120
    assert float(dip.max()) < 92
    assert float(abduction.nan_to_num(0).abs().max()) < 42
    assert (flexion - images.angles_deg[:, 1:, 0]).abs().max() < 12


def fixed_hands(engine: RenderEngine, batch: RenderedBatch) -> FixedHands:
    """The random hands and cameras of a batch, as fixed ones."""
    pose = engine.composer.poser.model_pose(batch.angles_deg)
    pose[:, 0] = batch.rotation_cam_hand
    return FixedHands(pose, batch.shape, batch.joints_cam_m[:, 0], batch.K)


def test_fixed_hands_are_rendered_as_they_are(engine: RenderEngine, images: RenderedBatch) -> None:
    """The same hand and camera give the same image; the rest is still random."""
    again = engine.render(range(48), fixed_hands(engine, images))
    assert bool(again.angles_deg.isnan().all())
    assert bool(again.overlap_m.isnan().all())
    same(dataclasses.replace(again, angles_deg=images.angles_deg, overlap_m=images.overlap_m), images)


def test_fixed_hands_may_have_another_precision_or_fewer_coefficients(
    engine: RenderEngine, images: RenderedBatch
) -> None:
    fixed = fixed_hands(engine, rows(images, [5, 6]))
    same_as = engine.render([5, 6], fixed)
    double = FixedHands(*(value.double() for value in fixed))
    assert torch.equal(engine.render([5, 6], double).image, same_as.image)
    fixed.shape[:, 3:] = 0
    assert torch.equal(
        engine.render([5, 6], fixed._replace(shape=fixed.shape[:, :3])).joints_px,
        engine.render([5, 6], fixed).joints_px,
    )


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("pose", torch.zeros(2, 16, 3)),
        ("pose", torch.eye(3).expand(1, 16, 3, 3)),
        ("shape", torch.zeros(10)),
        ("shape", torch.zeros(2, 99)),
        ("wrist_m", torch.ones(3)),
        ("K", torch.eye(3)),
    ],
)
def test_fixed_hands_of_other_sizes_are_refused_by_name(
    engine: RenderEngine, images: RenderedBatch, name: str, wrong: torch.Tensor
) -> None:
    fixed = fixed_hands(engine, rows(images, [5, 6]))
    with pytest.raises(ValueError, match=f"{name} of hands for 2 images"):
        engine.render([5, 6], fixed._replace(**{name: wrong}))


def test_no_indices_give_an_empty_batch(engine: RenderEngine, images: RenderedBatch) -> None:
    none, one = engine.render([]), rows(images, [0])
    assert len(none) == 0
    for f in dataclasses.fields(RenderedBatch):
        empty, full = getattr(none, f.name), getattr(one, f.name)
        assert (empty.shape, empty.dtype) == ((0, *full.shape[1:]), full.dtype)


def test_the_callers_hand_model_is_not_changed() -> None:
    hand = HandModel.default(torch.float64)
    RenderEngine(RenderConfig(image_size=32), hand=hand)
    assert hand(torch.zeros(16, 3)).dtype == torch.float64


@pytest.mark.parametrize("rest", [{}, {"occluders": 0.0, "wrist_articulation": False}], ids=str)
def test_fixed_hands_look_different_for_each_index(
    engine: RenderEngine, images: RenderedBatch, rest: dict[str, Any]
) -> None:
    """With more hands than are composed together, and cameras whose principal point is off the centre."""
    fixed = fixed_hands(engine, rows(images, [5] * 70))
    fixed.K[:, 0, 2] += torch.linspace(-20, 20, 70)
    twins = RenderEngine(engine.config.model_copy(update=rest)).render(range(100, 170), fixed)
    torch.testing.assert_close(twins.joints_cam_m, images.joints_cam_m[[5] * 70], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(twins.K, fixed.K)
    moved = twins.joints_px - images.joints_px[[5] * 70]
    torch.testing.assert_close(
        moved[:, :, 0], (fixed.K[:, 0, 2] - images.K[5, 0, 2])[:, None].expand(-1, 21), atol=2e-3, rtol=0
    )
    flat = twins.image.flatten(1)
    assert torch.cdist(flat, flat).add(torch.eye(70) * 1e3).min() > 3
    assert bool((twins.wrist_deg == 0).all()) == (rest != {})


def test_left_hands_are_mirror_images(images: RenderedBatch) -> None:
    left = RenderEngine(RenderConfig(image_size=SIZE, seed=7, side="left")).render(range(6))
    right = rows(images, list(range(6)))
    assert not bool(left.is_right.any())
    assert (left.image.flip(-1) - right.image).abs().max() <= IMAGE_TOLERANCE
    assert torch.equal(left.part.flip(-1), right.part)
    assert torch.allclose(left.joints_px[..., 0], SIZE - 1 - right.joints_px[..., 0], atol=1e-3)
    assert torch.allclose(left.joints_cam_m * torch.tensor([-1.0, 1, 1]), right.joints_cam_m, atol=1e-6)
    assert (project_perspective(left.joints_cam_m, left.K) - left.joints_px).abs().max() < 1e-2
    assert torch.equal(left.visible, right.visible)


def test_both_sides_come_in_equal_numbers() -> None:
    config = RenderConfig(image_size=16, side="both", background_variation=False)
    assert 0.3 < float(RenderEngine(config).render(range(60)).is_right.float().mean()) < 0.7


PLAIN = dict(
    image_size=48, occluders=0, objects=0, second_hand=0, noise=0, blur=0, motion_blur=0, low_resolution=0, jpeg=0,
    exposure_variation=False, background_variation=False, light_variation=False, skin_tones=False, skin_detail=False,
    sleeves=0, gloves=0, wristbands=0, rings=0, nail_polish=0, shadows=False, ambient_occlusion=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def plain() -> RenderedBatch:
    return RenderEngine(RenderConfig(**PLAIN)).render(range(8))


@pytest.mark.parametrize(
    "setting",
    [
        {"noise": 1.0}, {"blur": 1.0}, {"motion_blur": 1.0}, {"low_resolution": 1.0}, {"jpeg": 1.0},
        {"exposure_variation": True}, {"background_variation": True}, {"light_variation": True}, {"skin_tones": True},
        {"skin_detail": True}, {"shadows": True}, {"ambient_occlusion": True}, {"sleeves": 1.0}, {"gloves": 1.0},
        {"wristbands": 1.0}, {"rings": 1.0}, {"second_hand": 1.0},
    ],
    ids=lambda s: next(iter(s)),
)  # fmt: skip
def test_appearance_fields_change_the_image_but_no_joint(plain: RenderedBatch, setting: dict[str, float]) -> None:
    batch = RenderEngine(RenderConfig(**{**PLAIN, **setting})).render(range(8))
    assert (batch.image - plain.image).abs().amax((1, 2, 3)).max() > 0.03
    assert torch.allclose(batch.joints_cam_m, plain.joints_cam_m, atol=1e-6)
    assert torch.allclose(batch.K, plain.K)


def test_nail_polish_changes_the_nails_alone(plain: RenderedBatch) -> None:
    detailed = {**PLAIN, "skin_detail": True, "image_size": 64}
    bare = RenderEngine(RenderConfig(**detailed)).render(range(12))
    polished = RenderEngine(RenderConfig(**{**detailed, "nail_polish": 1.0})).render(range(12))
    changed = (bare.image - polished.image).abs().amax(1) > 0.05
    assert int(changed.sum()) > 30
    tips = torch.tensor([4, 7, 10, 13, 16])
    assert float(torch.isin(bare.part[changed], tips).float().mean()) > 0.9


def test_flesh_changes_the_skin_alone(plain: RenderedBatch) -> None:
    detailed = {**PLAIN, "skin_detail": True}
    smooth, fleshy = (RenderEngine(RenderConfig(**detailed, flesh=flesh)).render(range(12)) for flesh in (0.0, 2.0))
    changed = (smooth.image - fleshy.image).abs().amax(1)
    assert int((changed > 0.02).sum()) > 300
    # a finger's rim fills part of a pixel beside the mask
    near = torch.nn.functional.max_pool2d((smooth.mask > 0).float(), 3, 1, 1) > 0
    assert float(changed[~near].max()) < 0.012  # the exposure follows the hand
    assert torch.equal(smooth.joints_cam_m, fleshy.joints_cam_m)


@pytest.mark.parametrize("setting", [{"occluders": 1.0}, {"objects": 1.0}])
def test_occluders_and_objects_hide_hand_and_joints(plain: RenderedBatch, setting: dict[str, float]) -> None:
    batch = RenderEngine(RenderConfig(**{**PLAIN, **setting})).render(range(8))
    assert int((batch.mask == 1).sum()) < int((plain.mask == 1).sum())
    assert int(batch.visible.sum()) < int(plain.visible.sum())
    assert torch.allclose(batch.joints_cam_m, plain.joints_cam_m, atol=1e-6)


def test_geometry_can_be_fixed() -> None:
    still = dict(PLAIN, pose_mixture=False, shape_variation=0.0, wrist_articulation=False, view_variation=False)
    batch = RenderEngine(RenderConfig(**still)).render(range(6))
    local = (batch.joints_cam_m - batch.joints_cam_m[:, :1]) @ batch.rotation_cam_hand
    assert (local - local[:1]).abs().max() < 1e-5
    assert bool((palm_normal(batch.joints_cam_m)[:, 2] > 0.8).all())
    assert float(batch.wrist_deg.abs().max()) == 0
    assert float(batch.shape.abs().max()) == 0


def test_images_of_less_height_keep_labels_and_pixels_aligned() -> None:
    camera = (90.0, 91.0, 30.0, 20.0)
    settings = {**PLAIN, "image_size": 64, "image_height": 48, "camera": camera}
    batch = RenderEngine(RenderConfig(**settings)).render(range(8))
    assert batch.image.shape == (8, 3, 48, 64)
    assert batch.mask.shape == batch.part.shape == batch.depth_m.shape == (8, 48, 64)
    assert torch.allclose(batch.K[0], torch.tensor([[90.0, 0, 30.0], [0, 91.0, 20.0], [0, 0, 1]]))
    assert (project_perspective(batch.joints_cam_m, batch.K) - batch.joints_px).abs().max() < 1e-2
    on = batch.joints_px.round().long()
    inside = ((on >= 0) & (on < torch.tensor([64, 48]))).all(-1)
    assert bool((~batch.visible | inside).all())
    row = torch.arange(8)[:, None]
    seen = batch.visible & inside
    at = batch.mask[row, on[..., 1].clamp(0, 47), on[..., 0].clamp(0, 63)]
    assert float((at > 0)[seen].float().mean()) > 0.9
    left = RenderEngine(RenderConfig(**settings, side="left")).render(range(8))
    assert torch.equal(left.mask.flip(-1), batch.mask)
    assert (project_perspective(left.joints_cam_m, left.K) - left.joints_px).abs().max() < 1e-2


def test_antialiasing_approaches_the_limit() -> None:
    one, two, four = (RenderEngine(RenderConfig(**PLAIN, antialiasing=n)).render(range(6)) for n in (1, 2, 4))
    assert torch.allclose(one.joints_px, four.joints_px, atol=1e-4)
    assert float((one.mask == four.mask).float().mean()) > 0.97
    assert (two.image - four.image).square().mean() < 0.5 * (one.image - four.image).square().mean()


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="sleevs"):
        RenderConfig(sleevs=0.2)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="blur"):
        RenderConfig(blur=1.5)


def test_left_models_are_refused() -> None:
    with pytest.raises(InputError, match="left hand"):
        RenderEngine(RenderConfig(image_size=32), hand=HandModel.default().mirrored())


def test_the_origin_of_the_hand_model_does_not_matter(images: RenderedBatch) -> None:
    # MANO's wrist lies 96 mm from its origin
    arrays = HandModel.default().arrays
    moved = dataclasses.replace(arrays, v_template=arrays.v_template + np.array([0.0957, 0.0064, 0.0062]))
    batch = RenderEngine(RenderConfig(image_size=SIZE, seed=7), hand=HandModel(moved)).render(range(8))
    here = rows(images, list(range(8)))
    assert (batch.joints_px - here.joints_px).abs().max() < 0.01
    assert float((batch.mask == here.mask).float().mean()) > 0.999
    assert (batch.image - here.image).abs().mean() < 2e-3


def test_hands_without_forearm_get_an_arm() -> None:
    arrays = HandModel.default().arrays
    n = arrays.hand_vertex_count
    cut = dataclasses.replace(
        arrays, v_template=arrays.v_template[:n], shapedirs=arrays.shapedirs[:n], posedirs=arrays.posedirs[:n],
        weights=arrays.weights[:n], joint_regressor=arrays.joint_regressor[:, :n], forearm_weight=np.zeros(n),
        faces=arrays.faces[(arrays.faces < n).all(1)],
    )  # fmt: skip
    batch = RenderEngine(RenderConfig(**PLAIN), hand=HandModel(cut)).render(range(8))
    assert int((batch.mask == 2).any(2).any(1).sum()) >= 5
    check = project_perspective(batch.joints_cam_m, batch.K)
    assert (check - batch.joints_px).abs().max() < 1e-2


@pytest.mark.gpu
def test_gpu_equals_cpu(images: RenderedBatch) -> None:
    gpu = RenderEngine(RenderConfig(image_size=SIZE, seed=7), device="cuda").render(range(48)).to("cpu")
    assert (gpu.joints_px - images.joints_px).abs().max() < 0.01
    assert float((gpu.mask == images.mask).float().mean()) > 0.998
    assert (gpu.image - images.image).abs().mean() < 2e-3
