"""From a photo, or a video's frames, to hands in their own coordinates."""

from graphhand.inference.detector import Detection
from graphhand.inference.estimator import HandPoseEstimator
from graphhand.inference.tracking import HandTracker
from graphhand.inference.tracks import OneEuroFilter
from graphhand.types import Camera, Hand, JointPosition, Prediction, Side

__all__ = [
    "Camera",
    "Detection",
    "Hand",
    "HandPoseEstimator",
    "HandTracker",
    "JointPosition",
    "OneEuroFilter",
    "Prediction",
    "Side",
]
