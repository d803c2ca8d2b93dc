"""One hand over the frames of a video: its side agreed over frames, its joints smoothed, its motion.

The filter is that of Casiez, Roussel and Vogel, *1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
Interactive Systems*, CHI 2012: little jitter when things are still, little delay when they move.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from graphhand.inference.crops import Estimate
from graphhand.inference.identities import Motion
from graphhand.inference.options import TrackOptions
from graphhand.skeleton import Joint
from graphhand.types import FloatArray, Hand, Side

SIDE_MEMORY_S = 1.0
"""Time after which what a frame said of the hand's side counts 1/e."""

FRAME_LOGIT_LIMIT = 3.0
"""Largest log-odds that one frame counts for a side."""

SIDE_LOGIT_LIMIT = 4 * FRAME_LOGIT_LIMIT
"""Largest log-odds that frames sum up to: five frames that contradict them, 0.2 s, change the side."""

SIDE_LOGIT_MARGIN_VIDEO = 10.0
"""Log-odds, summed over the last frames, from which on a tracked hand is cropped as of its side alone."""

CUTOFF_HZ, BETA_HZ_S_PER_M = 1.5, 30.0
"""Of the One Euro filters: their cutoff at rest, and its rise for each metre a second that a joint moves."""

_NOWHERE = np.full((len(Joint), 3), np.nan)


class Track:
    """What is known of one hand from the frames so far.

    Args:
        options: the sides it may be of, and whether its joints are smoothed.
        number: its own, or None where there is but one.
    """

    def __init__(self, options: TrackOptions, number: int | None) -> None:
        self.number = number
        self.last: Estimate | None = None  # None while it is lost
        self._sides = options.sides
        self._filters = [OneEuroFilter(CUTOFF_HZ, BETA_HZ_S_PER_M) for _ in range(3)] if options.smooth else None
        self._right_logit = 0.0  # summed with fading
        self._time_s = 0.0
        self.motion: Motion | None = None
        self.motion_before: Motion | None = None  # in the frame before
        self.before_merge: Motion | None = None  # when another hand's crop began to show this one
        self.merged_with: Track | None = None  # whose hand its crop showed when it was hidden
        self.detection_score = 0.0
        self.misses = 0  # passes of the detector that did not see it

    @property
    def sides(self) -> tuple[Side, ...]:
        """Those still in question."""
        agreed = abs(self._right_logit) >= SIDE_LOGIT_MARGIN_VIDEO and len(self._sides) > 1
        return (self._side,) if agreed else self._sides

    @property
    def _side(self) -> Side:
        """What the frames so far say."""
        return "right" if self._right_logit >= 0 else "left"

    def update(self, estimates: list[Estimate], time_s: float) -> Estimate:
        """Take a frame's estimates, one a side; return that of the side which all frames together say.

        Its score is that of the frame's likelier side. A detection that contradicts the side is another hand's.
        """
        logits = [e.handedness_logit if e.view.side == "right" else -e.handedness_logit for e in estimates]
        said = float(np.clip(np.mean(logits), -FRAME_LOGIT_LIMIT, FRAME_LOGIT_LIMIT))
        if self.last is None and abs(said) >= FRAME_LOGIT_LIMIT and said * self._right_logit < 0:
            self._right_logit = 0.0
        self._right_logit *= float(np.exp((self._time_s - time_s) / SIDE_MEMORY_S))
        self._right_logit = float(np.clip(self._right_logit + said, -SIDE_LOGIT_LIMIT, SIDE_LOGIT_LIMIT))
        self._time_s = time_s
        estimate = next((e for e in estimates if e.view.side == self._side), estimates[0])
        likelier = max(estimates, key=lambda e: e.score)
        if likelier.score > estimate.score:
            estimate = replace(estimate, handedness_logit=likelier.handedness_logit)
        if self.last is not None and self.last.view.side != estimate.view.side:
            self._reset_filters()
        self.motion_before = self.motion
        self.motion = Motion.of(estimate, time_s) if self.motion is None else self.motion.moved(estimate, time_s)
        self.last = estimate
        return estimate

    @property
    def seen_s(self) -> float:
        """When it was last seen."""
        return -np.inf if self.motion is None else self.motion.time_s

    def cost(self, estimate: Estimate, time_s: float, before_merge: bool = False) -> float:
        """How unlike an estimate is to this hand: by its motion, or that before a merge, and its side."""
        motion = self.before_merge if before_merge else self.motion
        if motion is None:
            return np.inf
        sure = abs(self._right_logit) >= FRAME_LOGIT_LIMIT
        return motion.cost(estimate, time_s, same_side=not sure or estimate.view.side == self._side)

    def stray_px(self) -> float:
        """How far the last frame's place is from where it should have been."""
        if self.motion is None or self.motion_before is None:
            return np.inf
        return float(np.linalg.norm(self.motion.middle_px - self.motion_before.at(self.motion.time_s)))

    def hide(self, merged_with: Track | None) -> None:
        """Out of sight; of a hand that merged with another, the motion before that counts."""
        self.merged_with = merged_with
        if merged_with is not None and self.motion_before is not None:
            self.motion = self.motion_before
        self.lose()

    def jump(self, estimate: Estimate, time_s: float) -> None:
        """Go on elsewhere, at rest."""
        self._reset_filters()
        self.last, self.motion, self.motion_before = estimate, Motion.of(estimate, time_s), None

    def lose(self) -> None:
        """The hand is not where it was; its side stays known."""
        self.last = None
        self._reset_filters()

    def hand(self, time_s: float, model: str) -> Hand:
        """The last estimate, smoothed."""
        assert self.last is not None
        return self._smoothed(self.last, time_s).to_hand(model, self.number)

    def _reset_filters(self) -> None:
        for one_euro in self._filters or ():
            one_euro.reset()

    def _smoothed(self, estimate: Estimate, time_s: float) -> Estimate:
        """The estimate with smoothed joints; their pixels are the projections, where the hand is placed."""
        if self._filters is None:
            return estimate
        if not all(np.isfinite(x).all() for x in (estimate.joints_px, estimate.joints_rel_m)):
            self._reset_filters()  # or nothing would be finite ever after
            return estimate
        of_pixels, of_pose, of_wrist = self._filters
        joints_px = of_pixels(estimate.joints_px, time_s, unit=_pixels_per_metre(estimate))
        joints_rel_m = of_pose(estimate.joints_rel_m, time_s)
        if not estimate.is_placed:
            of_wrist.reset()
            return replace(estimate, joints_px=joints_px, joints_rel_m=joints_rel_m, joints_cam_m=_NOWHERE)
        joints_cam_m = joints_rel_m + of_wrist(estimate.joints_cam_m[Joint.WRIST], time_s)
        projected = estimate.view.camera.project(joints_cam_m)
        if not np.isfinite(projected).all():  # smoothed to behind the camera
            return replace(estimate, joints_px=joints_px, joints_rel_m=joints_rel_m, joints_cam_m=_NOWHERE)
        return replace(estimate, joints_px=projected, joints_rel_m=joints_rel_m, joints_cam_m=joints_cam_m)


