"""From a photo, or a video's frames, to hands in their own coordinates."""

from graphhand.inference.estimator import HandPoseEstimator
from graphhand.inference.tracking import HandTracker, OneEuroFilter
from graphhand.types import Camera, Hand, JointPosition, Prediction, Side

__all__ = [
    "Camera",
    "Hand",
    "HandPoseEstimator",
    "HandTracker",
    "JointPosition",
    "OneEuroFilter",
    "Prediction",
    "Side",
]
