"""``graphhand fuse``: lines of several cameras, joined by frame."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from factories import CAMERA, posed_hand
from graphhand.cli import app
from graphhand.errors import InputError
from graphhand.types import Calibration, Prediction

WORLD_M = posed_hand(2).joints_rel_m
STEP_M = np.array([0.01, 0.0, 0.0])


@pytest.fixture
def rig() -> dict[str, Calibration]:
    turn = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    place = np.array([0.0, 0.0, 0.6])
    return {
        "front": Calibration(CAMERA, 320, 240, np.eye(3), place),
        "side": Calibration(CAMERA, 320, 240, turn, place),
    }


@pytest.fixture
def folder(tmp_path: Path, rig: dict[str, Calibration]) -> Path:
    """A rig, and the lines of two cameras: frames 0 to 2, of which the side camera lost the hand in the last."""
    place = {name: {"R_cam_world": c.pose[0].tolist(), "t_cam_world_m": c.pose[1].tolist()} for name, c in rig.items()}
    cameras = {name: {"K": CAMERA.K.tolist(), "width": 320, "height": 240, **where} for name, where in place.items()}
    (tmp_path / "rig.json").write_text(json.dumps({"cameras": cameras}))
    for name, calibration in rig.items():
        lines = []
        for frame in range(3):
            joints = calibration.to_camera(WORLD_M + frame * STEP_M)
            hand = replace(
                posed_hand(2), joints_px=CAMERA.project(joints), joints_rel_m=joints - joints[0], joints_cam_m=joints,
                uncertainty=0.01, box_px=np.array([0.0, 0.0, 120.0, 120.0]),
            )  # fmt: skip
            hands = () if (name, frame) == ("side", 2) else (hand,)
            lines.append(Prediction(f"{name}.mp4", 320, 240, hands, "m", None, frame, frame / 25).to_json_line())
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def run(folder: Path, *views: str, **options: str) -> Result:
    given = [f"{view.partition('=')[0]}={folder / view.partition('=')[2]}" if "=" in view else view for view in views]
    return CliRunner().invoke(app, ["fuse", str(folder / "rig.json"), *given])


def test_frames_of_both_cameras_are_fused(folder: Path) -> None:
    result = run(folder, "front=front.jsonl", "side=side.jsonl")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2]
    assert lines[2]["hand"] is None  # one camera alone sees it
    for frame in (0, 1):
        hand = lines[frame]["hand"]
        assert hand["views"] == ["front", "side"]
        np.testing.assert_allclose(hand["joints_world_m"], WORLD_M + frame * STEP_M, atol=1e-4)
    assert "2 of 3 frames fused" in result.stderr


@pytest.mark.parametrize(
    ("views", "said"),
    [
        (("front=front.jsonl",), "is one view; give two cameras or more"),
        (("front=front.jsonl", "front=side.jsonl"), "names a camera twice"),
        (("front=front.jsonl", "top=side.jsonl"), "has no camera top; its cameras are front, side"),
        (("front=front.jsonl", "side"), "side: is not CAMERA=HANDS.jsonl"),
        (("front=front.jsonl", "side=none.jsonl"), "none.jsonl: "),
        (("front=front.jsonl", "side=rig.json"), "rig.json:1: is not a line of `graphhand predict --json`"),
    ],
)
def test_views_that_do_not_fit_are_one_line(folder: Path, views: tuple[str, ...], said: str) -> None:
    result = run(folder, *views)
    assert isinstance(result.exception, InputError)
    assert said in str(result.exception)
    assert "\n" not in str(result.exception)


def test_a_rig_whose_places_are_inverted_is_one_line_and_no_hand(folder: Path) -> None:
    rig = json.loads((folder / "rig.json").read_text())
    for camera in rig["cameras"].values():
        camera["t_cam_world_m"] = [-value for value in camera["t_cam_world_m"]]
    (folder / "rig.json").write_text(json.dumps(rig))
    result = run(folder, "front=front.jsonl", "side=side.jsonl")
    assert isinstance(result.exception, InputError)
    assert "rig.json: the joints of frame 0 lie behind camera front, and 1 more; check R_cam" in str(result.exception)
    assert [json.loads(line)["hand"] for line in result.stdout.splitlines()] == [None, None, None]


def test_another_camera_or_no_place_is_refused(folder: Path) -> None:
    text = (folder / "side.jsonl").read_text()
    (folder / "other.jsonl").write_text(text.replace('"fx": 300.0', '"fx": 500.0'))
    result = run(folder, "front=front.jsonl", "side=other.jsonl")
    assert "was predicted with another camera than the rig's" in str(result.exception)
    rig = json.loads((folder / "rig.json").read_text())
    del rig["cameras"]["side"]["R_cam_world"], rig["cameras"]["side"]["t_cam_world_m"]
    (folder / "rig.json").write_text(json.dumps(rig))
    result = run(folder, "front=front.jsonl", "side=side.jsonl")
    assert "camera side has no place; add R_cam_world (3x3) and t_cam_world_m (3)" in str(result.exception)
