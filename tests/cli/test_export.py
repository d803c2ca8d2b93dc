"""graphhand export: a network out of weights or out of a run, where it is to go and under its name."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from typer.testing import CliRunner

from factories import merge
from graphhand.cli import app
from graphhand.errors import InputError
from graphhand.models import Generator, load_generator, save_generator
from graphhand.training.checkpoint import Position, save_checkpoint
from graphhand.training.config import parse_config
from graphhand.training.validation import WeightAverage

SMALL = {
    "generator": {"image_size": 32, "backbone": {"name": "resnet18", "width": 8}, "refinement": {"width": 8}},
    "epoch_samples": 8,
    "batch_size": 4,
}


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["export", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


@pytest.fixture
def stopped(tmp_path):
    """A run's checkpoint in the middle of a stage, with a moving average or without: ``stopped(0.9)``."""

    def write(ema: float | None):
        config = parse_config(SMALL | {"ema": ema}, "test")
        torch.manual_seed(0)
        generator = Generator(config.generator)
        states = {"generator": generator}
        if ema is not None:
            average = WeightAverage(generator, ema)
            with torch.no_grad():
                generator.handedness_head.bias.add_(1.0)
            states["average"] = average.network
        path = tmp_path / "checkpoint.safetensors"
        save_checkpoint(path, Position(2, 7, 60.0), config.model_dump(mode="json"), states)
        return path, states

    return write


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_stopped_run_gives_the_network_that_its_stage_would_have_left(stopped, tmp_path, ema):
    path, states = stopped(ema)
    run("--weights", path, "--format", "safetensors", "--out", tmp_path / "taken", "--name", "half way")
    generator, card = load_generator(tmp_path / "taken")
    expected = states["generator" if ema is None else "average"].state_dict()
    for name, value in generator.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert card["name"] == "half way"
    assert card["position"] == {"stage": 2, "step": 7, "seconds": 60.0, "skipped": []}
    assert card["config"]["batch_size"] == 4


def test_half_precision_halves_the_file_and_keeps_the_card(tmp_path):
    generator = Generator(parse_config(SMALL, "test").generator)
    whole = save_generator(tmp_path / "whole", generator, {"name": "small", "seed": 3})
    run("--weights", whole, "--format", "safetensors", "--half", "--out", tmp_path / "half")
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (whole, tmp_path / "half")]
    assert sizes[1] < 0.6 * sizes[0]
    assert {v.dtype for v in load_file(tmp_path / "half" / "model.safetensors").values()} == {
        torch.float16,
        torch.int64,
    }
    assert json.loads((tmp_path / "half" / "model.json").read_text())["card"] == {"name": "small", "seed": 3}


def test_what_exists_is_kept_unless_forced(tmp_path):
    save_generator(tmp_path / "small", Generator(parse_config(SMALL, "test").generator))
    before = (tmp_path / "small" / "model.json").read_bytes()
    arguments = ("--weights", "drawn", "--format", "safetensors", "--out", tmp_path / "small")
    with pytest.raises(InputError, match="exists already"):
        run(*arguments)
    assert (tmp_path / "small" / "model.json").read_bytes() == before
    assert "MB" in run(*arguments, "--force")
    assert (tmp_path / "small" / "model.json").read_bytes() != before


@pytest.mark.parametrize("options", [["--force"], ["--no-graph"], ["--half", "--no-graph"]])
@pytest.mark.parametrize("weights", ["default", "detector"])
def test_a_file_where_the_folder_should_be_is_one_line_and_stays(tmp_path, weights, options):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(InputError, match="taken: cannot be written"):
        run("--weights", weights, "--format", "safetensors", "--out", tmp_path / "taken", *options)
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize("weights", ["drawn", "detector"])
def test_a_disk_that_fills_up_is_one_line(tmp_path, monkeypatch, weights):
    def full(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("graphhand.models.checkpoint.save_file", full)
    with pytest.raises(InputError, match=r"new: cannot be written .*No space left"):
        run("--weights", weights, "--format", "safetensors", "--no-graph", "--out", tmp_path / "new")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "hand.bin"), "let --out end in .onnx"),
        (("--out", "hand.onnx", "--half"), "safetensors"),
        (("--out", "none/hand.onnx"), "no such folder"),
        (("--out", "hand.onnx", "--weights", "nowhere"), "neither bundled weights"),
        (("--out", "hand.onnx", "--weights", "torn.safetensors"), "not a readable checkpoint"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "torn.safetensors").write_bytes(b"half of it")
    with pytest.raises(InputError) as refusal:
        run(*arguments)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["torn.safetensors"]


@pytest.mark.parametrize("folder", ["read-only", "in the way"])
def test_where_no_file_can_be_written_is_said_before_the_work(tmp_path, monkeypatch, folder):
    monkeypatch.setattr("graphhand.cli.export._load_network", lambda weights: pytest.fail("the work was begun"))
    if folder == "read-only":
        monkeypatch.setattr("os.access", lambda *_: False)
    else:
        (tmp_path / "hand.onnx").mkdir()
    with pytest.raises(InputError, match="choose another --out"):
        run("--out", tmp_path / "hand.onnx", "--force")


def test_a_checkpoint_of_another_network_is_refused(stopped, tmp_path):
    path, states = stopped(None)
    config = parse_config(merge(SMALL, {"generator": {"refinement": {"width": 16}}}), "test")
    save_checkpoint(path, Position(), config.model_dump(mode="json"), states)
    with pytest.raises(InputError, match="does not fit its configuration"):
        run("--weights", path, "--format", "safetensors", "--out", tmp_path / "taken")
