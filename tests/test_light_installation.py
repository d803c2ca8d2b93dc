"""Prediction with what ``pip install graphhand`` brings: nothing of the extra ``train`` can be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PHOTO = REPOSITORY / "examples" / "images" / "hand_05.jpg"

FORBIDDEN = """
import sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Forbidden())
"""
OF_TRAINING = (
    "torch",
    "lightning_fabric",
    "lightning",
    "safetensors",
    "scipy",
    "yaml",
    "matplotlib",
    "onnx",
    "onnxscript",
)

LIBRARY = """
from graphhand import HandPoseEstimator, HandTracker, Video, draw_result, read_image
from graphhand.io import writing_video
from graphhand.web import make_app
from starlette.testclient import TestClient

photo, folder = sys.argv[1:]
image = read_image(photo)
estimator = HandPoseEstimator(threads=1)
(hand,) = estimator(photo)
assert hand.side == "left" and hand.score > 0.8
assert draw_result(image, [hand]).shape[0] == 384

with writing_video(folder + "/clip.mp4", 25) as writer:
    for _ in range(3):
        writer.write(image)
tracker = HandTracker(estimator)
sides = [tracker(frame.image, frame.time_s)[0].side for frame in Video(folder + "/clip.mp4")]
assert sides == ["left"] * 3
assert [found.side for found in estimator(image, max_hands=2)] == ["left"]

client = TestClient(make_app(estimator))
assert client.get("/").status_code == 200
data = open(photo, "rb").read()
assert client.post("/predict", content=data).json()["hands"][0]["side"] == "left"
with client.websocket_connect("/track") as socket:
    socket.send_bytes(data)
    assert socket.receive_json()["hands"][0]["side"] == "left"
"""

COMMAND = """
from graphhand.cli import main

sys.argv[0] = "graphhand"
main()
"""


def run(code: str, names: tuple[str, ...], *arguments: object) -> subprocess.CompletedProcess[str]:
    code = FORBIDDEN.format(names=set(names)) + code
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run(COMMAND, OF_TRAINING, *arguments)  # typer itself may use pydantic


def test_a_photo_a_video_and_the_page_need_nothing_of_training(tmp_path: Path) -> None:
    pytest.importorskip("starlette", reason="pip install 'graphhand[web]'")
    result = run(LIBRARY, (*OF_TRAINING, "pydantic", "rich", "typer"), PHOTO, tmp_path)
    assert result.returncode == 0, result.stderr


def test_predict_needs_nothing_of_training(tmp_path: Path) -> None:
    from graphhand.io import read_image, writing_video

    with writing_video(tmp_path / "clip.mp4", 25) as writer:
        for _ in range(2):
            writer.write(read_image(PHOTO))
    result = command(
        "predict", PHOTO, tmp_path / "clip.mp4", "--out", tmp_path / "out", "--json", tmp_path / "hands.jsonl",
        "--csv", tmp_path / "hands.csv", "--threads", 1,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["clip_hands.mp4", "hand_05_hands.jpg"]
    found = [json.loads(line) for line in (tmp_path / "hands.jsonl").read_text().splitlines()]
    assert [line["hands"][0]["side"] for line in found] == ["left"] * 3
    assert len((tmp_path / "hands.csv").read_text().splitlines()) == 4


def test_help_needs_nothing_of_training() -> None:
    for arguments in (["--help"], ["--version"], ["predict", "--help"], ["train", "--help"]):
        assert command(*arguments).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--config", "configs/cpu.yaml"],
        ["evaluate", "--weights", "default", "--dataset", "rhd", "--root", "."],
        ["ablate", "--config", "configs/ablation_cpu.yaml", "--out", "out"],
        ["render", "--out", "out", "--count", "1"],
        ["export", "--out", "hand.onnx"],
        ["rig", "hands.jsonl"],
        ["hand", "show"],
        ["data", "list"],
        ["bench"],
        ["bench", "train"],
        ["predict", "hand.jpg", "--engine", "torch"],
    ],
    ids=" ".join,
)
def test_a_command_that_needs_training_says_in_one_line_what_to_install(arguments: list[str]) -> None:
    result = command(*arguments)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith("is not installed, which this needs: pip install 'graphhand[train]'\n")


def test_serve_without_its_extra_says_what_to_install() -> None:
    result = run(COMMAND, (*OF_TRAINING, "starlette", "uvicorn"), "serve", "--port", "0")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "pip install 'graphhand[web]'" in result.stderr


def test_public_names_of_training_say_what_to_install() -> None:
    result = run("from graphhand import Trainer", OF_TRAINING)
    assert result.stderr.splitlines()[-1].startswith("ImportError: graphhand.Trainer: ")
    assert result.stderr.splitlines()[-1].endswith("pip install 'graphhand[train]'")
