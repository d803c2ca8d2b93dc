"""From a photo, or a video's frames, to hands in their own coordinates."""

from graphhand.inference.estimator import HandPoseEstimator
from graphhand.inference.results import Camera, Hand, JointPosition, Prediction, Side
from graphhand.inference.smoothing import OneEuroFilter
from graphhand.inference.tracking import HandTracker

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
