"""Files of the evaluation servers and scripts of FreiHAND, HO-3D and DexYCB: written, and read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Literal

import numpy as np

from graphhand.data.datasets.ho3d import OPENGL_TO_CAMERA
from graphhand.errors import InputError
from graphhand.evaluation.records import JointConvention, PoseRecords, Skipped
from graphhand.io.files import open_text, write_text_atomically
from graphhand.skeleton import from_graphhand_order
from graphhand.types import FloatArray, IntArray

SubmissionFormat = Literal["freihand", "ho3d", "dexycb"]
_MANO_VERTICES = 778
_LISTS_REMEDY = "write [[joints...], [vertices...]]"
_LINES_REMEDY = "write a sample's number and 63 coordinates in each line, separated by commas"

CONVENTIONS: dict[SubmissionFormat, JointConvention] = {
    "freihand": JointConvention("m", "freihand", "camera"),
    "ho3d": JointConvention("m", "ho3d", "opengl"),
    "dexycb": JointConvention("mm", "graphhand", "camera"),
}
"""How each format stores joints."""


@dataclass(frozen=True)
class SubmittedJoints:
    """What a submission file holds.

    Attributes:
        joints_m: ``(R, 21, 3)`` metres in camera axes, GraphHand's order.
        numbers: ``(R,)`` sample of each row; None where the file has rows in the order of the data set.
        format: which format it is.
        stored: how the file stores joints.
    """

    joints_m: FloatArray
    numbers: IntArray | None
    format: SubmissionFormat
    stored: JointConvention


def write_submission(
    path: str | PathLike[str],
    records: PoseRecords,
    kind: SubmissionFormat,
    skipped: Sequence[Skipped] = (),
    samples: int | None = None,
) -> None:
    """Write predictions of a whole evaluation split.

    ``freihand``: ``[joints, vertices]`` as JSON, metres, camera frame, FreiHAND order. ``ho3d``: the same with
    OpenGL axes (y up, z towards the viewer) and MANO order. ``dexycb``: a text line a sample, its number and 63
    millimetre coordinates. The refined pose has no mesh; vertices are written as zeros, so a server's mesh scores
    are not valid.

    Frames without a hand, which DexYCB's own evaluation leaves out, get no line; other formats have no such gaps.

    Args:
        path: the file.
        records: the predictions.
        kind: the server's format.
        skipped: samples without a prediction.
        samples: how many the split has, where that is known: predictions of a part of it are refused.

    Raises:
        InputError: another sample has no prediction, or predictions lack a position in the camera frame.
    """
    gaps = {sample.index for sample in skipped if kind == "dexycb" and sample.exempt}
    missing = [sample for sample in skipped if sample.index not in gaps]
    if missing:
        problem = f"{len(missing)} samples have no prediction, the first is number {missing[0].index}"
        raise InputError(path, problem, "a submission needs them all: repair those samples and run again")
    numbers = np.sort([*records.index, *gaps])
    whole = np.arange(len(numbers) if samples is None else samples)
    if len(records) == 0 or not np.array_equal(numbers, whole):
        raise InputError(path, "the predictions are not those of a whole split", "run without --limit")
    if not records.absolute.all():
        raise InputError(path, "predictions have no position in the camera frame", "submit a network's own predictions")
    joints_m = records.predicted_m
    if kind == "dexycb":
        rows = (f"{index}," + ",".join(f"{v:.4f}" for v in pose.reshape(-1) * 1000) for index, pose in
                zip(records.index, joints_m))  # fmt: skip
        write_text_atomically(path, "\n".join(rows) + "\n")
        return
    if kind == "ho3d":
        joints_m = from_graphhand_order(joints_m * OPENGL_TO_CAMERA, "ho3d")
    vertices = [[[0.0, 0.0, 0.0]] * _MANO_VERTICES] * len(joints_m)
    write_text_atomically(path, json.dumps([np.round(joints_m, 6).tolist(), vertices]))


def read_joint_lists(
    path: str | PathLike[str], stored: JointConvention | None = None, dataset: str = ""
) -> SubmittedJoints:
    """Read ``[joints, vertices]``, FreiHAND's or HO-3D's format; the vertices are not read.

    The two differ in axes and joint order. A file is HO-3D's where all its hands lie at negative z, as in OpenGL; on
    HO-3D also where only some do, as joints relative to a root.

    Args:
        path: the file.
        stored: replaces parts of the format's own convention.
        dataset: name of the data set it was made on.

    Raises:
        InputError: not JSON of that form.
    """
    with open_text(path) as file:
        text = file.read()
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(path, f"not JSON ({error})", _LISTS_REMEDY) from None
    try:
        joints = np.asarray(data[0], dtype=np.float64)
    except (TypeError, ValueError, OverflowError, IndexError, KeyError):
        joints = np.empty(0)
    if joints.ndim != 3 or joints.shape[1:] != (21, 3):
        raise InputError(path, "its first entry is not a list of 21x3 joints", _LISTS_REMEDY)
    z = joints[np.abs(joints).max(axis=(1, 2)) > 0, :, 2]  # rows of zeros stand for samples without a hand
    behind = bool(z.size) and bool((z < 0).all())
    before = bool(z.size) and bool((z > 0).all())
    kind: SubmissionFormat = "ho3d" if behind or (dataset == "ho3d" and not before) else "freihand"
    stored = (stored or JointConvention()).or_else(CONVENTIONS[kind])
    return SubmittedJoints(stored.to_metres(joints), None, kind, stored)


def read_joint_lines(path: str | PathLike[str], stored: JointConvention | None = None) -> SubmittedJoints:
    """Read DexYCB's format: a line for each sample, its number and 63 coordinates.

    Args:
        path: the file.
        stored: replaces parts of the format's own convention.

    Raises:
        InputError: a line is not of that form, or two have the same number.
    """
    numbers, rows = [], []
    with open_text(path) as lines:
        for place, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            number, *values = line.split(",")
            try:
                numbers.append(int(number))
                rows.append([float(value) for value in values])
            except (ValueError, OverflowError):
                raise InputError(f"{path}:{place}", "not numbers separated by commas", _LINES_REMEDY) from None
            if len(values) != 63:
                raise InputError(f"{path}:{place}", f"{len(values)} coordinates, not 63", _LINES_REMEDY)
    repeated = [number for number, count in zip(*np.unique(numbers, return_counts=True)) if count > 1]
    if repeated:
        raise InputError(path, f"sample {repeated[0]} has more than one line", _LINES_REMEDY)
    stored = (stored or JointConvention()).or_else(CONVENTIONS["dexycb"])
    joints = np.array(rows, dtype=np.float64).reshape(-1, 21, 3)
    return SubmittedJoints(stored.to_metres(joints), np.array(numbers, dtype=np.int64), "dexycb", stored)
