"""MediaPipe's ``Hands``, its landmarks and their meanings, of GraphHand's estimator and tracker.

MediaPipe's conventions, from its documentation; the two marked * were measured on 58 hands of its version 0.10.14:

- Landmarks: x and y from the image's left and top edge, over its width and height. z from the wrist, positive away
  from the camera, over the image's width.
- World landmarks: metres, axes as the image's. Their origin is near the mean of the four knuckles*.
- Handedness: as of a mirrored image. A person's left hand in a photo that is not mirrored is ``"Right"``.
- The 21 landmarks are in GraphHand's order*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from graphhand.inference import HandPoseEstimator, HandTracker
from graphhand.skeleton import BONES, KNUCKLES, Joint
from graphhand.types import FloatArray, Hand, Image

WEIGHTS = ("fast", "default")
"""The bundled weights behind ``model_complexity`` 0 and 1."""

FRAME_S = 1 / 30
"""Time between two images of a stream: MediaPipe's own assumption, since ``process`` is given no times."""


class HandLandmark(IntEnum):
    """MediaPipe's names of the 21 joints."""

    WRIST = 0
    THUMB_CMC = 1
    THUMB_MCP = 2
    THUMB_IP = 3
    THUMB_TIP = 4
    INDEX_FINGER_MCP = 5
    INDEX_FINGER_PIP = 6
    INDEX_FINGER_DIP = 7
    INDEX_FINGER_TIP = 8
    MIDDLE_FINGER_MCP = 9
    MIDDLE_FINGER_PIP = 10
    MIDDLE_FINGER_DIP = 11
    MIDDLE_FINGER_TIP = 12
    RING_FINGER_MCP = 13
    RING_FINGER_PIP = 14
    RING_FINGER_DIP = 15
    RING_FINGER_TIP = 16
    PINKY_MCP = 17
    PINKY_PIP = 18
    PINKY_DIP = 19
    PINKY_TIP = 20


_ACROSS_PALM = set(pairwise(KNUCKLES))
_TO_INNER_KNUCKLES = {(Joint.WRIST, Joint.MIDDLE_MCP), (Joint.WRIST, Joint.RING_MCP)}

HAND_CONNECTIONS: frozenset[tuple[int, int]] = frozenset(
    (int(a), int(b)) for a, b in (set(BONES) - _TO_INNER_KNUCKLES) | _ACROSS_PALM
)
"""MediaPipe's 21 lines: the fingers, and the palm's outline along the knuckles."""


@dataclass
class Landmark:
    """A point: of an image (shares of its width and height) or of the world (metres).

    ``visibility`` and ``presence`` are 0 and not set, as MediaPipe leaves them for hands.
    """

    x: float
    y: float
    z: float
    visibility: float = 0.0
    presence: float = 0.0

    def HasField(self, name: str) -> bool:  # noqa: N802, protobuf's own name
        """Whether a coordinate is set: x, y and z are.

        Raises:
            ValueError: a landmark has no such field.
        """
        if name not in vars(self):
            raise ValueError(f"a landmark has no field {name!r}")
        return name in ("x", "y", "z")

    def __str__(self) -> str:
        return "".join(f"{name}: {getattr(self, name):.9g}\n" for name in ("x", "y", "z"))


@dataclass
class LandmarkList:
    """The 21 points of a hand, in :class:`HandLandmark`'s order."""

    landmark: list[Landmark]

    def __str__(self) -> str:
        return "".join("landmark {\n" + _indented(point) + "}\n" for point in self.landmark)


@dataclass
class Classification:
    """A side: ``"Left"`` (index 0) or ``"Right"`` (1), as of a mirrored image, and how sure it is."""

    index: int
    score: float
    label: str

    def __str__(self) -> str:
        return f'index: {self.index}\nscore: {self.score:.9g}\nlabel: "{self.label}"\n'


@dataclass
class ClassificationList:
    """The side of a hand: one classification."""

    classification: list[Classification]

    def __str__(self) -> str:
        return "".join("classification {\n" + _indented(one) + "}\n" for one in self.classification)


class HandsResult(NamedTuple):
    """What :meth:`Hands.process` found; all three are None where there is no hand, and lists of equal length else.

    Attributes:
        multi_hand_landmarks: points in the image.
        multi_hand_world_landmarks: points in metres.
        multi_handedness: sides.
    """

    multi_hand_landmarks: list[LandmarkList] | None
    multi_hand_world_landmarks: list[LandmarkList] | None
    multi_handedness: list[ClassificationList] | None


