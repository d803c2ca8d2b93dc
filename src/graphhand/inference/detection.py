"""From a detector's boxes to hands: crops around the boxes, a side for each, one recrop around the joints found.

Detector and pose network judge together: one sees the whole image, the other the hand closely.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from graphhand.geometry.boxes import intersection_over_smaller, iou
from graphhand.geometry.crops import crop_box, whole_image_box
from graphhand.inference.crops import CropEstimator, CropView, Estimate, most_likely_side
from graphhand.inference.detector import Detection
from graphhand.inference.options import MIN_SCORE_OF_DETECTIONS
from graphhand.types import Camera, Image, Side

DECIDED_LOGIT = 3.0
"""Log-odds of a side, as the detector or both networks say, from which on the other side is not cropped."""

CUT_SHARE = 0.5
"""Share of the image's longer side that a hand's box spans at least where the image seems cut to that hand."""

CUT_SIDE_WEIGHT = 1 / 3
"""Of the detector's log-odds of a side in an image cut to the hand: the arm and the person, which tell it the side, are
not there. Fitted to 1,348 held-back hands of half an image and more; below half, the fit gives about 1."""

HOPELESS_SHARE = 0.6
"""Share of the least score, below which a candidate is left alone after its first crop. Of 660 on held-back images 513
were below it, none of which would have come to the least score."""

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

POSE_WEIGHT, SCORE_BIAS = 0.25, 0.5
"""Of the log-odds of a hand: the detector's + the weight times the pose network's + the bias."""

LARGEST_LOGIT = 12.0
"""Of either judge: neither overrules the other without end."""


def estimate_detections(
    crops: CropEstimator,
    image: Image,
    camera: Camera,
    sides: Sequence[Side],
    detections: Sequence[Detection],
    least: float = 0.0,
) -> list[Estimate]:
    """The hands of an image whose boxes are known, best first.

    Most of a detector's candidates are no hands, so each costs one crop, and more only while it may be a hand.

    Args:
        crops: the network.
        image: (H, W, 3) uint8 RGB.
        camera: its camera.
        sides: those to try.
        detections: boxes with scores, and sides where known.
        least: the lowest score of a hand; below :data:`HOPELESS_SHARE` of it a candidate is not looked at again.

    Returns:
        At most one estimate a detection, with its :func:`joint_score`.
    """
    hopeless = HOPELESS_SHARE * least
    first = _likelier_sides(crops, image, camera, sides, detections, hopeless)
    promising = _distinct((_scored(d, e), d) for d, e in zip(detections, first) if _is_finite(e))
    views = [e.recrop(crops.margin) if e.score >= hopeless else None for e, _ in promising]
    recropped = iter(crops.estimate([view for view in views if view is not None]))
    found = []
    for (estimate, detection), view in zip(promising, views):
        again = estimate if view is None else next(recropped)
        if _is_finite(again) and intersection_over_smaller(again.box_px, detection.box_px) >= MIN_SHARED:
            estimate = _scored(detection, again)
        found.append((estimate, detection))
    return [estimate for estimate, _ in _distinct(found)]


def _scored(detection: Detection, estimate: Estimate) -> Estimate:
    """An estimate with the :func:`joint_score` of its detection."""
    return replace(estimate, detection_score=joint_score(detection, estimate.pose_score))


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
        or_whole_image: where none is certain, take the hand that the whole image is a crop of, if it scores more. That
            is asked whatever ``least`` is, so that a higher one only leaves hands out.
    """
    found = estimate_detections(crops, image, camera, sides, candidates(detections, least), least)
    best = max((estimate.score for estimate in found), default=-1.0)
    if or_whole_image and best < MIN_SCORE_OF_DETECTIONS:
        whole = whole_image_hand(crops, image, camera, sides)
        if whole.score > best:
            return [whole]
    return found


def whole_image_hand(crops: CropEstimator, image: Image, camera: Camera, sides: Sequence[Side]) -> Estimate:
    """The hand that an image is a crop of, if it is one: for images in which a detector finds none.

    Hands that fill an image are what detectors miss. In 246 images without a hand none is found so.
    """
    box = whole_image_box(image.shape[1], image.shape[0])
    best = most_likely_side(crops.estimate_sides(image, camera, sides, [box])[0])
    view = best.recrop(crops.margin)
    return best if view is None else crops.estimate([view])[0]


