"""Hands through a video: cropped where they just were, their sides agreed over frames, their jitter smoothed.

The filter is that of Casiez, Roussel and Vogel, *1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
Interactive Systems*, CHI 2012: little jitter when things are still, little delay when they move.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from graphhand.inference.crops import MAX_UNCERTAINTY, Estimate
from graphhand.inference.detection import find_hands, locate_hands, non_maximum_suppression
from graphhand.inference.estimator import HandPoseEstimator, ImageLike, as_photo
from graphhand.inference.options import TrackOptions
from graphhand.skeleton import Joint
from graphhand.types import Camera, FloatArray, Hand, Image, Side

LOST_UNCERTAINTY = 2 * MAX_UNCERTAINTY
"""Uncertainty of the heatmaps above which a hand is no longer where it was, and the frame is searched anew."""

SIDE_MEMORY_S = 1.0
"""Time after which what a frame said of the hand's side counts 1/e."""

FRAME_LOGIT_LIMIT = 3.0
"""Largest log-odds that one frame counts for a side."""

SIDE_LOGIT_LIMIT = 4 * FRAME_LOGIT_LIMIT
"""Largest log-odds that frames sum up to: five frames that contradict them, 0.2 s, change the side."""

SIDE_LOGIT_MARGIN_VIDEO = 10.0
"""Log-odds, summed over the last frames, from which on a tracked hand is cropped as of its side alone."""

LIVE_PORTIONS = 6
"""Into how many frames a search is divided where a camera goes on meanwhile."""

SEARCH_INTERVAL_S = 1.0
"""Time between two searches for further hands, while fewer are tracked than may be."""

CUTOFF_HZ, BETA_HZ_S_PER_M = 1.5, 30.0
"""Of the One Euro filters: their cutoff at rest, and its rise for each metre a second that a joint moves."""

_NOWHERE = np.full((len(Joint), 3), np.nan)


