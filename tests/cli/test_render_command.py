from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from graphhand.cli import render
from graphhand.data import PlainHands
from graphhand.errors import InputError
from graphhand.synthesis import benchmark, scene

APP = typer.Typer()
APP.command()(render.render)


def run(*arguments):
    return CliRunner().invoke(APP, [str(argument) for argument in arguments])


def test_a_second_run_writes_nothing(tmp_path):
    arguments = ("--out", tmp_path / "hands", "--count", 2, "--size", 32, "--preview", "--device", "cpu")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "2 images, plain layout, train split; complete" in result.output
    assert (tmp_path / "hands" / "preview.png").exists()
    dataset = PlainHands(tmp_path / "hands", "train")
    assert len(dataset) == 2
    assert dataset[0].image.shape == (32, 32, 3)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "hands" / "train").iterdir()}
    assert run(*arguments).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "hands" / "train").iterdir()} == before


def test_a_refused_run_keeps_the_preview(tmp_path):
    arguments = ("--out", tmp_path / "hands", "--count", 1, "--size", 32, "--preview", "--device", "cpu")
    assert run(*arguments).exit_code == 0
    before = (tmp_path / "hands" / "preview.png").read_bytes()
    result = run(*arguments, "--seed", 1)
    assert "was written with another engine" in str(result.exception)
    assert (tmp_path / "hands" / "preview.png").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--count: is missing"),
        (("--out", "x", "--count", 1, "--device", "cuda:99"), "device cuda:99: cannot be used"),
        (("--out", "x", "--count", 1, "--device", ""), "cannot be used"),
        (("--count", 4, "--shard", "3/2"), "is not a shard"),
        (("--count", 4, "--shard", "1"), "is not a shard"),
        (("--benchmark", "--count", 4), "are fixed"),
        (("--benchmark", "--seed", 4), "are fixed"),
        (("--benchmark", "upright=1"), "are fixed"),
        (("--benchmark", "--layout", "stb"), "are fixed"),
        (("--benchmark", "--layout", "plain"), "are fixed"),
        (("--benchmark", "--size", 64), "are fixed"),
        (("--count", 4, "--layout", "rhd", "--size", 512), "--size: is fixed for --layout rhd"),
        (("--count", 4, "--size", 224, "--layout", "freihand"), "--size: is fixed for --layout freihand"),
        (("--count", 4, "upwright=1"), "not a field of RenderConfig"),
        (("--count", 4, "seed=1"), "not a field of RenderConfig"),
        (("--count", 4, "objects=0", "upright=2"), "upright=2: Input should be less than or equal to 1; see"),
        (("--count", 4, "upright=["), "upright=[: its value is not YAML"),
        (("--count", 4, "side="), "side=: Input should be 'right', 'left' or 'both'; see"),
        (("--count", 4, "camera=[1, 2]"), "camera=[1, 2]: Field required; see"),
        (("--count", 4, "camera=[.nan, 1, 2, 3]"), "finite number"),
        (("--count", 4, "image_height=300"), "image_height=300: image_height is larger than"),
        (("--count", 4, "--backgrounds", "x", "background_variation=false"), "background_variation=false: backgrounds"),
        (("--count", 4, "--checksum"), "goes with --benchmark"),
    ],
)
def test_contradicting_options_are_named(tmp_path, arguments, message):
    result = run("--out", tmp_path / "hands", *arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
    assert not (tmp_path / "hands").exists()


def test_another_seed_in_the_same_folder_is_refused(tmp_path):
    arguments = ("--out", tmp_path / "hands", "--count", 1, "--size", 32, "--device", "cpu")
    assert run(*arguments).exit_code == 0
    result = run(*arguments, "--seed", 1)
    assert isinstance(result.exception, InputError)
    assert "another engine" in str(result.exception)


def test_checksum_is_printed_and_compared_with_the_record(monkeypatch):
    monkeypatch.setattr(benchmark, "COUNTS", {"training": 30, "evaluation": 10})
    result = run("--benchmark", "--checksum", "--split", "test")
    assert result.exit_code == 1  # ten hands are not those on record
    assert "not those on record" in str(result.exception)
    content = json.loads(result.stdout)
    assert (content["hands"], content["split"], content["agrees_with_record"]) == (10, "evaluation", "no")
    monkeypatch.setattr(benchmark, "recorded", lambda split: {"checksum": content})
    assert run("--benchmark", "--checksum", "--split", "test").exit_code == 0


def test_an_engine_with_other_labels_is_refused(tmp_path, monkeypatch):
    arguments = ("--out", tmp_path / "hands", "--count", 1, "--size", 32, "--device", "cpu")
    assert run(*arguments).exit_code == 0
    monkeypatch.setattr(scene, "DISTANCE_M", (0.3, 1.5))  # as a later release might
    result = run(*arguments)
    assert isinstance(result.exception, InputError)
    assert "another labels" in str(result.exception)


def test_out_is_required():
    assert "--out: is missing" in str(run("--count", 2).exception)


def test_render_config_fields_can_be_set(tmp_path):
    arguments = ("--count", 1, "--size", 32, "--device", "cpu")
    assert run("--out", tmp_path / "varied", *arguments).exit_code == 0
    assert run("--out", tmp_path / "grey", *arguments, "background_variation=false", "noise=0").exit_code == 0
    varied, grey = (PlainHands(tmp_path / name, "train")[0].image for name in ("varied", "grey"))
    assert grey[0].std() < varied[0].std()


def test_scenes_are_written_with_their_labels(tmp_path):
    out = tmp_path / "people"
    result = run("--scenes", "--out", out, "--count", 1, "--device", "cpu", "width=64", "height=48", "max_people=1")
    assert result.exit_code == 0, result.output
    assert "1 images of people, train split; complete" in result.output
    content = json.loads((out / "annotations" / "train.json").read_text())
    assert len(content["annotations"]) == 2
    assert content["images"][0]["width"] == 64


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--scenes", "--layout", "rhd"), "a layout and a size of its own"),
        (("--scenes", "--benchmark", "--count", "3"), "its seed, count and settings are fixed"),
        (("--scenes", "--checksum"), "goes with --benchmark"),
        (("--scenes", "--count", "1"), "--out: is missing"),
        (("--scenes", "--out", "x", "--count", "1", "upright=1"), "not a field of SceneConfig"),
        (("--assets", "x", "--out", "x", "--count", "1"), "goes with --scenes"),
    ],
)
def test_wrong_options_of_scenes_are_one_line(arguments, fault):
    result = run(*arguments)
    assert isinstance(result.exception, InputError)
    assert fault in str(result.exception)
