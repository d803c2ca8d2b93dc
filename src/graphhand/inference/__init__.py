"""From a photo to hands in its own coordinates."""

from graphhand.inference.estimator import HandPoseEstimator
from graphhand.inference.results import Camera, Hand, JointPosition, Prediction, Side

__all__ = ["Camera", "Hand", "HandPoseEstimator", "JointPosition", "Prediction", "Side"]
