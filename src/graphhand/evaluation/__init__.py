"""Evaluation: protocols by name, exact accumulation over a data set, reports, figures, and other people's numbers."""

from graphhand.data.datasets.ge_real import AnnotatedCrops
from graphhand.evaluation.predict import CropChoice, predict_dataset
from graphhand.evaluation.protocol import DEFAULT_PRESETS, PRESETS, Protocol, preset
from graphhand.evaluation.published import load_curves, published_numbers
from graphhand.evaluation.records import PoseRecords, Skipped
from graphhand.evaluation.regressor import JointRegressor, fit_joint_regressor
from graphhand.evaluation.report import Evaluation, evaluate_records, print_report
from graphhand.evaluation.scoring import BoneScores, PixelScores, Scores, score, score_bones, score_pixels

__all__ = [
    "DEFAULT_PRESETS",
    "PRESETS",
    "AnnotatedCrops",
    "BoneScores",
    "CropChoice",
    "Evaluation",
    "JointRegressor",
    "PixelScores",
    "PoseRecords",
    "Protocol",
    "Scores",
    "Skipped",
    "evaluate_records",
    "fit_joint_regressor",
    "load_curves",
    "predict_dataset",
    "preset",
    "print_report",
    "published_numbers",
    "score",
    "score_bones",
    "score_pixels",
]
