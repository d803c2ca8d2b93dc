"""A hand too small to be seen at a look at the whole picture is found in a window of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graphhand.inference import HandPoseEstimator
from graphhand.inference.estimator import CANDIDATES, DECIDED, MAX_RECROPS, SEARCHED_ABOVE, SURER
from graphhand.inference.looks import UNSURE


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


def test_who_is_sure_searches_nothing(short_sighted: Any, draw_square: Any) -> None:
    network = short_sighted()
    estimate(network, draw_square(200, 150, 200), side="right")
    assert sum(network.looks) <= 1 + MAX_RECROPS


@pytest.mark.parametrize("truth", ["left", "right"])
@pytest.mark.parametrize(("gap", "closer"), [(1.2 * DECIDED, 1), (0.8 * DECIDED, 2)])
def test_a_side_that_is_out_of_the_question_is_not_looked_at_again(
    short_sighted: Any, draw_square: Any, monkeypatch: pytest.MonkeyPatch, truth: str, gap: float, closer: int
) -> None:
    estimator = HandPoseEstimator.from_generator(short_sighted(), "short-sighted")
    looked: list[list[str]] = []
    look = estimator.look

    def sure(groups: Any) -> Any:
        looked.append([one.side for group in groups for one in group])
        half = gap / 2
        return [[replace(e, right_logit=half if e.look.side == truth else -half) for e in g] for g in look(groups)]

    monkeypatch.setattr(estimator, "look", sure)
    (hand,) = estimator(draw_square(200, 150, 200))
    assert hand.side == truth
    assert sorted(looked[0]) == ["left", "right"]
    assert len(looked[1]) == closer
    assert truth in looked[1]


@pytest.mark.parametrize("where", [{"whole_image": True}, {"box": [200, 150, 300, 200]}])
def test_a_given_place_is_not_left(short_sighted: Any, draw_square: Any, where: dict[str, Any]) -> None:
    network = short_sighted()
    estimate(network, draw_square(40, 40, 60), **where)
    assert network.looks == [2]


def test_a_network_that_cannot_say_how_sure_it_is_searches_nothing(short_sighted: Any, draw_square: Any) -> None:
    network = short_sighted(unsure=None)
    estimate(network, draw_square(40, 40, 60), side="right")
    assert sum(network.looks) <= 1 + MAX_RECROPS


@pytest.mark.parametrize("side", [60, 0])
def test_a_search_that_finds_nothing_surer_changes_nothing(short_sighted: Any, draw_square: Any, side: int) -> None:
    image = draw_square(40, 40, side)
    doubtful = SEARCHED_ABOVE * 1.2
    assert doubtful * SURER > 0.01  # a find would count

    class Doubtful(short_sighted):  # type: ignore[misc, valid-type]
        def _find(self, picture: np.ndarray) -> tuple[np.ndarray, float | None]:
            joints, _ = super()._find(picture)
            return joints, doubtful

    network, blind = Doubtful(), short_sighted(unsure=None)
    np.testing.assert_array_equal(estimate(network, image), estimate(blind, image))
    assert network.looks[-1] <= 2 * CANDIDATES
    assert sum(network.looks) > 2 + 2 * MAX_RECROPS  # it did search


def test_the_score_falls_as_the_spread_rises(short_sighted: Any, draw_square: Any) -> None:
    estimates = [HandPoseEstimator.from_generator(short_sighted(unsure), "unsure") for unsure in (None, 0.04, 0.1, 0.4)]
    scores = [estimator(draw_square(40, 40, 40), whole_image=True)[0].score for estimator in estimates]
    assert scores == [0.5, 0.5, pytest.approx(0.5 * UNSURE / 0.1), pytest.approx(0.5 * UNSURE / 0.4)]


def test_what_scores_too_little_is_no_hand(short_sighted: Any, draw_square: Any) -> None:
    estimator = HandPoseEstimator.from_generator(short_sighted(), "short-sighted")
    empty, hand = np.zeros((480, 640, 3), np.uint8), draw_square(200, 150, 200)
    assert [len(hands) for hands in estimator.predict_many([empty, hand], min_score=0.4)] == [0, 1]
    with pytest.raises(ValueError, match="min_score"):
        estimator(hand, min_score=1.1)


def test_many_pictures_are_searched_as_single_ones_are(short_sighted: Any, draw_square: Any) -> None:
    pictures = [draw_square(500, 60, 80), draw_square(200, 150, 200), draw_square(0, 300, 90)]
    estimator = HandPoseEstimator.from_generator(short_sighted(), "short-sighted")
    for image, (hand,) in zip(pictures, estimator.predict_many(pictures)):
        np.testing.assert_array_equal(hand.joints_px, estimator(image)[0].joints_px)
