"""Predictions from files, matched to the samples of a data set.

Formats: ``graphhand predict --json`` lines; FreiHAND-style JSON (``[joints, vertices]``, one entry a sample);
``.npz`` and ``.mat`` files, which hold their own labels. The first two need the data set they were made on.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from graphhand.data.sample import HandDataset, SampleLabels
from graphhand.errors import InputError
from graphhand.evaluation.records import (
    METRES,
    PoseRecords,
    Predictions,
    Progress,
    Skipped,
    Unit,
    read_labels,
)
from graphhand.io import IMAGE_SUFFIXES
from graphhand.io.files import open_text
from graphhand.types import FloatArray

Format = Literal["arrays", "json lines", "freihand"]

_SIDE_AT_END = re.compile(r"#(left|right)$")
_NO_LINE = "no line for its image"
_PREDICT_REMEDY = "write the lines with graphhand predict --json"
_FREIHAND_REMEDY = "write [[joints...], [vertices...]]"


@dataclass(frozen=True)
class UnmatchedPrediction:
    """One predicted hand of one image, not yet matched to a sample.

    Attributes:
        side: left or right.
        score: the predictor's confidence.
        joints_m: ``(21, 3)`` metres in camera axes.
        absolute: whether ``joints_m`` are in the camera frame, not relative to the wrist.
        joints_px: ``(21, 2)`` pixels of the image.
    """

    side: str
    score: float
    joints_m: FloatArray
    absolute: bool
    joints_px: FloatArray


def detect_format(path: str | PathLike[str]) -> Format:
    """The format of a predictions file, by its suffix and first character.

    Raises:
        InputError: none of the formats.
    """
    path = Path(path)
    if path.suffix in (".npz", ".mat"):
        return "arrays"
    if path.suffix in (".json", ".jsonl"):
        with open_text(path) as lines:
            first = next((line.strip()[0] for line in lines if line.strip()), "")
        if first in ("[", "{"):
            return "freihand" if first == "[" else "json lines"
    raise InputError(path, "not a predictions file", "give .jsonl, .json (FreiHAND style), .npz or .mat")


def read_predictions(
    path: str | PathLike[str],
    samples: HandDataset | None = None,
    *,
    unit: Unit = "m",
    limit: int | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> Predictions:
    """The predictions of a file, with the labels of the file or of a data set.

    Args:
        path: a file of any of the formats above.
        samples: the data set it was made on; needed by the two JSON formats.
        unit: of the 3D joints in ``.npz``, ``.mat`` and FreiHAND-style files.
        limit: use the first N samples.
        strict: raise on the first unreadable sample of the data set.
        progress: called after each sample that is read.

    Raises:
        InputError: the file cannot be used or needs a data set, or a sample is unreadable and ``strict`` is set.
    """
    kind = detect_format(path)
    source = {"file": str(path), "format": kind}
    if kind == "arrays":
        records = PoseRecords.load(path, unit)
        records.require_metres(path)
        return Predictions(records if limit is None else records.select(slice(limit)), [], source)
    if samples is None:
        raise InputError(path, "holds no ground truth", "add --dataset NAME --root DIR")
    labels, skipped = read_labels(samples, limit, progress, strict=strict)
    if kind == "freihand":
        if skipped:
            problem = f"sample {skipped[0].index} is unreadable: {skipped[0].reason}"
            raise InputError(path, problem, "repair the data set: this format has no gaps")
        return Predictions(read_freihand_json(path, labels, unit), [], source)
    records, unmatched, counts = read_json_lines(path, labels)
    notes = []
    if counts["wrong_side"]:
        notes.append(f"{counts['wrong_side']} hands were predicted with the wrong side")
    if counts["error_lines"]:
        notes.append(f"{counts['error_lines']} lines of the file are errors")
    if unmatched:
        notes.append(f"{len(unmatched)} samples have no prediction and do not count: this flatters the numbers")
    return Predictions(records, sorted([*skipped, *unmatched], key=lambda s: s.index), source, notes)


def read_freihand_json(path: str | PathLike[str], labels: Sequence[SampleLabels], unit: Unit = "m") -> PoseRecords:
    """``[joints, vertices]``: joints of the whole data set in its order; the vertices are not read.

    Raises:
        InputError: not JSON of that form, or another number of hands than the data set has.
    """
    with open_text(path) as file:
        text = file.read()
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(path, f"not JSON ({error})", _FREIHAND_REMEDY) from None
    try:
        joints = np.asarray(data[0], dtype=np.float64) * METRES[unit]
    except (TypeError, ValueError, OverflowError, IndexError, KeyError):
        joints = np.empty(0)
    if joints.ndim != 3 or joints.shape[1:] != (21, 3):
        raise InputError(path, "its first entry is not a list of 21x3 joints", _FREIHAND_REMEDY)
    if len(joints) != len(labels):
        raise InputError(path, f"{len(joints)} hands for a data set of {len(labels)}", "use the split it was made on")
    records = PoseRecords.pair(labels, joints)
    records.require_metres(path)
    return records


def read_json_lines(
    path: str | PathLike[str], labels: Sequence[SampleLabels]
) -> tuple[PoseRecords, list[Skipped], dict[str, int]]:
    """``graphhand predict --json`` lines, matched to samples by :func:`match_predictions`.

    Returns:
        Records of the samples that have a prediction; the samples without one; and counts: ``wrong_side`` (matched to
        a hand of the other side), ``error_lines`` (images the predictor could not read).

    Raises:
        InputError: a line is not such an object, or no line matches any sample.
    """
    by_image: dict[str, list[UnmatchedPrediction]] = {}
    error_lines = 0
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            record = _parse_line(line, f"{path}:{number}")
            error_lines += "error" in record
            hands = [_parse_hand(hand, f"{path}:{number}") for hand in record.get("hands", ())]
            by_image.setdefault(image_key(record["image"]), []).extend(hands)
    matched, skipped = match_predictions(by_image, labels)
    if not matched and all(sample.reason == _NO_LINE for sample in skipped):
        raise InputError(path, "no line names an image of this data set", "predict on the data set's own images")
    wrong_side = sum(hand.side != sample.side for sample, hand in matched)
    records = PoseRecords.pair(
        [sample for sample, _ in matched],
        [hand.joints_m for _, hand in matched],
        [hand.joints_px for _, hand in matched],
        [hand.absolute for _, hand in matched],
    )
    records.require_metres(path)
    return records, skipped, {"wrong_side": wrong_side, "error_lines": error_lines}


def match_predictions(
    by_image: dict[str, list[UnmatchedPrediction]], labels: Sequence[SampleLabels]
) -> tuple[list[tuple[SampleLabels, UnmatchedPrediction]], list[Skipped]]:
    """A predicted hand for each sample, where there is one.

    Samples and images are matched by path: one is the end of the other. Where an image has several predicted hands, a
    sample gets the nearest one of its own side (by the mean distance of labelled joints in the image), or of either
    side where there is none of its own.

    Args:
        by_image: the predicted hands of each image, by :func:`image_key`.
        labels: the samples.

    Returns:
        Pairs of sample and prediction, and the samples without one.
    """
    find = _image_finder(by_image, {image_key(sample.image_path or sample.name) for sample in labels})
    matched: list[tuple[SampleLabels, UnmatchedPrediction]] = []
    skipped = []
    for sample in labels:
        hands = find(image_key(sample.image_path or sample.name))
        if hands:
            matched.append((sample, _nearest(sample, hands)))
        else:
            reason = _NO_LINE if hands is None else "no hand was found in its image"
            skipped.append(Skipped(sample.index, sample.name, reason))
    return matched, skipped


def image_key(name: str) -> str:
    """An image's path, or a sample's name, without suffix and without ``#left`` or ``#right`` at its end."""
    path = PurePosixPath(_SIDE_AT_END.sub("", name.replace("\\", "/")))
    return str(path.with_suffix("")) if path.suffix.lower() in IMAGE_SUFFIXES else str(path)


