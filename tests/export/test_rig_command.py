"""graphhand rig: from lines of JSON to files, by the rules of every command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from graphhand.cli import app
from graphhand.errors import InputError
from graphhand.export import clips_of, rotations_json
from graphhand.hand_model import HandModel
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


def test_photos_and_videos_have_a_file_each(lines: Any, make_prediction: Any, tmp_path: Path) -> None:
    frames = [make_prediction("clip.mp4", frame=k, seed=k) for k in range(3)]
    file = lines(make_prediction("a/photo.jpg"), make_prediction("b/photo.jpg", side="left"), *frames)
    result = run(file, "--out", tmp_path / "rigs")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "rigs").iterdir()) == [
        "a_photo_hand.glb",
        "b_photo_hand.glb",
        "clip_hand.glb",
    ]
    said = result.stdout.splitlines()
    assert said[0].startswith("a/photo.jpg: right hand, joints fitted to ")
    assert said[1].startswith("b/photo.jpg: left hand, ")
    assert said[2].startswith("clip.mp4: right hand in 3 of 3 frames, ")


def test_what_cannot_be_posed_is_said_and_the_rest_is_done(lines: Any, make_prediction: Any, tmp_path: Path) -> None:
    unreadable = Prediction("broken.jpg", None, None, (), "made up", error="broken.jpg: not an image; mend it")
    nowhere = json.dumps(make_prediction().to_json()).replace('"joints_rel_m": [[0.0', '"joints_rel_m": [[NaN')
    assert "NaN" in nowhere
    none = make_prediction("none.jpg", empty=True)
    file = lines(none, "{}", "no json", "[" * 100_000, unreadable, nowhere, make_prediction())
    result = run(file, "--out", tmp_path / "rigs")
    assert result.exit_code == 1
    assert [path.name for path in (tmp_path / "rigs").iterdir()] == ["photo_hand.glb"]
    assert sorted(result.stderr.splitlines()) == [
        f"{file}:2: is no line of `graphhand predict --json`; left out",
        f"{file}:3: is no line of `graphhand predict --json`; left out",
        f"{file}:4: is no line of `graphhand predict --json`; left out",
        f"{file}:5: says broken.jpg: not an image; mend it; left out",
        f"{file}:6: is no line of `graphhand predict --json`; left out",
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
def test_a_line_of_other_types_or_sizes_is_left_out(
    lines: Any, make_prediction: Any, tmp_path: Path, known: str, odd: str
) -> None:
    line = make_prediction("photo.jpg", frame=0 if "frame" in known else None, placed="rel" not in known).to_json_line()
    assert known in line
    file = lines(line.replace(known, odd), make_prediction("good.jpg"))
    result = run(file, "--out", tmp_path / "rigs")
    assert result.exit_code == 1
    assert result.stderr == f"{file}:1: is no line of `graphhand predict --json`; left out\n"
    assert [path.name for path in (tmp_path / "rigs").iterdir()] == ["good_hand.glb"]


def test_a_file_that_cannot_be_written_stops_no_other(lines: Any, make_prediction: Any, tmp_path: Path) -> None:
    result = run(lines(make_prediction("x" * 250), make_prediction("good.jpg")), "--out", tmp_path / "rigs")
    assert result.exit_code == 1
    assert "_hand.glb: cannot be written" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in (tmp_path / "rigs").iterdir()] == ["good_hand.glb"]


@pytest.mark.parametrize("factor", [1e-30, 0.0, 1e3, 1e7])
def test_hands_of_any_size_that_is_taken_can_be_posed(
    lines: Any, make_hand: Any, tmp_path: Path, factor: float
) -> None:
    hand = make_hand()
    hand = replace(hand, joints_rel_m=hand.joints_rel_m * factor, joints_cam_m=hand.joints_cam_m * factor)
    result = run(
        lines(Prediction("photo.jpg", 320, 240, (hand,), "made up")), "--out", tmp_path / "rigs", "--json", "-"
    )
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_is_none_is_one_error(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "hands.jsonl"
    if content is not None:
        file.write_bytes(content)
    result = run(file)
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith(f"{file}: cannot be read (")


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_file_without_a_line_is_said(lines: Any, content: str, tmp_path: Path) -> None:
    file = lines(content)
    result = run(file, "--out", tmp_path / "rigs")
    assert isinstance(result.exception, InputError)
    assert str(result.exception) == f"{file}: holds no line; give what `graphhand predict --json` wrote"


def test_a_video_keeps_to_the_side_that_most_frames_say(make_prediction: Any, right: HandModel) -> None:
    frames = [make_prediction("clip.mp4", frame=k, side="right" if k == 3 else "left", empty=k == 5) for k in range(8)]
    ((_, clip),) = clips_of(frames, right)
    assert clip is not None
    assert clip.model.side == "left"
    assert clip.frames == (0, 1, 2, 4, 6, 7)
    assert clip.total == 8


def test_each_hand_of_a_photo_has_a_file(lines: Any, make_prediction: Any, make_hand: Any, tmp_path: Path) -> None:
    photo = replace(make_prediction(), hands=(make_hand(0), make_hand(1, side="left")))
    result = run(lines(photo), "--out", tmp_path / "rigs")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "rigs").iterdir()) == ["photo_2_hand.glb", "photo_hand.glb"]
    assert [line.split(",")[0] for line in result.stdout.splitlines()] == [
        "photo.jpg: right hand",
        "photo.jpg: left hand",
    ]


def test_each_hand_followed_through_a_video_has_a_file(lines: Any, make_hand: Any, tmp_path: Path) -> None:
    numbered = [[(0, 0), (1, 1)], [(1, 2), (0, 3)], [(1, 4)]]  # track and seed of the hands in each frame
    frames = [
        Prediction("clip.mp4", 320, 240, hands, "made up", frame=k, time_s=0.04 * k)
        for k, pairs in enumerate(numbered)
        for hands in [tuple(replace(make_hand(seed), track=track) for track, seed in pairs)]
    ]
    result = run(lines(*frames), "--out", tmp_path / "rigs", "--json", tmp_path / "turns.jsonl")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "rigs").iterdir()) == ["clip_2_hand.glb", "clip_hand.glb"]
    said = result.stdout.splitlines()
    assert "hand in 2 of 3 frames" in said[0]
    assert "hand in 3 of 3 frames" in said[1]
    turns = [json.loads(line) for line in (tmp_path / "turns.jsonl").read_text().splitlines()]
    assert [(line["track"], line["frame"]) for line in turns] == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]


def test_the_lines_of_two_runs_are_two_videos(make_prediction: Any, right: HandModel) -> None:
    """glTF asks for times that rise."""
    run = [make_prediction("clip.mp4", frame) for frame in range(4)]
    clips = [clip for _, clip in clips_of([*run, *run], right)]
    assert [clip.frames for clip in clips if clip is not None] == [(0, 1, 2, 3)] * 2


def test_of_hands_that_nothing_tells_apart_a_frame_shows_the_likeliest(
    make_prediction: Any, make_hand: Any, right: HandModel
) -> None:
    likely, other = make_hand(1), replace(make_hand(2), score=0.1)
    seen = [replace(make_prediction("clip.mp4", frame), hands=(other, likely, other)) for frame in range(3)]
    ((_, clip),) = clips_of(seen, right)
    assert clip is not None
    assert clip.frames == (0, 1, 2)
    assert all(hand is likely for hand in clip.hands)


def test_a_photo_named_twice_is_two_hands(make_prediction: Any, right: HandModel) -> None:
    assert len(list(clips_of([make_prediction(), make_prediction(seed=1)], right))) == 2


def test_rotations_go_to_standard_output_alone(lines: Any, make_prediction: Any, tmp_path: Path) -> None:
    result = run(lines(make_prediction("clip.mp4", frame=0), make_prediction("clip.mp4", frame=1)), "--json", "-")
    assert result.exit_code == 0
    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["frame"], second["frame"], second["time_s"]) == (0, 1, 0.04)
    assert not (tmp_path / "rigs").exists()


def test_rotations_are_not_written_over_the_hands(lines: Any, make_prediction: Any) -> None:
    hands = lines(make_prediction())
    before = hands.read_bytes()
    result = run(hands, "--json", hands)
    assert isinstance(result.exception, InputError)
    assert "one of the inputs" in str(result.exception)
    assert hands.read_bytes() == before


def test_lines_come_through_a_pipe_too(make_prediction: Any, tmp_path: Path) -> None:
    line = make_prediction().to_json_line()
    result = runner.invoke(app, ["rig", "-", "--out", str(tmp_path / "rigs")], input=line + "\nnothing\n")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == ["-:2: is no line of `graphhand predict --json`; left out"]
    assert (tmp_path / "rigs" / "photo_hand.glb").exists()


@pytest.mark.parametrize("side", ["right", "left"])
def test_rotations_pose_the_hand_model(make_prediction: Any, right: HandModel, side: str) -> None:
    prediction = make_prediction(side=side)
    ((_, clip),) = clips_of([prediction], right)
    assert clip is not None
    (line,) = rotations_json(clip)
    assert (line["side"], line["placed"], len(line["joints"])) == (side, True, 16)
    pose = torch.from_numpy(Rotation.from_quat(line["local"]).as_matrix()).float()
    joints = clip.model(pose, torch.tensor(line["shape"])).double().numpy()
    joints += np.array(line["wrist_m"]) - joints[0]
    away = np.linalg.norm(joints - prediction.hands[0].joints_cam_m, axis=1)
    np.testing.assert_allclose(away.mean(), line["fit_error_m"], atol=1e-4)
    assert away.mean() < 2e-3
    # a chain of local rotations is the last one's as the camera sees it
    turns = dict(zip(line["joints"], Rotation.from_quat(line["local"])))
    seen = dict(zip(line["joints"], Rotation.from_quat(line["camera"])))
    chained = turns["wrist"] * turns["ring_mcp"] * turns["ring_pip"] * turns["ring_dip"]
    assert (chained.inv() * seen["ring_dip"]).magnitude() < 1e-4


def test_a_left_hand_file_is_refused(lines: Any, make_prediction: Any, right: HandModel, tmp_path: Path) -> None:
    from graphhand.hand_model.files import write_npz

    write_npz(tmp_path / "left.npz", right.mirrored().arrays, note="for a test")
    result = run(lines(make_prediction()), "--hand", tmp_path / "left.npz")
    assert isinstance(result.exception, InputError)
    assert "is a left hand" in str(result.exception)
