"""Scores of a hand detector: average precision as COCO defines it, recall by size, false hands, sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graphhand.geometry.boxes import intersections, pairwise_iou
from graphhand.types import FloatArray

IOUS = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())
"""Overlaps over which COCO averages."""

SIZES = {"small": (0.0, 0.06), "middle": (0.06, 0.15), "large": (0.15, np.inf)}
"""Longer side of a hand's box over the image's longer side."""

_RECALLS = np.linspace(0, 1, 101)
_MOST = 100
"""Boxes of an image that count."""


@dataclass(frozen=True, eq=False)
class LabelledBoxes:
    """The hands of an image.

    Attributes:
        boxes: ``(N, 4)`` x, y, width, height.
        sides: ``(N,)`` 1 right, 0 left, -1 unknown.
        ignore: ``(M, 4)`` regions in which nothing is scored.
        size: width and height of the image, pixels.
    """

    boxes: FloatArray
    sides: npt.NDArray[np.int64]
    ignore: FloatArray
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class FoundBoxes:
    """What a detector found in an image.

    Attributes:
        boxes: ``(N, 4)`` x, y, width, height.
        scores: ``(N,)``.
        sides: ``(N,)`` 1 right, 0 left, -1 unknown.
    """

    boxes: FloatArray
    scores: FloatArray
    sides: npt.NDArray[np.int64]

    def ranked(self) -> FoundBoxes:
        """The :data:`_MOST` best, best first."""
        order = np.argsort(-self.scores, kind="stable")[:_MOST]
        return FoundBoxes(self.boxes[order], self.scores[order], self.sides[order])


@dataclass(frozen=True, eq=False)
class Matches:
    """Found boxes of all images, best first within each.

    Attributes:
        scores: ``(N,)``.
        hit: ``(N,)`` bool, those that match a hand.
        ignored: ``(N,)`` bool, those that match an ignored region and count nowhere.
        hand: ``(N,)`` number of the hand over all images, -1 where none.
        image: ``(N,)`` number of the image.
        hands: number of hands.
    """

    scores: FloatArray
    hit: npt.NDArray[np.bool_]
    ignored: npt.NDArray[np.bool_]
    hand: npt.NDArray[np.int64]
    image: npt.NDArray[np.int64]
    hands: int

    def ranked(self) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Scores and hits of the boxes that count, best first over all images."""
        scores, hit = self.scores[~self.ignored], self.hit[~self.ignored]
        order = np.argsort(-scores, kind="stable")
        return scores[order], hit[order]


def match_boxes(truth: Sequence[LabelledBoxes], found: Sequence[FoundBoxes], least_iou: float) -> Matches:
    """Match boxes image by image, the best score first, each with the hand that it overlaps most and none had before.

    What matches no hand counts nowhere where most of it lies in an ignored region, as with COCO's crowds.

    Args:
        truth: labels of the images.
        found: for each image.
        least_iou: overlap of a match.
    """
    parts: list[tuple[FloatArray, npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.int64]]] = []
    images, first = [], 0
    for number, (labels, boxes) in enumerate(zip(truth, found, strict=True)):
        ranked = boxes.ranked()
        count = len(ranked.scores)
        overlap = pairwise_iou(ranked.boxes, labels.boxes)
        shared, area, _ = intersections(ranked.boxes, labels.ignore)
        inside = (shared / np.maximum(area, 1e-9)).max(axis=1, initial=0.0)
        hand = np.full(count, -1, dtype=np.int64)
        free = np.ones(len(labels.boxes), dtype=np.bool_)
        for row in range(count):
            candidates = np.where(free, overlap[row], -1.0)
            best = int(candidates.argmax()) if len(candidates) else -1
            if best >= 0 and candidates[best] >= least_iou:
                hand[row], free[best] = best + first, False
        hit = hand >= 0
        parts.append((ranked.scores, hit, ~hit & (inside >= least_iou), hand))
        images.append(np.full(count, number, dtype=np.int64))
        first += len(labels.boxes)
    scores, hit, ignored, hand = (np.concatenate(columns) for columns in zip(*parts))
    return Matches(scores, hit, ignored, hand, np.concatenate(images), first)


def average_precision(matches: Matches) -> float:
    """Mean over 101 recalls of the best precision at that recall or a higher one; NaN without hands."""
    if not matches.hands:
        return float("nan")
    recall, precision = precision_recall(matches.ranked()[1], matches.hands)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.where(at < len(envelope), np.append(envelope, 0.0)[np.minimum(at, len(envelope))], 0.0).mean())


def precision_recall(hit: npt.NDArray[np.bool_], hands: int) -> tuple[FloatArray, FloatArray]:
    """Recall and precision after each of the boxes, best first."""
    hits = np.cumsum(hit, dtype=np.float64)
    return hits / max(hands, 1), hits / np.maximum(np.arange(1, len(hit) + 1), 1)


@dataclass(frozen=True)
class DetectionScores:
    """Scores over a set of images.

    Attributes:
        images, hands: their numbers.
        ap50: average precision at an IoU of 0.5.
        ap: mean of the average precisions at 0.5, 0.55 ... 0.95.
        threshold: score from which on the following counts.
        recall: share of the hands found, IoU 0.5.
        precision: share of what was found that is a hand.
        recall_by_size: by :data:`SIZES`: found, of how many.
        false_an_image: boxes that are no hand, an image.
        side_right: of the hands found whose side is known, how many have it right; and their number.
    """

    images: int
    hands: int
    ap50: float
    ap: float
    threshold: float
    recall: float
    precision: float
    recall_by_size: dict[str, tuple[int, int]]
    false_an_image: float
    side_right: tuple[int, int]

    def to_json(self) -> dict[str, object]:
        """Plain values; shares rounded to four digits."""
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in self.__dict__.items()}


def score_detections(truth: Sequence[LabelledBoxes], found: Sequence[FoundBoxes], threshold: float) -> DetectionScores:
    """Score what a detector found.

    Args:
        truth: labels of the images.
        found: for each image, from low scores on: average precision needs them.
        threshold: score from which on a box counts as found.
    """
    at = {least: match_boxes(truth, found, least) for least in IOUS}
    loose = at[IOUS[0]]
    kept = loose.scores >= threshold
    counted = kept & ~loose.ignored
    hits = int((counted & loose.hit).sum())
    hand = loose.hand[kept & loose.hit]
    is_found = np.zeros(loose.hands, dtype=np.bool_)
    is_found[hand] = True
    share = np.concatenate([labels.boxes[:, 2:].max(axis=1, initial=0.0) / max(labels.size) for labels in truth])
    by_size = {}
    for name, (low, high) in SIZES.items():
        rows = (share >= low) & (share < high)
        by_size[name] = (int(is_found[rows].sum()), int(rows.sum()))
    sides = np.concatenate([labels.sides for labels in truth])
    said = np.concatenate([boxes.ranked().sides for boxes in found])[kept & loose.hit]
    known = sides[hand] >= 0
    return DetectionScores(
        images=len(truth),
        hands=loose.hands,
        ap50=average_precision(loose),
        ap=float(np.mean([average_precision(matches) for matches in at.values()])),
        threshold=threshold,
        recall=hits / loose.hands if loose.hands else float("nan"),
        precision=hits / max(int(counted.sum()), 1),
        recall_by_size=by_size,
        false_an_image=(int(counted.sum()) - hits) / max(len(truth), 1),
        side_right=(int((said == sides[hand])[known].sum()), int(known.sum())),
    )