def _image_finder(
    by_image: dict[str, list[UnmatchedPrediction]], wanted: Collection[str]
) -> Callable[[str], list[UnmatchedPrediction] | None]:
    """A look-up from one of the ``wanted`` keys to the hands predicted in its image.

    That is the image of this key, or the one whose path ends in it; or, where ``predict`` was run further down, the
    one whose path is the end of this key, and of no other that is wanted.
    """
    endings: dict[str, list[str]] = {}
    for key in by_image:
        for end in _endings(key):
            endings.setdefault(end, []).append(key)
    claims = Counter(end for key in wanted for end in _endings(key) if end in by_image)

    def find(key: str) -> list[UnmatchedPrediction] | None:
        if key in by_image:
            return by_image[key]
        longer = endings.get(key, [])
        if len(longer) == 1:
            return by_image[longer[0]]
        shorter = next((end for end in _endings(key) if claims[end] == 1), None)
        return None if longer or shorter is None else by_image[shorter]

    return find


def _endings(key: str) -> Iterator[str]:
    """The path and what is left of it without its first parts, longest first."""
    parts = key.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def _nearest(sample: SampleLabels, hands: Sequence[UnmatchedPrediction]) -> UnmatchedPrediction:
    own = [hand for hand in hands if hand.side == sample.side] or list(hands)
    labelled = np.isfinite(sample.joints_px).all(axis=-1)
    if not labelled.any():
        return max(own, key=lambda hand: hand.score)

    def distance(hand: UnmatchedPrediction) -> float:
        return float(np.linalg.norm(hand.joints_px - sample.joints_px, axis=-1)[labelled].mean())

    return min(own, key=distance)


def _parse_line(line: str, source: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(source, f"not JSON ({error})", _PREDICT_REMEDY) from None
    if not isinstance(record, dict) or not isinstance(record.get("image"), str):
        raise InputError(source, "no 'image' in the line", _PREDICT_REMEDY)
    if not isinstance(record.get("hands", []), list):
        raise InputError(source, "'hands' is no list", _PREDICT_REMEDY)
    return record


def _parse_hand(hand: Any, source: str) -> UnmatchedPrediction:
    try:
        absolute = hand.get("joints_cam_m") is not None
        joints_m = np.asarray(hand["joints_cam_m" if absolute else "joints_rel_m"], dtype=np.float64)
        joints_px = np.asarray(hand["joints_px"], dtype=np.float64)
        side, score = str(hand["side"]), float(hand.get("score", 1.0))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(source, f"a hand is not as expected ({error})", _PREDICT_REMEDY) from None
    if joints_m.shape != (21, 3) or joints_px.shape != (21, 2):
        raise InputError(source, "a hand does not have 21 joints", _PREDICT_REMEDY)
    return UnmatchedPrediction(side, score, joints_m, absolute, joints_px)
