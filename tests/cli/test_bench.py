"""graphhand bench: what it prints and its structure, on tiny networks; never how fast anything is."""

from __future__ import annotations

import json
import math

import pytest
import torch
import yaml
from typer.testing import CliRunner

from factories import merge
from graphhand.cli import app
from graphhand.errors import InputError
from graphhand.inference.benchmark import NETWORK_PARTS, PARTS
from graphhand.io import write_image
from graphhand.models import Generator, GeneratorConfig, save_generator
from graphhand.training.benchmark import number_of_calls, time_training
from graphhand.training.config import parse_config

TINY = {
    "device": "cpu",
    "generator": {"image_size": 32, "backbone": {"name": "resnet18", "width": 8}, "refinement": {"width": 8}},
    "discriminator": {"image_size": 16, "image_width": 4, "pose_width": 4},
    "batch_size": 4,
    "epoch_samples": 8,
    "left_hand_negatives": 0.0,
}
runner = CliRunner()


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture
def weights(tmp_path):
    return save_generator(tmp_path / "weights", Generator(GeneratorConfig(**TINY["generator"])))


@pytest.fixture(autouse=True)
def _same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def invoke(*arguments):
    return runner.invoke(app, ["bench", *map(str, arguments)], catch_exceptions=False)


def positive(quartiles):
    return 0 < quartiles["low"] <= quartiles["median"] <= quartiles["high"]


@pytest.mark.parametrize("drawn", [True, False])
def test_parts_of_a_prediction_sum_to_the_whole(weights, tmp_path, drawn):
    arguments = ["--weights", weights, "--repeats", 1, "--threads", 1, "--device", "cpu", "--json", "-"]
    if not drawn:
        photo = (torch.rand(40, 60, 3) * 255).byte().numpy()
        write_image(tmp_path / "photo.png", photo)
        arguments += ["--image", tmp_path / "photo.png"]
    result = invoke(*arguments)
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    times = content["prediction"]
    assert times["threads"] == 1
    assert times["image"] == ([512, 512] if drawn else [60, 40])
    assert times["network"]["backbones"] == 2
    for kind in ("known", "search"):
        pipeline = times[kind]
        assert set(pipeline["parts_ms"]) == set(PARTS["torch"])
        assert all(positive(part) for name, part in pipeline["parts_ms"].items() if name != "detect")
        assert positive(pipeline["parts_ms"]["detect"]) == (kind == "search")
        # With a single repeat the medians are that repeat's own times.
        parts = {name: part["median"] for name, part in pipeline["parts_ms"].items()}
        assert pipeline["total_ms"]["median"] == pytest.approx(sum(parts.values()))
        assert pipeline["network_ms"]["median"] == pytest.approx(sum(parts[name] for name in NETWORK_PARTS["torch"]))
    assert times["known"]["passes"] == 1
    assert times["search"]["passes"] >= 1
    assert content["machine"]["torch_threads"] == 1


def test_prediction_table_names_the_papers_figures_as_theirs(weights):
    result = invoke("--weights", weights, "--repeats", 2, "--device", "cpu")
    assert result.exit_code == 0
    for text in ("15.3", "9.8", "25.1", "GTX 1080 Ti", "decode the file", "draw the result"):
        assert text in result.stdout


def test_onnx_runtimes_network_is_timed_as_a_whole():
    arguments = ["--weights", "fast", "--repeats", 1, "--threads", 1, "--json", "-", "--processor-time"]
    times = json.loads(invoke(*arguments).stdout)["prediction"]
    assert (times["engine"], times["device"], times["threads"]) == ("onnx", "cpu", 1)
    for kind in ("known", "search"):
        assert list(times[kind]["parts_ms"]) == list(PARTS["onnx"])
        assert (times[kind]["parts_ms"]["detect"]["median"] > 0) == (kind == "search")
        assert times[kind]["passes"] >= 1
        assert times[kind]["network_ms"] == times[kind]["parts_ms"]["network"]
    assert "network" in invoke("--weights", "fast", "--repeats", 1).stdout


def test_hooks_are_gone_after_timing(weights):
    from graphhand.inference import HandPoseEstimator
    from graphhand.inference.benchmark import _Stopwatch

    estimator = HandPoseEstimator(weights, "cpu")
    stopwatch = _Stopwatch(estimator)
    stopwatch.remove()
    estimator((torch.rand(40, 60, 3) * 255).byte().numpy())
    assert stopwatch.marks == []


def test_training_times_have_every_stage_and_their_ratio(recipe, tmp_path):
    target = tmp_path / "times.json"
    result = invoke("train", "--config", recipe, "--repeats", 2, "--price-per-hour", 2, "--json", target, "threads=1")
    assert result.exit_code == 0
    content = json.loads(target.read_text())
    times = content["training"]
    assert list(times["stages"]) == ["I", "II", "III"]
    for stage in times["stages"].values():
        assert all(positive(stage[name]) for name in ("step_s", "backbones_s", "backbone_share"))
        assert stage["samples_per_second"] == pytest.approx(4 / stage["step_s"]["median"])
        assert stage["peak_bytes"] > 2**20
    assert times["batch_size"] == 4
    assert times["rendering_share"] == pytest.approx(
        times["rendering_s"]["median"] / times["stages"]["III"]["step_s"]["median"]
    )
    steps = 100 * (41_258 // 4)
    for name, stage in times["stages"].items():
        assert content["projected_hours"][name] == pytest.approx(steps * stage["step_s"]["median"] / 3600)
    total = sum(content["projected_hours"][name] for name in times["stages"])
    assert content["projected_hours"]["total"] == pytest.approx(total)
    assert content["projected_cost"] == pytest.approx(2 * total)
    assert "cost at 2 an hour" in result.stdout
    assert "3 x 100 epochs of RHD's 41,258 images" in result.stdout


@pytest.mark.parametrize(
    "changes",
    [
        {"generator": {"backbone": {"shared": True}}, "accumulate": 2},
        {"precision": "bf16-mixed", "channels_last": True, "ema": 0.9},
    ],
)
def test_the_recipes_options_are_timed_too(changes):
    calls = []
    config = parse_config(merge(TINY, changes), "test")
    times = time_training(config, repeats=1, warm_up=0, progress=lambda: calls.append(1))
    assert len(calls) == number_of_calls(config, repeats=1, warm_up=0) == 7
    assert times.precision == config.precision
    assert math.isfinite(times.stages["III"].backbone_share.median)


def test_without_a_refinement_there_is_stage_one_alone():
    stage = {"epochs": 0}
    generator = TINY["generator"] | {"refinement": None}
    config = parse_config(TINY | {"generator": generator, "stage2": stage, "stage3": stage}, "test")
    assert list(time_training(config, repeats=1, warm_up=0).stages) == ["I"]


def test_batch_without_two_poses_is_refused():
    with pytest.raises(InputError, match="at least two poses"):
        time_training(parse_config(TINY | {"left_hand_negatives": 0.99}, "test"), repeats=1, warm_up=0)


def test_processor_time_of_several_threads_is_refused(recipe):
    with pytest.raises(InputError, match="single thread"):
        invoke("train", "--config", recipe, "--processor-time", "threads=2")


def test_json_that_cannot_be_written_is_one_line(weights, tmp_path, monkeypatch):
    monkeypatch.setattr("graphhand.inference.benchmark.time_prediction", None)  # said before anything is timed
    with pytest.raises(InputError, match="there is no folder"):
        invoke("--weights", weights, "--repeats", 1, "--device", "cpu", "--json", tmp_path / "missing" / "times.json")