class OneEuroFilter:
    """A low-pass filter of points whose cutoff frequency rises with their speed.

    A point's coordinates share one speed, its length, so that turning the axes turns the outcome.

    Args:
        min_cutoff_hz: cutoff of a point at rest; lower is smoother.
        beta: how much the cutoff rises, in Hz for a unit of length a second; higher follows faster.
        speed_cutoff_hz: cutoff of the speed's own filter.
    """

    def __init__(self, min_cutoff_hz: float = 1.0, beta: float = 0.0, speed_cutoff_hz: float = 1.0) -> None:
        self.min_cutoff_hz, self.beta, self.speed_cutoff_hz = min_cutoff_hz, beta, speed_cutoff_hz
        self.reset()

    def reset(self) -> None:
        """Forget what came before: the next points are taken as they are."""
        self._value: FloatArray | None = None
        self._velocity: FloatArray | None = None
        self._time_s = 0.0

    def __call__(self, points: ArrayLike, time_s: float, unit: float = 1.0) -> FloatArray:
        """The next points, smoothed.

        Args:
            points: (..., D), every time of the same shape.
            time_s: seconds; later than the time before.
            unit: what counts as a unit of length, in that of the points.

        Returns:
            (..., D).

        Raises:
            ValueError: time does not advance.
        """
        points = np.asarray(points, dtype=np.float64)
        if self._value is None or self._velocity is None:
            self._value, self._velocity = points, np.zeros_like(points)
        else:
            step_s = time_s - self._time_s
            if not step_s > 0:
                raise ValueError(f"time must advance: {time_s} s after {self._time_s} s")
            velocity = (points - self._value) / step_s
            self._velocity = self._velocity + _alpha(self.speed_cutoff_hz, step_s) * (velocity - self._velocity)
            speed = np.linalg.norm(self._velocity, axis=-1, keepdims=True) / unit
            self._value = self._value + _alpha(self.min_cutoff_hz + self.beta * speed, step_s) * (points - self._value)
        self._time_s = time_s
        return self._value


def _alpha(cutoff_hz: float | FloatArray, step_s: float) -> float | FloatArray:
    """The share of a step that the filter follows: alpha of the paper's Eq. 3 and 4."""
    angle = 2 * math.pi * cutoff_hz * step_s
    return angle / (angle + 1)


def _pixels_per_metre(estimate: Estimate) -> float:
    """At the hand's distance, from the extent of its joints in the image and across the line of sight."""
    in_image = estimate.joints_px - estimate.joints_px.mean(0)
    across = estimate.joints_rel_m[:, :2] - estimate.joints_rel_m[:, :2].mean(0)
    return float(np.linalg.norm(in_image) / max(float(np.linalg.norm(across)), 1e-9))