def is_cut_to_hand(image: Image, detections: Sequence[Detection]) -> bool:
    """Whether an image seems cut to one hand: the likeliest detection spans :data:`CUT_SHARE` of it, or there is none.

    Args:
        image: (H, W, 3) uint8 RGB.
        detections: a detector's, in any order.
    """
    best = max(detections, key=lambda detection: detection.score, default=None)
    return best is None or spans_image(best.box_px, image)


def spans_image(box: ArrayLike, image: Image) -> bool:
    """Whether a box (4,) spans :data:`CUT_SHARE` of an image's longer side at least."""
    return bool(max(np.asarray(box)[2:]) >= CUT_SHARE * max(image.shape[:2]))


def candidates(detections: Sequence[Detection], least: float) -> list[Detection]:
    """The detections that may come to a score of ``least``: those that do, and a detector's best candidates."""
    certain = [d for d in detections if not d.is_candidate and d.score >= least]
    return certain + [d for d in detections if d.is_candidate and d.score >= CANDIDATE_SCORE][:MOST_CANDIDATES]


def joint_score(detection: Detection, pose_score: float) -> float:
    """Score of a hand in [0, 1]: the detection's, or of a candidate what detector and pose network say together."""
    if not detection.is_candidate:
        return float(detection.score)
    odds = log_odds(detection.score) + POSE_WEIGHT * log_odds(pose_score) + SCORE_BIAS
    return float(1.0 / (1.0 + np.exp(-odds)))


def log_odds(score: float) -> float:
    """Of a score in [0, 1], at most :data:`LARGEST_LOGIT` either way."""
    score = min(max(score, 1e-9), 1.0 - 1e-9)
    return float(np.clip(np.log(score) - np.log1p(-score), -LARGEST_LOGIT, LARGEST_LOGIT))


def _likelier_sides(
    crops: CropEstimator,
    image: Image,
    camera: Camera,
    sides: Sequence[Side],
    detections: Sequence[Detection],
    hopeless: float,
) -> list[Estimate]:
    """For each detection the estimate of its likelier side.

    The side that the detector takes it for comes first. The other one is cropped where the two leave doubt, unless the
    heatmaps say that there is no hand at all.
    """
    odds = [_log_odds_of_right(detection, image) for detection in detections]
    order = [sorted(sides, key=lambda side: -_of_side(right, side)) for right in odds]
    boxes = [crop_box(d.box_px, crops.margin) for d in detections]
    views = [CropView(image, camera, some[0], box) for some, box in zip(order, boxes)]
    chosen = crops.estimate(views)
    doubtful = [
        i
        for i, (detection, estimate) in enumerate(zip(detections, chosen))
        if len(sides) > 1
        and _of_side(odds[i], order[i][0]) < DECIDED_LOGIT
        and _support(odds[i], estimate) < DECIDED_LOGIT
        and joint_score(detection, estimate.certainty) >= hopeless
    ]
    others = crops.estimate([replace(views[i], side=order[i][1]) for i in doubtful])
    for i, other in zip(doubtful, others):
        if _support(odds[i], other) > _support(odds[i], chosen[i]):
            chosen[i] = other
    return chosen


def _log_odds_of_right(detection: Detection, image: Image) -> float:
    """That a detection is a right hand, as far as the detector's word counts; 0 where it says nothing."""
    if np.isnan(detection.right_logit):
        return 0.0
    weight = CUT_SIDE_WEIGHT if spans_image(detection.box_px, image) else 1.0
    return weight * float(np.clip(detection.right_logit, -20.0, 20.0))


def _of_side(log_odds_of_right: float, side: Side) -> float:
    return log_odds_of_right if side == "right" else -log_odds_of_right


def _support(log_odds_of_right: float, estimate: Estimate) -> float:
    """Log-odds of an estimate's side, as network and detector say together."""
    return estimate.handedness_logit + _of_side(log_odds_of_right, estimate.view.side)


def _distinct(judged: Iterable[tuple[Estimate, Detection]]) -> list[tuple[Estimate, Detection]]:
    """Best first, each hand once."""
    kept: list[tuple[Estimate, Detection]] = []
    for estimate, detection in sorted(judged, key=lambda pair: -pair[0].score):
        if not any(is_same_hand(estimate, other) for other, _ in kept):
            kept.append((estimate, detection))
    return kept


def _is_finite(estimate: Estimate) -> bool:
    return bool(np.isfinite(estimate.joints_px).all())
