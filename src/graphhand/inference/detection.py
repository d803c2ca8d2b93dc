"""From a detector's boxes to hands: crops around the boxes, a side for each, one recrop around the joints found.

Detector and pose network judge together: one sees the whole image, the other the hand closely.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from graphhand.geometry.boxes import intersection_over_smaller, iou
from graphhand.geometry.crops import crop_box, whole_image_box
from graphhand.inference.crops import CropEstimator, CropView, Estimate, most_likely_side
from graphhand.inference.detector import Detection
from graphhand.types import Camera, Image, Side

DECIDED_LOGIT = 3.0
"""Log-odds of a side, given by the detector, from which on the other side is not cropped."""

NMS_OVERLAP = 0.6
"""Share of the smaller of two hands' boxes, above which it lies in the other, that makes them one hand found twice;
and share of a hand's joints, above which they lie in other hands' boxes, that makes it none."""

SAME_HAND_IOU = 0.6
"""Overlap of the boxes of two detections' joints, above which both crops show one hand."""

SAME_HAND_DISTANCE = 0.25
"""Mean distance of two hands' joints over the longer side of the larger one's box, below which they are one hand."""

MIN_SHARED = 0.3
"""Share of the smaller of detection and joints' box that must lie in the other; else the joints are those of something
beside the detection."""


CANDIDATE_SCORE = 0.15
"""Score of the detector from which on the pose network looks at a box."""

MOST_CANDIDATES = 24
"""How many boxes of an image the pose network looks at, at most."""

POSE_WEIGHT, SCORE_BIAS = 0.25, 0.25
"""Of the log-odds of a hand: the detector's + the weight times the pose network's + the bias."""

LARGEST_LOGIT = 12.0
"""Of either judge: neither overrules the other without end."""


def estimate_detections(
    crops: CropEstimator, image: Image, camera: Camera, sides: Sequence[Side], detections: Sequence[Detection]
) -> list[Estimate]:
    """The hands of an image whose boxes are known, best first.

    Args:
        crops: the network.
        image: (H, W, 3) uint8 RGB.
        camera: its camera.
        sides: those to try.
        detections: boxes with scores, and sides where known.

    Returns:
        At most one estimate a detection, with its :func:`joint_score`.
    """
    tried = [_sides_of(detection, sides) for detection in detections]
    views = [
        CropView(image, camera, side, crop_box(detection.box_px, crops.margin))
        for detection, some in zip(detections, tried)
        for side in some
    ]
    estimates = iter(crops.estimate(views))
    chosen = [_likelier([next(estimates) for _ in some], d) for d, some in zip(detections, tried)]
    recrops = {i: view for i, estimate in enumerate(chosen) if (view := estimate.recrop(crops.margin)) is not None}
    for i, estimate in zip(recrops, crops.estimate(list(recrops.values()))):
        if intersection_over_smaller(estimate.box_px, detections[i].box_px) >= MIN_SHARED:
            chosen[i] = estimate
    found = [replace(e, detection_score=joint_score(d, e)) for e, d in zip(chosen, detections) if _is_finite(e)]
    kept: list[Estimate] = []
    for estimate in sorted(found, key=lambda e: -e.score):
        if not any(is_same_hand(estimate, other) for other in kept):
            kept.append(estimate)
    return kept


def is_same_hand(one: Estimate, other: Estimate) -> bool:
    """Whether two estimates are of one hand: their boxes or their joints nearly coincide."""
    size = max(one.box_px[2:].max(), other.box_px[2:].max())
    apart = np.linalg.norm(one.joints_px - other.joints_px, axis=1).mean()
    return bool(iou(one.box_px, other.box_px) > SAME_HAND_IOU or apart < SAME_HAND_DISTANCE * size)


def detected_hands(
    crops: CropEstimator,
    image: Image,
    camera: Camera,
    sides: Sequence[Side],
    detections: Sequence[Detection],
    least: float,
    or_whole_image: bool,
) -> list[Estimate]:
    """The hands around detections that may come to a score of ``least``, best first.

    Args:
        crops, image, camera, sides, detections: as for :func:`estimate_detections`.
        least: the lowest score of a hand.
        or_whole_image: where none scores enough, add the hand that the whole image is a crop of.
    """
    found = estimate_detections(crops, image, camera, sides, candidates(detections, least))
    if or_whole_image and not any(estimate.score >= least for estimate in found):
        found.append(whole_image_hand(crops, image, camera, sides))
    return sorted(found, key=lambda estimate: -estimate.score)


def whole_image_hand(crops: CropEstimator, image: Image, camera: Camera, sides: Sequence[Side]) -> Estimate:
    """The hand that an image is a crop of, if it is one: for images in which a detector finds none.

    Hands that fill an image are what detectors miss. Of 210 crops, photographs and renderings, the detector left 20
    without a hand; all were found so. In 247 images without a hand none was.
    """
    box = whole_image_box(image.shape[1], image.shape[0])
    best = most_likely_side(crops.estimate_sides(image, camera, sides, [box])[0])
    view = best.recrop(crops.margin)
    return best if view is None else crops.estimate([view])[0]


def candidates(detections: Sequence[Detection], least: float) -> list[Detection]:
    """The detections that may come to a score of ``least``: those that do, and a detector's candidates."""
    enough = [d for d in detections if d.score >= (CANDIDATE_SCORE if d.is_candidate else least)]
    return enough[:MOST_CANDIDATES]


def joint_score(detection: Detection, estimate: Estimate) -> float:
    """Score of a hand in [0, 1]: the detection's, or of a candidate what detector and pose network say together."""
    if not detection.is_candidate:
        return float(detection.score)
    odds = _logit(detection.score) + POSE_WEIGHT * _logit(estimate.pose_score) + SCORE_BIAS
    return float(1.0 / (1.0 + np.exp(-odds)))


def _logit(score: float) -> float:
    score = min(max(score, 1e-9), 1.0 - 1e-9)
    return float(np.clip(np.log(score) - np.log1p(-score), -LARGEST_LOGIT, LARGEST_LOGIT))


def _sides_of(detection: Detection, sides: Sequence[Side]) -> tuple[Side, ...]:
    """The sides in question: the detector's where it is sure of one."""
    side = detection.side
    if side in sides and abs(detection.right_logit) >= DECIDED_LOGIT:
        return (side,)  # type: ignore[return-value]  # it is in sides, so not None
    return tuple(sides)


def _likelier(estimates: list[Estimate], detection: Detection) -> Estimate:
    """Of the estimates of one box, one a side, the one that network and detector together find likelier."""
    right = 0.0 if np.isnan(detection.right_logit) else float(np.clip(detection.right_logit, -20.0, 20.0))
    return max(estimates, key=lambda e: e.handedness_logit + (right if e.view.side == "right" else -right))


def _is_finite(estimate: Estimate) -> bool:
    return bool(np.isfinite(estimate.joints_px).all())


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
    """Whether an estimate is none of the other hands: no two boxes share :data:`NMS_OVERLAP` of the smaller one."""
    return all(intersection_over_smaller(estimate.box_px, other.box_px) <= NMS_OVERLAP for other in others)
