"""How fast the system is on this machine: predicting in parts, and training step by step."""

from graphhand.bench.prediction import PredictionTimes, time_prediction
from graphhand.bench.training import StepTimes, TrainingTimes, time_training

__all__ = ["PredictionTimes", "StepTimes", "TrainingTimes", "time_prediction", "time_training"]
