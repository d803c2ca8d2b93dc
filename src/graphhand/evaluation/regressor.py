"""A linear map from our 21 joints to the joints of the same names in a data set.

Data sets place a knuckle or the wrist at points that differ by up to 20 mm. ``W (21, 21)``, with rows that sum to 1,
makes each of their joints a fixed affine combination of ours, for any position, rotation and size of the hand. It is
fitted on predictions and labels of a *training* split, and every result names it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from graphhand.errors import InputError
from graphhand.evaluation.records import PoseRecords
from graphhand.io.files import write_text_atomically
from graphhand.metrics import procrustes_align
from graphhand.types import FloatArray

FORMAT = "graphhand-joint-regressor-1"


@dataclass(frozen=True)
class JointRegressor:
    """``joints' = W joints``.

    Attributes:
        W: ``(21, 21)``; rows sum to 1.
        fitted_on: the data and the model it was fitted with, for reports.
    """

    W: FloatArray
    fitted_on: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.W.shape != (21, 21) or not np.allclose(self.W.sum(axis=1), 1.0, atol=1e-6):
            raise ValueError("a joint regressor is (21, 21) with rows that sum to 1")

    def __call__(self, joints: FloatArray) -> FloatArray:
        """``(..., 21, 3)`` -> ``(..., 21, 3)``."""
        return np.asarray(self.W @ joints)

    def describe(self) -> str:
        """Name for results."""
        return f"joint regressor fitted on {', '.join(f'{k}={v}' for k, v in self.fitted_on.items())}"

    def save(self, path: str | PathLike[str]) -> None:
        """Write as JSON."""
        content = {"format": FORMAT, "fitted_on": dict(self.fitted_on), "W": self.W.tolist()}
        write_text_atomically(path, json.dumps(content) + "\n")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> JointRegressor:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: missing, or not such a file.
        """
        remedy = "fit one with graphhand evaluate fit_regressor=FILE"
        try:
            content = json.loads(Path(path).read_text("utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(path, f"not a readable joint regressor ({error})", remedy) from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputError(path, f"not a {FORMAT} file", remedy)
        try:
            return cls(np.array(content["W"], dtype=np.float64), dict(content["fitted_on"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(path, str(error), remedy) from None

    def apply(self, records: PoseRecords) -> PoseRecords:
        """Records with their 3D predictions mapped. Pixels stay: a projection is not linear in the joints."""
        fields = {name: getattr(records, name) for name in PoseRecords.__dataclass_fields__}
        return PoseRecords(**{**fields, "predicted_m": self(records.predicted_m)})


def fit_joint_regressor(
    records: PoseRecords, fitted_on: Mapping[str, Any], *, ridge: float = 1e-2, rounds: int = 3
) -> JointRegressor:
    """Least-squares ``W`` from Procrustes-aligned predictions to labels, pulled towards the identity.

    Args:
        records: predictions and labels of a training split; samples without all labels are not used.
        fitted_on: its description in reports.
        ridge: weight of ``|W - I|^2`` per squared centimetre and sample. Joints that the data do not constrain stay.
        rounds: how often alignment and fit alternate.

    Raises:
        ValueError: fewer than 21 fully labelled samples.
    """
    whole = records.labelled_3d.all(axis=1) & np.isfinite(records.predicted_m).all(axis=(-2, -1))
    predicted, truth = records.predicted_m[whole], records.truth_m[whole]
    if len(predicted) < 21:
        raise ValueError(f"a joint regressor needs at least 21 fully labelled samples, there are {len(predicted)}")
    W = np.eye(21)
    for _ in range(rounds):
        # Labels are aligned with the prediction, not the reverse: noise in the labels must not shrink W.
        target = procrustes_align(truth, W @ predicted)
        centre = predicted.mean(axis=1, keepdims=True)
        X = np.moveaxis(predicted - centre, 1, 0).reshape(21, -1) * 100  # (21, 3N) centimetres
        Y = np.moveaxis(target - centre, 1, 0).reshape(21, -1) * 100
        penalty = ridge * len(predicted) * np.eye(21)
        W = np.linalg.solve(X @ X.T + penalty, (Y @ X.T + penalty).T).T
        # Centred joints sum to zero, so a constant added to a row of W changes nothing but the row's sum: set it to 1.
        W = W + (1.0 - W.sum(axis=1, keepdims=True)) / 21
    return JointRegressor(W, dict(fitted_on))
