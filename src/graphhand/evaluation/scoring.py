"""Scores of records under a protocol. Only this module carries out a protocol's choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphhand import metrics
from graphhand.evaluation.protocol import Protocol
from graphhand.evaluation.records import PoseRecords
from graphhand.geometry import root_relative
from graphhand.skeleton import BONES, FINGERS, JOINT_NAMES, Joint
from graphhand.types import FloatArray

_PALM_PARTNER = {"palm_middle": Joint.MIDDLE_MCP, "palm_ring": Joint.RING_MCP}
_MIN_LENGTH_M = 1e-9
"""Shorter bones or hands set no scale: their joints are stored as one point, up to rounding."""


@dataclass(frozen=True)
class Scores:
    """Scores of one set of records under one protocol.

    Attributes:
        protocol: how the numbers were taken.
        samples: how many samples count.
        left_out: for each reason, how many samples could not be aligned or had nothing to count.
        mean_mm, median_mm, p95_mm: of the joint errors (the mean in the protocol's order of averaging).
        auc: in [0, 1].
        thresholds_mm, pck: the curve, ``(T,)`` each.
        per_joint_mm: ``(21,)``; NaN where a joint does not count.
        errors_mm: ``(N, 21)``, a row for every record; NaN where nothing counts.
        aligned_m, truth_m: ``(N, 21, 3)`` the poses as they were compared: camera frame, or relative to the root
            where the protocol aligns there; joint 0 as the protocol has it.
    """

    protocol: Protocol
    samples: int
    left_out: dict[str, int]
    mean_mm: float
    median_mm: float
    p95_mm: float
    auc: float
    thresholds_mm: FloatArray
    pck: FloatArray
    per_joint_mm: FloatArray
    errors_mm: FloatArray
    aligned_m: FloatArray
    truth_m: FloatArray

    @property
    def per_finger_mm(self) -> dict[str, float]:
        """Mean over each finger's counted joints, and the wrist; NaN where none counts."""
        return per_finger(self.per_joint_mm)

    @property
    def sample_mm(self) -> FloatArray:
        """``(N,)`` mean error of each sample; NaN where it has none."""
        return np.array([_mean_or_nan(row) for row in self.errors_mm])

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the arrays that are as long as the data set."""
        return {
            "protocol": self.protocol.model_dump(mode="json"),
            "protocol_line": self.protocol.describe(),
            "samples": self.samples,
            "left_out": self.left_out,
            "mean_mm": self.mean_mm,
            "median_mm": self.median_mm,
            "p95_mm": self.p95_mm,
            "auc": self.auc,
            "pck": {"thresholds_mm": self.thresholds_mm.tolist(), "share": self.pck.tolist()},
            "per_joint_mm": _by_name(self.per_joint_mm),
            "per_finger_mm": {name: _none_if_nan(value) for name, value in self.per_finger_mm.items()},
        }


@dataclass(frozen=True)
class PixelScores:
    """Errors in the image.

    Attributes:
        samples, joints: how many count.
        mean_px, median_px: over all labelled joints at once.
        relative: mean error in units of the hand in the image: the longer side of the box of its counted labels.
        hidden_too: whether hidden joints count.
        per_joint_px: ``(21,)`` means; NaN where a joint is labelled nowhere.
    """

    samples: int
    joints: int
    mean_px: float
    median_px: float
    relative: float
    hidden_too: bool
    per_joint_px: FloatArray

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return self.__dict__ | {"per_joint_px": _by_name(self.per_joint_px)}


@dataclass(frozen=True)
class BoneScores:
    """Errors of the 20 bones, which the paper's L_len and L_dir minimise.

    Nothing is aligned: the hand's position has no effect, its rotation has.

    Attributes:
        samples: how many have a bone that counts.
        length_mm: mean difference of lengths, without sign.
        direction_deg: mean angle between directions.
        per_bone_length_mm, per_bone_direction_deg: ``(20,)``; NaN where a bone is labelled nowhere.
    """

    samples: int
    length_mm: float
    direction_deg: float
    per_bone_length_mm: FloatArray
    per_bone_direction_deg: FloatArray

    def to_json(self) -> dict[str, Any]:
        """Plain values; bones by the joint they end in."""
        return {
            "samples": self.samples,
            "length_mm": self.length_mm,
            "direction_deg": self.direction_deg,
            "per_bone": {
                JOINT_NAMES[child]: {"length_mm": _none_if_nan(length), "direction_deg": _none_if_nan(angle)}
                for (_, child), length, angle in zip(
                    BONES, self.per_bone_length_mm.tolist(), self.per_bone_direction_deg.tolist(), strict=True
                )
            },
        }


def per_finger(per_joint: FloatArray) -> dict[str, float]:
    """Means of ``(21,)`` over each finger's joints that count, and the wrist; NaN where none counts."""
    groups = {"wrist": (0,), **FINGERS}
    return {name: _mean_or_nan(per_joint[list(joints)]) for name, joints in groups.items()}


def score(records: PoseRecords, protocol: Protocol) -> Scores:
    """Errors of 3D joints under a protocol.

    Alignments use every labelled joint, hidden or not; visibility decides only what counts afterwards.

    Raises:
        ValueError: no record can be scored.
    """
    predicted, truth = _with_joint_zero(records.predicted_m, protocol), _with_joint_zero(records.truth_m, protocol)
    valid = np.asarray(np.isfinite(truth).all(axis=-1))
    counted = valid & np.isin(np.arange(21), protocol.counted)
    if protocol.visibility == "visible":
        counted &= _visible(records, protocol)
    reasons = _reasons_to_leave_out(records, predicted, truth, valid, counted, protocol)
    usable = np.array([reason is None for reason in reasons], dtype=bool)
    left_out: dict[str, int] = {}
    for reason in reasons:
        if reason is not None:
            left_out[reason] = left_out.get(reason, 0) + 1
    if not usable.any():
        listed = "; ".join(f"{count} {reason}" for reason, count in left_out.items()) or "there are none"
        raise ValueError(f"no sample can be scored under protocol {protocol.name}: {listed}")

    aligned = np.full_like(predicted, np.nan)
    truth = root_relative(truth, protocol.root) if protocol.alignment == "root" else truth
    aligned[usable] = _align(predicted[usable], truth[usable], valid[usable], protocol)
    errors = np.full(valid.shape, np.nan)
    errors[usable] = metrics.joint_errors_mm(aligned[usable], truth[usable], valid[usable])
    errors[~counted] = np.nan

    scored, pooled = errors[usable], errors[np.isfinite(errors)]
    pck = metrics.pck(scored, protocol.grid_mm, protocol.average)
    return Scores(
        protocol=protocol,
        samples=int(usable.sum()),
        left_out=left_out,
        mean_mm=metrics.average_error(scored, protocol.average),
        median_mm=float(np.median(pooled)),
        p95_mm=float(np.percentile(pooled, 95)),
        auc=metrics.auc(protocol.grid_mm, pck),
        thresholds_mm=protocol.grid_mm,
        pck=pck,
        per_joint_mm=_column_means(scored),
        errors_mm=errors,
        aligned_m=aligned,
        truth_m=truth,
    )


def score_pixels(records: PoseRecords, *, visible_only: bool = False) -> PixelScores | None:
    """Errors of 2D joints over all labelled joints at once; None where nothing has both a label and a prediction."""
    counted = records.labelled_2d & np.isfinite(records.predicted_px).all(axis=-1)
    if visible_only:
        counted &= records.visible
    if not counted.any():
        return None
    errors = metrics.joint_errors_px(records.predicted_px, records.truth_px, counted)
    low, high = np.nanmin(_masked(records.truth_px, counted), 1), np.nanmax(_masked(records.truth_px, counted), 1)
    size = np.maximum((high - low).max(axis=-1), 1.0)
    return PixelScores(
        samples=int(counted.any(axis=1).sum()),
        joints=int(counted.sum()),
        mean_px=float(errors[counted].mean()),
        median_px=float(np.median(errors[counted])),
        relative=float((errors / size[:, None])[counted].mean()),
        hidden_too=not visible_only,
        per_joint_px=_column_means(np.where(counted, errors, np.nan)),
    )


def score_bones(records: PoseRecords) -> BoneScores | None:
    """Errors of bones both of whose ends are labelled, hidden or not, over all at once; None where there is none."""
    counted = records.labelled_3d & np.asarray(np.isfinite(records.predicted_m).all(axis=(-2, -1)))[:, None]
    lengths, angles = metrics.bone_errors(records.predicted_m, records.truth_m, counted)
    labelled = np.isfinite(angles)
    if not labelled.any():
        return None
    return BoneScores(
        samples=int(labelled.any(axis=1).sum()),
        length_mm=_mean_or_nan(lengths),
        direction_deg=_mean_or_nan(angles),
        per_bone_length_mm=_column_means(lengths),
        per_bone_direction_deg=_column_means(angles),
    )


def definition_lengths_mm(records: PoseRecords) -> dict[str, tuple[float, float]]:
    """Mean length of two bones, predicted and true, in millimetres.

    Data sets place joints of one name at different points of the hand. Where these lengths differ by more than noise,
    part of every unscaled error is a difference of definition.
    """
    lengths = {}
    for first, second in (metrics.MIDDLE_PROXIMAL_BONE, metrics.WRIST_MIDDLE_BONE):
        pair = []
        for joints in (records.predicted_m, records.truth_m):
            values = metrics.bone_length_m(joints, (first, second)) * metrics.MM_PER_M
            pair.append(_mean_or_nan(values))
        lengths[f"{JOINT_NAMES[first]}-{JOINT_NAMES[second]}"] = (pair[0], pair[1])
    return lengths


def _with_joint_zero(joints_m: FloatArray, protocol: Protocol) -> FloatArray:
    if protocol.joint_zero == "wrist":
        return joints_m
    joints = joints_m.copy()
    joints[:, 0] = (joints_m[:, 0] + joints_m[:, _PALM_PARTNER[protocol.joint_zero]]) / 2
    return joints


def _visible(records: PoseRecords, protocol: Protocol) -> npt.NDArray[np.bool_]:
    """``(N, 21)``; a palm is seen where the wrist or the knuckle is, as in Zimmermann & Brox's reader."""
    visible = records.visible.copy()
    if protocol.joint_zero != "wrist":
        visible[:, 0] |= visible[:, _PALM_PARTNER[protocol.joint_zero]]
    return visible


def _reasons_to_leave_out(
    records: PoseRecords,
    predicted: FloatArray,
    truth: FloatArray,
    valid: npt.NDArray[np.bool_],
    counted: npt.NDArray[np.bool_],
    protocol: Protocol,
) -> list[str | None]:
    """For each sample why it cannot be scored, or None; poses ``(N, 21, 3)`` with joint 0 as the protocol has it."""
    no_pose = np.asarray(~np.isfinite(predicted).all(axis=(-2, -1)))
    own = np.where(no_pose[:, None, None], 0.0, predicted)
    tests: list[tuple[npt.NDArray[np.bool_], str]] = [
        (no_pose, "without a finite predicted pose"),
        (np.asarray(~counted.any(axis=1)), "without a joint that counts"),
    ]
    if protocol.alignment == "none":
        tests.append((~records.absolute, "without a predicted position in the camera frame"))
    if protocol.alignment == "root":
        tests.append((~valid[:, protocol.root], f"without a 3D label of {JOINT_NAMES[protocol.root]}"))
    if protocol.alignment == "procrustes":
        tests.append((valid.sum(axis=1) < 3, "with fewer than 3 labelled joints"))
    if protocol.scale == "bone":
        lengths = metrics.bone_length_m(truth, protocol.bone)
        tests.append((~(lengths > 0), "without a 3D label of the bone that sets the scale"))
        short = metrics.bone_length_m(own, protocol.bone) < _MIN_LENGTH_M
        tests.append((short, "whose predicted bone that sets the scale has no length"))
    if protocol.alignment == "procrustes" or protocol.scale == "least_squares":
        first = own[np.arange(len(own)), valid.argmax(axis=1)]
        apart = np.where(valid[..., None], np.abs(own - first[:, None]), 0.0).max(axis=(-2, -1))
        tests.append((apart < _MIN_LENGTH_M, "with all labelled joints predicted in one point"))
    reasons: list[str | None] = [None] * len(records)
    for failed, reason in tests:
        for row in np.flatnonzero(failed):
            reasons[row] = reasons[row] or reason
    return reasons


def _align(predicted: FloatArray, truth: FloatArray, valid: npt.NDArray[np.bool_], protocol: Protocol) -> FloatArray:
    """Predictions moved onto the truth, which is relative to the root already where the protocol aligns there."""
    if protocol.alignment == "none":
        return predicted
    if protocol.alignment == "procrustes":
        return metrics.procrustes_align(
            predicted, truth, valid, scale=protocol.scale != "none", reflection=protocol.reflection
        )
    moved = root_relative(predicted, protocol.root)
    if protocol.scale == "bone":
        moved = moved * metrics.scale_to_bone(moved, truth, protocol.bone)[:, None, None]
    elif protocol.scale == "least_squares":
        moved = moved * metrics.scale_least_squares(moved, truth, valid)[:, None, None]
    return moved


def _masked(points: FloatArray, keep: npt.NDArray[np.bool_]) -> FloatArray:
    """Points with NaN for those not kept, and zero for samples without any, for a nan-minimum without warnings."""
    masked = np.where(keep[..., None], points, np.nan)
    masked[~keep.any(axis=1)] = 0.0
    return masked


def _mean_or_nan(values: FloatArray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _column_means(errors: FloatArray) -> FloatArray:
    """``(J,)`` of ``(N, J)``."""
    return np.array([_mean_or_nan(column) for column in errors.T])


def _by_name(per_joint: FloatArray) -> dict[str, float | None]:
    return {name: _none_if_nan(value) for name, value in zip(JOINT_NAMES, per_joint.tolist(), strict=True)}


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
