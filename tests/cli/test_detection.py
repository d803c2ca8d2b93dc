"""Boxes on the command line: a file of them for predict, a detector's and predictions' scores by evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests import factories
from typer.testing import CliRunner

from graphhand.cli import app
from graphhand.errors import InputError
from graphhand.io import write_image
from graphhand.models.checkpoint import load_detector, save_detector, save_generator
from graphhand.models.detector import DetectorConfig, HandDetector


def run(*words: Any) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images with boxes, tiny weights of a pose network and of a detector."""
    folder = tmp_path_factory.mktemp("boxes")
    rng = np.random.default_rng(0)
    lines = []
    for i in range(2):
        write_image(folder / f"{i}.png", rng.integers(0, 256, (64, 80, 3), dtype=np.uint8))
        lines.append({"image": f"{i}.png", "boxes": [[10 + i, 10, 30, 30]][: 2 - i], "sides": ["left"]})
    lines.append({"image": "0.png", "boxes": [[5, 5, 9, 9]], "complete": False})
    (folder / "boxes.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    torch.manual_seed(0)
    save_detector(folder / "detector", HandDetector(DetectorConfig(image_size=64, backbone_width=8, width=8)))
    save_generator(folder / "pose", factories.tiny_generator(image_size=64))
    return folder


def test_predict_takes_boxes_from_a_file(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "hands.jsonl"
    boxes = tmp_path / "b.jsonl"
    boxes.write_text('{"image": "0.png", "boxes": [[10, 10, 30, 30], [40, 20, 20, 30]]}', "utf-8")
    images = folder / "0.png", folder / "1.png"
    result = run("predict", *images, "--detector", boxes, "--weights", folder / "pose", "--json", out)
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert result.exit_code == 1
    assert 1 <= len(rows[0]["hands"]) <= 2
    assert {hand["score"] for hand in rows[0]["hands"]} == {1.0}
    assert "has no image '1.png'" in rows[1]["error"]


def test_predict_gives_no_image_the_boxes_of_another_folder(folder: Path, tmp_path: Path) -> None:
    images = [tmp_path / name / "0.png" for name in "AB"]
    for image in images:
        image.parent.mkdir()
        image.write_bytes((folder / "0.png").read_bytes())
    boxes, out = tmp_path / "b.jsonl", tmp_path / "hands.jsonl"
    boxes.write_text('{"image": "A/0.png", "boxes": [[10, 10, 30, 30]]}', "utf-8")
    result = run("predict", *images, "--detector", boxes, "--weights", folder / "pose", "--json", out)
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert result.exit_code == 1
    assert "error" not in rows[0]
    assert "has no image '0.png' of the folder" in rows[1]["error"]


@pytest.mark.parametrize("told", [("--box", "1,2,30,30"), ("--whole-image",)])
@pytest.mark.parametrize("detector", [("--detector", "detector"), ("--detector", "boxes.jsonl"), ("--thorough",)])
def test_where_the_hand_is_contradicts_a_detector(
    folder: Path, told: tuple[str, ...], detector: tuple[str, ...]
) -> None:
    given = [folder / one if not one.startswith("--") else one for one in detector]
    result = run("predict", folder / "0.png", *told, *given)
    assert isinstance(result.exception, InputError)
    assert f"{told[0]}: contradicts --detector" in str(result.exception)


def test_a_thorough_search_contradicts_boxes_from_a_file(folder: Path) -> None:
    result = run("predict", folder / "0.png", "--detector", folder / "boxes.jsonl", "--thorough")
    assert isinstance(result.exception, InputError)
    assert "--thorough: is read by a detector" in str(result.exception)


def test_evaluate_scores_a_detector_and_leaves_incomplete_images_out(folder: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    result = run(
        "evaluate", "--detection", folder / "boxes.jsonl", "--weights", folder / "detector", "--json", scores,
        "--figures", tmp_path / "figures", "min_score=0.01",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    written = json.loads(scores.read_text("utf-8"))
    assert (written["images"], written["hands"], written["threshold"]) == (2, 2, 0.01)
    assert (tmp_path / "figures" / "precision_recall.png").is_file()
    assert "AP at IoU 0.5" in result.output


def test_evaluate_scores_predictions(folder: Path, tmp_path: Path) -> None:
    lines = tmp_path / "hands.jsonl"
    hand = {"box_px": [10, 10, 30, 30], "score": 0.9, "side": "left"}
    lines.write_text(json.dumps({"image": "x/0.png", "hands": [hand]}) + "\n", "utf-8")
    result = run("evaluate", "--detection", folder / "boxes.jsonl", "--predictions", lines)
    assert result.exit_code == 0, result.output
    assert "recall 0.500, precision 1.000" in result.output
    assert "side right: 1 of 1" in result.output


def test_predictions_of_an_unreadable_image_count_as_no_hands(folder: Path, tmp_path: Path) -> None:
    lines = tmp_path / "hands.jsonl"
    hand = {"box_px": [10, 10, 30, 30], "score": 0.9, "side": "left"}
    rows = {"image": "x/0.png", "hands": [hand]}, {"image": "x/1.png", "error": "x/1.png: is not an image"}
    lines.write_text("\n\n".join(map(json.dumps, rows)) + "\n\n", "utf-8")
    words = "evaluate", "--detection", folder / "boxes.jsonl", "--predictions", lines
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert "recall 0.500, precision 1.000" in result.output
    assert "1 of 2 images that predict could not read count as images without found hands" in result.stderr
    lines.write_text(json.dumps(rows[0]), "utf-8")
    assert "1 of 2 images without a line count as images without found hands" in run(*words).stderr


def test_predictions_of_one_name_are_of_their_own_folder(folder: Path, tmp_path: Path) -> None:
    box = [10, 10, 30, 30]
    labels, lines = [], []
    for name in ("A/0.png", "B/0.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes((folder / "0.png").read_bytes())
        labels.append({"image": name, "boxes": [box]})
        lines.append({"image": f"moved/{name}", "hands": [{"box_px": box, "score": 0.9, "side": "left"}]})
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, labels)), "utf-8")
    words = "evaluate", "--detection", tmp_path / "labels.jsonl", "--predictions", tmp_path / "hands.jsonl"
    for given, recall in ((lines, "1.000"), (lines[:1], "0.500")):
        (tmp_path / "hands.jsonl").write_text("\n".join(map(json.dumps, given)), "utf-8")
        result = run(*words)
        assert result.exit_code == 0, result.output
        assert f"recall {recall}, precision 1.000" in result.output


@pytest.mark.parametrize(
    "changes",
    [{"box_px": [1, 2, 3]}, {"box_px": [1, 2, 3, None]}, {"side": ["left"]}, {"side": "Left"}, {"score": "high"}],
)
def test_a_malformed_prediction_is_one_line(folder: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    hand = {"box_px": [10, 10, 30, 30], "score": 0.9, "side": "left"}
    (tmp_path / "hands.jsonl").write_text(json.dumps({"image": "0.png", "hands": [hand | changes]}), "utf-8")
    result = run("evaluate", "--detection", folder / "boxes.jsonl", "--predictions", tmp_path / "hands.jsonl")
    assert isinstance(result.exception, InputError)
    assert "hands.jsonl:1: not a line of predict --json" in str(result.exception)


@pytest.mark.parametrize(
    "output",
    [("--json", "labels.jsonl"), ("--json", "hands.jsonl"), ("--json", "missed.jpg"), ("--figures", ".")],
)
def test_no_input_is_overwritten(folder: Path, tmp_path: Path, output: tuple[str, str]) -> None:
    image = tmp_path / "missed.jpg"
    write_image(image, np.zeros((64, 80, 3), np.uint8))
    (tmp_path / "labels.jsonl").write_text(json.dumps({"image": image.name, "boxes": [[10, 10, 30, 30]]}), "utf-8")
    (tmp_path / "hands.jsonl").write_text(json.dumps({"image": image.name, "hands": []}), "utf-8")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    option, name = output
    words = "--detection", tmp_path / "labels.jsonl", "--predictions", tmp_path / "hands.jsonl"
    result = run("evaluate", *words, option, tmp_path / name)
    assert isinstance(result.exception, InputError)
    assert f"is one of the inputs; choose another {option}" in str(result.exception)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (["--weights", "fast"], "weights of a pose network, not of a hand detector"),
        (["--weights", "fast", "--predictions", "x"], "contradicts --predictions"),
        (["--dataset", "plain"], "are about joints"),
        (["--weights", "fast", "min_scores=1"], "unknown key min_scores; did you mean min_score"),
        (["--predictions", "WRONG"], "not a line of predict --json"),
        (["--split", "test", "--weights", "fast"], "has no complete image of the split test"),
    ],
)
def test_what_is_wrong_is_one_line(folder: Path, tmp_path: Path, words: list[str], fragment: str) -> None:
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"image": "0.png"}\n', "utf-8")
    given = [str(wrong) if word == "WRONG" else word for word in words]
    result = run("evaluate", "--detection", folder / "boxes.jsonl", *given)
    assert isinstance(result.exception, InputError)
    assert fragment in str(result.exception)
    assert "\n" not in str(result.exception)


def test_a_detector_is_exported_in_half_the_size(folder: Path, tmp_path: Path) -> None:
    words = "export", "--weights", folder / "detector", "--out", tmp_path / "half"
    result = run(*words, "--format", "safetensors", "--half", "--no-graph", "--name", "mine")
    assert result.exit_code == 0, result.output
    detector, card = load_detector(tmp_path / "half")
    assert card["name"] == "mine"
    assert detector.config.image_size == 64
    sizes = [(where / "model.safetensors").stat().st_size for where in (folder / "detector", tmp_path / "half")]
    assert sizes[1] < 0.6 * sizes[0]
    assert "is for pose networks" in str(run(*words[:3], "--out", tmp_path / "d.onnx").exception)
