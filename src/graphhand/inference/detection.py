"""Finding hands in an image of unknown content: one that is taken to be there, or as many as there are.

The network itself is the detector. It looks at the whole image and at overlapping windows of it, then once more,
closer, around what it took for hands; its scores decide what is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from graphhand.geometry import whole_image_box
from graphhand.inference.crops import (
    FINE_WINDOWS,
    CropView,
    Estimate,
    Image,
    crop_views,
    intersection_over_smaller,
    most_likely_side,
    recrop_box,
    search_boxes,
)
from graphhand.types import Camera, FloatArray, Side

LookAt = Callable[[Sequence[Sequence[CropView]]], list[list[Estimate]]]
"""What the network sees in groups of looks, as :meth:`graphhand.inference.HandPoseEstimator.look`."""

SEARCHED_ABOVE = 0.055
"""Spread of the heatmaps, see :class:`graphhand.models.Keypoints`, above which an image's windows are searched."""

CANDIDATES = 4
"""How many of an image's windows are followed by a closer look; of a part of them, as large a part."""

SURER = 0.4
"""What a search found counts if its spread is at most this part of the spread before: parts of a hand look a little
like hands."""

PERHAPS = 0.3
"""Spread of the heatmaps in a window up to which what may be one of several hands is looked at more closely. With the
default weights it is 0.1 at most where a hand is, looked at as of either side, and mostly above 0.3 where none is."""

WORTH_A_LOOK = 0.1
"""Score from which on what may be one of several hands is looked at again."""

SAME_HAND = 0.6
"""Share of the smaller of two hands' boxes, above which it lies in the other, that makes them one hand seen twice; and
share of a hand's joints, above which they lie in other hands' boxes, that makes it none."""

CLOSER_LOOKS = 2
"""How often each of several candidates is looked at more closely: windows cut hands off, the first look may still."""


def sliding_window_search(
    look: LookAt, group: list[Estimate], margin: float, which: slice = slice(None)
) -> list[Estimate]:
    """An image's estimates, one a side; or, where they are unsure, those around a hand found in a window of it.

    Args:
        look: the network.
        group: what it saw in the whole image.
        margin: of its crops.
        which: of the image's windows.
    """
    spread = most_likely_side(group).spread
    if not spread > SEARCHED_ABOVE:
        return group
    height, width = group[0].look.image.shape[:2]
    boxes = search_boxes(width, height)
    windows = [[replace(group[0].look, box=box)] for box in boxes[which]]  # one side will do, see several_hands
    candidates = math.ceil(CANDIDATES * len(windows) / max(1, len(boxes)))
    seen = sorted((estimate for (estimate,) in look(windows)), key=lambda e: e.spread)
    places = [recrop_box(e.joints_px, width, height, margin) for e in seen[:candidates]]
    closer = [[replace(e.look, box=box) for e in group] for box in places if box is not None]
    surer = [found for found in look(closer) if _least_spread(found) <= SURER * spread]
    return min(surer, key=_least_spread, default=group)


def several_hands(
    look: LookAt,
    image: Image,
    camera: Camera,
    sides: Sequence[Side],
    margin: float,
    limit: int,
    which: slice = slice(None),
    besides: Sequence[Estimate] = (),
) -> list[Estimate]:
    """The surest hands of an image, at most ``limit``, surest first, of a score of 0.1 or more.

    Heatmaps tell a hand of the wrong side too, so one side is enough for the windows of a network that has them.

    Args:
        look: the network.
        image: (H, W, 3) uint8 RGB.
        camera: its camera.
        sides: those to try.
        margin: of the network's crops.
        limit: at least 1.
        which: of the image's windows.
        besides: hands that are known already.
    """
    height, width = image.shape[:2]

    def seen_in(boxes: Sequence[FloatArray], sides: Sequence[Side]) -> list[Estimate]:
        found = [most_likely_side(group) for group in look([crop_views(image, camera, sides, box) for box in boxes])]
        return [e for e in found if next_box(e) is not None and differs_from_all(e, besides)]

    def next_box(estimate: Estimate) -> FloatArray | None:
        return recrop_box(estimate.joints_px, width, height, margin)

    whole = seen_in([whole_image_box(width, height)], sides)
    has_heatmaps = all(np.isfinite(e.spread) for e in whole)
    windows = search_boxes(width, height, FINE_WINDOWS)[which]
    seen = whole + seen_in(windows, sides[:1] if has_heatmaps else sides)
    hands = non_maximum_suppression(
        (e for e in seen if not e.spread > PERHAPS), lambda e: -e.spread if has_heatmaps else e.score
    )
    for _ in range(CLOSER_LOOKS):
        boxes = [box for hand in hands[: CANDIDATES * limit] if (box := next_box(hand)) is not None]
        hands = non_maximum_suppression(e for e in seen_in(boxes, sides) if e.score >= WORTH_A_LOOK)
    return drop_merged_hands(hands)[:limit]


def non_maximum_suppression(
    estimates: Iterable[Estimate], score: Callable[[Estimate], float] = lambda e: e.score
) -> list[Estimate]:
    """Greedy non-maximum suppression: best first, each estimate that is not the same hand as a better one kept."""
    kept: list[Estimate] = []
    for estimate in sorted(estimates, key=score, reverse=True):
        if differs_from_all(estimate, kept):
            kept.append(estimate)
    return kept


def differs_from_all(estimate: Estimate, others: Iterable[Estimate]) -> bool:
    """Whether an estimate is none of the other hands: no two boxes share :data:`SAME_HAND` of the smaller one."""
    return all(intersection_over_smaller(estimate.box_px, other.box_px) <= SAME_HAND for other in others)


def drop_merged_hands(hands: Iterable[Estimate]) -> list[Estimate]:
    """Hands, surest first, without those made of several surer ones' joints, as a crop that shows two may give."""
    kept: list[Estimate] = []
    for hand in hands:
        past = [hand.joints_px - other.box_px[:2] for other in kept]
        taken = [((at >= 0) & (at <= other.box_px[2:])).all(axis=1) for at, other in zip(past, kept)]
        if not kept or np.any(taken, axis=0).mean() <= SAME_HAND:
            kept.append(hand)
    return kept


def _least_spread(group: list[Estimate]) -> float:
    return min(estimate.spread for estimate in group)
