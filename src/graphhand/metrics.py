"""Errors of hand poses and the alignments before them: pure functions, metres in, millimetres out.

Every function takes NumPy arrays or torch tensors with any leading batch dimensions, computes in float64 on the
CPU and returns NumPy arrays. Nothing here is differentiable: losses live in :mod:`graphhand.losses`.

``valid`` arguments are boolean, ``(..., 21)``, and say which joints carry a label. Coordinates of joints that are
not valid may be NaN and are ignored; a NaN or an infinity anywhere else is an error that names the sample and joint.
Which of these functions a published number used is stated in :mod:`graphhand.evaluation`.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch

from graphhand.geometry import rotations as alignment
from graphhand.skeleton import BONES, bone_vectors
from graphhand.types import BoolArray, FloatArray

ArrayLike = Any  # numpy array, torch tensor or nested lists

MM_PER_M = 1000.0
MIDDLE_PROXIMAL_BONE = (9, 10)  # middle MCP -> PIP: unit of length of Zimmermann & Brox, Ge et al. and FreiHAND
WRIST_MIDDLE_BONE = (0, 9)  # wrist -> middle MCP: unit of length of BiHand, Minimal-Hand and HO-3D

Average = Literal["joints", "pooled", "samples"]


def _zimmermann_brox_grid() -> FloatArray:
    grid = np.linspace(0.0, 50.0, 20)
    return grid[grid >= 20.0]  # 21.05 ... 50 mm: the "20-50" of that code starts above 20


THRESHOLD_GRIDS: dict[str, FloatArray] = {
    "zb-20-50x12": _zimmermann_brox_grid(),
    "zb-0-50x20": np.linspace(0.0, 50.0, 20),
    "20-50x15": np.linspace(20.0, 50.0, 15),
    "20-50x20": np.linspace(20.0, 50.0, 20),
    "20-50x100": np.linspace(20.0, 50.0, 100),
    "0-50x100": np.linspace(0.0, 50.0, 100),
}
"""Named threshold grids in millimetres (range x number of points) over which an AUC is taken."""


# ---------------------------------------------------------------- input checks


def _array(values: ArrayLike, name: str, dims: int) -> FloatArray:
    """``values`` as float64 ``(..., N, dims)`` on the CPU."""
    if hasattr(values, "detach"):  # a torch tensor, perhaps on a GPU, perhaps bfloat16
        values = values.detach().cpu().double().numpy()
    array = np.asarray(values, dtype=np.float64)
    if array.ndim < 2 or array.shape[-1] != dims:
        raise ValueError(f"{name} must have shape (..., N, {dims}), got {array.shape}")
    return array


def _mask(valid: ArrayLike | None, shape: tuple[int, ...]) -> BoolArray:
    if valid is None:
        return np.ones(shape, dtype=bool)
    if hasattr(valid, "detach"):
        valid = valid.detach().cpu().numpy()
    mask = np.asarray(valid)
    if mask.dtype != np.bool_:
        raise ValueError(f"a mask of joints must be boolean, got {mask.dtype}")
    return np.broadcast_to(mask, shape)


def _require_finite(points: FloatArray, valid: BoolArray, name: str) -> None:
    bad = valid & ~np.isfinite(points).all(axis=-1)
    if bad.any():
        *sample, joint = (int(i) for i in np.argwhere(bad)[0])
        where = f"sample {sample[0] if len(sample) == 1 else tuple(sample)}, " if sample else ""
        raise ValueError(f"{name} has a NaN or infinite coordinate at {where}joint {joint}; mark it invalid or drop it")


def _pair(predicted: ArrayLike, truth: ArrayLike, valid: ArrayLike | None, dims: int) -> tuple[FloatArray, ...]:
    source, target = _array(predicted, "the prediction", dims), _array(truth, "the ground truth", dims)
    if source.shape != target.shape:
        raise ValueError(f"prediction {source.shape} and ground truth {target.shape} differ in shape")
    mask = _mask(valid, source.shape[:-1])
    _require_finite(source, mask, "the prediction")
    _require_finite(target, mask, "the ground truth")
    return source, target, mask  # type: ignore[return-value]


# ---------------------------------------------------------------- distances


def joint_errors_mm(predicted_m: ArrayLike, truth_m: ArrayLike, valid: ArrayLike | None = None) -> FloatArray:
    """Euclidean distance of every joint, in millimetres.

    Args:
        predicted_m, truth_m: ``(..., 21, 3)`` metres, in one frame (align them first).
        valid: ``(..., 21)`` boolean, labelled joints; all of them by default.

    Returns:
        ``(..., 21)`` millimetres; NaN where a joint is not valid.

    Raises:
        ValueError: shapes differ, or a valid joint is not finite.
    """
    source, target, mask = _pair(predicted_m, truth_m, valid, 3)
    return np.where(mask, np.linalg.norm(source - target, axis=-1), np.nan) * MM_PER_M


def joint_errors_px(predicted_px: ArrayLike, truth_px: ArrayLike, valid: ArrayLike | None = None) -> FloatArray:
    """Distance of every joint in the image, pixels: ``(..., 21, 2)`` in, ``(..., 21)`` out, NaN where not valid."""
    source, target, mask = _pair(predicted_px, truth_px, valid, 2)
    return np.where(mask, np.linalg.norm(source - target, axis=-1), np.nan)


def bone_errors(
    predicted_m: ArrayLike, truth_m: ArrayLike, valid: ArrayLike | None = None
) -> tuple[FloatArray, FloatArray]:
    """Errors of the 20 bones (:data:`graphhand.skeleton.BONES`) in length and in direction.

    L_len and L_dir (Eqs. 5 and 6) minimise these. Neither depends on the position of the hands.

    Args:
        predicted_m, truth_m: ``(..., 21, 3)`` metres, in frames of the same axes.
        valid: ``(..., 21)`` boolean, labelled joints; all of them by default.

    Returns:
        ``(..., 20)`` difference of lengths, millimetres, without sign; and ``(..., 20)`` angle between the directions,
        degrees. NaN where an end is not valid; the angle also where a bone has no length.

    Raises:
        ValueError: shapes differ, or a valid joint is not finite.
    """
    source, target, mask = _pair(predicted_m, truth_m, valid, 3)
    parents, children = map(list, zip(*BONES))
    both = np.logical_and(mask[..., parents], mask[..., children])
    ours, theirs = bone_vectors(source), bone_vectors(target)
    our_length, their_length = (np.linalg.norm(bones, axis=-1) for bones in (ours, theirs))
    # The angle by its tangent: a cosine near 1 does not resolve small angles.
    sine = np.linalg.norm(np.cross(ours, theirs), axis=-1)
    angle = np.degrees(np.arctan2(sine, (ours * theirs).sum(axis=-1)))
    directed = both & (our_length > 0) & (their_length > 0)
    return np.where(both, np.abs(our_length - their_length), np.nan) * MM_PER_M, np.where(directed, angle, np.nan)


# ---------------------------------------------------------------- alignments


def bone_length_m(joints_m: ArrayLike, bone: tuple[int, int] = MIDDLE_PROXIMAL_BONE) -> FloatArray:
    """Length of the segment between two joints, ``(..., 21, 3)`` -> ``(...)`` metres."""
    joints = _array(joints_m, "joints", 3)
    return np.asarray(np.linalg.norm(joints[..., bone[1], :] - joints[..., bone[0], :], axis=-1))


def scale_to_bone(
    predicted_m: ArrayLike, truth_m: ArrayLike, bone: tuple[int, int] = MIDDLE_PROXIMAL_BONE
) -> FloatArray:
    """Factor ``(...)`` that gives the predicted bone the length it has in the ground truth.

    Raises:
        ValueError: the bone has no length (or is NaN) in either hand.
    """
    own, wanted = bone_length_m(predicted_m, bone), bone_length_m(truth_m, bone)
    if not (np.all(own > 0) and np.all(wanted > 0)):
        raise ValueError(f"the bone {bone[0]}-{bone[1]} has no positive length: no scale can be read from it")
    return np.asarray(wanted / own)


def scale_least_squares(predicted_m: ArrayLike, truth_m: ArrayLike, valid: ArrayLike | None = None) -> FloatArray:
    """Factor ``s (...)`` that minimises ``sum |s * predicted - truth|^2`` over valid joints, both ``(..., 21, 3)``.

    No translation is fitted: centre both on the root before. A prediction opposite to the truth gets a negative
    factor, as the formula says.
    """
    source, target, mask = _pair(predicted_m, truth_m, valid, 3)
    weight = mask[..., None]
    source, target = np.where(weight, source, 0.0), np.where(weight, target, 0.0)
    power = (source**2).sum(axis=(-2, -1))
    if not np.all(power > 0):
        raise ValueError("a prediction with all joints in one point has no least-squares scale")
    return np.asarray((source * target).sum(axis=(-2, -1)) / power)


def similarity_transform(
    source_m: ArrayLike,
    target_m: ArrayLike,
    valid: ArrayLike | None = None,
    *,
    scale: bool = True,
    reflection: bool = False,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Least-squares similarity ``target ~ s R source + t`` (:func:`graphhand.geometry.similarity_transform`).

    Args:
        source_m, target_m: ``(..., N, 3)``, N >= 3.
        valid: ``(..., N)`` boolean; the fit uses these points alone.
        scale: fit s; otherwise s = 1 (rigid).
        reflection: also admit det R = -1, as ``scipy.linalg.orthogonal_procrustes`` (and so FreiHAND's evaluation)
            does. A mirrored hand is a wrong hand, so the default does not.

    Returns:
        ``s (...)``, ``R (..., 3, 3)``, ``t (..., 3)`` for column vectors.

    Raises:
        ValueError: fewer than three valid points, or all of them in one point.
    """
    pair = _procrustes_input(source_m, target_m, valid)
    s, R, t = alignment.similarity_transform(*pair, scale=scale, reflection=reflection)
    return s.numpy(), R.numpy(), t.numpy()


