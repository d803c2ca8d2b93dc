"""Files of boxes: three formats say the same, and what is wrong in one is told in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphhand.errors import InputError
from graphhand.io.boxes import merge_scene_labels, read_scene_labels

BOX, OTHER, CROWD = [10.0, 20.0, 30.0, 40.0], [60.0, 5.0, 8.0, 9.0], [0.0, 0.0, 5.0, 5.0]


def plain(**changes: Any) -> str:
    line = {"image": "a.jpg", "boxes": [BOX, OTHER], "sides": ["left", "right"], "ignore": [CROWD]}
    return json.dumps({k: v for k, v in (line | changes).items() if v is not None})


def coco(**changes: Any) -> str:
    def annotation(bbox: list[float], category: int, crowd: int = 0) -> dict[str, Any]:
        return {"image_id": 7, "bbox": bbox, "category_id": category, "iscrowd": crowd}

    content = {
        "images": [{"id": 7, "file_name": "a.jpg"}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(("left hand", "right hand", "foot"))],
        "annotations": [annotation(BOX, 0), annotation(OTHER, 1), annotation(CROWD, 0, 1), annotation(BOX, 2)],
    }
    return json.dumps(content | changes)


def by_name(**changes: Any) -> str:
    hands = [
        {"box": BOX, "side": "left", "hard": False},
        {"box": OTHER, "side": "right", "hard": False},
        {"box": CROWD, "side": "unknown", "hard": True},
    ]
    return json.dumps({"images": {"a.jpg": {"hands": hands, "ignore": []} | changes}})


@pytest.mark.parametrize(("name", "text"), [("s.jsonl", plain()), ("c.json", coco()), ("boxes.json", by_name())])
def test_formats_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text, "utf-8")
    (labels,) = read_scene_labels(file)
    assert labels.path == tmp_path / "a.jpg"
    assert labels.boxes.tolist() == [BOX, OTHER]
    assert labels.sides.tolist() == [0, 1]
    assert labels.ignore.tolist() == [CROWD]
    assert labels.complete


def test_sides_may_be_unknown_and_boxes_none(tmp_path: Path) -> None:
    file = tmp_path / "s.jsonl"
    file.write_text(plain(sides=None, complete=False) + "\n" + plain(boxes=[], sides=[]), "utf-8")
    first, second = read_scene_labels(file)
    assert first.sides.tolist() == [-1, -1]
    assert not first.complete
    assert second.boxes.shape == (0, 4)


def test_a_hand_out_of_sight_without_a_box_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    hidden = {"image_id": 7, "bbox": [0, 0, 0, 0], "category_id": 0, "iscrowd": 1}
    file.write_text(coco(annotations=[hidden]), "utf-8")
    (labels,) = read_scene_labels(file)
    assert len(labels.boxes) == len(labels.ignore) == 0


@pytest.mark.parametrize(
    ("name", "text", "fragment"),
    [
        ("s.jsonl", "{", "not JSON"),
        ("s.jsonl", plain(image=None), "'image' is missing"),
        ("s.jsonl", plain(boxes=None), "'boxes' is missing"),
        ("s.jsonl", plain(bbox=[BOX]), "unknown field 'bbox'"),
        ("s.jsonl", plain(boxes=[[1, 2, 3]], sides=None), "not four numbers"),
        ("s.jsonl", plain(boxes=[[1, 2, 0, 3]], sides=None), "no area"),
        ("s.jsonl", plain(sides=["left"]), "'sides' is not"),
        ("c.json", "[]", "holds no boxes"),
        ("c.json", coco(annotations=[{"image_id": 7}]), "not COCO's format"),
        ("c.json", coco(annotations=[{"image_id": 8, "bbox": BOX, "category_id": 0}]), "annotation of image 8"),
        ("boxes.json", by_name(hands=[{"bbox": BOX}]), "'hands' is not a list"),
        ("s.jsonl", plain(sides=[["left"], None]), "'sides' is not"),
        ("s.jsonl", plain(sides=["Left", None]), "'sides' is not"),
        ("s.jsonl", plain(ignore=5), "'ignore' is not a list"),
        ("s.jsonl", plain(boxes="", sides=[]), "'boxes' is not a list"),
        ("s.jsonl", plain(boxes=BOX, sides=None), "not four numbers"),
        ("s.jsonl", plain(boxes=[["1", "2", "3", "4"]], sides=None), "not four numbers"),
        ("s.jsonl", plain(boxes=[[1, 2, 3, 10**400]], sides=None), "not four numbers"),
        ("s.jsonl", plain(complete="false"), "'complete' is not true or false"),
        ("c.json", coco(annotations=[{"image_id": 7, "bbox": list("1234"), "category_id": 0, "iscrowd": 1}]), "four"),
        ("c.json", coco(annotations=[{"image_id": 7, "bbox": BOX, "category_id": 0, "iscrowd": "0"}]), "'iscrowd'"),
        ("boxes.json", by_name(ignore=None), "'ignore' is not a list"),
        ("boxes.json", by_name(hands=[{"box": BOX, "side": ["left"]}]), "'side' is not"),
        ("boxes.json", by_name(hands=[{"box": BOX, "side": "Left"}]), "'side' is not"),
        ("boxes.json", by_name(hands=[{"box": BOX, "hard": "no"}]), "'hard' is not true or false"),
        ("boxes.json", by_name(hands=[{"box": None}]), "not four numbers"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, name: str, text: str, fragment: str) -> None:
    file = tmp_path / name
    file.write_text(text, "utf-8")
    with pytest.raises(InputError, match=fragment) as caught:
        read_scene_labels(file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_merged_lines_of_an_image_hold_all_its_hands(tmp_path: Path) -> None:
    file = tmp_path / "s.jsonl"
    lines = plain(), plain(image="b.jpg"), plain(image="./a.jpg", boxes=[CROWD], sides=["left"], complete=False)
    file.write_text("\n".join(lines), "utf-8")
    first, second = merge_scene_labels(read_scene_labels(file))
    assert first.boxes.tolist() == [BOX, OTHER, CROWD]
    assert first.sides.tolist() == [0, 1, 0]
    assert first.ignore.tolist() == [CROWD, CROWD]
    assert not first.complete
    assert (second.name, second.complete) == ("b.jpg", True)


@pytest.mark.parametrize("box", [[100, 0, 5, 5], [0, 100, 5, 5], [-9, 0, 5, 5], [0, -9, 5, 5]])
def test_a_box_outside_its_image_is_one_line(tmp_path: Path, box: list[float]) -> None:
    file = tmp_path / "s.jsonl"
    file.write_text(plain(boxes=[box], sides=None), "utf-8")
    (labels,) = read_scene_labels(file)
    with pytest.raises(InputError, match="lies outside its 100 x 100 pixels"):
        labels.require_inside(100, 100)
    labels.require_inside(2000, 2000) if min(box) >= 0 else None
    assert np.isfinite(labels.boxes).all()
