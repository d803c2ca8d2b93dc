"""Boxes: recrops hold the hand, and estimates that make no sense are not recropped."""

from __future__ import annotations

import numpy as np
import pytest

from graphhand.geometry import CROP_MARGIN
from graphhand.geometry.boxes import intersection_over_smaller, iou
from graphhand.inference.crops import recrop_box


def test_a_recrop_holds_all_joints() -> None:
    joints = np.random.default_rng(0).uniform([100, 50], [180, 210], (21, 2))
    box = recrop_box(joints, 320, 240)
    assert box is not None
    assert (joints > box[:2]).all()
    assert (joints < box[:2] + box[2:]).all()
    assert box[2] == pytest.approx(np.ptp(joints, axis=0).max() * CROP_MARGIN)


@pytest.mark.parametrize("change", ["nan", "outside", "tiny", "huge"])
def test_estimates_that_make_no_sense_are_not_recropped(change: str) -> None:
    joints = np.random.default_rng(0).uniform([100, 50], [180, 210], (21, 2))
    broken = {
        "nan": np.where(np.arange(21)[:, None] == 3, np.nan, joints),
        "outside": joints + np.array([320, 0]),
        "tiny": joints / 1000 + 100,
        "huge": joints * 20 - 2500,
    }[change]
    assert recrop_box(joints, 320, 240) is not None
    assert recrop_box(broken, 320, 240) is None


def test_iou_is_intersection_over_union() -> None:
    assert iou([0, 0, 10, 10], [0, 0, 10, 10]) == 1
    assert iou([0, 0, 10, 10], [5, 0, 10, 10]) == pytest.approx(1 / 3)
    assert iou([0, 0, 10, 10], [20, 0, 10, 10]) == 0


def test_intersection_over_smaller_is_one_for_a_part_of_a_box() -> None:
    whole, part, beside = [0, 0, 10, 10], [2, 3, 4, 5], [8, 0, 4, 10]
    assert intersection_over_smaller(whole, part) == intersection_over_smaller(part, whole) == 1
    assert intersection_over_smaller(whole, beside) == pytest.approx(0.5)
    assert intersection_over_smaller(part, beside) == 0