def apply_similarity(points_m: ArrayLike, s: FloatArray, R: FloatArray, t: FloatArray) -> FloatArray:
    """``s R x + t`` for points ``(..., N, 3)`` (also for vertices, after a fit on joints)."""
    points = _array(points_m, "points", 3)
    return np.asarray(np.asarray(s)[..., None, None] * np.einsum("...ij,...nj->...ni", R, points) + t[..., None, :])


def procrustes_align(
    predicted_m: ArrayLike,
    truth_m: ArrayLike,
    valid: ArrayLike | None = None,
    *,
    scale: bool = True,
    reflection: bool = False,
) -> FloatArray:
    """The prediction moved onto the truth by :func:`similarity_transform`, ``(..., 21, 3)`` metres."""
    pair = _procrustes_input(predicted_m, truth_m, valid)
    return np.asarray(alignment.procrustes_align(*pair, scale=scale, reflection=reflection).numpy())


def _procrustes_input(
    source_m: ArrayLike, target_m: ArrayLike, valid: ArrayLike | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Both hands and the mask as tensors, once a fit is possible."""
    source, target, mask = _pair(source_m, target_m, valid, 3)
    count = mask.sum(axis=-1)
    if np.any(count < 3):
        raise ValueError(f"Procrustes needs at least 3 labelled joints, a sample has {int(count.min())}")
    points = np.where(mask[..., None], source, np.nan)
    if not (np.nanmax(points, axis=-2) > np.nanmin(points, axis=-2)).any(axis=-1).all():
        raise ValueError("Procrustes of a hand with all joints in one point")
    return torch.from_numpy(source), torch.from_numpy(target), torch.from_numpy(mask.copy())


# ---------------------------------------------------------------- summaries


def average_error(errors: ArrayLike, average: Average = "joints") -> float:
    """Mean of errors ``(samples, joints)``; NaN entries are not counted.

    ``joints``: mean over samples for each joint, then over joints (what Zimmermann & Brox's ``EvalUtil`` and its
    descendants do). ``samples``: mean over joints for each sample, then over samples. ``pooled``: over all entries.
    The three agree where every joint of every sample counts.
    """
    values = _errors(errors)
    if average == "pooled":
        return float(np.nanmean(values))
    return float(np.mean(_nanmean(values, axis=0 if average == "joints" else 1)))


def pck(errors: ArrayLike, thresholds: ArrayLike, average: Average = "joints") -> FloatArray:
    """Share of joints whose error is at most each threshold (d <= t), ``(T,)`` in [0, 1].

    Args:
        errors: ``(samples, joints)``, in the unit of ``thresholds``; NaN entries are not counted.
        thresholds: ``(T,)``, rising.
        average: see :func:`average_error`.
    """
    values, grid = _errors(errors), _grid(thresholds)
    counted = ~np.isnan(values)
    # Sorting once makes a fine grid over a large set cheap; side="right" is d <= t.
    if average == "pooled":
        return _share_below(values[counted], grid)
    rows = values.T if average == "joints" else values
    shares = [_share_below(row[~np.isnan(row)], grid) for row in rows if not np.isnan(row).all()]
    return np.asarray(np.mean(shares, axis=0))


def auc(thresholds: ArrayLike, curve: ArrayLike) -> float:
    """Area under a PCK curve by the trapezoid rule, divided by the width of its range: 1 is perfect."""
    grid, values = _grid(thresholds), np.asarray(curve, dtype=np.float64)
    if values.shape != grid.shape or not np.isfinite(values).all():
        raise ValueError(f"a curve of {values.shape} finite values does not fit {grid.shape} thresholds")
    return float(np.sum((values[1:] + values[:-1]) / 2 * np.diff(grid)) / (grid[-1] - grid[0]))


def area_above_curve(thresholds: ArrayLike, curve: ArrayLike) -> float:
    """Area between a PCK curve and 1, in the unit of the thresholds.

    For a curve that starts at 0 this is the mean error with every error cut at the last threshold,
    ``mean(min(d, t_max))``, up to the trapezoid rule: it reads a mean error off a curve published without one.
    """
    grid = _grid(thresholds)
    return (1.0 - auc(grid, curve)) * float(grid[-1] - grid[0])


def _errors(errors: ArrayLike) -> FloatArray:
    if hasattr(errors, "detach"):
        errors = errors.detach().cpu().double().numpy()
    values = np.asarray(errors, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"errors must have shape (samples, joints), got {values.shape}")
    if not (~np.isnan(values)).any():
        raise ValueError("no error to average: no sample, or no joint counts")
    return values


def _grid(thresholds: ArrayLike) -> FloatArray:
    grid = np.asarray(thresholds, dtype=np.float64)
    if grid.ndim != 1 or len(grid) < 2 or not np.all(np.diff(grid) > 0):
        raise ValueError("thresholds must be a rising list of at least two numbers")
    return grid


def _nanmean(values: FloatArray, axis: int) -> FloatArray:
    """Means along ``axis`` of the rows that have any entry."""
    counted = ~np.isnan(values)
    count = counted.sum(axis=axis)
    totals = np.where(counted, values, 0.0).sum(axis=axis)
    return np.asarray(totals[count > 0] / count[count > 0])


def _share_below(values: FloatArray, grid: FloatArray) -> FloatArray:
    return np.searchsorted(np.sort(values), grid, side="right") / len(values)
