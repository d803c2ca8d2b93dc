"""Hands through a video: looked for where they just were, their sides agreed over frames, their jitter smoothed.

The One Euro filter: little jitter when things are still, little delay when they move.

Casiez, Roussel and Vogel, *1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems*,
CHI 2012.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from graphhand.inference.crops import (
    MAX_SPREAD,
    Estimate,
    Image,
    check_max_hands,
    crop_views,
    least_score,
    recrop_box,
    sides_to_try,
)
from graphhand.inference.detection import non_maximum_suppression, several_hands
from graphhand.inference.estimator import HandPoseEstimator
from graphhand.types import Camera, FloatArray, Hand, Side


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
            self._velocity = self._velocity + _share(self.speed_cutoff_hz, step_s) * (velocity - self._velocity)
            speed = np.linalg.norm(self._velocity, axis=-1, keepdims=True) / unit
            self._value = self._value + _share(self.min_cutoff_hz + self.beta * speed, step_s) * (points - self._value)
        self._time_s = time_s
        return self._value


def _share(cutoff_hz: float | FloatArray, step_s: float) -> float | FloatArray:
    """How much of a step the filter follows: alpha of the paper's Eq. 3 and 4."""
    turns = 2 * math.pi * cutoff_hz * step_s
    return turns / (turns + 1)


LOST = 2 * MAX_SPREAD
"""Spread of the heatmaps above which a hand is no longer where it was, and the frame is searched anew."""

SIDE_MEMORY_S = 1.0
"""Time after which what a frame said of the hand's side counts 1/e."""

SIDE_LOGIT_MARGIN_VIDEO = 40.0
"""Log-odds, summed over the last frames, from which on a hand that is followed is looked at as of its side alone."""

LIVE_PORTIONS = 6
"""Into how many frames a search is divided where a camera goes on meanwhile."""

SEARCH_S = 1.0
"""Time between two searches for further hands, while fewer are followed than may be."""

CUTOFF_HZ, BETA_HZ_S_PER_M = 1.5, 30.0
"""Of the One Euro filters: their cutoff at rest, and its rise for each metre a second that a joint moves."""


class HandTracker:
    """Estimates the hand in each frame of a video, or several hands.

    >>> tracker = HandTracker(HandPoseEstimator())                                   # doctest: +SKIP
    >>> for frame in Video("clip.mp4"):                                              # doctest: +SKIP
    ...     hands = tracker(frame.image, frame.time_s)

    Args:
        estimator: the network and what belongs to it.
        smooth: whether joints are smoothed over time, which delays fast motion a little.
        box: (4,) x, y, width, height of the hand in the first frame, if known; else it is searched.
        whole_image: every frame is already cut to the hand: nothing is searched or followed.
        side: the hand's side if known.
        K, focal_px, fov_deg: what is known of the camera, as for :class:`HandPoseEstimator`.
        max_hands: how many hands to follow at most. Of several each has a number, ``Hand.track``, which it keeps until
            it is lost.
        min_score: what a hand must score in a frame to be one. None: where one hand is followed there is one in every
            frame, and of several each must score 0.5.
        live: frames come from a camera that does not wait: where a hand must be searched, each frame is searched in a
            part of its windows, in turn.

    Raises:
        ValueError: ``box`` and ``whole_image`` are both given, or one of them where several hands are asked for;
            ``side`` is none, ``min_score`` is not in [0, 1], or ``max_hands`` is none.
    """

    def __init__(
        self,
        estimator: HandPoseEstimator,
        *,
        smooth: bool = True,
        box: ArrayLike | None = None,
        whole_image: bool = False,
        side: Literal["left", "right", "auto"] = "auto",
        K: ArrayLike | None = None,
        focal_px: float | None = None,
        fov_deg: float | None = None,
        max_hands: int = 1,
        min_score: float | None = None,
        live: bool = False,
    ) -> None:
        if box is not None and whole_image:
            raise ValueError("a box and whole_image exclude each other")
        check_max_hands(max_hands, told_where=box is not None or whole_image)
        self.estimator, self.whole_image, self.max_hands = estimator, whole_image, max_hands
        self.min_score = least_score(min_score, max_hands)
        self._box = box  # of the first frame
        self._sides = sides_to_try(side)
        self._camera_of = partial(Camera.of_image, K=K, focal_px=focal_px, fov_deg=fov_deg)
        self._smooth = smooth
        self._hands = [_FollowedHand(self._sides, smooth, None)] if max_hands == 1 else []
        self._count = 0  # of several hands, so far
        self._portions = LIVE_PORTIONS if live else 1
        self._portion = 0
        self._search_s = -np.inf  # when the next search for further hands is due

    def __call__(self, image: Image, time_s: float) -> list[Hand]:
        """The hands in the next frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            time_s: seconds; later than the frame before.

        Returns:
            At most ``max_hands`` hands, those followed longest first.

        Raises:
            ValueError: ``box`` lies outside the first frame, or time does not advance.
        """
        camera = self._camera_of(image.shape[1], image.shape[0])
        if self.max_hands == 1:
            (hand,) = self._hands
            self._take(hand, self._estimates(hand, image, camera), time_s)
        else:
            self._follow(image, camera, time_s)
            self._start_tracks(image, camera, time_s)
        return [hand.result(time_s, self.estimator.model) for hand in self._hands if hand.last is not None]

    def _take(self, hand: _FollowedHand, group: list[Estimate], time_s: float) -> None:
        """Go on with what was seen of a hand, or lose it."""
        if hand.take(group, time_s).score < self.min_score:
            hand.lose()

    def _estimates(self, hand: _FollowedHand, image: Image, camera: Camera) -> list[Estimate]:
        """Of the only hand, one a side that is still in question, from where it was, or from wherever it is."""
        place: FloatArray | None = None
        given = self.whole_image or self._box is not None
        if given:
            place, self._box = self.estimator.crop(image, self._box), None
        elif hand.last is not None:
            place = self._next_box(hand.last)
        if place is not None:
            (group,) = self.estimator.look([crop_views(image, camera, hand.sides, place)])
            if given or not _is_lost(group):
                return group
        hand.lose()
        return self.estimator.locate([image], [camera], self._sides, self._windows())[0]

    def _follow(self, image: Image, camera: Camera, time_s: float) -> None:
        """CropView at several hands where each was; two that have become one are one."""
        for hand in self._hands:
            place = None if hand.last is None else self._next_box(hand.last)
            group = [] if place is None else self.estimator.look([crop_views(image, camera, hand.sides, place)])[0]
            if group and not _is_lost(group):
                self._take(hand, group, time_s)
            else:
                hand.lose()
        seen = non_maximum_suppression(hand.last for hand in self._hands if hand.last is not None)
        still = [hand for hand in self._hands if any(hand.last is estimate for estimate in seen)]
        if len(still) < len(self._hands):
            self._search_s = time_s  # it may be elsewhere
        self._hands = still

    def _start_tracks(self, image: Image, camera: Camera, time_s: float) -> None:
        """Search for hands beside those followed, from time to time."""
        missing = self.max_hands - len(self._hands)
        if not missing or time_s < self._search_s:
            return
        look, margin = self.estimator.look, self.estimator.margin
        followed = [hand.last for hand in self._hands if hand.last is not None]
        found = several_hands(look, image, camera, self._sides, margin, missing, self._windows(), followed)
        if self._portion == 0:
            self._search_s = time_s + SEARCH_S
        for estimate in found:
            if estimate.score >= self.min_score:
                hand = _FollowedHand(self._sides, self._smooth, self._count)
                hand.take([estimate], time_s)
                self._hands.append(hand)
                self._count += 1

    def _windows(self) -> slice:
        """Of an image's windows, those whose turn it is to be searched."""
        windows = slice(self._portion, None, self._portions)
        self._portion = (self._portion + 1) % self._portions
        return windows

    def _next_box(self, estimate: Estimate) -> FloatArray | None:
        height, width = estimate.look.image.shape[:2]
        return recrop_box(estimate.joints_px, width, height, self.estimator.margin)


