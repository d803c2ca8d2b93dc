"""A hand too small for the crop of the whole image is found in a window of it; several are found at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graphhand.inference import HandPoseEstimator, HandTracker
from graphhand.inference.crops import MAX_UNCERTAINTY, CropView, Estimate
from graphhand.inference.window_search import (
    CANDIDATES,
    MAX_RECROPS,
    MIN_GAIN,
    SEARCH_UNCERTAINTY,
    SIDE_LOGIT_MARGIN,
    drop_merged_hands,
    non_maximum_suppression,
)
from graphhand.types import Camera


def estimate(network: Any, image: np.ndarray, **arguments: Any) -> np.ndarray:
    (hand,) = HandPoseEstimator.from_generator(network, "short-sighted")(image, **arguments)
    return hand.joints_px


@pytest.mark.parametrize("side", ["left", "right", "auto"])
@pytest.mark.parametrize("corner", [(0, 0), (300, 200), (540, 380), (30, 390), (555, 5)])
@pytest.mark.parametrize("size", [(640, 480), (480, 640), (640, 640)])
def test_a_small_hand_is_found_anywhere(
    short_sighted: Any, draw_square: Any, side: str, corner: tuple[int, int], size: tuple[int, int]
) -> None:
    x, y = min(corner[0], size[0] - 80), min(corner[1], size[1] - 80)
    found = estimate(short_sighted(), draw_square(x, y, 80, *size), side=side)
    low, high = found.min(0), found.max(0)
    middle = (low + high) / 2
    np.testing.assert_allclose(middle, [x + 39.5, y + 39.5], atol=12)
    assert np.ptp(found, axis=0).max() == pytest.approx(80, rel=0.2)


def test_no_windows_are_searched_below_the_uncertainty_limit(short_sighted: Any, draw_square: Any) -> None:
    network = short_sighted()
    estimate(network, draw_square(200, 150, 200), side="right")
    assert sum(network.batches) <= 1 + MAX_RECROPS


@pytest.mark.parametrize("truth", ["left", "right"])
@pytest.mark.parametrize(("gap", "recrops"), [(1.2 * SIDE_LOGIT_MARGIN, 1), (0.8 * SIDE_LOGIT_MARGIN, 2)])
def test_an_unlikely_side_is_not_recropped(
    short_sighted: Any, draw_square: Any, monkeypatch: pytest.MonkeyPatch, truth: str, gap: float, recrops: int
) -> None:
    estimator = HandPoseEstimator.from_generator(short_sighted(), "short-sighted")
    estimated: list[list[str]] = []
    estimate = estimator.crops.estimate

    def decided(views: Any) -> Any:
        estimated.append([view.side for view in views])
        half = gap / 2
        return [replace(e, handedness_logit=half if e.view.side == truth else -half) for e in estimate(views)]

    monkeypatch.setattr(estimator.crops, "estimate", decided)
    (hand,) = estimator(draw_square(200, 150, 200))
    assert hand.side == truth
    assert sorted(estimated[0]) == ["left", "right"]
    assert len(estimated[1]) == recrops
    assert truth in estimated[1]


@pytest.mark.parametrize("where", [{"whole_image": True}, {"box": [200, 150, 300, 200]}])
def test_a_given_box_is_the_only_crop(short_sighted: Any, draw_square: Any, where: dict[str, Any]) -> None:
    network = short_sighted()
    estimate(network, draw_square(40, 40, 60), **where)
    assert network.batches == [2]


def test_a_network_without_heatmaps_searches_no_windows(short_sighted: Any, draw_square: Any) -> None:
    network = short_sighted(unsure=None)
    estimate(network, draw_square(40, 40, 60), side="right")
    assert sum(network.batches) <= 1 + MAX_RECROPS


@pytest.mark.parametrize("side", [60, 0])
def test_a_search_without_enough_gain_changes_nothing(short_sighted: Any, draw_square: Any, side: int) -> None:
    image = draw_square(40, 40, side)
    doubtful = SEARCH_UNCERTAINTY * 1.2
    assert doubtful > 0.01 * MIN_GAIN  # a find would count

    class Doubtful(short_sighted):  # type: ignore[misc, valid-type]
        def _find(self, photo: np.ndarray) -> tuple[np.ndarray, float | None]:
            joints, _ = super()._find(photo)
            return joints, doubtful

    network, blind = Doubtful(), short_sighted(unsure=None)
    np.testing.assert_array_equal(estimate(network, image), estimate(blind, image))
    assert network.batches[-1] <= 2 * CANDIDATES
    assert sum(network.batches) > 2 + 2 * MAX_RECROPS  # it did search


def test_the_score_falls_as_uncertainty_rises(short_sighted: Any, draw_square: Any) -> None:
    estimates = [HandPoseEstimator.from_generator(short_sighted(unsure), "unsure") for unsure in (None, 0.04, 0.1, 0.4)]
    scores = [estimator(draw_square(40, 40, 40), whole_image=True)[0].score for estimator in estimates]
    assert scores == [0.5, 0.5, pytest.approx(0.5 * MAX_UNCERTAINTY / 0.1), pytest.approx(0.5 * MAX_UNCERTAINTY / 0.4)]


def test_hands_below_min_score_are_left_out(short_sighted: Any, draw_square: Any) -> None:
    estimator = HandPoseEstimator.from_generator(short_sighted(), "short-sighted")
    empty, hand = np.zeros((480, 640, 3), np.uint8), draw_square(200, 150, 200)
    assert [len(hands) for hands in estimator.predict_many([empty, hand], min_score=0.4)] == [0, 1]
    with pytest.raises(ValueError, match="min_score"):
        estimator(hand, min_score=1.1)


def test_many_images_are_searched_as_single_ones_are(short_sighted: Any, draw_square: Any) -> None:
    images = [draw_square(500, 60, 80), draw_square(200, 150, 200), draw_square(0, 300, 90)]
    estimator = HandPoseEstimator.from_generator(short_sighted(), "short-sighted")
    for image, (hand,) in zip(images, estimator.predict_many(images)):
        np.testing.assert_array_equal(hand.joints_px, estimator(image)[0].joints_px)


THREE = [(40, 30, 80), (300, 210, 100), (520, 60, 70)]


def drawn_together(draw_square: Any, places: list[tuple[int, int, int]]) -> np.ndarray:
    return np.max([draw_square(*place) for place in places], axis=0)


def middles(hands: list[Any]) -> np.ndarray:
    return np.array(sorted((hand.box_px[:2] + hand.box_px[2:] / 2).tolist() for hand in hands))


@pytest.mark.parametrize("places", [THREE, THREE[:2], THREE[2:], []])
@pytest.mark.parametrize("side", ["auto", "left"])
def test_each_hand_of_an_image_is_found_once(
    each_square: Any, draw_square: Any, places: list[tuple[int, int, int]], side: str
) -> None:
    image = drawn_together(draw_square, [(0, 0, 0), *places])
    hands = HandPoseEstimator.from_generator(each_square(), "each square")(image, side=side, max_hands=5)
    assert len(hands) == len(places)
    if places:
        np.testing.assert_allclose(middles(hands), [[x + (s - 1) / 2, y + (s - 1) / 2] for x, y, s in places], atol=12)


def test_no_more_hands_are_found_than_asked_for_and_the_surest(each_square: Any, draw_square: Any) -> None:
    image = drawn_together(draw_square, THREE)
    image[210:310, 300:400] = 200
    find = HandPoseEstimator.from_generator(each_square(), "each square")
    hands = find(image, max_hands=2)
    assert len(hands) == 2
    assert [hand.score for hand in hands] == sorted((hand.score for hand in hands), reverse=True)
    np.testing.assert_allclose(middles(hands), [[79.5, 69.5], [554.5, 94.5]], atol=12)
    assert len(find(image, max_hands=3)) == 3
    surest = hands[0].score
    assert len(find(image, max_hands=3, min_score=(surest + find(image, max_hands=3)[2].score) / 2)) == 2


def test_non_maximum_suppression_keeps_one_of_a_hand_and_its_part() -> None:
    whole, part, other = (estimate_over(*box) for box in ((0, 0, 100, 100), (10, 5, 40, 30), (70, 0, 80, 80)))
    surest = replace(part, handedness_logit=3.0)
    assert non_maximum_suppression([whole, surest, other]) == [surest, other]
    assert non_maximum_suppression([part, whole]) == [part]  # as sure: the first
    assert non_maximum_suppression([]) == []


def test_a_hand_merged_from_the_joints_of_two_is_dropped() -> None:
    upper, lower = (estimate_over(*box) for box in ((0, 0, 60, 60), (0, 120, 60, 60)))
    between = estimate_over(5, 5, 50, 170)
    assert drop_merged_hands([upper, lower, between]) == [upper, lower]
    beside = estimate_over(5, 5, 80, 170)
    assert drop_merged_hands([upper, lower, beside]) == [upper, lower, beside]
    assert drop_merged_hands([]) == []


@pytest.mark.parametrize("where", [{"whole_image": True}, {"box": [200, 150, 300, 200]}, {}])
def test_max_hands_contradicts_a_given_place_and_is_at_least_one(
    short_sighted: Any, draw_square: Any, where: dict[str, Any]
) -> None:
    estimator = HandPoseEstimator.from_generator(short_sighted(), "short-sighted")
    with pytest.raises(ValueError, match="max_hands"):
        estimator(draw_square(40, 40, 60), max_hands=2 if where else 0, **where)
    with pytest.raises(ValueError, match="max_hands"):
        HandTracker(estimator, max_hands=2 if where else 0, **where)


def estimate_over(x: float, y: float, width: float, height: float) -> Estimate:
    """Of a hand whose joints fill a box."""
    image = np.zeros((200, 200, 3), np.uint8)
    view = CropView(image, Camera.of_image(200, 200), "right", np.array([0.0, 0, 200, 200]))
    corners = np.array([[x, y], [x + width, y + height]])
    return Estimate(view, 1.0, np.resize(corners, (21, 2)), np.zeros((21, 3)), np.ones((21, 3)), 0.01)
