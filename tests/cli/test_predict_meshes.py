"""``graphhand predict --mesh``: a file for each hand of each photo and frame."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from graphhand.cli import app
from graphhand.cli.predict_inputs import Job, drawing_targets
from graphhand.cli.predict_meshes import mesh_path
from graphhand.errors import InputError
from graphhand.io import read_image, writing_video

PHOTO = Path(__file__).parents[2] / "examples" / "images" / "hand_18.jpg"


def run(*arguments: object):
    return CliRunner().invoke(app, ["predict", *map(str, arguments), "--weights", "fast", "--threads", "1"])


@pytest.mark.parametrize("kind", ["obj", "ply", "glb", "npz"])
def test_a_photo_gives_a_file_a_hand(tmp_path: Path, kind: str) -> None:
    result = run(PHOTO, "--out", tmp_path, "--mesh", kind)
    assert result.exit_code == 0, result.output
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"hand_18_hand0.{kind}", "hand_18_hands.jpg"]
    if kind == "npz":
        with np.load(tmp_path / "hand_18_hand0.npz") as mesh:
            assert (str(mesh["side"]), bool(mesh["placed"])) == ("right", True)
            assert mesh["fit_error_m"] < 4e-3


def test_a_video_gives_a_file_a_frame_and_hand(tmp_path: Path) -> None:
    with writing_video(tmp_path / "clip.mp4", 25) as writer:
        for _ in range(2):
            writer.write(read_image(PHOTO))
    result = run(tmp_path / "clip.mp4", "--out", tmp_path / "out", "--mesh", "npz", "--json", tmp_path / "hands.jsonl")
    assert result.exit_code == 0, result.output
    names = sorted(file.name for file in (tmp_path / "out").glob("*.npz"))
    assert names == ["clip_000000_hand0.npz", "clip_000001_hand0.npz"]


def test_a_photo_called_as_a_frame_of_a_video_has_a_mesh_of_its_own(tmp_path: Path) -> None:
    with writing_video(tmp_path / "clip.mp4", 25) as writer:
        for _ in range(2):
            writer.write(read_image(PHOTO))
    photo = tmp_path / "clip_000001.jpg"
    photo.write_bytes(PHOTO.read_bytes())
    result = run(tmp_path / "clip.mp4", photo, "--out", tmp_path / "out", "--mesh", "npz")
    assert result.exit_code == 0, result.output
    names = sorted(file.name for file in (tmp_path / "out").glob("*.npz"))
    assert names == ["clip_000000_hand0.npz", "clip_000001_2_hand0.npz", "clip_000001_hand0.npz"]


@pytest.mark.parametrize("seed", range(40))
def test_no_two_hands_share_a_mesh(seed: int) -> None:
    drawn = random.Random(seed)
    stems = ["clip", "Clip", "clip_000001", "clip_000001_000001", "clip_2", "clip_1000000", "clip_000001_hand0", "a"]
    suffixes = [".mp4", ".jpg", ".png"]
    paths = [Path(drawn.choice("AB"), drawn.choice(stems) + drawn.choice(suffixes)) for _ in range(12)]
    jobs = [Job(index, path, is_video=path.suffix == ".mp4") for index, path in enumerate(paths)]
    targets = drawing_targets(jobs, Path("out"), meshes=True)
    names = [
        mesh_path(targets[job.index], frame, hand, "obj").name.lower()
        for job in jobs
        for frame in ((0, 1, 999_999, 1_000_000) if job.is_video else (None,))
        for hand in (0, 1)
    ]
    assert len(set(names)) == len(names)
    assert len({target.name.lower() for target in targets.values()}) == len(jobs)


def test_without_meshes_a_photos_drawing_keeps_its_name() -> None:
    jobs = [Job(0, Path("clip.mp4"), is_video=True), Job(1, Path("clip_000001.jpg"))]
    names = {meshes: drawing_targets(jobs, Path("out"), meshes)[1].name for meshes in (False, True)}
    assert names == {False: "clip_000001_hands.jpg", True: "clip_000001_2_hands.jpg"}


def test_a_photo_without_a_hand_gives_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(PHOTO, "--out", tmp_path, "--mesh", "obj", "--min-score", "1")
    assert result.exit_code == 0, result.output
    assert not list(tmp_path.glob("*.obj"))


def test_a_hand_model_without_mesh_or_that_is_missing_is_refused(tmp_path: Path) -> None:
    result = run(PHOTO, "--hand-model", "MANO_RIGHT.pkl")
    assert isinstance(result.exception, InputError)
    assert str(result.exception) == "--hand-model: is read with --mesh alone; add --mesh, or leave it out"
    result = run(PHOTO, "--mesh", "obj", "--out", tmp_path, "--hand-model", tmp_path / "none.pkl")
    assert isinstance(result.exception, InputError)
    assert "none.pkl: no such file" in str(result.exception)
    assert not list(tmp_path.iterdir())
