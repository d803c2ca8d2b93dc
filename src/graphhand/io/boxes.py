"""Boxes around hands from files: the plain format, COCO's, and ``boxes.json``. NumPy only.

A line of the plain format, ``scenes.jsonl``::

    {"image": "images/0001.jpg", "boxes": [[x, y, w, h], ...], "sides": ["left", null, ...],
     "ignore": [[x, y, w, h], ...], "complete": true, "split": "train", "source": "where it is from"}

``image`` and ``boxes`` are required. ``sides`` are as the image shows them, null where unknown. ``ignore`` are regions
that nothing is learnt or scored in. ``complete: false`` says that other hands may be unlabelled.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphhand.errors import InputError
from graphhand.io.files import open_text, read_json
from graphhand.types import FloatArray

LEFT, RIGHT, UNKNOWN = 0, 1, -1
SIDES = {"left": LEFT, "right": RIGHT, None: UNKNOWN}
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
    if not isinstance(sides, list) or len(sides) != len(boxes) or not all(s in SIDES for s in sides):
        raise InputError(source, "'sides' is not 'left', 'right' or null for each box", _SCHEMA)
    return SceneLabels(
        path=root / record["image"],
        boxes=boxes,
        sides=np.array([SIDES[side] for side in sides], dtype=np.int64),
        ignore=boxes_of(record.get("ignore", []), source),
        complete=bool(record.get("complete", True)),
        name=record["image"],
        split=record.get("split"),
    )


def _by_name(name: str, record: Any, root: Path, file: Path) -> SceneLabels:
    """An image of ``boxes.json``: ``hands`` with ``box``, ``side`` and ``hard``, which is ignored; and ``ignore``."""
    source = f"{file}: {name}"
    hands = record.get("hands") if isinstance(record, dict) else None
    if not isinstance(hands, list) or not all(isinstance(hand, dict) and "box" in hand for hand in hands):
        raise InputError(source, "'hands' is not a list of objects with 'box'", _SCHEMA)
    kept = [hand for hand in hands if not hand.get("hard")]
    hard = [hand["box"] for hand in hands if hand.get("hard")]
    sides = [SIDES.get(hand.get("side"), UNKNOWN) for hand in kept]
    return SceneLabels(
        path=root / name,
        boxes=boxes_of([hand["box"] for hand in kept], source),
        sides=np.array(sides, dtype=np.int64),
        ignore=boxes_of([*hard, *record.get("ignore", [])], source),
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
                mine[one["image_id"]].append((bbox, side, bool(one.get("iscrowd", 0))))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            file, f"not COCO's format ({type(error).__name__} {error})", "annotations have image_id, bbox, category_id"
        ) from None
    labels = []
    for key, hands_in in mine.items():
        source = f"{file}: {paths[key]}"
        seen = [(bbox, side) for bbox, side, crowd in hands_in if not crowd]
        crowds = [bbox for bbox, _, crowd in hands_in if crowd and _has_area(bbox)]
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


def _has_area(bbox: Any) -> bool:
    return isinstance(bbox, list) and len(bbox) == 4 and bbox[2] > 0 and bbox[3] > 0


def boxes_of(value: Any, source: str) -> FloatArray:
    """Boxes (N, 4) from JSON.

    Raises:
        InputError: they are not four finite numbers each, or have no area.
    """
    try:
        boxes = np.array(value, dtype=np.float64).reshape(-1, 4) if len(value) else np.zeros((0, 4))
    except (TypeError, ValueError):
        raise InputError(source, "a box is not four numbers", "write [x, y, width, height] in pixels") from None
    if not np.isfinite(boxes).all() or (boxes[:, 2:] <= 0).any():
        raise InputError(source, "a box has no area", "write [x, y, width, height] in pixels")
    return boxes
