"""Predictions from files, matched to the samples of a data set.

Formats: ``graphhand predict --json`` lines; the submissions of FreiHAND, HO-3D (``[joints, vertices]``, one entry a
sample) and DexYCB (text lines); ``.npz`` and ``.mat`` files, which hold their own labels. All but the last two need
the data set they were made on.
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
    JointConvention,
    PoseRecords,
    Predictions,
    Progress,
    Skipped,
    count_hands,
    read_labels,
)
from graphhand.evaluation.submissions import SubmittedJoints, read_joint_lines, read_joint_lists
from graphhand.io import IMAGE_SUFFIXES
from graphhand.io.files import open_text
from graphhand.types import FloatArray

Format = Literal["arrays", "json lines", "joint lists", "joint lines"]

_SIDE_AT_END = re.compile(r"#(left|right)$")
_NO_LINE = "no line for its image"
_PREDICT_REMEDY = "write the lines with graphhand predict --json"


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
            return "joint lists" if first == "[" else "json lines"
    if path.suffix in (".txt", ".csv"):
        return "joint lines"
    remedy = "give .jsonl, .json (FreiHAND, HO-3D), .txt (DexYCB), .npz or .mat"
    raise InputError(path, "not a predictions file", remedy)


def read_predictions(
    path: str | PathLike[str],
    samples: HandDataset | None = None,
    *,
    stored: JointConvention | None = None,
    limit: int | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> Predictions:
    """The predictions of a file, with the labels of the file or of a data set.

    Args:
        path: a file of any of the formats above.
        samples: the data set it was made on; needed by all formats but ``.npz`` and ``.mat``.
        stored: how the file stores joints, where its format does not say; not for ``predict --json`` lines.
        limit: use the first N samples.
        strict: raise on the first unreadable sample of the data set.
        progress: called after each sample that is read.

    Raises:
        InputError: the file cannot be used or needs a data set, or a sample is unreadable and ``strict`` is set.
    """
    kind = detect_format(path)
    source = {"file": str(path), "format": kind}
    if kind == "arrays":
        records = PoseRecords.load(path, stored)
        records.require_metres(path)
        return Predictions(records if limit is None else records.select(slice(limit)), [], source)
    if samples is None:
        raise InputError(path, "holds no ground truth", "add --dataset NAME --root DIR")
    if kind == "json lines" and stored not in (None, JointConvention()):
        raise InputError(path, "lines of predict have one convention", "omit unit, joint_order and axes")
    labels, skipped = read_labels(samples, limit, progress, strict=strict)
    if kind != "json lines":
        dataset = getattr(samples, "protocol", {}).get("dataset", "")
        read = read_joint_lines(path, stored) if kind == "joint lines" else read_joint_lists(path, stored, dataset)
        source["format"] = f"{read.format} ({read.stored.describe()})"
        records, rows, unmatched, notes = match_rows(path, read, samples, labels, skipped)
        records.require_metres(path)
        vertices_m = None if read.vertices_m is None else read.vertices_m[rows]
        return Predictions(records, sorted([*skipped, *unmatched], key=lambda s: s.index), source, notes, vertices_m)
    records, unmatched, counts = read_json_lines(path, labels)
    notes = []
    if counts["wrong_side"]:
        notes.append(f"{counts['wrong_side']} hands were predicted with the wrong side")
    if counts["error_lines"]:
        notes.append(f"{counts['error_lines']} lines of the file are errors")
    if unmatched:
        notes.append(f"{len(unmatched)} samples have no prediction and do not count: this flatters the numbers")
    return Predictions(records, sorted([*skipped, *unmatched], key=lambda s: s.index), source, notes)


def match_rows(
    path: str | PathLike[str],
    read: SubmittedJoints,
    samples: HandDataset,
    labels: Sequence[SampleLabels],
    skipped: Sequence[Skipped],
) -> tuple[PoseRecords, list[int], list[Skipped], list[str]]:
    """The rows of a submission file, matched to samples by their numbers, or by their count.

    A file without numbers has a row for each sample, or a row for each sample with a hand: of the whole data set, or
    of the samples that are evaluated. Its number of rows decides.

    Args:
        path: the file, for errors.
        read: its content.
        samples: the whole data set.
        labels, skipped: of the samples that are evaluated, the first ones.

    Returns:
        Records, the row of the file that each was made of, samples without a row, and remarks.

    Raises:
        InputError: the number of rows fits no reading, or two.
    """
    without_hand = {sample.index for sample in skipped if sample.exempt}
    count, total = len(labels) + len(skipped), len(samples)
    notes = []
    if read.numbers is not None:
        row_of = {int(number): row for row, number in enumerate(read.numbers)}
        outside = [number for number in row_of if not 0 <= number < total]
        if outside:
            raise InputError(path, f"has sample {outside[0]} of {total}", "use the split it was made on")
    else:
        rows = len(read.joints_m)
        with_hand = [index for index in range(count) if index not in without_hand]
        all_hands = len(with_hand)
        if rows != total:
            all_hands += count_hands(samples, range(count, total))
        each_sample, each_hand = rows in (count, total), rows in (len(with_hand), all_hands)
        fits = f"{rows} hands for a data set of {total}"
        if rows != total and all_hands != total:
            fits += f", {all_hands} with a hand"
        if not each_sample and not each_hand:
            raise InputError(path, fits, "use the split it was made on")
        if each_sample and each_hand and without_hand and rows != total:
            raise InputError(path, f"{fits}, and --limit {count}: either may be meant", "omit --limit")
        row_of = {index: row for row, index in enumerate(range(count) if each_sample else with_hand)}
        if without_hand:
            of = "sample" if each_sample else "sample with a hand"
            notes.append(f"the file has a row for each {of}; {len(without_hand)} without a hand are not scored")
    matched = [sample for sample in labels if sample.index in row_of]
    unmatched = [Skipped(one.index, one.name, "no line of its number") for one in labels if one.index not in row_of]
    if unmatched:
        notes.append(f"{len(unmatched)} samples have no prediction and do not count: this flatters the numbers")
    taken = [row_of[one.index] for one in matched]
    return PoseRecords.pair(matched, read.joints_m[taken]), taken, unmatched, notes


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
