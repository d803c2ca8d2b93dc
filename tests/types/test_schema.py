"""The JSON Schema of a prediction admits what predict writes, and nothing else; the documentation has the same one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import pytest
from typer.testing import CliRunner

from graphhand.cli import app
from graphhand.types import Camera
from graphhand.types.schema import hand_schema, prediction_schema

REPOSITORY = Path(__file__).parents[2]
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def is_of(value: Any, kind: str) -> bool:
    if kind in ("number", "integer"):
        return isinstance(value, int if kind == "integer" else (int, float)) and not isinstance(value, bool)
    return isinstance(value, TYPES[kind])


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value has a schema, by the words of JSON Schema that ours uses."""
    kinds = schema.get("type", [])
    if kinds and not any(is_of(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if ("minimum" in schema and value < schema["minimum"]) or ("maximum" in schema and value > schema["maximum"]):
        return False
    if "oneOf" in schema and sum(fits(value, one) for one in schema["oneOf"]) != 1:
        return False
    if isinstance(value, list):
        count = len(value)
        return schema.get("minItems", 0) <= count <= schema.get("maxItems", count) and all(
            fits(item, schema.get("items", {})) for item in value
        )
    if isinstance(value, dict):
        known = schema.get("properties", {})
        needed = [
            *schema.get("required", []),
            *(n for k, ns in schema.get("dependentRequired", {}).items() if k in value for n in ns),
        ]
        return (
            set(needed) <= set(value)
            and (schema.get("additionalProperties", True) or set(value) <= set(known))
            and all(fits(value[name], known.get(name, {})) for name in value)
        )
    return True


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What predict writes of a photo, of a file that is none, and of a video in which hands have numbers."""
    folder = tmp_path_factory.mktemp("lines")
    photo = REPOSITORY / "examples" / "images" / "hand_05.jpg"
    (folder / "none.jpg").write_bytes(b"none")
    frame = cv2.imread(str(photo))
    clip = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, frame.shape[1::-1])
    for _ in range(2):
        clip.write(frame)
    clip.release()
    found = []
    for words in ([str(photo), str(folder / "none.jpg")], [str(folder / "clip.mp4"), "--max-hands", "2"]):
        result = CliRunner().invoke(
            app, ["predict", *words, "--weights", "fast", "--json", str(folder / "hands.jsonl")]
        )
        assert result.exit_code == (1 if len(words) == 2 else 0)
        found += [json.loads(line) for line in (folder / "hands.jsonl").read_text().splitlines()]
    return found


def test_lines_of_predict_have_the_schema(lines: list[dict[str, Any]]) -> None:
    assert [("hands" in line, "frame" in line) for line in lines] == [
        (True, False), (False, False), (True, True), (True, True),
    ]  # fmt: skip
    assert "track" in lines[-1]["hands"][0]
    for line in lines:
        assert fits(json.loads(json.dumps(line)), prediction_schema())


def test_the_camera_of_a_lens_has_the_schema() -> None:
    lens = Camera(500, 500, 320, 240, False, (-0.3, 0.1, 0, 0)).to_json()
    assert fits(lens, hand_schema()["properties"]["camera"])
    assert {*lens} == {*hand_schema()["properties"]["camera"]["properties"]}


@pytest.mark.parametrize("name", ["side", "score", "box_px", "joints_px", "joints_rel_m", "joints_cam_m", "camera"])
def test_a_hand_that_lacks_a_field_or_has_one_too_many_is_refused(lines: list[dict[str, Any]], name: str) -> None:
    line = lines[0]
    (hand,) = line["hands"]
    assert not fits({**line, "hands": [{k: v for k, v in hand.items() if k != name}]}, prediction_schema())
    assert not fits({**line, "hands": [{**hand, "left": True}]}, prediction_schema())
    assert not fits({**line, "hands": [{**hand, "joints_px": hand["joints_px"][1:]}]}, prediction_schema())
    assert not fits({**line, "error": "and hands"}, prediction_schema())


def test_every_field_of_the_schema_is_explained_and_the_published_file_is_current() -> None:
    page = (REPOSITORY / "docs" / "output.md").read_text("utf-8")
    explained = {
        name for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert explained == {*prediction_schema()["properties"], *hand_schema()["properties"]} - {"hands"}
    published = json.loads((REPOSITORY / "docs" / "prediction.schema.json").read_text("utf-8"))
    assert published == {"$schema": "https://json-schema.org/draft/2020-12/schema", **prediction_schema()}
