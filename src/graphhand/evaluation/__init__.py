"""Evaluation: protocols by name, predictions of a whole data set, scores, reports, figures and published numbers."""

from graphhand.evaluation.match import read_predictions
from graphhand.evaluation.predict import CropChoice, open_evaluation_set, predict_dataset, predict_with_weights
from graphhand.evaluation.protocol import DEFAULT_PRESETS, PRESETS, Protocol, choose_protocols, load_protocol, preset
from graphhand.evaluation.published import SplitCoverage, load_curves, published_numbers, split_coverage
from graphhand.evaluation.records import PoseRecords, Predictions, Skipped
from graphhand.evaluation.regressor import JointRegressor, fit_joint_regressor
from graphhand.evaluation.report import Evaluation, evaluate, print_report
from graphhand.evaluation.scoring import BoneScores, PixelScores, Scores, score, score_bones, score_pixels
from graphhand.evaluation.vertices import VertexScores, f_scores, fit_vertices, score_vertices

__all__ = [
    "DEFAULT_PRESETS",
    "PRESETS",
    "BoneScores",
    "CropChoice",
    "Evaluation",
    "JointRegressor",
    "PixelScores",
    "PoseRecords",
    "Predictions",
    "Protocol",
    "Scores",
    "Skipped",
    "SplitCoverage",
    "VertexScores",
    "choose_protocols",
    "evaluate",
    "f_scores",
    "fit_joint_regressor",
    "fit_vertices",
    "load_curves",
    "load_protocol",
    "open_evaluation_set",
    "predict_dataset",
    "predict_with_weights",
    "preset",
    "print_report",
    "published_numbers",
    "read_predictions",
    "score",
    "score_bones",
    "score_pixels",
    "score_vertices",
    "split_coverage",
]
