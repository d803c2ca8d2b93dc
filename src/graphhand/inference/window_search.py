"""Finding hands in an image of unknown content: one that is taken to be there, or as many as there are.

The network itself is the detector. It is given the whole image and overlapping windows of it, then recrops around
what it took for hands; its scores decide what is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from graphhand.geometry.crops import whole_image_box
from graphhand.inference.crops import (
    FINE_WINDOWS,
    CropEstimator,
    CropView,
    Estimate,
    in_groups,
    most_likely_side,
    recrop_box,
    search_boxes,
)
from graphhand.inference.detection import NMS_OVERLAP, differs_from_all, non_maximum_suppression
from graphhand.types import Camera, FloatArray, Image, Side

MAX_RECROPS = 1
"""How often the crop is renewed around the joints just found. More recrops gained nothing on 94 photos."""

SIDE_LOGIT_MARGIN = 5.0
"""Log-odds by which a side is so much likelier in the whole image that the other is not recropped. Of 200 rendered
hands, left and right, two thirds were decided; recropping both changed the side of none of these."""

SEARCH_UNCERTAINTY = 0.055
"""Uncertainty of the heatmaps above which an image's windows are searched for one hand."""

CANDIDATES = 4
"""How many windows of an image are recropped; of a part of them, as large a part."""

MIN_GAIN = 2.5
"""What a search found counts if it is so many times less uncertain: parts of a hand look a little like hands."""

MAX_CANDIDATE_UNCERTAINTY = 0.3
"""Uncertainty in a window up to which what may be one of several hands is recropped. With the default weights it is
0.1 at most where a hand is, cropped as either side, and mostly above 0.3 where none is."""

MIN_SCORE = 0.1
"""Score from which on what may be one of several hands is recropped again, and kept."""

RECROPS_OF_SEVERAL = 2
"""How often each of several candidates is recropped: windows cut hands off, the first recrop may still."""


def locate_hands(
    crops: CropEstimator,
    images: Sequence[Image],
    cameras: Sequence[Camera],
    sides: Sequence[Side],
    windows: slice = slice(None),
) -> list[list[Estimate]]:
    """Find the one hand of each image, wherever it is.

    The whole image is cropped first, then once more around the joints found. Where that leaves heatmaps uncertain,
    windows of the image are searched.

    Args:
        crops: the network.
        images: (H, W, 3) uint8 RGB.
        cameras: of each image.
        sides: those to try.
        windows: which of an image's windows are searched where it must be searched, to spread a search over the
            frames of a video.

    Returns:
        For each image its estimates, one a side; :func:`~graphhand.inference.crops.most_likely_side` chooses.
    """
    whole = [whole_image_box(image.shape[1], image.shape[0]) for image in images]
    views = [CropView(i, camera, side, box) for i, camera, box in zip(images, cameras, whole) for side in sides]
    found = crops.estimate(views)
    for _ in range(MAX_RECROPS):
        likeliest = [most_likely_side(group).handedness_logit for group in in_groups(found, sides) for _ in sides]
        recrops = {
            i: view
            for i, estimate in enumerate(found)
            if estimate.handedness_logit >= likeliest[i] - SIDE_LOGIT_MARGIN
            and (view := estimate.recrop(crops.margin)) is not None
        }
        for i, estimate in zip(recrops, crops.estimate(list(recrops.values()))):
            found[i] = estimate
    return [sliding_window_search(crops, group, windows) for group in in_groups(found, sides)]


def sliding_window_search(
    crops: CropEstimator, estimates: list[Estimate], windows: slice = slice(None)
) -> list[Estimate]:
    """An image's estimates, one a side; or, where they are uncertain, those around a hand found in a window of it.

    One side is enough for the windows: only networks with heatmaps get here, which tell a hand of the wrong side too.

    Args:
        crops: the network.
        estimates: what it found in the whole image.
        windows: which of the image's windows are searched.
    """
    uncertainty = most_likely_side(estimates).uncertainty
    if not uncertainty > SEARCH_UNCERTAINTY:
        return estimates
    whole, sides = estimates[0].view, [estimate.view.side for estimate in estimates]
    height, width = whole.image.shape[:2]
    boxes = search_boxes(width, height)
    searched = boxes[windows]
    candidates = math.ceil(CANDIDATES * len(searched) / max(1, len(boxes)))
    found = sorted(crops.estimate([replace(whole, box=box) for box in searched]), key=lambda e: e.uncertainty)
    recrops = [box for e in found[:candidates] if (box := e.next_box(crops.margin)) is not None]
    groups = crops.estimate_sides(whole.image, whole.camera, sides, recrops)
    better = [group for group in groups if MIN_GAIN * _least_uncertainty(group) <= uncertainty]
    return min(better, key=_least_uncertainty, default=estimates)


def find_hands(
    crops: CropEstimator,
    image: Image,
    camera: Camera,
    sides: Sequence[Side],
    limit: int,
    windows: slice = slice(None),
    known: Sequence[Estimate] = (),
) -> list[Estimate]:
    """The best hands of an image, at most ``limit``, best first, of a score of :data:`MIN_SCORE` or more.

    Heatmaps tell a hand of the wrong side too, so one side is enough for the windows of a network that has them.

    Args:
        crops: the network.
        image: (H, W, 3) uint8 RGB.
        camera: its camera.
        sides: those to try.
        limit: at least 1.
        windows: which of the image's windows are searched.
        known: hands that are known already.
    """
    height, width = image.shape[:2]

    def found_in(boxes: Sequence[FloatArray], sides: Sequence[Side]) -> list[Estimate]:
        found = [most_likely_side(group) for group in crops.estimate_sides(image, camera, sides, boxes)]
        return [e for e in found if e.next_box(crops.margin) is not None and differs_from_all(e, known)]

    whole = found_in([whole_image_box(width, height)], sides)
    has_heatmaps = all(np.isfinite(e.uncertainty) for e in whole)
    searched = search_boxes(width, height, FINE_WINDOWS)[windows]
    found = whole + found_in(searched, sides[:1] if has_heatmaps else sides)
    hands = non_maximum_suppression(
        (e for e in found if not e.uncertainty > MAX_CANDIDATE_UNCERTAINTY),
        lambda e: -e.uncertainty if has_heatmaps else e.score,
    )
    for _ in range(RECROPS_OF_SEVERAL):
        recrops = [recrop_box(e.joints_px, width, height, crops.margin) for e in hands[: CANDIDATES * limit]]
        recropped = found_in([box for box in recrops if box is not None], sides)
        hands = non_maximum_suppression(e for e in recropped if e.score >= MIN_SCORE)
    return drop_merged_hands(hands)[:limit]


def drop_merged_hands(hands: Iterable[Estimate]) -> list[Estimate]:
    """Hands, best first, without those made of several better ones' joints, as a crop that shows two may give."""
    kept: list[Estimate] = []
    for hand in hands:
        past = [hand.joints_px - other.box_px[:2] for other in kept]
        taken = [((at >= 0) & (at <= other.box_px[2:])).all(axis=1) for at, other in zip(past, kept)]
        if not kept or np.any(taken, axis=0).mean() <= NMS_OVERLAP:
            kept.append(hand)
    return kept


def _least_uncertainty(group: list[Estimate]) -> float:
    return min(estimate.uncertainty for estimate in group)
