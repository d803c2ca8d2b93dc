"""Overlap of boxes, and non-maximum suppression. Boxes are x, y, width, height; NumPy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from graphhand.types import FloatArray, IntArray

MOST_BOXES = 100
"""Boxes of a grid at most."""


def intersections(a: ArrayLike, b: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Areas of the intersections ``(N, M)`` of two sets of boxes, and of the boxes themselves, ``(N, 1)``, ``(1, M)``.

    Args:
        a: ``(N, 4)``.
        b: ``(M, 4)``.
    """
    first = np.asarray(a, dtype=np.float64).reshape(-1, 1, 4)
    second = np.asarray(b, dtype=np.float64).reshape(1, -1, 4)
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    shared = np.clip(high - low, 0.0, None).prod(axis=-1)
    return shared, first[..., 2:].prod(axis=-1), second[..., 2:].prod(axis=-1)


def pairwise_iou(a: ArrayLike, b: ArrayLike) -> FloatArray:
    """Intersection over union ``(N, M)`` of two sets of boxes ``(N, 4)`` and ``(M, 4)``, in [0, 1]."""
    shared, of_a, of_b = intersections(a, b)
    return np.asarray(shared / np.maximum(of_a + of_b - shared, 1e-9))


def pairwise_over_smaller(a: ArrayLike, b: ArrayLike) -> FloatArray:
    """Intersection over the smaller box ``(N, M)``: 1 where one lies in the other, as a part of a hand in the hand."""
    shared, of_a, of_b = intersections(a, b)
    return np.asarray(shared / np.maximum(np.minimum(of_a, of_b), 1e-9))


def iou(a: ArrayLike, b: ArrayLike) -> float:
    """Intersection over union of two boxes (4,), in [0, 1]."""
    return float(pairwise_iou(a, b)[0, 0])


def intersection_over_smaller(a: ArrayLike, b: ArrayLike) -> float:
    """Area of the intersection of two boxes (4,) over that of the smaller one, in [0, 1]."""
    return float(pairwise_over_smaller(a, b)[0, 0])


def suppress(boxes: ArrayLike, scores: ArrayLike, most_iou: float, most_inside: float = 1.0) -> IntArray:
    """Greedy non-maximum suppression.

    Args:
        boxes: ``(N, 4)``.
        scores: ``(N,)``.
        most_iou: IoU with a better box, above which a box is dropped.
        most_inside: share of the smaller of both boxes, above which the worse is dropped.

    Returns:
        Indices of the boxes kept, best first.
    """
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    given = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    overlap, inside = pairwise_iou(given, given), pairwise_over_smaller(given, given)
    kept: list[int] = []
    for index in order.tolist():
        if all(overlap[index, k] <= most_iou and inside[index, k] <= most_inside for k in kept):
            kept.append(index)
    return np.array(kept, dtype=np.int64)


def letterbox_scale(width: int, height: int, size: int) -> float:
    """Of an image whose longer side a detector sees at ``size`` at most; smaller ones are not enlarged."""
    return min(1.0, size / max(width, height))


def decode_grid(
    grid: ArrayLike, stride: int, least_score: float, most: int = MOST_BOXES
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The boxes of a detector's grid, best first: cells whose score is not below any of their eight neighbours'.

    Args:
        grid: ``(6, h, w)`` score, distances to the left, top, right, bottom edge in pixels, logit of a right hand.
        stride: side of a cell, pixels.
        least_score: of a box.
        most: boxes at most.

    Returns:
        ``(N, 4)`` boxes in pixels, ``(N,)`` scores, ``(N,)`` logits of a right hand.
    """
    cells = np.asarray(grid, dtype=np.float64)
    scores = cells[0]
    padded = np.pad(scores, 1, constant_values=-np.inf)
    height, width = scores.shape
    neighbours = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    rows, columns = np.nonzero((scores >= least_score) & (scores >= np.max(neighbours, axis=0)))
    order = np.argsort(-scores[rows, columns], kind="stable")[:most]
    rows, columns = rows[order], columns[order]
    left, top, right, bottom = cells[1:5, rows, columns]
    u, v = columns * stride + (stride - 1) / 2, rows * stride + (stride - 1) / 2
    boxes = np.stack([u - left, v - top, left + right, top + bottom], axis=1)
    return boxes, scores[rows, columns], cells[5, rows, columns]
