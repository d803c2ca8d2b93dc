"""``graphhand predict --resume``: a run that was killed anywhere ends with the files of one that was not."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from factories import noise_image, write_tiny_weights
from graphhand.cli import app
from graphhand.cli.predict_inputs import drawing_targets, list_jobs
from graphhand.errors import InputError
from graphhand.io import write_image, writing_video


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Photos, one broken and one twice, around two videos, one broken."""
    root = tmp_path_factory.mktemp("inputs")
    for k in range(5):
        write_image(root / f"{k}.png", np.ascontiguousarray(noise_image(k, 64, 48, 8)))
    with writing_video(root / "clip.mp4", 25) as writer:
        for k in range(3):
            writer.write(np.ascontiguousarray(noise_image(k, 64, 48, 8)))
    (root / "broken.png").write_bytes(b"none")
    (root / "broken.mp4").write_bytes(b"none")
    names = ("0.png", "1.png", "broken.png", "1.png", "clip.mp4", "clip.mp4", "broken.mp4", "2.png", "3.png", "4.png")
    return [root / name for name in names]


def arguments(inputs: list[Path], weights: Path, out: Path, *options: object) -> list[str]:
    files = ["--json", out / "hands.jsonl", "--csv", out / "hands.csv", "--out", out / "drawn"]
    given = ["predict", *inputs, "--weights", weights, "--whole-image", "--min-score", 0, *files, *options]
    return [str(one) for one in given]


def run(inputs: list[Path], weights: Path, out: Path, *options: object) -> Result:
    return CliRunner().invoke(app, arguments(inputs, weights, out, *options))


def written(out: Path) -> dict[str, str]:
    return {name: (out / name).read_text() for name in ("hands.jsonl", "hands.csv")}


def drawings(inputs: list[Path], out: Path) -> list[Path]:
    """Where the drawing of each goes."""
    targets = drawing_targets(list_jobs(map(str, inputs)), out / "drawn")
    return [targets[index] for index in range(len(inputs))]


