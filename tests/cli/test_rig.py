"""graphhand rig: from JSON lines to glTF files and rotations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from factories import posed_hand, posed_prediction
from graphhand.cli import app
from graphhand.errors import InputError
from graphhand.hand_model import HandModel
from graphhand.io import read_image, writing_video
from graphhand.types import Prediction

runner = CliRunner()


@pytest.fixture
def lines(tmp_path: Path) -> Any:
    def write(*items: Prediction | str, name: str = "hands.jsonl") -> Path:
        texts = [item if isinstance(item, str) else item.to_json_line() for item in items]
        (tmp_path / name).write_text("".join(text + "\n" for text in texts), "utf-8")
        return tmp_path / name

    return write


def run(*arguments: Any) -> Any:
    return runner.invoke(app, ["rig", *map(str, arguments)])


def test_each_image_and_video_gets_a_file(lines: Any, tmp_path: Path) -> None:
    frames = [posed_prediction("clip.mp4", frame=k, seed=k) for k in range(3)]
    file = lines(posed_prediction("a/photo.jpg"), posed_prediction("b/photo.jpg", side="left"), *frames)
    result = run(file, "--out", tmp_path / "rigs")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "rigs").iterdir()) == [
        "a_photo_right.glb",
        "b_photo_left.glb",
        "clip_right.glb",
    ]
    said = result.stdout.splitlines()
    assert said[0].startswith("a/photo.jpg: right hand, joints fitted to ")
    assert said[1].startswith("b/photo.jpg: left hand, ")
    assert said[2].startswith("clip.mp4: right hand in 3 of 3 frames, ")


def test_unusable_lines_are_reported_and_skipped(lines: Any, tmp_path: Path) -> None:
    unreadable = Prediction("broken.jpg", None, None, (), "made up", error="broken.jpg: not an image; mend it")
    nowhere = json.dumps(posed_prediction().to_json()).replace('"joints_rel_m": [[0.0', '"joints_rel_m": [[NaN')
    assert "NaN" in nowhere
    none = posed_prediction("none.jpg", empty=True)
    file = lines(none, "{}", "no json", "[" * 100_000, unreadable, nowhere, posed_prediction())
    result = run(file, "--out", tmp_path / "rigs")
    assert result.exit_code == 1
    assert [path.name for path in (tmp_path / "rigs").iterdir()] == ["photo_right.glb"]
    assert sorted(result.stderr.splitlines()) == [
        f"{file}:2: is not a line of `graphhand predict --json`; skipped",
        f"{file}:3: is not a line of `graphhand predict --json`; skipped",
        f"{file}:4: is not a line of `graphhand predict --json`; skipped",
        f"{file}:5: says broken.jpg: not an image; mend it; skipped",
        f"{file}:6: is not a line of `graphhand predict --json`; skipped",
        "none.jpg: no hand was found in it; nothing to pose",
    ]


@pytest.mark.parametrize(
    ("known", "odd"),
    [
        ('"width": 320', '"width": "x"'),
        ('"height": 240', '"height": 0'),
        ('"image": "photo.jpg"', '"image": "a\\u0000b.jpg"'),
        ('"image": "photo.jpg"', '"image": ["photo.jpg"]'),
        ('"fy": 310.0', '"fy": 0'),
        ('"fy": 310.0', '"fy": Infinity'),
        ('"fx": 300.0', '"fx": 1e-300'),
        ('"fx": 300.0', '"fx": 1' + "0" * 400),
        ('"side": "right"', '"side": ["right"]'),
        ('"frame": 0, "time_s": 0.0', '"frame": 0, "time_s": 1e300'),
        ('"frame": 0', '"frame": [0]'),
        ('"joints_rel_m": [[0.0', '"joints_rel_m": [[1e30'),
        ('"joints_rel_m": [[0.0', '"joints_rel_m": [[1' + "0" * 400),
        ('"side": "right"', '"track": [], "side": "right"'),
    ],
)
def test_lines_with_wrong_types_or_sizes_are_skipped(lines: Any, tmp_path: Path, known: str, odd: str) -> None:
    line = posed_prediction(
        "photo.jpg", frame=0 if "frame" in known else None, placed="rel" not in known
    ).to_json_line()
    assert known in line
    file = lines(line.replace(known, odd), posed_prediction("good.jpg"))
    result = run(file, "--out", tmp_path / "rigs")
    assert result.exit_code == 1
    assert result.stderr == f"{file}:1: is not a line of `graphhand predict --json`; skipped\n"
    assert [path.name for path in (tmp_path / "rigs").iterdir()] == ["good_right.glb"]


def test_a_write_error_does_not_stop_other_files(lines: Any, tmp_path: Path) -> None:
    result = run(lines(posed_prediction("x" * 250), posed_prediction("good.jpg")), "--out", tmp_path / "rigs")
    assert result.exit_code == 1
    assert "_right.glb: cannot be written" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in (tmp_path / "rigs").iterdir()] == ["good_right.glb"]


@pytest.mark.parametrize("factor", [1e-30, 0.0, 1e3, 1e7])
def test_hands_of_any_accepted_size_can_be_posed(lines: Any, tmp_path: Path, factor: float) -> None:
    hand = posed_hand()
    hand = replace(hand, joints_rel_m=hand.joints_rel_m * factor, joints_cam_m=hand.joints_cam_m * factor)
    result = run(
        lines(Prediction("photo.jpg", 320, 240, (hand,), "made up")), "--out", tmp_path / "rigs", "--json", "-"
    )
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_an_unreadable_file_is_a_one_line_error(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "hands.jsonl"
    if content is not None:
        file.write_bytes(content)
    result = run(file)
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith(f"{file}: cannot be read (")


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_an_error(lines: Any, content: str, tmp_path: Path) -> None:
    file = lines(content)
    result = run(file, "--out", tmp_path / "rigs")
    assert isinstance(result.exception, InputError)
    assert str(result.exception) == f"{file}: has no lines; give the output of `graphhand predict --json`"


def test_each_hand_of_an_image_gets_a_file(lines: Any, tmp_path: Path) -> None:
    photo = replace(posed_prediction(), hands=(posed_hand(0), posed_hand(1, side="left")))
    result = run(lines(photo), "--out", tmp_path / "rigs")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "rigs").iterdir()) == [
        "photo.glb",
        "photo_left.glb",
        "photo_right.glb",
    ]
    assert [line.split(",")[0] for line in result.stdout.splitlines()] == [
        "photo.jpg: right hand",
        "photo.jpg: left hand",
    ]


def test_each_track_of_a_video_gets_a_file(lines: Any, tmp_path: Path) -> None:
    numbered = [[(0, 0), (1, 1)], [(1, 2), (0, 3)], [(1, 4)]]  # track and seed of the hands in each frame
    frames = [
        Prediction("clip.mp4", 320, 240, hands, "made up", frame=k, time_s=0.04 * k)
        for k, pairs in enumerate(numbered)
        for hands in [tuple(replace(posed_hand(seed), track=track) for track, seed in pairs)]
    ]
    result = run(lines(*frames), "--out", tmp_path / "rigs", "--json", tmp_path / "turns.jsonl")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "rigs").iterdir()) == [
        "clip.glb",
        "clip_right.glb",
        "clip_right_2.glb",
    ]
    said = result.stdout.splitlines()
    assert "hand in 2 of 3 frames" in said[0]
    assert "hand in 3 of 3 frames" in said[1]
    turns = [json.loads(line) for line in (tmp_path / "turns.jsonl").read_text().splitlines()]
    assert [(line["track"], line["frame"]) for line in turns] == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]


def test_rotations_on_stdout_write_no_files(lines: Any, tmp_path: Path) -> None:
    result = run(lines(posed_prediction("clip.mp4", frame=0), posed_prediction("clip.mp4", frame=1)), "--json", "-")
    assert result.exit_code == 0
    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["frame"], second["frame"], second["time_s"]) == (0, 1, 0.04)
    assert not (tmp_path / "rigs").exists()


def test_rotations_do_not_overwrite_the_input(lines: Any) -> None:
    hands = lines(posed_prediction())
    before = hands.read_bytes()
    result = run(hands, "--json", hands)
    assert isinstance(result.exception, InputError)
    assert "one of the inputs" in str(result.exception)
    assert hands.read_bytes() == before


def test_lines_are_read_from_stdin(tmp_path: Path) -> None:
    line = posed_prediction().to_json_line()
    result = runner.invoke(app, ["rig", "-", "--out", str(tmp_path / "rigs")], input=line + "\nnothing\n")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == ["-:2: is not a line of `graphhand predict --json`; skipped"]
    assert (tmp_path / "rigs" / "photo_right.glb").exists()


@pytest.mark.parametrize("source", ["file", "joined files", "stdin"])
def test_byte_order_marks_are_skipped(lines: Any, tmp_path: Path, source: str) -> None:
    text = "".join(f"\ufeff{posed_prediction(name).to_json_line()}\n" for name in ("a.jpg", "b.jpg"))
    text = text if source == "joined files" else "\ufeff" + text.replace("\ufeff", "")
    file = tmp_path / "hands.jsonl"
    file.write_text(text, "utf-8")
    given = ["rig", "-" if source == "stdin" else str(file), "--out", str(tmp_path / "rigs")]
    result = runner.invoke(app, given, input=text if source == "stdin" else None)
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "rigs").iterdir())) == 2


def test_a_left_hand_file_is_refused(lines: Any, tmp_path: Path) -> None:
    from graphhand.hand_model.files import write_npz

    write_npz(tmp_path / "left.npz", HandModel.default().mirrored().arrays, note="for a test")
    result = run(lines(posed_prediction()), "--hand", tmp_path / "left.npz")
    assert isinstance(result.exception, InputError)
    assert "is a left hand" in str(result.exception)


@pytest.mark.parametrize("names", ["blender", "unity", "mixamo", "vrm"])
def test_a_video_is_predicted_and_rigged_in_one_go(tmp_path: Path, names: str) -> None:
    photo = read_image(Path(__file__).parents[2] / "examples" / "images" / "hand_18.jpg")
    with writing_video(tmp_path / "clip.mp4", 25) as writer:
        for _ in range(3):
            writer.write(photo)
    options = [
        "--bone-names",
        names,
        "--bvh",
        "--smooth",
        "0.05",
        "--fixed-root",
        "--weights",
        "fast",
        "--max-hands",
        1,
    ]
    result = run(tmp_path / "clip.mp4", "--out", tmp_path / "rigs", *options)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "rigs").iterdir()) == ["clip_right.bvh", "clip_right.glb"]
    assert "right hand in 3 of 3 frames" in result.stdout
    wrist = {"blender": "hand.R", "unity": "RightHand", "mixamo": "mixamorig:RightHand", "vrm": "rightHand"}[names]
    assert f"ROOT {wrist}\n" in (tmp_path / "rigs" / "clip_right.bvh").read_text()


def test_what_cannot_be_predicted_is_reported_beside_the_rest(lines: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    file = lines(posed_prediction("good.jpg"))
    result = run(tmp_path / "broken.jpg", file, "--out", tmp_path / "rigs", "--weights", "fast")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{tmp_path / 'broken.jpg'}: ")
    assert [path.name for path in (tmp_path / "rigs").iterdir()] == ["good_right.glb"]
