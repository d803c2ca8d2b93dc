"""``graphhand predict`` does every photo it can, says in one line what it cannot, and keeps its JSON clean."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from graphhand.cli.outputs import CSV_COLUMNS
from graphhand.cli.predict import predict
from graphhand.cli.predict_video import predict_video
from graphhand.errors import InputError
from graphhand.inference import HandPoseEstimator
from graphhand.inference.options import TrackOptions
from graphhand.io import Video, read_image, write_image, writes_h264, writing_video
from graphhand.models.checkpoint import save_generator
from graphhand.models.generator import Generator
from graphhand.skeleton import JOINT_NAMES
from graphhand.types import Prediction
from recordings import write_recording

app = typer.Typer()
app.command()(predict)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, tiny_generator: Generator) -> Path:
    return save_generator(tmp_path_factory.mktemp("weights") / "tiny", tiny_generator, {"name": "tiny-untrained"})


LIKELIEST = ("--max-hands", 1, "--min-score", 0)
"""One hand in every image: the network is untrained."""


def likeliest(arguments: Sequence[str]) -> tuple[object, ...]:
    """Options for one hand in every image; ``--box`` and ``--whole-image`` look at one place as it is."""
    return LIKELIEST[2:] if {"--box", "--whole-image"} & set(arguments) else LIKELIEST


def image(seed: int, width: int = 96, height: int = 72) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three readable images, one cut short, one no image at all, and a file that is none of our business."""
    folder = tmp_path / "photos"
    folder.mkdir()
    write_image(folder / "a.jpg", image(0))
    write_image(folder / "b.png", image(1, 48, 120))
    write_image(folder / "d.webp", image(2))
    whole = (folder / "a.jpg").read_bytes()
    (folder / "c.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "e.jpg").write_text("not an image")
    (folder / "notes.txt").write_text("hello")
    return folder


def run(weights: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--weights", str(weights)])


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_one_photo_gives_a_drawing(weights: Path, photos: Path, tmp_path: Path) -> None:
    result = run(weights, photos / "a.jpg", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "a_hands.jpg"]
    assert read_image(tmp_path / "out" / "a_hands.jpg").shape[0] == 384
    assert f"{photos / 'a.jpg'}: " in result.stdout
    assert "a_hands.jpg" in result.stdout


def test_a_mixed_folder_goes_on_and_exits_1(weights: Path, photos: Path, tmp_path: Path) -> None:
    result = run(weights, photos, "--out", tmp_path / "out", "--json", tmp_path / "hands.jsonl", *LIKELIEST)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    complaints = result.stderr.splitlines()
    assert len(complaints) == 2
    assert complaints[0].startswith(f"{photos / 'c.jpg'}: is cut short")
    assert complaints[1].startswith(f"{photos / 'e.jpg'}: is not an image")
    assert "3 of 5 photos done" in result.stdout
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a_hands.jpg", "b_hands.jpg", "d_hands.jpg"]

    records = lines((tmp_path / "hands.jsonl").read_text())
    assert [Path(record["image"]).name for record in records] == ["a.jpg", "b.png", "c.jpg", "d.webp", "e.jpg"]
    for record in records:
        assert record["model"] == "tiny-untrained"
        if Path(record["image"]).name in ("c.jpg", "e.jpg"):
            assert record["error"] in complaints
            assert "hands" not in record
        else:
            assert np.shape(record["hands"][0]["joints_px"]) == (21, 2)
            assert record["hands"][0]["camera"]["assumed"] is True
    assert [(record["width"], record["height"]) for record in records[:3]] == [(96, 72), (48, 120), (None, None)]


def test_files_left_out_of_a_folder_are_reported(weights: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    for name in ("x.HEIC", "y.heic", "z.gif", "clip.mp4", ".hidden.mov", "notes.txt"):
        (tmp_path / "few" / name).touch()
    write_image(tmp_path / "few" / "photo.jpg", image(0))
    result = run(weights, tmp_path / "few", "--json", "-")
    assert result.exit_code == 0
    assert len(lines(result.stdout)) == 1
    assert result.stderr.splitlines() == [
        f"{tmp_path / 'few'}: 1 .mp4 left out; name them to have them read",
        f"{tmp_path / 'few'}: 1 .gif, 2 .heic left out; save them as JPEG or PNG",
    ]


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_an_impossible_output_folder_is_refused_before_any_work(
    photos: Path, tmp_path: Path, below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphhand.inference.HandPoseEstimator", None)  # calling it would be a TypeError
    (tmp_path / "file").write_text("precious")
    result = run(Path("default"), photos / "a.jpg", "--out", tmp_path / "file" / below)
    assert str(result.exception) == f"{tmp_path / 'file'}: is not a folder; choose another --out"


def test_json_on_standard_output_is_nothing_but_json(weights: Path, photos: Path, tmp_path: Path) -> None:
    result = run(weights, photos, "--json", "-", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert len(lines(result.stdout)) == 5
    assert (tmp_path / "out" / "a_hands.jpg").exists()


def test_json_may_lie_among_the_drawings(weights: Path, photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder"
    result = run(weights, photos / "a.jpg", "--out", target, "--json", target / "hands.jsonl")
    assert result.exit_code == 0, result.output
    assert sorted(file.name for file in target.iterdir()) == ["a_hands.jpg", "hands.jsonl"]


def test_drawings_have_a_default_folder_unless_json_is_wanted(
    weights: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(weights, photos / "a.jpg", "--json", "-").exit_code == 0
    assert not (tmp_path / "predictions").exists()
    assert run(weights, photos / "a.jpg").exit_code == 0
    assert (tmp_path / "predictions" / "a_hands.jpg").exists()


def test_a_table_has_a_row_for_each_hand(weights: Path, photos: Path, tmp_path: Path) -> None:
    video = clip(tmp_path / "a clip, cut", 3)
    arguments = (
        photos,
        video,
        "--box",
        "10,8,40,30",
        "--json",
        tmp_path / "x.jsonl",
        "--csv",
        tmp_path / "new" / "x.csv",
    )
    result = run(weights, *arguments)
    assert result.exit_code == 1  # two photos cannot be read
    predictions = [Prediction.from_json(line) for line in (tmp_path / "x.jsonl").read_text("utf-8").splitlines()]
    expected = [(prediction, hand) for prediction in predictions for hand in prediction.hands]
    assert len(expected) == 3 + 3
    with (tmp_path / "new" / "x.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(expected)
    for row, (prediction, hand) in zip(rows, expected):
        assert (row["image"], row["side"], float(row["score"])) == (prediction.image, hand.side, hand.score)
        when = (prediction.frame, prediction.time_s)
        assert (row["frame"], row["time_s"]) == tuple("" if value is None else str(value) for value in when)
        assert row["track"] == ""
        px = [[float(row[f"{joint}_{axis}_px"]) for axis in "uv"] for joint in JOINT_NAMES]
        np.testing.assert_array_equal(px, hand.joints_px)
        metres = [[float(row[f"{joint}_{axis}_m"]) for axis in "xyz"] for joint in JOINT_NAMES]
        np.testing.assert_array_equal(metres, hand.joints_rel_m)
        np.testing.assert_array_equal([float(row[f"wrist_cam_{axis}_m"]) for axis in "xyz"], hand.joints_cam_m[0])
    assert not (tmp_path / "predictions").exists()


def test_a_table_on_standard_output_is_nothing_but_a_table(weights: Path, photos: Path) -> None:
    result = run(weights, photos / "a.jpg", photos / "e.jpg", "--csv", "-", *LIKELIEST)
    assert result.exit_code == 1
    header, row = csv.reader(io.StringIO(result.stdout))
    assert tuple(header) == CSV_COLUMNS
    assert len(row) == len(CSV_COLUMNS)
    assert len(result.stderr.splitlines()) == 1
    for place in ("-", "x.jsonl"):
        refused = run(weights, photos / "a.jpg", "--csv", place, "--json", place)
        assert isinstance(refused.exception, InputError)
        assert "--json" in str(refused.exception)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("option", ["--json", "--csv"])
@pytest.mark.parametrize("what", ["photo", "video"])
def test_lines_for_a_full_disk_are_an_input_error(
    weights: Path, photos: Path, tmp_path: Path, what: str, option: str
) -> None:
    source = photos / "a.jpg" if what == "photo" else clip(tmp_path / "clip", 3)
    result = run(weights, source, option, "/dev/full", "--out", tmp_path / "out")
    assert isinstance(result.exception, InputError)
    assert str(result.exception) == f"/dev/full: cannot be written (No space left on device); choose another {option}"


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "x" * 5000, "7" * 5000, "nul\0.jpg", "loop", "closed/z.jpg"])
def test_impossible_names_do_not_stop_the_others(
    weights: Path, photos: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    stat = os.stat

    def forbidding(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if "closed" in str(path):
            raise PermissionError(13, "Permission denied")
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", forbidding)  # real permissions do not bind root
    result = run(weights, name, photos / "a.jpg", "--json", "hands.jsonl", "--out", "out")
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert len(result.stderr.splitlines()) == 1
    assert "error" in lines((tmp_path / "hands.jsonl").read_text())[0]
    assert (tmp_path / "out" / "a_hands.jpg").exists()


@pytest.mark.parametrize(
    ("name", "encoding", "table"),
    [
        (b"caf\xe9.jpg", "utf-8", "hands.csv"),
        (b"caf\xe9.jpg", "ascii", "-"),
        ("手.jpg".encode(), "cp1252", "hands.csv"),
    ],
    ids=["latin-1", "table", "chinese"],
)
def test_undecodable_names_do_not_stop_the_others(
    weights: Path, tmp_path: Path, name: bytes, encoding: str, table: str
) -> None:
    odd = tmp_path / os.fsdecode(name)
    try:
        write_image(odd, image(0))
    except (InputError, UnicodeError):
        pytest.skip("this file system has no such name")
    write_image(tmp_path / "later.jpg", image(1))
    (tmp_path / os.fsdecode(b"broken_" + name)).write_text("no image")
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "graphhand",
            "predict",
            ".",
            "--out",
            "out",
            "--csv",
            table,
            "--weights",
            weights,
            "--min-score",
            "0",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert b"is not an image" in result.stderr
    assert (tmp_path / "out" / f"{odd.stem}_hands.jpg").exists()
    assert len(result.stdout.splitlines()) == 3
    if table != "-":
        assert len((tmp_path / table).read_text("utf-8").splitlines()) == 3


@pytest.mark.parametrize(("json_to", "csv_to"), [("-", "-"), ("x", "x"), ("x", "./x"), ("link", "x"), ("a/../x", "x")])
def test_json_and_csv_need_different_targets(
    weights: Path, photos: Path, tmp_path: Path, json_to: str, csv_to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("x")
    result = run(weights, photos / "a.jpg", "--json", json_to, "--csv", csv_to)
    assert str(result.exception) == f"--csv {csv_to}: is where --json goes; give them two places"
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("option", ["--json", "--csv"])
def test_json_and_csv_never_overwrite_an_input(weights: Path, photos: Path, option: str) -> None:
    before = (photos / "a.jpg").read_bytes()
    result = run(weights, photos, option, photos / ".." / "photos" / "a.jpg")
    assert isinstance(result.exception, InputError)
    assert f"choose another {option}" in str(result.exception)
    assert (photos / "a.jpg").read_bytes() == before


def test_the_command_gives_the_librarys_results(weights: Path, photos: Path) -> None:
    estimator = HandPoseEstimator(weights)
    for arguments, keywords in [
        ([], {}),
        (["--whole-image"], {"whole_image": True}),
        (["--box", "10,8,40,30.5"], {"box": [10, 8, 40, 30.5]}),
        (["--side", "left"], {"side": "left"}),
        (["--side", "right", "--focal", "150"], {"side": "right", "focal_px": 150}),
        (["--fov", "35"], {"fov_deg": 35}),
        (["--device", "cpu"], {}),
    ]:
        result = run(weights, photos / "a.jpg", "--json", "-", *likeliest(arguments), *arguments)
        assert result.exit_code == 0, result.output
        one = {} if keywords.keys() & {"box", "whole_image"} else {"max_hands": 1}
        hands = estimator(photos / "a.jpg", min_score=0, **one, **keywords)
        assert Prediction.from_json(result.stdout).hands[0].to_json() == hands[0].to_json()


def test_a_box_for_each_hand_gives_a_hand_for_each_box(weights: Path, photos: Path) -> None:
    boxes = ["10,8,40,30", "50,20,40,40", "0,0,96,72"]
    repeated = [part for box in boxes for part in ("--box", box)]
    result = run(weights, photos / "a.jpg", photos / "d.webp", *repeated, "--json", "-")
    assert result.exit_code == 0, result.output
    for name, line in zip(("a.jpg", "d.webp"), result.stdout.splitlines()):
        hands = Prediction.from_json(line).hands
        assert len(hands) == 3
        for hand, box in zip(hands, boxes):
            (alone,) = Prediction.from_json(run(weights, photos / name, "--box", box, "--json", "-").stdout).hands
            np.testing.assert_allclose(hand.joints_px, alone.joints_px, atol=0.5)  # computed in batches of other sizes


def test_every_option_changes_something(weights: Path, photos: Path) -> None:
    options = [
        [], ["--whole-image"], ["--box", "10,8,40,30"],
        ["--side", "left"], ["--side", "right"], ["--focal", "60"], ["--fov", "30"],
    ]  # fmt: skip
    hands = [
        Prediction.from_json(run(weights, photos / "a.jpg", "--json", "-", *likeliest(option), *option).stdout).hands[0]
        for option in options
    ]
    auto, whole, boxed, left, right, focal, fov = (hand.joints_px for hand in hands)
    # Not to the last digit: batches of one and of two are computed differently.
    assert min(np.abs(auto - left).max(), np.abs(auto - right).max()) < 1
    different = [whole, boxed, left, right, focal, fov]
    for i, one in enumerate(different):
        assert all(np.abs(one - other).max() > 1 for other in different[:i])
    assert [hand.camera.assumed for hand in hands] == [True] * 5 + [False] * 2


def test_hands_below_min_score_are_left_out(weights: Path, photos: Path, tmp_path: Path) -> None:
    score = Prediction.from_json(run(weights, photos / "a.jpg", "--json", "-", *LIKELIEST).stdout).hands[0].score
    for least, count in ((score - 1e-3, 1), (score + 1e-3, 0)):
        result = run(weights, photos / "a.jpg", "--min-score", least, "--json", "-")
        assert result.exit_code == 0
        assert len(lines(result.stdout)[0]["hands"]) == count
    result = run(weights, photos / "a.jpg", "--min-score", 1, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "no hand" in result.stdout
    assert (tmp_path / "out" / "a_hands.jpg").exists()


def test_drawings_of_clashing_names_are_distinct(weights: Path, tmp_path: Path) -> None:
    for name in ("one/x.png", "two/x.png", "two/x.jpg", "two/y.png", "three/Y.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_image(tmp_path / name, image(5))
    result = run(
        weights, tmp_path / "one", tmp_path / "two", tmp_path / "three", tmp_path / "one/x.png", "--out", tmp_path / "o"
    )
    assert result.exit_code == 0, result.output
    names = sorted(file.name for file in (tmp_path / "o").iterdir())
    assert len(names) == 6
    assert {"two_y_hands.jpg", "three_Y_hands.jpg", "two_x_jpg_hands.jpg", "two_x_png_hands.jpg"} < set(names)
    assert sum(name.startswith("one_x") for name in names) == 2


def test_a_photo_is_never_overwritten(weights: Path, tmp_path: Path) -> None:
    for name in ("x.png", "x_hands.jpg"):
        write_image(tmp_path / name, image(6))
    before = (tmp_path / "x_hands.jpg").read_bytes()
    assert run(weights, tmp_path, "--out", tmp_path).exit_code == 0
    assert (tmp_path / "x_hands.jpg").read_bytes() == before
    assert (tmp_path / "x_2_hands.jpg").exists()


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("missing.jpg", "missing.jpg: no such file"),
        ("clip.mp4", "clip.mp4: no such file"),
        ("99", "camera_99: cannot be opened"),
        ("20261126", "20261126: no such file"),
        ("empty", "empty: holds no images"),
    ],
)
def test_unreadable_files_are_one_line_and_do_not_stop_the_rest(
    weights: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    result = run(weights, argument, photos / "a.jpg", "--json", "-")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"{named}; ")
    assert ["error" in record for record in lines(result.stdout)] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "source"),
    [
        (["--box", "1,2,3"], "--box"),
        (["--box", "1,2,3,x"], "--box"),
        (["--box", "0,0,0,5"], "--box"),
        (["--box", "0,0,nan,5"], "--box"),
        (["--box", "0,0,9,9", "--whole-image"], "--box"),
        (["--box", "0,0,1e300,5"], "--box"),
        (["--focal", "-1"], "--focal"),
        (["--focal", "1e-300"], "--focal"),
        (["--focal", "1e300"], "--focal"),
        (["--focal", "nan"], "--focal"),
        (["--fov", "1e-300"], "--fov"),
        (["--focal", "900", "--fov", "60"], "--focal"),
        (["--fov", "180"], "--fov"),
        (["--min-score", "1.5"], "--min-score"),
        (["--max-hands", "0"], "--max-hands"),
        (["--max-hands", "2", "--whole-image"], "--max-hands"),
        (["--max-hands", "2", "--box", "0,0,9,9"], "--max-hands"),
        (["--device", "tpu9"], "device tpu9"),
    ],
)
def test_wrong_options_are_refused_before_any_work(
    weights: Path, photos: Path, tmp_path: Path, arguments: list[str], source: str
) -> None:
    kept = tmp_path / "kept.jsonl"
    kept.write_text("earlier results\n")
    result = run(weights, photos, "--out", tmp_path / "out", "--json", kept, *arguments)
    assert isinstance(result.exception, InputError)
    assert result.exception.source == source
    assert not (tmp_path / "out").exists()
    assert kept.read_text() == "earlier results\n"


def test_a_box_outside_one_photo_leaves_the_others(weights: Path, photos: Path) -> None:
    result = run(weights, photos / "a.jpg", photos / "b.png", "--box", "10,80,30,30", "--json", "-")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"{photos / 'a.jpg'}: the box lies outside its 96 x 72 pixels; give X,Y,W,H in it"
    ]
    assert ["error" in record for record in lines(result.stdout)] == [True, False]


def test_missing_weights_and_unwritable_targets_are_input_errors(weights: Path, photos: Path, tmp_path: Path) -> None:
    assert isinstance(run(tmp_path / "none", photos).exception, InputError)
    (tmp_path / "file").touch()
    assert isinstance(run(weights, photos, "--json", tmp_path / "file" / "x.jsonl").exception, InputError)
    assert isinstance(run(weights, photos / "a.jpg", "--out", tmp_path / "file").exception, InputError)


def clip(path: Path, count: int, suffix: str = ".avi", codec: str = "MJPG") -> Path:
    """By default Motion JPEG, which can be cut short anywhere."""
    path = path.with_suffix(suffix)
    fps = 25.0 if codec == "MPG2" else 20.0  # it knows few rates
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, (96, 72))
    for k in range(count):
        writer.write(np.ascontiguousarray(np.roll(image(0), 2 * k, axis=1)[:, :, ::-1]))
    writer.release()
    return path


def test_a_video_gives_a_line_a_frame_and_a_drawn_video(weights: Path, photos: Path, tmp_path: Path) -> None:
    video = clip(tmp_path / "clip", 12)
    out, file = tmp_path / "out", tmp_path / "hands.jsonl"
    result = run(weights, photos / "a.jpg", video, photos / "b.png", "--out", out, "--json", file, *LIKELIEST)
    assert result.exit_code == 0, result.output
    assert "clip.avi: 12 frames, " in result.stdout
    assert "3 of 3 files done" in result.stdout
    predictions = [Prediction.from_json(line) for line in file.read_text().splitlines()]
    assert [Path(p.image).name for p in predictions] == ["a.jpg", *["clip.avi"] * 12, "b.png"]
    frames = predictions[1:-1]
    assert [p.frame for p in frames] == list(range(12))
    np.testing.assert_allclose([p.time_s for p in frames], np.arange(12) / 20, atol=1e-3)
    assert [len(p.hands) for p in frames] == [1] * 12
    assert (frames[0].width, frames[0].height) == (96, 72)
    assert "frame" not in lines(file.read_text())[0]
    with Video(out / "clip_hands.mp4") as drawn:
        sizes = {found.image.shape for found in drawn}
        assert drawn.claimed == 12
        assert drawn.fps == pytest.approx(20)
    assert len(sizes) == 1
    assert {file.name for file in out.iterdir()} == {"a_hands.jpg", "b_hands.jpg", "clip_hands.mp4"}


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_the_progress_of_a_video_ends_at_its_total(weights: Path, tmp_path: Path, share: float) -> None:
    video = clip(tmp_path / "clip", 12)
    video.write_bytes(video.read_bytes()[: int(share * video.stat().st_size)])
    expected: list[int] = []
    done: list[int] = []
    estimator, options = HandPoseEstimator(weights), TrackOptions()
    predict_video(estimator, video, None, options, None, lambda _: None, expected.append, lambda: done.append(1))
    assert sum(expected) == len(done)
    assert (len(done) == 12) == (share == 1)


def test_a_closed_standard_output_is_no_fault_of_the_drawn_video(weights: Path, tmp_path: Path) -> None:
    """As by ``graphhand predict clip.avi --csv - | head -1``: it ends the command, and typer ends it quietly."""
    video, closed = clip(tmp_path / "clip", 12), BrokenPipeError("its reader has ended")

    def emit(prediction: Prediction) -> None:
        if prediction.frame == 2:
            raise closed

    target = tmp_path / "drawn" / "clip_hands.mp4"
    estimator, options = HandPoseEstimator(weights), TrackOptions()
    with pytest.raises(BrokenPipeError) as caught:
        predict_video(estimator, video, None, options, target, emit, lambda _: None, lambda: None)
    assert caught.value is closed
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mts", "MPG2"), (".3gp", "mp4v"), (".wmv", "WMV2"), (".MTS", "MPG2"), (".mkv", "MJPG")]
)
def test_videos_are_recognised_by_suffix(weights: Path, tmp_path: Path, suffix: str, codec: str) -> None:
    video = clip(tmp_path / "clip", 6, suffix, codec)
    result = run(weights, video, "--out", tmp_path / "out", "--json", "-")
    assert result.exit_code == 0, result.output
    assert len(lines(result.stdout)) == 6
    with Video(tmp_path / "out" / "clip_hands.mp4") as drawn:
        assert drawn.claimed == 6


def test_an_irregular_recording_is_drawn_at_its_own_pace(weights: Path, tmp_path: Path) -> None:
    times_ms = [0, 17, 50, 550, 584, 1500]
    write_recording(tmp_path / "clip.webm", [image(k) for k in range(6)], times_ms, 1533)
    result = run(weights, tmp_path / "clip.webm", "--out", tmp_path / "out", "--json", "-")
    assert result.exit_code == 0, result.output
    assert [round(1000 * line["time_s"]) for line in lines(result.stdout)] == times_ms
    with Video(tmp_path / "out" / "clip_hands.mp4") as drawn:
        assert [frame.time_s for frame in drawn][-1] == pytest.approx(1.5, abs=0.05)


def test_an_mp4_of_variable_frame_rate_is_drawn_at_its_own_pace(weights: Path, tmp_path: Path) -> None:
    if not writes_h264():
        pytest.skip("needs PyAV, to write such a file: pip install av")
    times_s = [0.0, 0.017, 0.05, 0.55, 0.584, 1.5]
    with writing_video(tmp_path / "clip.mp4", 25) as writer:
        for k, time_s in enumerate(times_s):
            writer.write(image(k), time_s)
    result = run(weights, tmp_path / "clip.mp4", "--out", tmp_path / "out", "--json", "-")
    assert result.exit_code == 0, result.output
    assert [line["time_s"] for line in lines(result.stdout)] == pytest.approx(times_s, abs=1e-4)
    with Video(tmp_path / "out" / "clip_hands.mp4") as drawn:
        assert [frame.time_s for frame in drawn] == pytest.approx(times_s, abs=1e-4)


def test_a_drawn_video_says_what_is_missing_without_pyav(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphhand.io.writes_h264", lambda: False)
    monkeypatch.setattr("graphhand.io.video_writer.writes_h264", lambda: False)
    result = run(weights, clip(tmp_path / "clip", 3), "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    (said,) = result.stdout.splitlines()
    assert "clip_hands.mp4 (MPEG-4 part 2, no sound; pip install 'graphhand[video]' for H.264" in said
    with Video(tmp_path / "out" / "clip_hands.mp4") as drawn:
        assert len(list(drawn)) == 3


def test_drawn_frames_with_and_without_a_hand_have_one_size(weights: Path, tmp_path: Path) -> None:
    video = clip(tmp_path / "clip", 8)
    found = lines(run(weights, video, "--json", "-", *LIKELIEST).stdout)
    scores = sorted(line["hands"][0]["score"] for line in found)
    least = (scores[3] + scores[4]) / 2
    result = run(weights, video, "--min-score", least, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    with Video(tmp_path / "out" / "clip_hands.mp4") as drawn:
        assert len({frame.image.shape for frame in drawn}) == 1


def test_a_video_cut_short_keeps_what_was_read(weights: Path, photos: Path, tmp_path: Path) -> None:
    video = clip(tmp_path / "clip", 40)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    result = run(weights, video, photos / "a.jpg", "--out", tmp_path / "out", "--json", "-")
    assert result.exit_code == 1
    records = lines(result.stdout)
    count = sum("frame" in record for record in records)
    assert 3 < count < 37
    assert records[count]["error"].startswith(f"{video}: ends after {count} of 40 frames; ")
    assert result.stderr.splitlines() == [records[count]["error"]]
    assert "hands" in records[-1]
    with Video(tmp_path / "out" / "clip_hands.mp4") as drawn:
        assert drawn.claimed == count


def interrupted(weights: Path, video: Path, camera: int | None, target: Path) -> tuple[str | None, str]:
    """As if Ctrl-C were pressed in the fifth frame."""

    def emit(prediction: Prediction) -> None:
        if prediction.frame == 4:
            raise KeyboardInterrupt

    options = TrackOptions(whole_image=True)
    return predict_video(HandPoseEstimator(weights), video, camera, options, target, emit, lambda _: None, lambda: None)


def test_an_interrupted_video_keeps_what_is_drawn(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, video = tmp_path / "drawn.mp4", clip(tmp_path / "clip", 10)
    with pytest.raises(KeyboardInterrupt):
        interrupted(weights, video, None, target)
    assert capsys.readouterr().err == f"{video}: stopped after 4 frames, which are drawn in {target}\n"
    with Video(target) as drawn:
        assert drawn.claimed == 5


@pytest.mark.skipif(sys.platform == "win32", reason="there, a program is ended without being asked")
def test_sigterm_leaves_a_finished_video(weights: Path, tmp_path: Path) -> None:
    video, out, numbers = clip(tmp_path / "clip", 400), tmp_path / "out", tmp_path / "hands.jsonl"
    command = [sys.executable, "-m", "graphhand", "predict", video, "--out", out, "--json", numbers]
    command += ["--weights", weights, "--whole-image", "--side", "right"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        while running.poll() is None and (not numbers.exists() or numbers.stat().st_size == 0):
            time.sleep(0.01)
        running.terminate()
        _, told = running.communicate(timeout=60)
    assert running.returncode not in (0, None)
    assert re.search(r"stopped after \d+ frames", told), told
    assert "Traceback" not in told
    assert [file.name for file in out.iterdir()] == ["clip_hands.mp4"]
    with Video(out / "clip_hands.mp4") as drawn:
        assert 0 < drawn.claimed < 400


@pytest.fixture
def camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Number of a camera that shows ten images and breaks; no other is connected."""
    path, capture = clip(tmp_path / "seen", 10), cv2.VideoCapture

    def connected(source: int | str, *how: int) -> cv2.VideoCapture:
        return capture(str(path) if source == 3 else source, *how)

    monkeypatch.setattr(cv2, "VideoCapture", connected)
    return 3


def test_interrupting_a_camera_is_success(weights: Path, camera: int, tmp_path: Path) -> None:
    target = tmp_path / "drawn.mp4"
    problem, summary = interrupted(weights, Path(f"camera_{camera}"), camera, target)
    assert problem is None
    assert summary.startswith("camera_3: 4 frames, ")
    with Video(target) as drawn:  # as long as it took
        assert len(list(drawn)) > 0


def test_a_camera_gives_a_line_an_image_until_it_breaks(weights: Path, camera: int, tmp_path: Path) -> None:
    result = run(weights, str(camera), "--out", tmp_path / "out", "--json", "-", *LIKELIEST)
    assert result.exit_code == 1
    *found, last = [Prediction.from_json(line) for line in result.stdout.splitlines()]
    assert [p.frame for p in found] == list(range(10))
    assert {p.image for p in found} == {"camera_3"}
    assert all(len(p.hands) == 1 for p in found)
    assert last.error is not None
    assert last.error.startswith("camera_3: stopped after 10 images; ")
    assert result.stderr.splitlines() == [last.error]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["camera_3_hands.mp4"]


def test_an_existing_file_with_a_numeric_name_is_not_a_camera(
    weights: Path, camera: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "3").write_text("not an image")
    monkeypatch.chdir(tmp_path)
    result = run(weights, "3", "--json", "-")
    assert result.exit_code == 1
    assert result.stderr.startswith("3: ")


def test_smoothing_and_boxes_of_videos(weights: Path, tmp_path: Path) -> None:
    video = clip(tmp_path / "clip", 6)
    ways = (["--whole-image"], ["--whole-image", "--no-smooth"], ["--box", "10,8,40,30"])
    outputs = [run(weights, video, "--json", "-", *likeliest(how), *how).stdout.splitlines() for how in ways]
    smooth, raw, boxed = ([Prediction.from_json(x).hands[0].joints_px for x in output] for output in outputs)
    np.testing.assert_array_equal(smooth[0], raw[0])
    assert np.abs(smooth[-1] - raw[-1]).max() > 0.01
    assert np.abs(boxed[0] - raw[0]).max() > 1
    twice = run(weights, video, "--box", "1,8,40,30", "--box", "9,8,40,30", "--json", "-")
    assert str(twice.exception) == "--box: is given more than once, and there is a video; give one, or --max-hands"
    outside = run(weights, video, "--box", "100,8,40,30", "--json", "-")
    assert outside.exit_code == 1
    assert outside.stderr.splitlines() == [f"{video}: the box lies outside its 96 x 72 pixels; give X,Y,W,H in it"]


def test_network_addresses_are_one_line_each(weights: Path, photos: Path) -> None:
    addresses = ("https://a.b/c.jpg", "http://a.b/c.mp4", "rtsp://user:secret@127.0.0.1:1/a")
    result = run(weights, *addresses, photos / "a.jpg", "--json", "-")
    assert result.exit_code == 1
    said = result.stderr.splitlines()
    assert said[:2] == [
        f"{address}: is a network address, not a file; download it and give the file" for address in addresses[:2]
    ]
    assert said[2].startswith("rtsp_127.0.0.1_a: cannot be opened; ")
    assert "secret" not in result.output
    assert len(lines(result.stdout)) == 4
