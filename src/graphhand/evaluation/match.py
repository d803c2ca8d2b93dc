"""Reading other people's predictions (and our own) from files.

Formats: ``graphhand predict --json`` lines; FreiHAND-style JSON (``[joints, vertices]``, one entry a sample);
``.npz`` (as :meth:`PoseRecords.save` writes it); ``.mat`` with ground truth and estimate (as Ge et al.'s code writes).
The last two carry their own ground truth; the first two need the data set they were made on.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from graphhand.errors import InputError
from graphhand.evaluation.records import PoseRecords, Skipped
from graphhand.io import IMAGE_SUFFIXES
from graphhand.io.files import open_text
from graphhand.types import FloatArray

Unit = Literal["m", "cm", "mm"]
METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}

_SIDE_AT_END = re.compile(r"#(left|right)$")
_MAT_PAIRS = (("est_pose_xyz", "gt_pose_xyz"), ("est", "gt"), ("pred", "gt"), ("pose_est", "pose_gt"))


@dataclass(frozen=True)
class UnmatchedPrediction:
    """One predicted hand of one image, not yet tied to a sample."""

    side: str | None
    score: float
    joints_m: FloatArray
    absolute: bool
    joints_px: FloatArray | None


@dataclass(frozen=True)
class TruthSample:
    """What a data set knows about one hand: the labels, and the image that predictions are tied by."""

    index: int
    name: str
    side: str
    joints_m: FloatArray
    joints_px: FloatArray
    visible: Any
    image_path: str = ""


def read_with_truth(path: str | PathLike[str], unit: Unit = "m") -> PoseRecords:
    """Predictions and ground truth from one ``.npz`` or ``.mat`` file.

    Raises:
        InputError: not such a file, or arrays are missing or do not fit.
    """
    path = Path(path)
    records = read_npz(path, unit) if path.suffix == ".npz" else read_mat(path, unit)
    records.require_metres(path)
    return records


def read_npz(path: str | PathLike[str], unit: Unit = "m") -> PoseRecords:
    """``predicted_m`` and ``truth_m`` ``(N, 21, 3)``; optional: the other fields of :class:`PoseRecords`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # zipfile, zlib, numpy and Python's tokenizer each have their own
        found = " ".join(str(error).split())
        raise InputError(path, f"not a readable .npz ({found})", "write one with numpy.savez") from None
    missing = {"predicted_m", "truth_m"} - arrays.keys()
    if missing:
        remedy = "store predictions and ground truth as predicted_m and truth_m, (N, 21, 3)"
        raise InputError(path, f"no array {', '.join(sorted(missing))}", remedy)
    fields = {name: arrays[name] for name in PoseRecords.__dataclass_fields__ if name in arrays}
    for name in ("predicted_m", "truth_m"):
        fields[name] = _in_metres(path, name, fields[name], unit)
    return _built(path, **fields)


def read_mat(path: str | PathLike[str], unit: Unit = "m") -> PoseRecords:
    """A MATLAB file with an estimate and a ground truth ``(N, 21, 3)`` (``est_pose_xyz`` and ``gt_pose_xyz``, ...)."""
    import scipy.io

    try:
        arrays = scipy.io.loadmat(path)
    except Exception as error:  # scipy raises whatever its parser meets
        raise InputError(path, f"not a readable .mat ({error})", "save it as MATLAB version 7 or older") from None
    for estimate, truth in _MAT_PAIRS:
        if estimate in arrays and truth in arrays:
            return _built(
                path,
                predicted_m=_in_metres(path, estimate, arrays[estimate], unit),
                truth_m=_in_metres(path, truth, arrays[truth], unit),
            )
    known = ", ".join("/".join(pair) for pair in _MAT_PAIRS)
    found = ", ".join(name for name in arrays if not name.startswith("__")) or "nothing"
    raise InputError(path, f"no pair of estimate and truth among {found}", f"name the two arrays one of {known}")


def read_freihand_json(path: str | PathLike[str], truth: Sequence[TruthSample], unit: Unit = "m") -> PoseRecords:
    """``[joints, vertices]``: joints of the whole data set in its order; the vertices are not read.

    Raises:
        InputError: not JSON of that form, or another number of hands than the data set has.
    """
    data = _load_json(path)
    try:
        joints = np.asarray(data[0], dtype=np.float64) * METRES[unit]
    except (TypeError, ValueError, OverflowError, IndexError, KeyError):
        joints = np.empty(0)
    if joints.ndim != 3 or joints.shape[1:] != (21, 3):
        raise InputError(path, "its first entry is not a list of 21x3 joints", "write [[joints...], [vertices...]]")
    if len(joints) != len(truth):
        raise InputError(path, f"{len(joints)} hands for a data set of {len(truth)}", "use the split it was made on")
    records = tie(truth, [UnmatchedPrediction(None, 1.0, j, True, None) for j in joints])
    records.require_metres(path)
    return records


