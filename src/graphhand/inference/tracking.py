"""One hand through a video: looked for where it just was, its side agreed over frames, its jitter smoothed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from graphhand.inference.estimator import HandPoseEstimator
from graphhand.inference.localisation import recrop_box
from graphhand.inference.looks import UNSURE, Estimate, FloatArray, Image, check_min_score, looks_at, sides_to_try
from graphhand.inference.results import Camera, Hand, Side
from graphhand.inference.smoothing import OneEuroFilter

LOST = 2 * UNSURE
"""Spread of the heatmaps above which a hand is no longer where it was, and the frame is searched anew."""

SIDE_MEMORY_S = 1.0
"""Time after which what a frame said of the hand's side counts 1/e."""

AGREED = 40.0
"""Log-odds, summed over the last frames, from which on a hand that is followed is looked at as of its side alone."""

LIVE_PORTIONS = 6
"""Into how many frames a search is divided where a camera goes on meanwhile."""

CUTOFF_HZ, BETA_HZ_S_PER_M = 1.5, 30.0
"""Of the One Euro filters: their cutoff at rest, and its rise for each metre a second that a joint moves."""


class HandTracker:
    """Estimates the hand in each frame of a video.

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
        min_score: what a hand must score in a frame to be one.
        live: frames come from a camera that does not wait: where a hand must be searched, each frame is searched in a
            part of its windows, in turn.

    Raises:
        ValueError: ``box`` and ``whole_image`` are both given, ``side`` is none, or ``min_score`` is not in [0, 1].
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
        min_score: float = 0.0,
        live: bool = False,
    ) -> None:
        if box is not None and whole_image:
            raise ValueError("a box and whole_image exclude each other")
        check_min_score(min_score)
        self.estimator, self.whole_image, self.min_score = estimator, whole_image, min_score
        self._box = box  # of the first frame
        self._sides = sides_to_try(side)
        self._camera_of = partial(Camera.of_picture, K=K, focal_px=focal_px, fov_deg=fov_deg)
        self._filters = [OneEuroFilter(CUTOFF_HZ, BETA_HZ_S_PER_M) for _ in range(3)] if smooth else None
        self._right = 0.0  # log-odds, summed with fading, that the hand is a right one
        self._last: Estimate | None = None
        self._time_s = 0.0
        self._portions = LIVE_PORTIONS if live else 1
        self._portion = 0

    def __call__(self, image: Image, time_s: float) -> list[Hand]:
        """The hand in the next frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            time_s: seconds; later than the frame before.

        Returns:
            A list of one :class:`Hand`, or of none.

        Raises:
            ValueError: ``box`` lies outside the first frame, or time does not advance.
        """
        camera = self._camera_of(image.shape[1], image.shape[0])
        group = self._estimates(image, camera)
        self._right *= float(np.exp((self._time_s - time_s) / SIDE_MEMORY_S))
        self._right += sum(e.right_logit if e.look.side == "right" else -e.right_logit for e in group) / len(group)
        self._time_s = time_s
        estimate = next((e for e in group if e.look.side == self._side), group[0])
        if self._last is not None and self._last.look.side != estimate.look.side:
            self._forget()
        if estimate.score < self.min_score:
            self._last = None
            self._forget()
            return []
        self._last = estimate
        return [self._smoothed(estimate, time_s).hand(self.estimator.model)]

    @property
    def _side(self) -> Side:
        """What the frames so far say."""
        return "right" if self._right >= 0 else "left"

    def _estimates(self, image: Image, camera: Camera) -> list[Estimate]:
        """One a side that is still in question, from where the hand was, or from wherever it is."""
        height, width = image.shape[:2]
        place: FloatArray | None = None
        given = self.whole_image or self._box is not None
        if given:
            place, self._box = self.estimator.crop(image, self._box), None
        elif self._last is not None:
            place = recrop_box(self._last.joints_px, width, height, self.estimator.margin)
        if place is not None:
            agreed = abs(self._right) >= AGREED and len(self._sides) > 1
            sides = (self._side,) if agreed else self._sides
            (group,) = self.estimator.look([looks_at(image, camera, sides, place)])
            if given or not min(e.spread for e in group) > LOST:
                return group
        self._forget()
        windows = slice(self._portion, None, self._portions)
        self._portion = (self._portion + 1) % self._portions
        return self.estimator.locate([image], [camera], self._sides, windows)[0]

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


def _pixels_a_metre(estimate: Estimate) -> float:
    """At the hand's distance, from the spread of its joints in the picture and across the line of sight."""
    in_picture = estimate.joints_px - estimate.joints_px.mean(0)
    across = estimate.joints_rel_m[:, :2] - estimate.joints_rel_m[:, :2].mean(0)
    return float(np.linalg.norm(in_picture) / max(float(np.linalg.norm(across)), 1e-9))
