"""Our own format for users' data, and folders of images without hands.

The format is images and ``hands.jsonl``, one JSON object per line and labelled hand::

    my_hands/
      hands.jsonl
      images/0001.jpg ...

A line, with every optional field::

    {"image": "images/0001.jpg", "side": "right",
     "joints_px": [[u, v], null, ... 21], "visible": [true, ... 21],
     "joints_cam_m": [[x, y, z], ... 21], "camera": {"fx": 610.0, "fy": 610.0, "cx": 319.5, "cy": 239.5},
     "box_px": [x, y, w, h], "name": "0001-right", "split": "train"}

``image`` and ``side`` are required, and one of ``joints_px`` or ``joints_cam_m`` with ``camera``.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphhand.data.sample import NUM_JOINTS, HandSample
from graphhand.data.validation import DatasetInfo, project, read_sample_image, require_plausible
from graphhand.errors import InputError
from graphhand.io import list_images, read_image
from graphhand.io.files import open_text


def images_without_hands(root: str | PathLike[str]) -> list[Path]:
    """The images straight in a folder of negatives.

    Raises:
        InputError: there is no such folder, or no image in it.
    """
    files = list_images(Path(root).expanduser())
    if not files:
        raise InputError(root, "holds no image", "put images without hands straight into it")
    return files


class NegativeImages:
    """The images of a folder as negatives.

    Args:
        root: the folder; its subfolders are ignored.

    Raises:
        InputError: there is no such folder, or no image in it.
    """

    def __init__(self, root: str | PathLike[str]) -> None:
        self.files = images_without_hands(root)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> HandSample:
        """Read one image.

        Raises:
            InputError: it is unreadable.
        """
        file = self.files[index]
        return HandSample(
            image=read_image(file),
            joints_px=np.full((NUM_JOINTS, 2), np.nan, dtype=np.float32),
            visible=np.zeros(NUM_JOINTS, dtype=np.bool_),
            side="right",
            name=file.name,
            is_negative=True,
        )


LABEL_FILE = "hands.jsonl"
NO_SPLIT = "no split"
_REQUIRED = ("image", "side")
_OPTIONAL = ("joints_px", "visible", "joints_cam_m", "camera", "box_px", "name", "split")
_SCHEMA = "see the field list in docs/howto/own_images.md"
_LARGEST = 1e9
"""Larger coordinates, in pixels or metres, are refused."""


class PlainHands:
    """Images and their ``hands.jsonl``.

    Args:
        root: the folder that holds ``hands.jsonl``.
        split: keep the lines whose ``split`` is this; None keeps all.

    Raises:
        InputError: no such file, or not in UTF-8, or a line that is not JSON, lacks a field, or has one we do not know.
    """

    info = DatasetInfo(
        name="plain",
        title="images with hands.jsonl",
        tree="""\
DIR/
  hands.jsonl        one JSON object a line, one line a hand
  ...                the images, wherever "image" says, relative to DIR
