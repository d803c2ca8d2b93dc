"""Files of the evaluation servers and scripts of FreiHAND, HO-3D and DexYCB: written, and read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

import numpy as np

from graphhand.data.datasets.ho3d import OPENGL_TO_CAMERA
from graphhand.data.validation import MANO_VERTICES
from graphhand.errors import InputError
from graphhand.evaluation.records import METRES, JointConvention, PoseRecords, Skipped
from graphhand.io.files import open_text, write_text_atomically
from graphhand.skeleton import from_graphhand_order
from graphhand.types import FloatArray, IntArray

SubmissionFormat = Literal["freihand", "ho3d", "dexycb"]
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
        vertices_m: ``(R, V, 3)`` metres in camera axes; None where the file has none, or zeros in their place.
        numbers: ``(R,)`` sample of each row; None where the file has rows in the order of the data set.
        format: which format it is.
        stored: how the file stores joints.
    """

    joints_m: FloatArray
    numbers: IntArray | None
    format: SubmissionFormat
    stored: JointConvention
    vertices_m: FloatArray | None = None


def write_submission(
    path: str | PathLike[str],
    records: PoseRecords,
    kind: SubmissionFormat,
    skipped: Sequence[Skipped] = (),
    samples: int | None = None,
    vertices_m: FloatArray | None = None,
) -> None:
    """Write predictions of a whole evaluation split.

    ``freihand``: ``[joints, vertices]`` as JSON, metres, camera frame, FreiHAND order. ``ho3d``: the same with
    OpenGL axes (y up, z towards the viewer) and MANO order. ``dexycb``: a text line a sample, its number and 63
    millimetre coordinates. Without vertices zeros are written in their place, and a server's mesh scores are not valid.

    Frames without a hand, which DexYCB's own evaluation leaves out, get no line; other formats have no such gaps.

    Args:
        path: the file.
        records: the predictions.
        kind: the server's format.
        skipped: samples without a prediction.
        samples: how many the split has, where that is known: predictions of a part of it are refused.
        vertices_m: ``(N, 778, 3)`` of MANO, camera frame, a mesh for each record.

    Raises:
        InputError: another sample has no prediction, predictions lack a position in the camera frame, or meshes are
            not MANO's.
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
    vertices: list[Any] = [[[0.0, 0.0, 0.0]] * MANO_VERTICES] * len(joints_m)
    if vertices_m is not None:
        if vertices_m.shape[1] != MANO_VERTICES:
            problem = f"meshes have {vertices_m.shape[1]} vertices, the server's {MANO_VERTICES}"
            raise InputError(path, problem, "give MANO's file: hand=MANO_RIGHT.pkl")
        if not np.isfinite(vertices_m).all():
            raise InputError(path, "a mesh is not finite", "leave out hand=, or repair the predictions")
        vertices = np.round(vertices_m * OPENGL_TO_CAMERA if kind == "ho3d" else vertices_m, 6).tolist()
    write_text_atomically(path, json.dumps([np.round(joints_m, 6).tolist(), vertices]))


def read_joint_lists(
    path: str | PathLike[str], stored: JointConvention | None = None, dataset: str = ""
) -> SubmittedJoints:
    """Read ``[joints, vertices]``, FreiHAND's or HO-3D's format.

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
    return SubmittedJoints(stored.to_metres(joints), None, kind, stored, _vertices(path, data, len(joints), stored))


def _vertices(path: str | PathLike[str], data: Any, rows: int, stored: JointConvention) -> FloatArray | None:
    """The second entry of a submission, if there are meshes in it.

    Raises:
        InputError: it is not such a list.
    """
    if not isinstance(data, list) or len(data) < 2 or not data[1]:
        return None
    try:
        vertices = np.asarray(data[1], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        vertices = np.empty(0)
    if vertices.ndim != 3 or vertices.shape[2] != 3 or len(vertices) != rows:
        raise InputError(path, f"its second entry is not a list of {rows} meshes", _LISTS_REMEDY)
    if not vertices.any():
        return None
    metres = vertices * METRES[stored.unit or "m"]
    return np.asarray(metres * OPENGL_TO_CAMERA if stored.axes == "opengl" else metres)


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
