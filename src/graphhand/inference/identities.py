"""Which of the hands that a detector finds in a frame is which of those followed so far, by motion, size and side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from graphhand.geometry.boxes import pairwise_iou
from graphhand.inference.crops import Estimate
from graphhand.inference.detector import Detection
from graphhand.types import FloatArray

MATCH_IOU = 0.2
"""Overlap from which on a detection is the hand that was followed there."""

MEMORY_S = 1.5
"""How long a hand that went out of sight is remembered."""

MAX_COST = 3.0
"""Distance from where a remembered hand should be, in sides of its box, up to which a detection may be it."""

OTHER_SIDE_COST = 1.0
"""What a wrong side adds to that distance."""

VELOCITY_WEIGHT = 0.4
"""Share of the last step in the velocity."""


@dataclass
class Motion:
    """Where a hand is and goes.

    Attributes:
        middle_px: (2,) middle of its box.
        velocity: (2,) pixels a second.
        side_px: longer side of its box.
        time_s: of the last frame that showed it.
    """

    middle_px: FloatArray
    velocity: FloatArray
    side_px: float
    time_s: float

    @classmethod
    def of(cls, estimate: Estimate, time_s: float) -> Motion:
        """At rest where an estimate is."""
        middle, side = _place(estimate)
        return cls(middle, np.zeros(2), side, time_s)

    def moved(self, estimate: Estimate, time_s: float) -> Motion:
        """After a frame in which it was seen."""
        middle, side = _place(estimate)
        step_s = time_s - self.time_s
        if step_s <= 0:
            return Motion(middle, self.velocity, side, time_s)
        velocity = (1 - VELOCITY_WEIGHT) * self.velocity + VELOCITY_WEIGHT * (middle - self.middle_px) / step_s
        return Motion(middle, velocity, side, time_s)

    def at(self, time_s: float) -> FloatArray:
        """The middle (2,) at a time, at this velocity."""
        return self.middle_px + self.velocity * (time_s - self.time_s)

    def cost(self, estimate: Estimate, time_s: float, same_side: bool) -> float:
        """How unlike an estimate is to where and what the hand should be, in sides of its box.

        Once it is out of sight it may stop: the nearer of its last place and the extrapolated one counts, half each.
        """
        middle, side = _place(estimate)
        unit = max(self.side_px, side, 1e-6)
        ahead = float(np.linalg.norm(middle - self.at(time_s))) / unit
        stayed = float(np.linalg.norm(middle - self.middle_px)) / unit
        size = abs(float(np.log(max(side, 1e-6) / max(self.side_px, 1e-6))))
        return ahead + 0.25 * min(stayed, ahead) + size + (0.0 if same_side else OTHER_SIDE_COST)


def match_detections(
    estimates: Sequence[Estimate], detections: Sequence[Detection]
) -> tuple[dict[int, int], list[int]]:
    """Tie detections to the hands that are followed.

    Args:
        estimates: of the hands followed.
        detections: of the same frame.

    Returns:
        For each hand's index its detection's, where it has one; and the detections that are no hand's.
    """
    if not estimates or not detections:
        return {}, list(range(len(detections)))
    overlap = pairwise_iou([e.box_px for e in estimates], [d.box_px for d in detections])
    matched: dict[int, int] = {}
    for flat in np.argsort(-overlap, axis=None):
        hand, detection = divmod(int(flat), len(detections))
        if overlap[hand, detection] < MATCH_IOU:
            break
        if hand not in matched and detection not in matched.values():
            matched[hand] = detection
    return matched, [i for i in range(len(detections)) if i not in matched.values()]


def cheapest(costs: Iterable[tuple[float, int]]) -> int | None:
    """The index of the least cost, None where all are above :data:`MAX_COST`."""
    cost, index = min(costs, default=(np.inf, -1))
    return index if cost <= MAX_COST else None


def _place(estimate: Estimate) -> tuple[FloatArray, float]:
    box = estimate.box_px
    return box[:2] + box[2:] / 2, float(box[2:].max())