""",
        licence="yours",
    )

    def __init__(self, root: str | PathLike[str], split: str | None = None) -> None:
        self.root = Path(root)
        self.split = split
        self.file = self.info.require(self.root / LABEL_FILE)
        self.records: list[tuple[int, dict[str, Any]]] = []
        with open_text(self.file) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    record = _parse(line, f"{self.file}:{number}")
                    if split is None or record.get("split") == split:
                        self.records.append((number, record))

    def __len__(self) -> int:
        return len(self.records)

    @property
    def splits(self) -> dict[str, int]:
        """How many of the lines have each split; ``no split`` counts those without."""
        return dict(Counter(str(record.get("split", NO_SPLIT)) for _, record in self.records))

    def __getitem__(self, index: int) -> HandSample:
        """Read one hand.

        Raises:
            InputError: the image is unreadable, or a label is malformed or impossible.
        """
        number, record = self.records[index]
        return read_record(record, self.root, f"{self.file}:{number}")

    @property
    def protocol(self) -> dict[str, str]:
        """The options that a score on this set depends on."""
        return {"dataset": "plain", "root": str(self.root), "split": self.split or "all lines"}


def _parse(line: str, source: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(source, f"not JSON ({error})", "write one JSON object a line") from None
    if not isinstance(record, dict):
        raise InputError(source, "not a JSON object", _SCHEMA)
    for field in _REQUIRED:
        if not isinstance(record.get(field), str):
            raise InputError(source, f"'{field}' is missing or not text", _SCHEMA)
    unknown = sorted(set(record) - {*_REQUIRED, *_OPTIONAL})
    if unknown:
        raise InputError(source, f"unknown field {', '.join(map(repr, unknown))}", _SCHEMA)
    return record


def read_record(record: dict[str, Any], root: Path, source: str) -> HandSample:
    """One parsed line to a sample.

    Raises:
        InputError: as :meth:`PlainHands.__getitem__`.
    """
    if record["side"] not in ("left", "right"):
        raise InputError(source, f"'side' is {record['side']!r}", "write 'left' or 'right'")
    joints_px = _rows(record, "joints_px", 2, source)
    joints_cam_m = _rows(record, "joints_cam_m", 3, source)
    K = _camera(record.get("camera"), source)
    if joints_px is None and joints_cam_m is not None and K is not None:
        joints_px = project(joints_cam_m, K)
    if joints_px is None:
        raise InputError(source, "no 'joints_px', nor 'joints_cam_m' with 'camera'", "give one of them")
    labelled = np.isfinite(joints_px).all(axis=1)
    visible = record.get("visible", labelled.tolist())
    if not isinstance(visible, list) or len(visible) != NUM_JOINTS or not all(isinstance(v, bool) for v in visible):
        raise InputError(source, f"'visible' is not {NUM_JOINTS} times true or false", _SCHEMA)
    box_px = record.get("box_px")
    if box_px is not None:
        box_px = _numbers(box_px, (4,), "box_px", source)
        if not (box_px[2:] > 0).all():
            raise InputError(source, "'box_px' has no area", "write [x, y, width, height]")
    image = read_sample_image(root / record["image"])
    sample = HandSample(
        image=image,
        joints_px=joints_px.astype(np.float32),
        visible=np.array(visible) & labelled,
        side=record["side"],
        name=str(record.get("name") or f"{record['image']}#{record['side']}"),
        joints_cam_m=None if joints_cam_m is None else joints_cam_m.astype(np.float32),
        K=K,
        box_px=box_px,
        image_path=record["image"],
    )
    return require_plausible(sample, source)


def _rows(record: dict[str, Any], field: str, width: int, source: str) -> npt.NDArray[np.float64] | None:
    """A list of 21 rows, null where a joint is unlabelled, as (21, width) with NaN."""
    rows = record.get(field)
    if rows is None:
        return None
    if not isinstance(rows, list) or len(rows) != NUM_JOINTS:
        found = len(rows) if isinstance(rows, list) else type(rows).__name__
        raise InputError(source, f"'{field}' has {found}, not {NUM_JOINTS} rows", _SCHEMA)
    return _numbers([[math.nan] * width if row is None else row for row in rows], (NUM_JOINTS, width), field, source)


def _numbers(value: Any, shape: tuple[int, ...], field: str, source: str) -> npt.NDArray[np.float64]:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0)
    if array.shape != shape:
        raise InputError(source, f"'{field}' is not numbers of shape {shape}", _SCHEMA)
    if (np.abs(array) > _LARGEST).any():  # NaN is not: it stands for null
        raise InputError(source, f"'{field}' has a number that is too large", _SCHEMA)
    return array


def _camera(camera: Any, source: str) -> npt.NDArray[np.float64] | None:
    if camera is None:
        return None
    try:
        fx, fy, cx, cy = (float(camera[key]) for key in ("fx", "fy", "cx", "cy"))
    except (TypeError, KeyError, ValueError, OverflowError):
        raise InputError(source, "'camera' needs numbers fx, fy, cx, cy", _SCHEMA) from None
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
