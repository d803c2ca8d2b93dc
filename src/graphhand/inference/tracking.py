"""Hands through a video: cropped where they just were; a detector finds those that are new or lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from numpy.typing import ArrayLike

from graphhand.geometry.boxes import iou
from graphhand.inference.crops import MAX_UNCERTAINTY, Estimate
from graphhand.inference.detection import (
    SAME_HAND_IOU,
    candidates,
    detected_hands,
    is_same_hand,
    joint_score,
)
from graphhand.inference.detector import Detection, NetworkDetector
from graphhand.inference.estimator import HandPoseEstimator, ImageLike, as_photo
from graphhand.inference.identities import MEMORY_S, cheapest, match_detections
from graphhand.inference.options import TrackOptions
from graphhand.inference.tracks import Track
from graphhand.types import Camera, Hand, Image

LOST_UNCERTAINTY = 2 * MAX_UNCERTAINTY
"""Uncertainty of the heatmaps above which a hand is no longer where it was."""

DETECTION_FRAMES = 10
"""Frames between two passes of the detector, while no hand is lost."""

LOST_DETECTION_FRAMES = 3
"""The same while a hand is remembered that was lost."""

MAX_MISSES = 2
"""Passes of the detector in a row that do not see a followed hand, after which it is lost."""

SEEN_SHARE = 0.5
"""Share of the least score, from which on a detection says that a followed hand is still there; unless
``keep_score`` says which."""


class HandTracker:
    """Estimates the hands in each frame of a video.

    A detector looks at one frame of :data:`DETECTION_FRAMES`, and where a hand is lost; in between hands are cropped
    where they just were. Each has a number, ``Hand.track``, which it keeps through crossings and through
    :data:`~graphhand.inference.identities.MEMORY_S` out of sight.

    Examples:
        >>> tracker = HandTracker(HandPoseEstimator())  # doctest: +SKIP
        >>> for frame in Video("clip.mp4"):  # doctest: +SKIP
        ...     hands = tracker(frame.image, frame.time_s)

    Args:
        estimator: the network and what belongs to it.
        smooth: whether joints are smoothed over time, which delays fast motion a little.
        box: (4,) x, y, width, height of the hand in the first frame, if known; else the detector finds all.
        whole_image: every frame is already cut to the hand: nothing is detected or tracked.
        side: the hand's side if known.
        K, focal_px, fov_deg, distortion, fisheye, calibrated_size: what is known of the camera, as for
            :class:`HandPoseEstimator`.
        max_hands: how many hands to track at most; None is all that the detector finds.
        min_score: what a hand must score to be one; None is 0.5, and 0.3 with ``box`` or ``whole_image``.
        keep_score: what a hand that is followed must score to be one still; None is ``min_score``. A lower one bridges
            blurred frames.

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
        distortion: ArrayLike = (),
        fisheye: bool = False,
        calibrated_size: tuple[int, int] | None = None,
        max_hands: int | None = None,
        min_score: float | None = None,
        keep_score: float | None = None,
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
            distortion=distortion,
            fisheye=fisheye,
            calibrated_size=calibrated_size,
            max_hands=max_hands,
            min_score=min_score,
            keep_score=keep_score,
        )
        self._box = self.options.box  # of the first frame; None from then on
        self._detects = self._box is None and not whole_image
        self.max_hands = self.options.hand_limit if self._detects else 1
        self._least = self.options.score_limit(self._detects)
        self._keep = self.options.keep_limit(self._detects)
        self._tracks = [] if self._detects else [Track(self.options, None)]
        self._hidden: list[Track] = []  # out of sight, remembered
        self._count = 0  # of several hands, so far
        self._frames = 0  # since the detector's last pass
        self._time_s: float | None = None  # of the last frame

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
        if self._time_s is not None and not time_s > self._time_s:
            raise ValueError(f"time must advance: {time_s} s after {self._time_s} s")
        self._time_s = time_s
        camera = self.options.camera(image.shape[1], image.shape[0])
        if self._detects:
            self._follow_detected(image, camera, time_s)
        else:
            (track,) = self._tracks
            self._update(track, self._estimate_one(track, image, camera), time_s)
        return [track.hand(time_s, self.estimator.model) for track in self._tracks if track.last is not None]

    def _follow_detected(self, image: Image, camera: Camera, time_s: float) -> None:
        """Crop each hand where it was; where the detector's turn has come, take its word on who is there."""
        self._hidden = [track for track in self._hidden if time_s - track.seen_s <= MEMORY_S]
        for track in list(self._tracks):
            estimates = self._estimate_again(track, image, camera)
            if estimates:
                score = track.detection_score
                track.update([replace(e, detection_score=score) for e in estimates], time_s)
            else:
                self._hide(track)
        self._part_merged(time_s)
        self._frames += 1
        interval = LOST_DETECTION_FRAMES if self._hidden else DETECTION_FRAMES
        if any(track.merged_with is not None for track in self._hidden):
            interval = 1  # they may part in any frame
        if self._tracks and self._frames < interval:
            return
        self._frames = 0
        detections = self.estimator.detector(image)
        self._settle(candidates(detections, self._least_seen()), image, camera, time_s)

    def _least_seen(self) -> float:
        """The least score of a hand that is followed, where the detector looks."""
        return SEEN_SHARE * self._least if self.options.keep_score is None else self._keep

    def _settle(self, detections: list[Detection], image: Image, camera: Camera, time_s: float) -> None:
        """Tie a frame's detections to the hands followed, to those remembered, or to new ones."""
        followed = [track for track in self._tracks if track.last is not None]
        matched, others = match_detections([t.last for t in followed if t.last is not None], detections)
        for number, track in enumerate(followed):
            score = -1.0
            if number in matched and track.last is not None:
                score = joint_score(detections[matched[number]], track.last.pose_score)
            if score >= self._least_seen():
                track.misses, track.detection_score = 0, score
            else:
                track.misses += 1
                if track.misses >= MAX_MISSES:
                    self._hide(track)
        fresh = [detections[i] for i in others]
        found = self._detected(image, camera, fresh, or_whole_image=not self._tracks)
        for estimate in found:
            if len(self._tracks) >= self.max_hands or estimate.score < self._least:
                break
            if any(t.last is not None and is_same_hand(t.last, estimate) for t in self._tracks):
                continue
            self._take_up(estimate, time_s)

    def _detected(
        self, image: Image, camera: Camera, detections: list[Detection], or_whole_image: bool
    ) -> list[Estimate]:
        """The hands around detections, best first; or the whole image's, where a detector of our own found none."""
        crops, sides = self.estimator.crops, self.options.sides
        or_whole_image = or_whole_image and isinstance(self.estimator.detector, NetworkDetector)
        return detected_hands(crops, image, camera, sides, detections, self._least, or_whole_image)

    def _take_up(self, estimate: Estimate, time_s: float) -> None:
        """Go on with the remembered hand that an estimate most likely is, or start a new one."""
        costs = [(track.cost(estimate, time_s), i) for i, track in enumerate(self._hidden)]
        found = cheapest(costs)
        if found is None:
            track = Track(self.options, self._count)
            self._count += 1
        else:
            track = self._hidden.pop(found)
            estimate = self._unswapped(track, estimate, time_s)
        track.misses, track.detection_score = 0, estimate.score
        track.update([estimate], time_s)
        self._tracks.append(track)
        self._tracks.sort(key=lambda one: one.number or 0)

    def _unswapped(self, track: Track, estimate: Estimate, time_s: float) -> Estimate:
        """The estimate of a hand that reappears beside the one it had merged with: which of the two places is whose?

        By motion before they merged. Where the other hand took the wrong place, the two change places.
        """
        other = track.merged_with
        track.merged_with = None
        if other is None or other not in self._tracks or other.last is None or other.before_merge is None:
            return estimate
        theirs = other.last
        stay = track.cost(estimate, time_s) + other.cost(theirs, time_s, before_merge=True)
        swap = track.cost(theirs, time_s) + other.cost(estimate, time_s, before_merge=True)
        other.before_merge = None
        if swap >= stay:
            return estimate
        other.detection_score = estimate.score
        other.jump(estimate, time_s)
        return theirs

    def _part_merged(self, time_s: float) -> None:
        """Of two hands whose crops show one, the one that strayed further from its path is hidden until they part."""
        followed = [track for track in self._tracks if track.last is not None]
        for number, first in enumerate(followed):
            for second in followed[number + 1 :]:
                a, b = first.last, second.last
                if a is None or b is None or iou(a.box_px, b.box_px) <= SAME_HAND_IOU:
                    continue
                kept, lost = sorted((first, second), key=lambda one: one.stray_px())
                kept.before_merge = kept.motion_before
                self._hide(lost, merged_with=kept)

    def _hide(self, track: Track, merged_with: Track | None = None) -> None:
        """Remember a hand that is not seen any more."""
        track.hide(merged_with)
        self._tracks = [one for one in self._tracks if one is not track]
        self._hidden.append(track)

    def _estimate_one(self, track: Track, image: Image, camera: Camera) -> list[Estimate]:
        """Estimates of the one hand, one a side that is still in question: where it was, or else the detector's."""
        if self.options.whole_image or self._box is not None:
            box, self._box = self.estimator.crop_box(image, self._box), None
            return self.estimator.crops.estimate_sides(image, camera, track.sides, [box])[0]
        estimates = self._estimate_again(track, image, camera)
        if estimates:
            return estimates
        track.lose()
        return self._detected(image, camera, self.estimator.detector(image), or_whole_image=True)[:1]

    def _estimate_again(self, track: Track, image: Image, camera: Camera) -> list[Estimate]:
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

    def _update(self, track: Track, estimates: list[Estimate], time_s: float) -> None:
        limit = self._least if track.last is None else self._keep
        if not estimates or track.update(estimates, time_s).score < limit:
            track.lose()