class HandTracker:
    """Estimates the hand in each frame of a video, or several hands.

    Examples:
        >>> tracker = HandTracker(HandPoseEstimator())  # doctest: +SKIP
        >>> for frame in Video("clip.mp4"):  # doctest: +SKIP
        ...     hands = tracker(frame.image, frame.time_s)

    Args:
        estimator: the network and what belongs to it.
        smooth: whether joints are smoothed over time, which delays fast motion a little.
        box: (4,) x, y, width, height of the hand in the first frame, if known; else it is searched.
        whole_image: every frame is already cut to the hand: nothing is searched or tracked.
        side: the hand's side if known.
        K, focal_px, fov_deg: what is known of the camera, as for :class:`HandPoseEstimator`.
        max_hands: how many hands to track at most. Of several each has a number, ``Hand.track``, which it keeps until
            it is lost.
        min_score: what a hand must score in a frame to be one; 0 gives the likeliest. None is 0.3, or 0.5 for each of
            several.
        keep_score: what a hand that is followed must score to be one still; None is ``min_score``. A lower one bridges
            blurred frames.
        live: frames come from a camera that does not wait: where a hand must be searched, each frame is searched in a
            part of its windows, in turn. The attribute of that name may be changed between two frames.

    Raises:
        ValueError: arguments contradict each other, or one is out of its range.
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
        keep_score: float | None = None,
        live: bool = False,
    ) -> None:
        self.estimator = estimator
        self.options = TrackOptions.of_arguments(
            smooth=smooth,
            box=box,
            whole_image=whole_image,
            side=side,
            K=K,
            focal_px=focal_px,
            fov_deg=fov_deg,
            max_hands=max_hands,
            min_score=min_score,
            keep_score=keep_score,
        )
        self._box = self.options.box  # of the first frame; None from then on
        self._tracks = [_Track(self.options, None)] if max_hands == 1 else []
        self._count = 0  # of several hands, so far
        self.live = live
        self._portion = 0
        self._search_s = -np.inf  # when the next search for further hands is due

    def __call__(self, image: ImageLike, time_s: float, *, bgr: bool = False) -> list[Hand]:
        """The hands in the next frame.

        Args:
            image: (H, W, 3) uint8 RGB, or as :class:`HandPoseEstimator` takes it.
            time_s: seconds; later than the frame before.
            bgr: an array in OpenCV's order of channels, as ``cv2.VideoCapture`` gives it.

        Returns:
            At most ``max_hands`` hands, those tracked longest first.

        Raises:
            ValueError: ``box`` lies outside the first frame, or time does not advance.
        """
        image = as_photo(image, bgr).image
        if (fault := self.options.unit_fault(image.shape[1], image.shape[0])) is not None:
            raise ValueError("; ".join(fault))
        camera = self.options.camera(image.shape[1], image.shape[0])
        if self.options.max_hands == 1:
            (track,) = self._tracks
            self._update(track, self._estimate_one(track, image, camera), time_s)
        else:
            self._follow(image, camera, time_s)
            self._start_tracks(image, camera, time_s)
        return [track.hand(time_s, self.estimator.model) for track in self._tracks if track.last is not None]

    def _estimate_one(self, track: _Track, image: Image, camera: Camera) -> list[Estimate]:
        """Estimates of the only hand, one a side that is still in question: where it was, or else wherever it is."""
        crops = self.estimator.crops
        given = self.options.whole_image or self._box is not None
        if given:
            box, self._box = self.estimator.crop_box(image, self._box), None
            return crops.estimate_sides(image, camera, track.sides, [box])[0]
        estimates = self._estimate_again(track, image, camera)
        if estimates:
            return estimates
        track.lose()
        return locate_hands(crops, [image], [camera], self.options.sides, self._windows())[0]

    def _follow(self, image: Image, camera: Camera, time_s: float) -> None:
        """Estimate each of several hands where it was; of two that have become one the better is kept."""
        for track in self._tracks:
            estimates = self._estimate_again(track, image, camera)
            if estimates:
                self._update(track, estimates, time_s)
            else:
                track.lose()
        kept = non_maximum_suppression(track.last for track in self._tracks if track.last is not None)
        tracks = [track for track in self._tracks if any(track.last is estimate for estimate in kept)]
        if len(tracks) < len(self._tracks):
            self._search_s = time_s  # a lost hand may be elsewhere
        self._tracks = tracks

    def _start_tracks(self, image: Image, camera: Camera, time_s: float) -> None:
        """Search for hands beside those tracked, from time to time."""
        missing = self.options.max_hands - len(self._tracks)
        if not missing or time_s < self._search_s:
            return
        known = [track.last for track in self._tracks if track.last is not None]
        crops, sides = self.estimator.crops, self.options.sides
        found = find_hands(crops, image, camera, sides, missing, self._windows(), known)
        if self._portion == 0:
            self._search_s = time_s + SEARCH_INTERVAL_S
        for estimate in found:
            if estimate.score >= self.options.score_limit:
                track = _Track(self.options, self._count)
                track.update([estimate], time_s)
                self._tracks.append(track)
                self._count += 1

    def _estimate_again(self, track: _Track, image: Image, camera: Camera) -> list[Estimate]:
        """Estimates of a hand where it just was; none where it is lost."""
        crops = self.estimator.crops
        box = None if track.last is None else track.last.next_box(crops.margin)
        if box is None:
            return []
        (estimates,) = crops.estimate_sides(image, camera, track.sides, [box])
        others = [side for side in self.options.sides if side not in track.sides]
        if others and estimates[0].handedness_logit < 0:  # the frame contradicts the side
            estimates += crops.estimate_sides(image, camera, others, [box])[0]
        return [] if min(estimate.uncertainty for estimate in estimates) > LOST_UNCERTAINTY else estimates

    def _update(self, track: _Track, estimates: list[Estimate], time_s: float) -> None:
        limit = self.options.score_limit if track.last is None else self.options.keep_limit
        if track.update(estimates, time_s).score < limit:
            track.lose()

    def _windows(self) -> slice:
        """Of an image's windows, those whose turn it is to be searched."""
        portions = LIVE_PORTIONS if self.live else 1
        windows = slice(self._portion % portions, None, portions)
        self._portion = (self._portion + 1) % portions
        return windows


class _Track:
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

        Its score is that of the frame's likelier side. A search that contradicts the side found another hand.
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
        self.last = estimate
        return estimate

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
