"""How a run may be computed: every option is read, resumes exactly, and the defaults are the paper's recipe."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from factories import StopWhen, assert_same_training, plain_source, saved_weights, tiny_recipe, write_hands
from graphhand.errors import InputError
from graphhand.io import write_image
from graphhand.models import Generator, build_discriminator
from graphhand.training.checkpoint import Checkpoint, read_checkpoint, refuse_other_config
from graphhand.training.config import TrainConfig, load_config, parse_config
from graphhand.training.distributed import make_fabric
from graphhand.training.steps import set_up_models
from graphhand.training.trainer import Trainer

TINY = tiny_recipe(generator={"backbone": {"shared": True}}, left_hand_negatives=0.1)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> dict:
    source = plain_source(write_hands(tmp_path_factory.mktemp("hands")))
    return TINY | {"train": [source], "validation": source}


def train(recipe: dict, out: Path, stop_at: tuple[int, int] | None = None) -> Trainer:
    trainer = Trainer(parse_config(recipe, "test"), out, quiet=True)
    if stop_at is not None:
        trainer.stop = StopWhen(lambda: (trainer.position.stage, trainer.position.step) == stop_at)
    assert trainer.run() is (stop_at is None)
    return trainer


@pytest.fixture(scope="module")
def plain(recipe, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "run"
    train(recipe, out)
    return out


def test_defaults_are_the_plain_recipe():
    config = TrainConfig()
    assert (config.accumulate, config.ema, config.channels_last, config.compile) == (1, None, False, False)
    assert config.fused_optimizer is None


@pytest.mark.parametrize(
    "options",
    [
        {"ema": 0.9, "accumulate": 2},
        {"channels_last": True, "fused_optimizer": True},
    ],
    ids=lambda options: "+".join(options),
)
def test_options_resume_to_the_same_bits(recipe, tmp_path, options):
    train(recipe | options, tmp_path / "whole")
    train(recipe | options, tmp_path / "broken", stop_at=(3, 2))
    train(recipe | options, tmp_path / "broken")
    one, two = saved_weights(tmp_path / "whole" / "stage3"), saved_weights(tmp_path / "broken" / "stage3")
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("options", [{"channels_last": True}, {"fused_optimizer": False}])
def test_ways_of_computing_change_rounding_alone(recipe, plain, tmp_path, options):
    trainer = train(recipe | options | {"stage2": {"epochs": 0}, "stage3": {"epochs": 0}}, tmp_path / "run")
    assert_same_training(
        saved_weights(plain / "stage1"), saved_weights(tmp_path / "run" / "stage1"), rtol=1e-3, atol=1e-4
    )
    convolution = trainer.generator.backbone.layer1[0].conv1.weight
    assert convolution.is_contiguous(memory_format=torch.channels_last) is ("channels_last" in options)


@pytest.mark.parametrize(("asked", "fused"), [(None, True), (True, True), (False, False)])
def test_adam_is_fused_on_a_cpu_unless_switched_off(recipe, asked, fused):
    config = parse_config(recipe | {"fused_optimizer": asked}, "test")
    networks = Generator(config.generator), build_discriminator(config.discriminator)
    for model in set_up_models(make_fabric("cpu", "32-true"), config, 3, *networks).values():
        assert bool(model.optimizer.param_groups[0]["fused"]) is fused


def test_stage_leaves_the_average_and_the_next_starts_from_it(recipe, plain, tmp_path):
    trainer = Trainer(parse_config(recipe | {"ema": 0.9}, "test"), tmp_path / "run", quiet=True)
    assert trainer.run((1,))
    left = saved_weights(tmp_path / "run" / "stage1")
    last = saved_weights(plain / "stage1")  # the same steps without averaging
    name = "backbone.conv1.weight"
    assert not torch.equal(left[name], last[name])
    state = trainer.generator.state_dict()
    assert all(torch.equal(state[name], left[name]) for name in left)


def test_average_is_what_is_validated(recipe, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("graphhand.training.trainer.validate", lambda network, *_: seen.append(network) or {})
    trainer = Trainer(parse_config(recipe | {"ema": 0.9}, "test"), tmp_path / "run", quiet=True)
    trainer.run((1,))
    assert seen == [trainer.average.network]


def test_checkpoint_from_before_an_option_resumes(recipe, plain, tmp_path):
    """Its checkpoint knows nothing of the option, whose default is what it was made with."""
    trainer = Trainer(parse_config(recipe, "test"), plain, quiet=True)
    config = {k: v for k, v in trainer.config.model_dump(mode="json").items() if k not in ("accumulate", "ema")}
    now = read_checkpoint(plain / "checkpoint.safetensors")
    old = Checkpoint(now.path, now.position, config, {})
    refuse_other_config(old, trainer.config)
    other = parse_config(recipe | {"accumulate": 2}, "test")
    with pytest.raises(InputError, match="accumulate 1, not 2"):
        refuse_other_config(old, other)


def test_micro_batches_must_divide_the_batch():
    with pytest.raises(InputError, match="no multiple of accumulate"):
        load_config(None, ["batch_size=10", "accumulate=4"])


def test_compile_is_of_the_trained_generator_alone(recipe, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda network: asked.append(network) or network)
    trainer = Trainer(parse_config(recipe | {"compile": True}, "test"), tmp_path / "run", quiet=True)
    assert trainer.run((1,))
    assert asked == [trainer.generator]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_run_ends_near_the_plain_one(recipe, plain, tmp_path):
    trainer = Trainer(parse_config(recipe | {"compile": True}, "test"), tmp_path / "run", quiet=True)
    assert trainer.run((1,))
    one, two = saved_weights(plain / "stage1"), saved_weights(tmp_path / "run" / "stage1")
    assert one.keys() == two.keys()
    difference = torch.cat([(two[name] - one[name]).abs().flatten() for name in one if one[name].is_floating_point()])
    # Adam turns the rounding of a gradient that is nearly zero into a whole step, of a few weights.
    assert float((difference > 2e-4).float().mean()) < 1e-3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_everything_at_once_runs_and_resumes_on_a_gpu(recipe, tmp_path):
    options = {"device": "cuda", "precision": "bf16-mixed", "channels_last": True, "ema": 0.9, "accumulate": 2}
    train(recipe | options, tmp_path / "run", stop_at=(3, 2))
    trainer = train(recipe | options, tmp_path / "run")
    assert trainer.fabric.device.type == "cuda"
    assert all(bool(tensor.isfinite().all()) for tensor in saved_weights(tmp_path / "run" / "stage3").values())


def test_a_run_learns_to_tell_images_without_hands(tmp_path):
    """Noise is a hand, always the same, and dark is none: the handedness head and the heatmaps come to say so."""
    joints = np.random.default_rng(0).normal(size=(21, 3)) * 0.03 + [0.0, 0.0, 0.5]
    (tmp_path / "hands").mkdir()
    hands = write_hands(tmp_path / "hands", lambda k: {"joints_cam_m": joints.tolist()})
    source = plain_source(hands)
    (tmp_path / "dark").mkdir()
    for k in range(4):
        write_image(tmp_path / "dark" / f"{k}.png", np.full((40, 40, 3), 10 + 3 * k, np.uint8))
    negatives = {"kind": "negatives", "root": str(tmp_path / "dark")}
    generator = TINY["generator"] | {"heatmaps": {}}
    losses = {"heatmap_joints": 1.0, "heatmaps": 120.0, "heatmap_background": 20.0, "handedness": 10.0}
    stages = {"stage1": {"epochs": 16, "learning_rate": 5e-3}, "stage2": {"epochs": 0}, "stage3": {"epochs": 0}}
    options = {
        "train": [source, negatives],
        "validation": source,
        "generator": generator,
        "losses": losses,
        "left_hand_negatives": 0,
    }
    trainer = train(TINY | options | stages, tmp_path / "run")
    images = torch.stack([torch.full((3, 32, 32), 0.05), torch.rand(3, 32, 32)])
    K = torch.tensor([[80.0, 0, 15.5], [0, 80.0, 15.5], [0, 0, 1]]).expand(2, 3, 3)
    with torch.inference_mode():
        output = trainer.generator.eval()(images, K, refine=False)
    assert output.handedness_logit[0] < 0 < output.handedness_logit[1]
    assert output.uncertainty[0] > 0.95
    assert output.uncertainty[1] < 0.85
