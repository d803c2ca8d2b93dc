"""A hand too small to be seen at a look at the whole picture is found in a window of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from graphhand.geometry import CROP_MARGIN
from graphhand.inference import HandPoseEstimator
from graphhand.inference.estimator import CANDIDATES, MAX_RECROPS, SURER, UNSURE

PATCH = np.random.default_rng(0).uniform(-0.5, 0.5, (21, 2))
PATCH = PATCH / np.ptp(PATCH, axis=0).max()
PATCH -= (PATCH.min(0) + PATCH.max(0)) / 2


class ShortSighted(nn.Module):
    """Finds the white square of a black picture, but only where it is a quarter of the crop wide; and says how surely.

    Else it puts everything into the crop's middle. Of sides it knows nothing.
    """

    def __init__(self, unsure: float | None = 0.4) -> None:
        super().__init__()
        self.config = SimpleNamespace(image_size=64, crop_margin=CROP_MARGIN)
        self.unsure = unsure
        self.looks: list[int] = []

    def forward(self, image: Tensor, K: Tensor, camera_known: Tensor | None = None) -> SimpleNamespace:
        self.looks.append(len(image))
        found, spread = zip(*(self._find(picture.numpy()) for picture in image.mean(1)))
        joints = torch.zeros(len(image), 21, 3)
        return SimpleNamespace(
            joints_m=joints,
            joints_cam_m=joints + 1.0,
            joints_px=torch.tensor(np.stack(found), dtype=torch.float32),
            right_logit=torch.zeros(len(image)),
            spread=None if self.unsure is None else torch.tensor(spread),
        )

    def _find(self, picture: np.ndarray) -> tuple[np.ndarray, float | None]:
        v, u = np.nonzero(picture > 0.5)
        side = np.sqrt(len(u))
        if side < 16:
            return 31.5 + 10 * PATCH, self.unsure
        return np.array([u.mean(), v.mean()]) + side * PATCH, 0.01


def picture(x: int, y: int, side: int, width: int = 640, height: int = 480) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[y : y + side, x : x + side] = 255
    return image


def estimate(network: nn.Module, image: np.ndarray, **arguments: Any) -> np.ndarray:
    (hand,) = HandPoseEstimator.from_generator(network, "short-sighted")(image, **arguments)
    return hand.joints_px


@pytest.mark.parametrize("side", ["left", "right", "auto"])
@pytest.mark.parametrize("corner", [(0, 0), (300, 200), (540, 380), (30, 390), (555, 5)])
@pytest.mark.parametrize("size", [(640, 480), (480, 640), (640, 640)])
def test_a_small_hand_is_found_anywhere(side: str, corner: tuple[int, int], size: tuple[int, int]) -> None:
    x, y = min(corner[0], size[0] - 80), min(corner[1], size[1] - 80)
    found = estimate(ShortSighted(), picture(x, y, 80, *size), side=side)
    low, high = found.min(0), found.max(0)
    middle = (low + high) / 2
    np.testing.assert_allclose(middle, [x + 39.5, y + 39.5], atol=12)
    assert np.ptp(found, axis=0).max() == pytest.approx(80, rel=0.2)


def test_who_is_sure_searches_nothing() -> None:
    network = ShortSighted()
    estimate(network, picture(200, 150, 200), side="right")
    assert sum(network.looks) <= 1 + MAX_RECROPS


@pytest.mark.parametrize("where", [{"whole_image": True}, {"box": [200, 150, 300, 200]}])
def test_a_given_place_is_not_left(where: dict[str, Any]) -> None:
    network = ShortSighted()
    estimate(network, picture(40, 40, 60), **where)
    assert network.looks == [2]


def test_a_network_that_cannot_say_how_sure_it_is_searches_nothing() -> None:
    network = ShortSighted(unsure=None)
    estimate(network, picture(40, 40, 60), side="right")
    assert sum(network.looks) <= 1 + MAX_RECROPS


@pytest.mark.parametrize("image", [picture(40, 40, 60), np.zeros((480, 640, 3), np.uint8)])
def test_a_search_that_finds_nothing_surer_changes_nothing(image: np.ndarray) -> None:
    doubtful = UNSURE * 1.2
    assert doubtful * SURER > 0.01  # a find would count

    class Doubtful(ShortSighted):
        def _find(self, picture: np.ndarray) -> tuple[np.ndarray, float | None]:
            joints, _ = super()._find(picture)
            return joints, doubtful

    network, blind = Doubtful(), ShortSighted(unsure=None)
    np.testing.assert_array_equal(estimate(network, image), estimate(blind, image))
    assert network.looks[-1] <= 2 * CANDIDATES
    assert sum(network.looks) > 2 + 2 * MAX_RECROPS  # it did search


def test_the_score_falls_as_the_spread_rises() -> None:
    estimates = [HandPoseEstimator.from_generator(ShortSighted(unsure), "unsure") for unsure in (None, 0.04, 0.1, 0.4)]
    scores = [estimator(picture(40, 40, 40), whole_image=True)[0].score for estimator in estimates]
    assert scores == [0.5, 0.5, pytest.approx(0.5 * UNSURE / 0.1), pytest.approx(0.5 * UNSURE / 0.4)]


def test_what_scores_too_little_is_no_hand() -> None:
    estimator = HandPoseEstimator.from_generator(ShortSighted(), "short-sighted")
    empty, hand = np.zeros((480, 640, 3), np.uint8), picture(200, 150, 200)
    assert [len(hands) for hands in estimator.predict_many([empty, hand], min_score=0.4)] == [0, 1]
    with pytest.raises(ValueError, match="min_score"):
        estimator(hand, min_score=1.1)


def test_many_pictures_are_searched_as_single_ones_are() -> None:
    pictures = [picture(500, 60, 80), picture(200, 150, 200), picture(0, 300, 90)]
    estimator = HandPoseEstimator.from_generator(ShortSighted(), "short-sighted")
    for image, (hand,) in zip(pictures, estimator.predict_many(pictures)):
        np.testing.assert_array_equal(hand.joints_px, estimator(image)[0].joints_px)
