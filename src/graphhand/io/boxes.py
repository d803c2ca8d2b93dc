"""Boxes around hands from files: the plain format, COCO's, and ``boxes.json``. NumPy only.

A line of the plain format, ``scenes.jsonl``::

    {"image": "images/0001.jpg", "boxes": [[x, y, w, h], ...], "sides": ["left", null, ...],
     "ignore": [[x, y, w, h], ...], "complete": true, "split": "train", "source": "where it is from"}

``image`` and ``boxes`` are required. ``sides`` are as the image shows them, null where unknown. ``ignore`` are regions
that nothing is learnt or scored in. ``complete: false`` says that other hands may be unlabelled.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphhand.errors import InputError
from graphhand.io.files import open_text, read_json
from graphhand.io.same_paths import absolute_path
from graphhand.types import FloatArray

LEFT, RIGHT, UNKNOWN = 0, 1, -1
SIDES = {"left": LEFT, "right": RIGHT, None: UNKNOWN}
_SIDES_BY_NAME = {**SIDES, "unknown": UNKNOWN}
"""Of ``boxes.json``."""
_KEYS = {"image", "boxes", "sides", "ignore", "complete", "split", "source"}
_SCHEMA = "see the field list in docs/howto/detector.md"


@dataclass(frozen=True, eq=False)
class SceneLabels:
    """The hands of an image.

    Attributes:
        path: of the image.
        boxes: ``(N, 4)`` x, y, width, height of each hand from wrist to fingertips, pixels.
        sides: ``(N,)`` 1 right, 0 left, -1 unknown.
        ignore: ``(M, 4)`` regions without a label.
        complete: whether all hands outside of ``ignore`` have a box.
        name: of the image in the file.
        split: of the plain format.
    """

    path: Path
    boxes: FloatArray
    sides: npt.NDArray[np.int64]
    ignore: FloatArray
    complete: bool
    name: str
    split: str | None = None

    def require_inside(self, width: int, height: int) -> None:
        """Refuse boxes that do not meet an image of this size.

        Raises:
            InputError: naming the box.
        """
        for box in self.boxes:
            x, y, w, h = box
            if x >= width or y >= height or x + w <= 0 or y + h <= 0:
                raise InputError(
                    self.path,
                    f"the box {box.round(1).tolist()} lies outside its {width} x {height} pixels",
                    "boxes are x, y, width, height in pixels",
                )


def read_scene_labels(file: Path, root: Path | None = None) -> list[SceneLabels]:
    """The labels of a file: ``.jsonl`` in the plain format, else JSON in COCO's or with ``images`` by file name.

    Args:
        file: the labels.
        root: what the images' paths are relative to; None is the file's own folder.

    Raises:
        InputError: unreadable, or another format; naming the line, the image or the key.
    """
    root = file.parent if root is None else root
    if file.suffix == ".jsonl":
        with open_text(file) as lines:
            return [_plain(line, root, f"{file}:{n}") for n, line in enumerate(lines, 1) if line.strip()]
    content = read_json(file)
    images = content.get("images") if isinstance(content, dict) else None
    if isinstance(images, list) and isinstance(content.get("annotations"), list):
        return _coco(content, root, file)
    if isinstance(images, dict):
        return [_by_name(name, one, root, file) for name, one in images.items()]
    raise InputError(file, "holds no boxes", 'give COCO\'s {"images": [...], "annotations": [...]} or scenes.jsonl')


def merge_scene_labels(labels: Iterable[SceneLabels]) -> list[SceneLabels]:
    """One for each image, in the order of their first: the boxes of all that a file says of it.

    It is complete where all of them are.
    """
    grouped: dict[Path, list[SceneLabels]] = {}
    for one in labels:
        grouped.setdefault(absolute_path(one.path), []).append(one)
    return [
        some[0]
        if len(some) == 1
        else replace(
            some[0],
            boxes=np.concatenate([one.boxes for one in some]),
            sides=np.concatenate([one.sides for one in some]),
            ignore=np.concatenate([one.ignore for one in some]),
            complete=all(one.complete for one in some),
        )
        for some in grouped.values()
    ]


def _plain(line: str, root: Path, source: str) -> SceneLabels:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(source, f"not JSON ({error})", "write one JSON object a line") from None
    if not isinstance(record, dict) or not isinstance(record.get("image"), str):
        raise InputError(source, "'image' is missing or not text", _SCHEMA)
    if unknown := sorted(set(record) - _KEYS):
        raise InputError(source, f"unknown field {', '.join(map(repr, unknown))}", _SCHEMA)
    if "boxes" not in record:
        raise InputError(source, "'boxes' is missing", _SCHEMA)
    boxes = boxes_of(record["boxes"], source)
    sides = record.get("sides", [None] * len(boxes))
    if not isinstance(sides, list) or len(sides) != len(boxes) or not all(is_one_of(side, SIDES) for side in sides):
        raise InputError(source, "'sides' is not 'left', 'right' or null for each box", _SCHEMA)
    return SceneLabels(
        path=root / record["image"],
        boxes=boxes,
        sides=np.array([SIDES[side] for side in sides], dtype=np.int64),
        ignore=boxes_of(record.get("ignore", []), source, "ignore"),
        complete=_flag(record.get("complete", True), "complete", source),
        name=record["image"],
        split=record.get("split"),
    )


def _by_name(name: str, record: Any, root: Path, file: Path) -> SceneLabels:
    """An image of ``boxes.json``: ``hands`` with ``box``, ``side`` and ``hard``, which is ignored; and ``ignore``."""
    source = f"{file}: {name}"
    hands = record.get("hands") if isinstance(record, dict) else None
    if not isinstance(hands, list) or not all(isinstance(hand, dict) and "box" in hand for hand in hands):
        raise InputError(source, "'hands' is not a list of objects with 'box'", _SCHEMA)
    if not all(is_one_of(hand.get("side"), _SIDES_BY_NAME) for hand in hands):
        raise InputError(source, "'side' is not 'left', 'right', 'unknown' or null", _SCHEMA)
    is_hard = [_flag(hand.get("hard", False), "hard", source) for hand in hands]
    kept = [hand for hand, hard in zip(hands, is_hard) if not hard]
    sides = [_SIDES_BY_NAME[hand.get("side")] for hand in kept]
    hard = boxes_of([hand["box"] for hand, hard in zip(hands, is_hard) if hard], source)
    return SceneLabels(
        path=root / name,
        boxes=boxes_of([hand["box"] for hand in kept], source),
        sides=np.array(sides, dtype=np.int64),
        ignore=np.concatenate((hard, boxes_of(record.get("ignore", []), source, "ignore"))),
        complete=True,
        name=name,
    )


def _coco(content: dict[str, Any], root: Path, file: Path) -> list[SceneLabels]:
    """Every image; categories tell sides by their names, and where some are hands only these count."""
    try:
        names = {one["id"]: str(one["name"]).lower() for one in content.get("categories", [])}
        hands = {key for key, name in names.items() if "hand" in name} or set(names)
        paths = {one["id"]: str(one["file_name"]) for one in content["images"]}
        mine: dict[Any, list[tuple[Any, int, bool]]] = {key: [] for key in paths}
        for one in content["annotations"]:
            if one["image_id"] not in mine:
                raise InputError(file, f"an annotation of image {one['image_id']}, which is not there", "correct it")
            bbox, category = one["bbox"], one["category_id"] if names else None
            if not names or category in hands:
                name = names.get(category, "")
                side = LEFT if "left" in name else RIGHT if "right" in name else UNKNOWN
                crowd = _flag(one.get("iscrowd", 0), "iscrowd", f"{file}: {paths[one['image_id']]}")
                mine[one["image_id"]].append((bbox, side, crowd))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            file, f"not COCO's format ({type(error).__name__} {error})", "annotations have image_id, bbox, category_id"
        ) from None
    labels: list[SceneLabels] = []
    for key, hands_in in mine.items():
        source = f"{file}: {paths[key]}"
        seen = [(bbox, side) for bbox, side, crowd in hands_in if not crowd]
        crowds = [bbox for bbox, _, crowd in hands_in if crowd and not _is_empty(bbox)]
        labels.append(
            SceneLabels(
                path=root / paths[key],
                boxes=boxes_of([bbox for bbox, _ in seen], source),
                sides=np.array([side for _, side in seen], dtype=np.int64),
                ignore=boxes_of(crowds, source),
                complete=True,
                name=paths[key],
            )
        )
    return labels


def _is_empty(bbox: Any) -> bool:
    """Whether it is a box without area, which a hand out of sight has; what is no box is not empty but wrong."""
    return _is_box(bbox) and (bbox[2] <= 0 or bbox[3] <= 0)


def _is_box(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(one, int | float) and not isinstance(one, bool) for one in value)
    )


def is_one_of(value: Any, known: Collection[Any]) -> bool:
    """Whether a value of JSON, which may be a list or an object, is one of texts or null."""
    return (value is None or isinstance(value, str)) and value in known


def _flag(value: Any, field: str, source: str) -> bool:
    """True or false, or 1 or 0.

    Raises:
        InputError: it is neither: the text "false" would count as true.
    """
    if not isinstance(value, int | float) or value not in (0, 1):
        raise InputError(source, f"'{field}' is not true or false", _SCHEMA)
    return bool(value)


def boxes_of(value: Any, source: str, field: str = "boxes") -> FloatArray:
    """Boxes (N, 4) from JSON.

    Args:
        value: a list of lists.
        source, field: where it stands, for the error.

    Raises:
        InputError: they are not four finite numbers each, or have no area.
    """
    if not isinstance(value, list):
        raise InputError(source, f"'{field}' is not a list", "write [[x, y, width, height], ...] in pixels")
    try:
        if not all(map(_is_box, value)):
            raise ValueError
        boxes = np.array(value, dtype=np.float64).reshape(-1, 4)
    except (ValueError, OverflowError):
        raise InputError(source, "a box is not four numbers", "write [x, y, width, height] in pixels") from None
    if not np.isfinite(boxes).all() or (boxes[:, 2:] <= 0).any():
        raise InputError(source, "a box has no area", "write [x, y, width, height] in pixels")
    return boxes
