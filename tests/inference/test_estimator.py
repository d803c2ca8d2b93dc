"""From an image to the network's crop and back: side, rotation and pixels are kept."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from graphhand.errors import InputError
from graphhand.geometry import CROP_MARGIN, project_perspective
from graphhand.inference import Detection, HandPoseEstimator, HandTracker
from graphhand.inference.crops import MAX_UNCERTAINTY, MIN_RECROP_RATIO, CropView, Estimate
from graphhand.inference.estimator import as_photo
from graphhand.io import Photo, read_image, write_image
from graphhand.models.checkpoint import save_generator
from graphhand.models.config import GeneratorConfig
from graphhand.models.generator import Generator
from graphhand.types import DEFAULT_FOV_DEG

# The oracle reads 8-bit colours: what is left is its own rounding.
PX = 0.1
METRE = 1e-4

CENTRES = [(0.5, 0.5), (0.2, 0.3), (0.85, 0.75), (0.1, 0.9)]


def hand_box(joints_px: np.ndarray) -> np.ndarray:
    low, high = joints_px.min(0), joints_px.max(0)
    return np.concatenate([low, high - low])


def rough_box(joints_px: np.ndarray) -> np.ndarray:
    """A box around a hand that is too large by half."""
    box = hand_box(joints_px)
    return np.concatenate([box[:2] - box[2:] / 4, box[2:] * 1.5])


@pytest.mark.parametrize("mode", ["box", "whole_image", "detected"])
@pytest.mark.parametrize("asked", ["auto", "known"])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("centre", CENTRES)
def test_a_perfect_network_gives_perfect_results(
    make_scene: Callable[..., Any], make_oracle: Callable[..., Any], centre: Any, side: str, asked: str, mode: str
) -> None:
    scene = make_scene(CENTRES.index(centre), side=side, centre=centre)
    rough = [rough_box(scene.joints_px)]
    estimator = HandPoseEstimator.from_generator(make_oracle(scene), "oracle", detector=lambda _: rough)
    where: dict[str, Any] = {"box": {"box": hand_box(scene.joints_px)}, "whole_image": {"whole_image": True}}.get(
        mode, {}
    )
    hands = estimator(scene.image, K=scene.K, side=side if asked == "known" else "auto", **where)
    assert len(hands) == 1
    hand = hands[0]
    assert hand.side == side
    assert hand.score == (1.0 if mode == "detected" else pytest.approx(1 / (1 + np.exp(-4.0))))
    np.testing.assert_allclose(hand.joints_px, scene.joints_px, atol=PX)
    np.testing.assert_allclose(hand.joints_rel_m, scene.joints_rel_m, atol=METRE)
    np.testing.assert_allclose(hand.joints_cam_m, scene.joints_cam_m, atol=2 * METRE)
    np.testing.assert_allclose(hand.box_px, hand_box(scene.joints_px), atol=2 * PX)
    np.testing.assert_allclose(hand.camera.K, scene.K)
    assert not hand.camera.assumed
    assert hand.model == "oracle"


def test_the_wrong_side_scores_low(make_scene: Callable[..., Any], make_oracle: Callable[..., Any]) -> None:
    scene = make_scene(1, side="left")
    estimator = HandPoseEstimator.from_generator(make_oracle(scene), "oracle")
    (hand,) = estimator(scene.image, K=scene.K, side="right", box=hand_box(scene.joints_px))
    assert hand.side == "right"
    assert hand.score < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_an_assumed_camera_keeps_pixels_and_is_marked(
    make_scene: Callable[..., Any], make_oracle: Callable[..., Any], seed: int
) -> None:
    scene = make_scene(seed, centre=(0.3, 0.6))
    estimator = HandPoseEstimator.from_generator(make_oracle(scene), "oracle")
    (hand,) = estimator(scene.image, box=hand_box(scene.joints_px))
    np.testing.assert_allclose(hand.joints_px, scene.joints_px, atol=PX)
    assert hand.camera.assumed
    focal = scene.width / 2 / np.tan(np.radians(DEFAULT_FOV_DEG) / 2)
    assert hand.camera.fx == pytest.approx(focal)
    assert (hand.camera.cx, hand.camera.cy) == ((scene.width - 1) / 2, (scene.height - 1) / 2)


def test_the_three_ways_to_give_a_camera_agree(make_scene: Callable[..., Any], make_oracle: Callable[..., Any]) -> None:
    scene = make_scene(3)
    boxes = [hand_box(scene.joints_px)]
    estimator = HandPoseEstimator.from_generator(make_oracle(scene), "oracle", detector=lambda _: boxes)
    fov = 50.0
    focal = scene.width / 2 / np.tan(np.radians(fov) / 2)
    K = [[focal, 0, (scene.width - 1) / 2], [0, focal, (scene.height - 1) / 2], [0, 0, 1]]
    hands = [estimator(scene.image, **how)[0] for how in ({"fov_deg": fov}, {"focal_px": focal}, {"K": K})]
    for hand in hands:
        assert not hand.camera.assumed
        np.testing.assert_allclose(hand.joints_rel_m, hands[0].joints_rel_m, atol=1e-9)
    assert not np.allclose(hands[0].joints_rel_m, estimator(scene.image)[0].joints_rel_m, atol=1e-4)


class Pixels(nn.Module):
    """An arbitrary but smooth network: its answers depend on every pixel. It is wrong about everything, but its joints
    are projected onto its pixels."""

    def __init__(self, image_size: int = 64, crop_margin: float = CROP_MARGIN) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.config = SimpleNamespace(image_size=image_size, crop_margin=crop_margin)
        self.weight = nn.Parameter(torch.randn(3 * 64, 21 * 3 + 4, generator=generator) / 20)

    def forward(self, image: Tensor, K: Tensor, camera_known: Tensor | None = None) -> SimpleNamespace:
        size = self.config.image_size
        pooled = nn.functional.adaptive_avg_pool2d(image, 8).flatten(1) + K[:, 0, :1] / 1000
        out = (pooled @ self.weight).tanh()
        joints = out[:, :63].reshape(-1, 21, 3) * 0.1
        joints = joints - joints[:, :1]
        wrist = 0.02 * out[:, 63:66]
        wrist[:, 2] += 0.3 * K[:, 0, 0] / size  # where 0.1 m are a third of the crop
        joints_cam_m = joints + wrist[:, None]
        return SimpleNamespace(
            joints_m=joints,
            joints_cam_m=joints_cam_m,
            joints_px=project_perspective(joints_cam_m, K),
            handedness_logit=out[:, 66],
            uncertainty=None,
        )


def middle_box(image: np.ndarray) -> list[list[float]]:
    """A detector whose box is the middle of any image."""
    height, width = image.shape[:2]
    return [[(width - 1) / 4, (height - 1) / 4, (width - 1) / 2, (height - 1) / 2]]


def noise_image(seed: int, width: int = 160, height: int = 120) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 10, width // 10, 3))
    return np.kron(coarse, np.ones((10, 10, 1))).astype(np.uint8)


def test_arguments_override_the_files_focal_length(
    make_scene: Callable[..., Any], make_oracle: Callable[..., Any]
) -> None:
    scene = make_scene(3)
    boxes = [hand_box(scene.joints_px)]
    estimator = HandPoseEstimator.from_generator(make_oracle(scene), "oracle", detector=lambda _: boxes)
    photo = Photo(scene.image, 1.7 * scene.width)
    (told,), (known,) = estimator(photo), estimator(scene.image, focal_px=photo.focal_px)
    assert not told.camera.assumed
    assert told.camera == known.camera
    np.testing.assert_array_equal(told.joints_rel_m, known.joints_rel_m)
    (overruled,), (fov,) = estimator(photo, fov_deg=40), estimator(scene.image, fov_deg=40)
    assert overruled.camera == fov.camera
    assert estimator(Photo(scene.image, None))[0].camera.assumed


@pytest.mark.parametrize("where", [{"box": [20, 30, 60, 50]}, {"whole_image": True}, {}])
@pytest.mark.parametrize("side", ["left", "right", "auto"])
def test_mirroring_the_image_mirrors_the_result(side: str, where: dict[str, Any]) -> None:
    image = noise_image(1)
    width = image.shape[1]
    K = np.array([[150.0, 0, 70], [0, 155, 66], [0, 0, 1]])
    K_mirrored = K.copy()
    K_mirrored[0, 2] = width - 1 - K[0, 2]
    other = {"left": "right", "right": "left", "auto": "auto"}[side]
    where_mirrored = dict(where)
    if "box" in where:
        x, y, w, h = where["box"]
        where_mirrored["box"] = [width - 1 - x - w, y, w, h]
    estimator = HandPoseEstimator.from_generator(Pixels(), "pixels", detector=middle_box)
    hand = estimator(image, side=side, K=K, **where)[0]
    twin = estimator(np.ascontiguousarray(image[:, ::-1]), side=other, K=K_mirrored, **where_mirrored)[0]
    assert {hand.side, twin.side} == {"left", "right"}
    # Interpolation weights are quantised, hence not quite zero.
    np.testing.assert_allclose(twin.joints_px, hand.joints_px * [-1, 1] + [width - 1, 0], atol=0.3)
    np.testing.assert_allclose(twin.joints_rel_m, hand.joints_rel_m * [-1, 1, 1], atol=1e-3)
    np.testing.assert_allclose(twin.joints_cam_m, hand.joints_cam_m * [-1, 1, 1], atol=1e-2)
    assert twin.score == pytest.approx(hand.score, abs=1e-2)


def test_auto_keeps_the_likelier_side() -> None:
    estimator = HandPoseEstimator.from_generator(Pixels(), "pixels")
    for seed in range(4):
        image = noise_image(seed)
        auto, left, right = (estimator(image, whole_image=True, side=side)[0] for side in ("auto", "left", "right"))
        best = max(left, right, key=lambda hand: hand.score)
        assert auto.side == best.side
        np.testing.assert_allclose(auto.joints_px, best.joints_px, atol=1e-3)


def test_a_batch_equals_its_images_one_by_one(tmp_path: Path) -> None:
    estimator = HandPoseEstimator.from_generator(Pixels(), "pixels", detector=middle_box)
    images: list[Any] = [noise_image(1), noise_image(2, 90, 200), noise_image(3, 400, 300)]
    write_image(tmp_path / "photo.png", noise_image(4))
    images.append(tmp_path / "photo.png")
    together = estimator.predict_many(images)
    assert len(together) == len(images)
    for hands, image in zip(together, images):
        alone = estimator(image)
        np.testing.assert_allclose(hands[0].joints_px, alone[0].joints_px, atol=1e-2)
        np.testing.assert_allclose(hands[0].joints_rel_m, alone[0].joints_rel_m, atol=1e-4)
        assert hands[0].side == alone[0].side
    assert estimator.predict_many([]) == []


def test_both_sides_of_all_images_share_a_batch(
    make_scene: Callable[..., Any], make_oracle: Callable[..., Any]
) -> None:
    scene = make_scene(0)
    oracle = make_oracle(scene)
    HandPoseEstimator.from_generator(oracle, "oracle").predict_many([scene.image] * 3, whole_image=True)
    assert oracle.batches == [6]


def test_recropping_stops_when_the_crop_settles(
    make_scene: Callable[..., Any], make_oracle: Callable[..., Any]
) -> None:
    scene = make_scene(0, width=640, height=480)
    for boxes, batches in (([rough_box(scene.joints_px)], [1, 1]), ([hand_box(scene.joints_px)], [1])):
        oracle = make_oracle(scene)
        estimator = HandPoseEstimator.from_generator(oracle, "oracle", detector=lambda _, given=boxes: given)
        estimator(scene.image, K=scene.K, side="right")
        assert oracle.batches == batches  # the box, the joints; another crop would be the same again


@pytest.mark.parametrize("margin", [1.4, 2.5])
def test_crops_have_the_margin_of_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, margin: float) -> None:
    config = GeneratorConfig(
        image_size=32, backbone={"name": "resnet18", "width": 8}, refinement=None, crop_margin=margin
    )
    folder = save_generator(tmp_path / "net", Generator(config))
    estimator = HandPoseEstimator(folder)
    assert estimator.model == "net"
    assert estimator.crops.margin == margin
    views: list[CropView] = []
    estimate = estimator.crops.estimate
    monkeypatch.setattr(estimator.crops, "estimate", lambda given: views.extend(given) or estimate(given))
    estimator(noise_image(0), box=[60, 40, 40, 30])
    assert len(views) == 2
    for view in views:
        np.testing.assert_allclose(view.box, [80 - 20 * margin, 55 - 20 * margin, 40 * margin, 40 * margin])
    joints_px = np.random.default_rng(0).uniform([60, 40], [100, 80], (21, 2))
    extent = np.ptp(joints_px, axis=0).max()
    whole = replace(views[0], box=np.array([-0.5, -20.5, 160.0, 160.0]))
    recrop = Estimate(whole, 0.0, joints_px, np.zeros((21, 3)), np.zeros((21, 3))).recrop(estimator.crops.margin)
    assert recrop.box[2] == pytest.approx(max(extent * margin, MIN_RECROP_RATIO * 160))


def test_recropping_is_bounded_and_survives_a_useless_network() -> None:
    class Wandering(Pixels):
        def __init__(self, answer: float) -> None:
            super().__init__()
            self.answer, self.calls = answer, 0

        def forward(self, image: Tensor, K: Tensor, camera_known: Tensor | None = None) -> SimpleNamespace:
            self.calls += 1
            output = super().forward(image, K)
            output.joints_px = output.joints_px * 0.5 if self.answer == 0 else output.joints_px * self.answer
            return output

    for answer in (0.0, float("nan"), 1e9, -50.0):
        network = Wandering(answer)
        estimator = HandPoseEstimator.from_generator(network, "wandering", detector=middle_box)
        hands = estimator(noise_image(0, 640, 480), side="right")
        assert len(hands) == (0 if np.isnan(answer) else 1)
        assert network.calls <= 2
        if answer != 0:
            assert network.calls == 1  # nonsense is not recropped


def test_a_hand_behind_the_camera_has_no_absolute_position() -> None:
    class Behind(Pixels):
        def forward(self, image: Tensor, K: Tensor, camera_known: Tensor | None = None) -> SimpleNamespace:
            output = super().forward(image, K)
            output.joints_cam_m = -output.joints_cam_m
            return output

    (hand,) = HandPoseEstimator.from_generator(Behind(), "behind")(noise_image(0), whole_image=True)
    assert hand.joints_cam_m is None


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"box": [0, 0, 10, 10], "whole_image": True}, "box contradicts whole_image"),
        ({"box": [0, 0, 0, 10]}, "box: has no width or height"),
        ({"box": [0, 0, 10]}, "x, y, width, height"),
        ({"box": [160, 0, 10, 10]}, "outside"),
        ({"box": [0, float("nan"), 10, 10]}, "finite"),
        ({"side": "both"}, "side: input should be"),
        ({"focal_px": 500, "fov_deg": 60}, "focal_px contradicts fov_deg"),
        ({"K": np.eye(3), "fov_deg": 60}, "K contradicts fov_deg"),
        ({"fov_deg": 180}, "fov_deg: input should be less"),
        ({"focal_px": -3}, "focal_px: input should be greater"),
        ({"K": np.eye(2)}, "matrix"),
        ({"K": [[500, 3, 80], [0, 500, 60], [0, 0, 1]]}, "skew"),
    ],
)
def test_contradictions_are_refused(arguments: dict[str, Any], complaint: str) -> None:
    estimator = HandPoseEstimator.from_generator(Pixels(), "pixels")
    with pytest.raises(ValueError, match=complaint):
        estimator(noise_image(0), **arguments)


@pytest.mark.parametrize(
    "image", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8), [[1, 2]], None]
)
def test_only_rgb_bytes_are_images(image: Any) -> None:
    with pytest.raises(ValueError, match="image"):
        HandPoseEstimator.from_generator(Pixels(), "pixels")(image)


def test_bgr_arrays_and_pil_images_give_the_same_hand() -> None:
    estimator = HandPoseEstimator.from_generator(Pixels(), "pixels", detector=middle_box)
    image = noise_image(2)
    (hand,) = estimator(image, min_score=0.0)
    flipped = np.ascontiguousarray(image[..., ::-1])
    pil = pytest.importorskip("PIL.Image", reason="pip install pillow")
    same = [
        estimator(flipped, bgr=True, min_score=0.0)[0],
        estimator.predict_many([flipped], bgr=True, min_score=0.0)[0][0],
        estimator(pil.fromarray(image), min_score=0.0)[0],
        estimator(pil.fromarray(image).convert("RGBA"), bgr=True, min_score=0.0)[0],  # a PIL image knows its channels
        HandTracker(estimator, min_score=0.0)(flipped, 0.0, bgr=True)[0],
        HandTracker(estimator, min_score=0.0)(pil.fromarray(image), 0.0)[0],
    ]
    for other in same:
        np.testing.assert_allclose(other.joints_px, hand.joints_px, atol=1e-3)
    assert not np.allclose(estimator(flipped, min_score=0.0)[0].joints_px, hand.joints_px, atol=1e-3)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "I;16", "I", "CMYK", "1"])
def test_pil_images_are_seen_as_the_files_they_are_saved_to(tmp_path: Path, mode: str) -> None:
    pil = pytest.importorskip("PIL.Image", reason="pip install pillow")
    ramp = np.arange(64 * 48, dtype=np.uint8).reshape(48, 64)
    if mode.startswith("I"):
        image = pil.fromarray(ramp.astype(np.uint16) * 257).convert(mode)
    elif mode == "P":
        image = pil.fromarray(ramp).convert("P")
        image.info["transparency"] = 7
    else:
        image = pil.fromarray(np.dstack([ramp, ramp[::-1], ramp, ramp.T.reshape(48, 64)]), "RGBA").convert(mode)
    file = tmp_path / ("photo.tif" if mode == "CMYK" else "photo.png")
    saved = image.convert("I;16") if mode == "I" else image  # PNG has no 32 bits
    saved.save(file, **({"transparency": 7} if mode == "P" else {}))
    expected = np.asarray(image.convert("RGB")) if mode == "CMYK" else read_image(file)
    difference = as_photo(image).image.astype(int) - expected
    assert np.abs(difference).max() <= 1


def test_an_unreadable_file_and_a_missing_device_are_input_errors(tmp_path: Path) -> None:
    estimator = HandPoseEstimator.from_generator(Pixels(), "pixels")
    with pytest.raises(InputError, match="no such file"):
        estimator(tmp_path / "none.jpg")
    for device in ("gpu", "cuda:99"):
        with pytest.raises(InputError, match="cannot be used"):
            HandPoseEstimator.from_generator(Pixels(), "pixels", device=device)


def test_joints_found_too_close_together_do_not_draw_the_crop_in():
    image = np.zeros((100, 100, 3), np.uint8)
    joints_px = 50 + 8 * np.random.default_rng(0).random((21, 2))
    view = CropView(image, None, "right", np.array([-0.5, -0.5, 100.0, 100.0]))
    recrop = Estimate(view, 0.0, joints_px, np.zeros((21, 3)), np.zeros((21, 3))).recrop(CROP_MARGIN)
    assert recrop.box[2] == recrop.box[3] == MIN_RECROP_RATIO * 100
    middle = (joints_px.min(0) + joints_px.max(0)) / 2
    np.testing.assert_allclose(recrop.box[:2] + recrop.box[2:] / 2, middle, atol=1e-9)


@pytest.mark.parametrize("side", ["left", "right", "auto"])
@pytest.mark.parametrize("corner", [(0, 0), (300, 200), (540, 380), (30, 390), (555, 5)])
@pytest.mark.parametrize("size", [(640, 480), (480, 640), (640, 640)])
def test_a_small_hand_is_found_anywhere(
    short_sighted: Any, draw_square: Any, find_squares: Any, side: Any, corner: tuple[int, int], size: tuple[int, int]
) -> None:
    x, y = min(corner[0], size[0] - 80), min(corner[1], size[1] - 80)
    estimator = HandPoseEstimator.from_generator(short_sighted(), "short-sighted", detector=find_squares)
    (hand,) = estimator(draw_square(x, y, 80, *size), side=side)
    np.testing.assert_allclose(hand.box_px[:2] + hand.box_px[2:] / 2, [x + 39.5, y + 39.5], atol=12)
    assert hand.box_px[2:].max() == pytest.approx(80, rel=0.2)


@pytest.mark.parametrize("where", [{"whole_image": True}, {"box": [200, 150, 300, 200]}])
def test_a_given_box_is_the_only_crop(short_sighted: Any, draw_square: Any, where: dict[str, Any]) -> None:
    network = short_sighted()
    assert len(HandPoseEstimator.from_generator(network, "short-sighted")(draw_square(40, 40, 60), **where)) == 1
    assert network.batches == [2]


def test_the_score_falls_as_uncertainty_rises(short_sighted: Any, draw_square: Any) -> None:
    estimators = [
        HandPoseEstimator.from_generator(short_sighted(unsure), "unsure") for unsure in (None, 0.04, 0.1, 0.4)
    ]
    scores = [estimator(draw_square(40, 40, 40), whole_image=True)[0].score for estimator in estimators]
    assert scores == [0.5, 0.5, pytest.approx(0.5 * MAX_UNCERTAINTY / 0.1), pytest.approx(0.5 * MAX_UNCERTAINTY / 0.4)]


def test_hands_below_min_score_are_left_out(short_sighted: Any, draw_square: Any) -> None:
    estimator = HandPoseEstimator.from_generator(short_sighted(), "short-sighted")
    empty, hand = np.zeros((480, 640, 3), np.uint8), draw_square(200, 150, 200)
    found = estimator.predict_many([empty, hand], whole_image=True, min_score=0.4)
    assert [len(hands) for hands in found] == [0, 1]
    with pytest.raises(ValueError, match="min_score"):
        estimator(hand, min_score=1.1)


THREE = [(40, 30, 80), (300, 210, 100), (520, 60, 70)]


def drawn_together(draw_square: Any, places: list[tuple[int, int, int]]) -> np.ndarray:
    return np.max([draw_square(*place) for place in places], axis=0)


def middles(hands: list[Any]) -> np.ndarray:
    return np.array(sorted((hand.box_px[:2] + hand.box_px[2:] / 2).tolist() for hand in hands))


@pytest.mark.parametrize("places", [THREE, THREE[:2], THREE[2:], []])
@pytest.mark.parametrize("side", ["auto", "left"])
def test_each_hand_of_an_image_is_found_once(
    each_square: Any, draw_square: Any, find_squares: Any, places: list[tuple[int, int, int]], side: Any
) -> None:
    image = drawn_together(draw_square, [(0, 0, 0), *places])
    estimator = HandPoseEstimator.from_generator(
        each_square(), "each square", detector=lambda image: 2 * find_squares(image)
    )
    hands = estimator(image, side=side, max_hands=5)
    assert len(hands) == len(places)
    if places:
        np.testing.assert_allclose(middles(hands), [[x + (s - 1) / 2, y + (s - 1) / 2] for x, y, s in places], atol=12)


def test_no_more_hands_are_found_than_asked_for_and_the_surest(
    each_square: Any, draw_square: Any, find_squares: Any
) -> None:
    image = drawn_together(draw_square, THREE)
    image[210:310, 300:400] = 200

    def unsure(image: np.ndarray) -> list[Detection]:
        return [replace(one, score=0.6, is_candidate=True) for one in find_squares(image)]

    find = HandPoseEstimator.from_generator(each_square(), "each square", detector=unsure)
    hands = find(image, max_hands=2)
    assert len(hands) == 2
    assert [hand.score for hand in hands] == sorted((hand.score for hand in hands), reverse=True)
    np.testing.assert_allclose(middles(hands), [[79.5, 69.5], [554.5, 94.5]], atol=12)
    assert len(find(image, max_hands=3)) == 3
    surest = hands[0].score
    assert len(find(image, max_hands=3, min_score=(surest + find(image, max_hands=3)[2].score) / 2)) == 2


@pytest.mark.parametrize("where", [{"whole_image": True}, {"box": [200, 150, 300, 200]}, {}])
def test_max_hands_contradicts_a_given_place_and_is_at_least_one(
    short_sighted: Any, draw_square: Any, where: dict[str, Any]
) -> None:
    estimator = HandPoseEstimator.from_generator(short_sighted(), "short-sighted")
    with pytest.raises(ValueError, match="max_hands"):
        estimator(draw_square(40, 40, 60), max_hands=2 if where else 0, **where)
    with pytest.raises(ValueError, match="max_hands"):
        HandTracker(estimator, max_hands=2 if where else 0, **where)


@pytest.mark.parametrize(
    "module", ["graphhand.inference", "graphhand.web", "graphhand.cli.predict", "graphhand.visualize"]
)
def test_prediction_imports_torch_only_to_run_it(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