def read_json_lines(
    path: str | PathLike[str], truth: Sequence[TruthSample]
) -> tuple[PoseRecords, list[Skipped], dict[str, int]]:
    """``graphhand predict --json`` lines, tied to samples by their images' paths: one is the end of the other.

    Where an image has several predicted hands, a sample gets the nearest one of its own side in the image (by the
    mean distance of labelled joints), or of either side where there is none of its own.

    Returns:
        Records of the samples that have a prediction; the samples without one; and counts: ``wrong_side`` (tied to a
        hand called the other side), ``error_lines`` (images the predictor could not read).

    Raises:
        InputError: a line is not such an object, or no line matches any sample.
    """
    by_image: dict[str, list[UnmatchedPrediction]] = {}
    counts = {"wrong_side": 0, "error_lines": 0}
    with open_text(path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            record = _parse_line(line, f"{path}:{number}")
            counts["error_lines"] += "error" in record
            hands = [_loose_hand(hand, f"{path}:{number}") for hand in record.get("hands", ())]
            by_image.setdefault(image_key(record["image"]), []).extend(hands)
    find = _image_finder(by_image, {image_key(sample.image_path or sample.name) for sample in truth})
    tied: list[tuple[TruthSample, UnmatchedPrediction]] = []
    skipped = []
    matched = False
    for sample in truth:
        hands_here = find(image_key(sample.image_path or sample.name))
        matched |= hands_here is not None
        if not hands_here:
            reason = "no line for its image" if hands_here is None else "no hand was found in its image"
            skipped.append(Skipped(sample.index, sample.name, reason))
            continue
        hand = _nearest(sample, hands_here)
        counts["wrong_side"] += hand.side not in (None, sample.side)
        tied.append((sample, hand))
    if not matched:
        raise InputError(path, "no line names an image of this data set", "predict on the data set's own images")
    if not tied:
        return PoseRecords.empty(), skipped, counts
    records = tie([sample for sample, _ in tied], [hand for _, hand in tied])
    records.require_metres(path)
    return records, skipped, counts


def tie(truth: Sequence[TruthSample], hands: Sequence[UnmatchedPrediction]) -> PoseRecords:
    """Records from samples and the hands predicted for them, pair by pair."""
    nowhere = np.full((21, 2), np.nan)
    return PoseRecords.build(
        index=[sample.index for sample in truth],
        names=[sample.name for sample in truth],
        predicted_m=np.stack([hand.joints_m for hand in hands]),
        absolute=[hand.absolute for hand in hands],
        predicted_px=np.stack([nowhere if hand.joints_px is None else hand.joints_px for hand in hands]),
        truth_m=np.stack([sample.joints_m for sample in truth]),
        truth_px=np.stack([sample.joints_px for sample in truth]),
        visible=np.stack([sample.visible for sample in truth]),
    )


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


def _nearest(sample: TruthSample, hands: Sequence[UnmatchedPrediction]) -> UnmatchedPrediction:
    own = [hand for hand in hands if hand.side in (None, sample.side)] or list(hands)
    labelled = np.isfinite(sample.joints_px).all(axis=-1)

    def distance(hand: UnmatchedPrediction) -> float:
        if hand.joints_px is None or not labelled.any():
            return -hand.score
        return float(np.linalg.norm(hand.joints_px - sample.joints_px, axis=-1)[labelled].mean())

    return min(own, key=distance)


def _loose_hand(hand: Any, source: str) -> UnmatchedPrediction:
    try:
        absolute = hand.get("joints_cam_m") is not None
        joints_m = np.asarray(hand["joints_cam_m" if absolute else "joints_rel_m"], dtype=np.float64)
        joints_px = np.asarray(hand["joints_px"], dtype=np.float64)
        side, score = str(hand["side"]), float(hand.get("score", 1.0))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        remedy = "write the lines with graphhand predict --json"
        raise InputError(source, f"a hand is not as expected ({error})", remedy) from None
    if joints_m.shape != (21, 3) or joints_px.shape != (21, 2):
        raise InputError(source, "a hand does not have 21 joints", "write the lines with graphhand predict --json")
    return UnmatchedPrediction(side, score, joints_m, absolute, joints_px)


def _parse_line(line: str, source: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(source, f"not JSON ({error})", "write the lines with graphhand predict --json") from None
    if not isinstance(record, dict) or not isinstance(record.get("image"), str):
        raise InputError(source, "no 'image' in the line", "write the lines with graphhand predict --json")
    if not isinstance(record.get("hands", []), list):
        raise InputError(source, "'hands' is no list", "write the lines with graphhand predict --json")
    return record


def _load_json(path: str | PathLike[str]) -> Any:
    with open_text(path) as file:
        text = file.read()
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(path, f"not JSON ({error})", "write [[joints...], [vertices...]]") from None


def _in_metres(path: str | PathLike[str], name: str, values: Any, unit: Unit) -> FloatArray:
    if values.dtype.kind not in "fiu":
        raise InputError(path, f"{name} is not numbers but {values.dtype}", "store N hands of 21 joints, x y z")
    return np.asarray(values * METRES[unit], dtype=np.float64)


def _built(path: str | PathLike[str], **fields: Any) -> PoseRecords:
    try:
        return PoseRecords.build(**fields)
    except (ValueError, TypeError) as error:
        raise InputError(path, str(error), "store N hands of 21 joints, x y z") from None


def sniff(path: str | PathLike[str]) -> Literal["with truth", "json lines", "freihand"]:
    """Which reader a file wants, by its suffix and first character.

    Raises:
        InputError: none of them.
    """
    path = Path(path)
    if path.suffix in (".npz", ".mat"):
        return "with truth"
    if path.suffix in (".json", ".jsonl"):
        with open_text(path) as file:
            first = _first_character(file)
        if first in "[{":
            return "freihand" if first == "[" else "json lines"
    raise InputError(path, "not a predictions file", "give .jsonl, .json (FreiHAND style), .npz or .mat")


def _first_character(lines: Iterable[str]) -> str:
    for line in lines:
        if line.strip():
            return line.strip()[0]
    return " "