class _FollowedHand:
    """What is known of one hand from the frames so far.

    Args:
        sides: those it may be of.
        smooth: whether its joints are smoothed.
        track: its number, or None where there is but one.
    """

    def __init__(self, sides: tuple[Side, ...], smooth: bool, track: int | None) -> None:
        self.track = track
        self.last: Estimate | None = None  # None while it is lost
        self._sides = sides
        self._filters = [OneEuroFilter(CUTOFF_HZ, BETA_HZ_S_PER_M) for _ in range(3)] if smooth else None
        self._right = 0.0  # log-odds, summed with fading, that it is a right one
        self._time_s = 0.0

    @property
    def sides(self) -> tuple[Side, ...]:
        """Those still in question."""
        agreed = abs(self._right) >= SIDE_LOGIT_MARGIN_VIDEO and len(self._sides) > 1
        return (self._side,) if agreed else self._sides

    @property
    def _side(self) -> Side:
        """What the frames so far say."""
        return "right" if self._right >= 0 else "left"

    def take(self, group: list[Estimate], time_s: float) -> Estimate:
        """Remember what a frame showed, and choose the estimate of the side that all frames together say."""
        self._right *= float(np.exp((self._time_s - time_s) / SIDE_MEMORY_S))
        self._right += sum(e.handedness_logit if e.look.side == "right" else -e.handedness_logit for e in group) / len(
            group
        )
        self._time_s = time_s
        estimate = next((e for e in group if e.look.side == self._side), group[0])
        if self.last is not None and self.last.look.side != estimate.look.side:
            self._forget()
        self.last = estimate
        return estimate

    def lose(self) -> None:
        """It is not where it was; which side it is stays known."""
        self.last = None
        self._forget()

    def result(self, time_s: float, model: str) -> Hand:
        """The last estimate, smoothed."""
        assert self.last is not None
        return self._smoothed(self.last, time_s).hand(model, self.track)

    def _forget(self) -> None:
        for one_euro in self._filters or ():
            one_euro.reset()

    def _smoothed(self, estimate: Estimate, time_s: float) -> Estimate:
        if self._filters is None:
            return estimate
        if not all(np.isfinite(x).all() for x in (estimate.joints_px, estimate.joints_rel_m, estimate.wrist_cam_m)):
            self._forget()  # or nothing would be finite ever after
            return estimate
        of_pixels, of_shape, of_place = self._filters
        return replace(
            estimate,
            joints_px=of_pixels(estimate.joints_px, time_s, unit=_pixels_a_metre(estimate)),
            joints_rel_m=of_shape(estimate.joints_rel_m, time_s),
            wrist_cam_m=of_place(estimate.wrist_cam_m, time_s),
        )


def _is_lost(group: list[Estimate]) -> bool:
    return min(estimate.spread for estimate in group) > LOST


def _pixels_a_metre(estimate: Estimate) -> float:
    """At the hand's distance, from the spread of its joints in the image and across the line of sight."""
    in_image = estimate.joints_px - estimate.joints_px.mean(0)
    across = estimate.joints_rel_m[:, :2] - estimate.joints_rel_m[:, :2].mean(0)
    return float(np.linalg.norm(in_image) / max(float(np.linalg.norm(across)), 1e-9))