@pytest.fixture(scope="module")
def whole(inputs: list[Path], weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    assert run(inputs, weights, out).exit_code == 1  # two are broken
    return out


@pytest.mark.parametrize(
    ("lines", "left"),
    [(0, 10), (3, 7), (5, 6), (8, 5), (10, 5), (12, 2), (14, 0)],
)
def test_a_run_cut_at_any_line_ends_like_a_whole_one(
    inputs: list[Path], weights: Path, whole: Path, tmp_path: Path, lines: int, left: int
) -> None:
    texts = written(whole)["hands.jsonl"].splitlines(keepends=True)
    assert len(texts) == 14
    started = "".join(texts[:lines]) + "".join(texts[lines : lines + 1])[:70]
    (tmp_path / "hands.jsonl").write_text(started)
    targets = [target for path, target in zip(inputs, drawings(inputs, tmp_path)) if "broken" not in path.name]
    before = targets[: sum("broken" not in path.name for path in inputs[: len(inputs) - left])]
    (tmp_path / "drawn").mkdir()
    for target in before:
        target.write_text("as it was")
    result = run(inputs, weights, tmp_path, "--resume")
    assert result.exit_code == 1
    assert written(tmp_path) == written(whole)
    assert "8 of 10 files done" in result.output
    assert sorted((tmp_path / "drawn").iterdir()) == sorted(targets)
    for target in targets:
        assert (target.read_bytes() == b"as it was") == (target in before)


@pytest.mark.parametrize("name", ["0.png", "clip.mp4", "2.png"])
def test_a_drawing_that_is_missing_is_made_again_and_its_lines_are_kept(
    inputs: list[Path], weights: Path, tmp_path: Path, name: str
) -> None:
    given = [inputs[0], inputs[4], inputs[7]]
    targets = drawings(given, tmp_path)
    assert run(given, weights, tmp_path).exit_code == 0
    texts, drawn = written(tmp_path), {target: target.read_bytes() for target in targets}
    target = targets[[path.name for path in given].index(name)]
    target.unlink()
    result = run(given, weights, tmp_path, "--resume")
    assert result.exit_code == 0, result.output
    assert written(tmp_path) == texts
    assert target.suffix == ".mp4" or target.read_bytes() == drawn[target]
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {path.name for path in targets}
    (said,) = [line for line in result.output.splitlines() if "->" in line]
    assert said.startswith(f"{given[targets.index(target)]}: ")


def test_a_photo_whose_drawing_failed_is_not_done(inputs: list[Path], weights: Path, tmp_path: Path) -> None:
    given = inputs[:2]
    target = drawings(given, tmp_path)[0]
    target.mkdir(parents=True)  # a folder in the way
    assert run(given, weights, tmp_path).exit_code == 1
    texts = written(tmp_path)
    assert [len(json.loads(line)["hands"]) for line in texts["hands.jsonl"].splitlines()] == [1, 1]
    again = run(given, weights, tmp_path, "--resume")
    assert again.exit_code == 1
    assert "1 of 2 photos done" in again.output
    target.rmdir()
    again = run(given, weights, tmp_path, "--resume")
    assert again.exit_code == 0
    assert "2 of 2 photos done" in again.output
    assert target.is_file()
    assert written(tmp_path) == texts


def test_a_killed_shard_goes_on(inputs: list[Path], weights: Path, tmp_path: Path) -> None:
    photos = [path for path in inputs if path.suffix == ".png" and "broken" not in path.name] * 20
    command = [sys.executable, "-m", "graphhand", *arguments(photos, weights, tmp_path, "--shard", "2/2")]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    file = tmp_path / "hands.jsonl"
    while running.poll() is None and (not file.exists() or file.read_bytes().count(b"\n") < 3):
        time.sleep(0.01)
    running.kill()
    assert running.wait() != 0
    before = file.read_bytes()
    assert 3 <= before.count(b"\n") < 60
    assert run(photos, weights, tmp_path, "--shard", "2/2", "--resume").exit_code == 0
    whole_lines = before[: before.rindex(b"\n") + 1]
    assert file.read_bytes().startswith(whole_lines)  # nothing is done again
    assert [json.loads(line)["image"] for line in file.read_text().splitlines()] == [str(p) for p in photos[1::2]]
    assert len((tmp_path / "hands.csv").read_text().splitlines()) == 61


def test_a_file_of_another_run_is_refused_as_it_is(
    inputs: list[Path], weights: Path, whole: Path, tmp_path: Path
) -> None:
    text = written(whole)["hands.jsonl"]
    for given, problem in (
        ([inputs[1], *inputs[1:]], "line 1 is of .*0.png, where this run has .*1.png; the photos changed"),
        (inputs[:2], "line 3 is of .*broken.png, where this run has no more"),
    ):
        (tmp_path / "hands.jsonl").write_text(text)
        result = run(given, weights, tmp_path, "--resume")
        with pytest.raises(InputError, match=problem):
            raise result.exception or AssertionError(result.output)
        assert (tmp_path / "hands.jsonl").read_text() == text
    (tmp_path / "hands.jsonl").write_text(text.replace('"model": "', '"model": "other-'))
    with pytest.raises(InputError, match="line 1 is of the network other-"):
        raise run(inputs, weights, tmp_path, "--resume").exception or AssertionError
    (tmp_path / "hands.jsonl").write_text("[1]\n")
    with pytest.raises(InputError, match="line 1 is no prediction"):
        raise run(inputs, weights, tmp_path, "--resume").exception or AssertionError


def test_resume_needs_a_file(weights: Path) -> None:
    for options in (["0"], ["a.jpg"], ["a.jpg", "--json", "-"], ["0", "--json", "a.jsonl"]):
        result = CliRunner().invoke(app, ["predict", *options, "--weights", str(weights), "--resume"])
        assert isinstance(result.exception, InputError)
        assert str(result.exception).startswith("--resume: goes on after a file")
