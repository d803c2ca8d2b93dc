"""Files for the evaluation servers and scripts of FreiHAND, HO-3D and DexYCB."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from typing import Literal

import numpy as np

from graphhand.errors import InputError
from graphhand.evaluation.records import PoseRecords, Skipped
from graphhand.io.files import write_text_atomically
from graphhand.skeleton import from_graphhand_order

SubmissionFormat = Literal["freihand", "ho3d", "dexycb"]
_MANO_VERTICES = 778


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
        joints_m = from_graphhand_order(joints_m * np.array([1.0, -1.0, -1.0]), "ho3d")
    vertices = [[[0.0, 0.0, 0.0]] * _MANO_VERTICES] * len(joints_m)
    write_text_atomically(path, json.dumps([np.round(joints_m, 6).tolist(), vertices]))
