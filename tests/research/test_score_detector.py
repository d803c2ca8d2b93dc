"""The counts that choose a detector."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "research" / "weights"
if not SCRIPTS.is_dir():
    pytest.skip("no research/ here (an installed copy)", allow_module_level=True)
sys.path.insert(0, str(SCRIPTS))

from score_detector import found_hands, lies_in, lowest_score  # noqa: E402

HAND = [100.0, 100.0, 40.0, 60.0]


@pytest.mark.parametrize(
    ("box", "finds"),
    [
        (HAND, True),
        ([120.0, 120, 20, 25], True),  # five twelfths as long
        ([115.0, 120, 10, 23], False),
        ([50.0, 60, 140, 140], True),
        ([40.0, 50, 160, 160], False),
        ([129.0, 100, 40, 60], True),
        ([131.0, 100, 40, 60], False),
        ([100.0, 100, 0, 0], False),
    ],
)
def test_a_box_finds_a_hand_near_its_middle_and_about_as_long(box: list[float], finds: bool) -> None:
    assert found_hands(np.array([box]), np.array([HAND])).tolist() == [finds]


def test_a_hand_is_found_once_by_the_closest_box() -> None:
    boxes = np.array([[110.0, 100, 40, 60], HAND, [300.0, 300, 40, 60]])
    assert found_hands(boxes, np.array([HAND])).tolist() == [False, True, False]
    assert found_hands(boxes, np.array([HAND, [112.0, 100, 40, 60]])).tolist() == [True, True, False]
    assert found_hands(boxes, np.zeros((0, 4))).tolist() == [False, False, False]
    assert found_hands(np.zeros((0, 4)), np.array([HAND])).tolist() == []


def test_a_box_whose_middle_lies_in_an_ignored_region_is_excused() -> None:
    regions = np.array([[0.0, 0, 20, 20], HAND])
    assert lies_in(np.array([135.0, 155, 8, 8]), regions)
    assert not lies_in(np.array([137.0, 155, 8, 8]), regions)
    assert not lies_in(np.array(HAND), np.zeros((0, 4)))


@pytest.mark.parametrize("precision", [0.5, 0.8, 0.97, 1.0])
def test_the_lowest_score_of_a_precision_agrees_with_trying_each(precision: float) -> None:
    rng = np.random.default_rng(0)
    scores = rng.permutation(60).astype(float)
    is_hand = rng.random(60) < scores / 60
    enough = [t for t in scores if is_hand[scores >= t].mean() >= precision]
    assert lowest_score(scores, is_hand, precision) == min(enough, default=np.inf)


def test_without_hands_no_score_is_precise() -> None:
    assert lowest_score(np.arange(4.0), np.zeros(4, dtype=bool), 0.9) == np.inf