class Hands:
    """Hands of images, or of a stream of images, as MediaPipe's legacy solution gives them.

    Args:
        static_image_mode: images have nothing to do with each other. False takes them for the frames of a video at
            30 Hz: hands are followed, and their joints smoothed.
        max_num_hands: how many to find at most.
        model_complexity: 0 loads the bundled weights ``fast``, 1 ``default``.
        min_detection_confidence: what a hand must score to be found, in [0, 1].
        min_tracking_confidence: what a hand must score to be followed further, in [0, 1]; not read with
            ``static_image_mode``.
        weights: in place of ``model_complexity``, as for :class:`graphhand.HandPoseEstimator`.
        fov_deg: the camera's field of view across the image's longer side, if known; else 60 degrees are assumed, or
            35 for an image cut to the hand.

    Raises:
        ValueError: an argument is out of its range.
        InputError: there are no such weights.
    """

    def __init__(
        self,
        static_image_mode: bool = False,
        max_num_hands: int = 2,
        model_complexity: int = 1,
        min_detection_confidence: float = 0.5,
        min_tracking_confidence: float = 0.5,
        *,
        weights: str | None = None,
        fov_deg: float | None = None,
    ) -> None:
        if model_complexity not in (0, 1):
            raise ValueError(f"model_complexity is 0 or 1, not {model_complexity!r}")
        self._estimator: HandPoseEstimator | None = HandPoseEstimator(weights or WEIGHTS[model_complexity])
        self._static = static_image_mode
        self._options: dict[str, Any] = {
            "max_hands": max_num_hands,
            "min_score": min_detection_confidence,
            "fov_deg": fov_deg,
        }
        self._keep_score = min_tracking_confidence
        self.reset()

    def process(self, image: Image) -> HandsResult:
        """The hands of an image, or of a stream's next one.

        Args:
            image: (H, W, 3) uint8 **RGB**. It is only read.

        Raises:
            ValueError: it is no such array.
            RuntimeError: :meth:`close` was called before.
        """
        if self._estimator is None:
            raise RuntimeError("Hands was closed; make another one")
        if self._static:
            found = self._estimator(image, **self._options)
        else:
            found = self._tracker(image, self._frames * FRAME_S)
            self._frames += 1
        height, width = image.shape[:2]
        if not found:
            return HandsResult(None, None, None)
        return HandsResult(
            [_landmarks(hand, width, height) for hand in found],
            [_world_landmarks(hand) for hand in found],
            [_handedness(hand) for hand in found],
        )

    def reset(self) -> None:
        """Forget the images so far: the next one begins a stream."""
        self._frames = 0
        if self._estimator is not None:
            self._tracker = HandTracker(self._estimator, keep_score=self._keep_score, **self._options)

    def close(self) -> None:
        """Let go of the network."""
        if self._estimator is not None:
            self._estimator = None
            del self._tracker

    def __enter__(self) -> Hands:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _landmarks(hand: Hand, width: int, height: int) -> LandmarkList:
    depths_px = hand.joints_rel_m[:, 2] * _pixels_per_metre(hand)
    # Our pixels begin at the middle of the first one, MediaPipe's shares at its edge.
    return _list(np.c_[(hand.joints_px + 0.5) / (width, height), depths_px / width])


def _world_landmarks(hand: Hand) -> LandmarkList:
    return _list(hand.joints_rel_m - hand.joints_rel_m[list(KNUCKLES)].mean(0))


def _handedness(hand: Hand) -> ClassificationList:
    label = "Left" if hand.side == "right" else "Right"
    return ClassificationList([Classification(("Left", "Right").index(label), hand.score, label)])


def _pixels_per_metre(hand: Hand) -> float:
    """At the hand: the scale of its joints in the image over that of their x and y (least squares)."""
    pixels = hand.joints_px - hand.joints_px.mean(0)
    metres = hand.joints_rel_m[:, :2] - hand.joints_rel_m[:, :2].mean(0)
    return float((pixels * metres).sum() / max(float((metres**2).sum()), 1e-9))


def _list(points: FloatArray) -> LandmarkList:
    rows: Sequence[tuple[float, float, float]] = points.tolist()
    return LandmarkList([Landmark(x, y, z) for x, y, z in rows])


def _indented(value: object) -> str:
    return "".join(f"  {line}\n" for line in str(value).splitlines())
