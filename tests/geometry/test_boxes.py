"""Boxes: overlaps agree with counting pixels, suppression keeps the best, and grids decode into their peaks."""

from __future__ import annotations

import numpy as np
import pytest

from graphhand.geometry.boxes import decode_grid, intersections, pairwise_iou, pairwise_over_smaller, suppress


def random_boxes(seed: int, count: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.integers(0, 20, (count, 2)), rng.integers(1, 15, (count, 2))], axis=1).astype(float)


def covered(box: np.ndarray) -> np.ndarray:
    """The pixels of a box of whole numbers."""
    x, y, width, height = box.astype(int)
    mask = np.zeros((40, 40), dtype=bool)
    mask[y : y + height, x : x + width] = True
    return mask


@pytest.mark.parametrize("seed", range(3))
def test_overlaps_agree_with_counted_pixels(seed: int) -> None:
    a, b = random_boxes(seed), random_boxes(seed + 10)
    shared, _, _ = intersections(a, b)
    overlap, inside = pairwise_iou(a, b), pairwise_over_smaller(a, b)
    for i, first in enumerate(map(covered, a)):
        for j, second in enumerate(map(covered, b)):
            both = (first & second).sum()
            assert shared[i, j] == both
            assert overlap[i, j] == pytest.approx(both / (first | second).sum())
            assert inside[i, j] == pytest.approx(both / min(first.sum(), second.sum()))


@pytest.mark.parametrize("seed", range(3))
def test_suppressed_boxes_overlap_a_better_one_and_kept_ones_none(seed: int) -> None:
    boxes, scores = random_boxes(seed, 30), np.random.default_rng(seed).random(30)
    kept = suppress(boxes, scores, 0.3, 0.7).tolist()
    assert kept == sorted(kept, key=lambda i: -scores[i])
    overlap, inside = pairwise_iou(boxes, boxes), pairwise_over_smaller(boxes, boxes)
    for i in range(30):
        better = [k for k in kept if scores[k] > scores[i] and (overlap[i, k] > 0.3 or inside[i, k] > 0.7)]
        assert (i in kept) == (not better)


def test_a_grid_gives_each_peak_as_a_box() -> None:
    grid = np.zeros((6, 8, 12))
    grid[0, 2, 3], grid[0, 6, 9] = 0.9, 0.5
    grid[0, 2, 4] = 0.8  # beside a higher peak: none
    grid[1:5, 2, 3], grid[1:5, 6, 9] = [3, 5, 7, 9], [10, 20, 30, 40]
    grid[5, 2, 3], grid[5, 6, 9] = 2.0, -1.0
    boxes, scores, logits = decode_grid(grid, stride=4, least_score=0.1)
    u, v = 3 * 4 + 1.5, 2 * 4 + 1.5
    np.testing.assert_allclose(boxes[0], [u - 3, v - 5, 10, 14])
    np.testing.assert_allclose(boxes[1, 2:], [40, 60])
    assert scores.tolist() == [0.9, 0.5]
    assert logits.tolist() == [2.0, -1.0]
    assert len(decode_grid(grid, 4, least_score=0.6)[0]) == 1
    assert len(decode_grid(grid, 4, least_score=0.1, most=1)[0]) == 1
