"""Errors of meshes: distances of vertices, and F-scores of the surface's points, as FreiHAND and HO-3D define them.

Zimmermann et al., *FreiHAND*, ICCV 2019; Hampali et al., *HOnnotate*, CVPR 2020. Vertices of both hands are in one
order, MANO's for these data sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from graphhand import metrics
from graphhand.evaluation.records import Progress
from graphhand.hand_model import HandModel
from graphhand.hand_model.fitting import fit_hands, fitted_vertices
from graphhand.types import FloatArray

THRESHOLDS_MM = (5.0, 15.0)
"""Distances up to which a point is found, of the F-scores."""


@dataclass(frozen=True)
class VertexScores:
    """Errors of N meshes.

    Attributes:
        samples: N.
        vertices: of each mesh.
        pa_mm: PA-MPVPE: mean distance of vertices after a least-squares similarity of each mesh.
        pa_f: F-scores at :data:`THRESHOLDS_MM` after the same, in [0, 1].
        mm: mean distance in the camera's frame, without alignment; NaN where the predictions have no position.
        f: F-scores without alignment; NaN alike.
        fitted: whether the meshes were fitted to predicted joints; else a file brought them.
    """

    samples: int
    vertices: int
    pa_mm: float
    pa_f: tuple[float, float]
    mm: float
    f: tuple[float, float]
    fitted: bool

    def describe(self) -> str:
        """In one line."""
        how = "fitted to the predicted joints" if self.fitted else "from the file"
        text = f"{self.samples} meshes of {self.vertices} vertices {how}: PA-MPVPE {self.pa_mm:.2f} mm"
        text += "".join(f", F@{t:g} {f:.3f}" for t, f in zip(THRESHOLDS_MM, self.pa_f))
        if np.isnan(self.mm):
            return text
        text += f"; without alignment MPVPE {self.mm:.2f} mm"
        return text + "".join(f", F@{t:g} {f:.3f}" for t, f in zip(THRESHOLDS_MM, self.f))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""

        def of(mm: float, f: tuple[float, float]) -> dict[str, float | None]:
            named = {"mpvpe_mm": mm, **{f"f_{t:g}mm": value for t, value in zip(THRESHOLDS_MM, f)}}
            return {name: None if np.isnan(value) else float(value) for name, value in named.items()}

        return {
            "samples": self.samples,
            "vertices": self.vertices,
            "source": "fitted to the predicted joints" if self.fitted else "predictions file",
            "procrustes": of(self.pa_mm, self.pa_f),
            "camera": of(self.mm, self.f),
        }


def score_vertices(
    predicted_m: FloatArray, truth_m: FloatArray, *, absolute: bool, fitted: bool
) -> VertexScores | None:
    """Errors of meshes; None where no mesh has labels.

    Args:
        predicted_m: ``(N, V, 3)`` metres, camera axes.
        truth_m: ``(N, V, 3)``; rows of meshes without labels are NaN.
        absolute: whether the predictions' positions count.
        fitted: see :class:`VertexScores`.

    Raises:
        ValueError: shapes differ.
    """
    if predicted_m.shape != truth_m.shape:
        raise ValueError(f"predicted vertices are {predicted_m.shape}, labels {truth_m.shape}")
    labelled = np.isfinite(truth_m).all(axis=(1, 2)) & np.isfinite(predicted_m).all(axis=(1, 2))
    predicted_m, truth_m = predicted_m[labelled], truth_m[labelled]
    if not len(truth_m):
        return None
    aligned = metrics.procrustes_align(predicted_m, truth_m)
    nothing = float("nan")
    return VertexScores(
        samples=len(truth_m),
        vertices=truth_m.shape[1],
        pa_mm=_mean_distance_mm(aligned, truth_m),
        pa_f=_mean_f_scores(aligned, truth_m),
        mm=_mean_distance_mm(predicted_m, truth_m) if absolute else nothing,
        f=_mean_f_scores(predicted_m, truth_m) if absolute else (nothing, nothing),
        fitted=fitted,
    )


def f_scores(predicted_m: FloatArray, truth_m: FloatArray) -> FloatArray:
    """``(2,)`` F-scores of two sets of points ``(V, 3)``, at :data:`THRESHOLDS_MM`.

    Precision is the share of predicted points with a true one nearer than the threshold, recall the share of true
    points with a predicted one; the F-score is their harmonic mean.
    """
    from scipy.spatial import cKDTree

    limits = np.array(THRESHOLDS_MM)[:, None] / metrics.MM_PER_M
    to_truth, _ = cKDTree(truth_m).query(predicted_m)
    to_predicted, _ = cKDTree(predicted_m).query(truth_m)
    precision, recall = (to_truth < limits).mean(1), (to_predicted < limits).mean(1)
    return np.asarray(2 * precision * recall / np.maximum(precision + recall, 1e-12))


def fit_vertices(model: HandModel, joints_m: FloatArray, progress: Progress | None = None) -> FloatArray:
    """``(N, V, 3)`` vertices of a hand model, fitted to each of ``(N, 21, 3)`` joints on its own.

    Args:
        model: of the side of all joints.
        joints_m: metres, camera axes; a row that is not finite gives vertices of NaN.
        progress: called after each hand.
    """
    vertices = np.full((len(joints_m), model.num_vertices, 3), np.nan)
    for row in np.flatnonzero(np.isfinite(joints_m).all(axis=(1, 2))):
        fitted = fit_hands(model, torch.from_numpy(joints_m[row : row + 1]))
        vertices[row] = fitted_vertices(model, fitted)[0].double().numpy()
        if progress:
            progress(int(row) + 1, len(joints_m))
    return vertices


def _mean_distance_mm(a: FloatArray, b: FloatArray) -> float:
    return float(np.linalg.norm(a - b, axis=-1).mean()) * metrics.MM_PER_M


def _mean_f_scores(predicted_m: FloatArray, truth_m: FloatArray) -> tuple[float, float]:
    near, far = np.mean([f_scores(a, b) for a, b in zip(predicted_m, truth_m)], axis=0)
    return float(near), float(far)
