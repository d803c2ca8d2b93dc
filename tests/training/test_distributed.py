"""Two processes train what one process trains, and batch normalisation over processes is torch's on one."""

from __future__ import annotations

import copy
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from torch import nn

from factories import assert_same_training, plain_source, saved_weights, tiny_recipe
from graphhand.errors import InputError
from graphhand.models import Generator, GeneratorConfig
from graphhand.training.config import load_config, parse_config
from graphhand.training.distributed import SyncBatchNorm, synchronise_batch_norm
from graphhand.training.trainer import Trainer

CPU = torch.device("cpu")
RECIPE = tiny_recipe(
    generator={"image_size": 64, "refinement": {"width": 16}},
    batch_size=8,
    epoch_samples=16,
    left_hand_negatives=0.3,  # processes hold different numbers of rows with a pose
    ema=0.9,
    stage1={"learning_rate": 1e-3},
    stage2={"learning_rate": 1e-4},
    stage3={"learning_rate": 1e-4, "clip_norm": 10.0},
    # In bones L_dir leads, and directions of these noise poses' short bones round more than lengths do.
    losses={"adversarial": 1.0, "unit": "mm"},
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> dict:
    """Nine labelled images, two of them without a pose, and the recipe that trains and validates on them."""
    root = tmp_path_factory.mktemp("hands")
    rng = np.random.default_rng(0)
    lines = []
    for k in range(9):
        cv2.imwrite(str(root / f"{k}.png"), rng.integers(0, 255, (80, 80, 3), dtype=np.uint8))
        joints = rng.normal(size=(21, 3)) * 0.03 + [0.0, 0.0, 0.5]
        camera = {"fx": 160.0, "fy": 160.0, "cx": 39.5, "cy": 39.5}
        line = {"image": f"{k}.png", "side": "right", "camera": camera}
        if k in (2, 5):
            line["joints_px"] = (39.5 + 160 * joints[:, :2] / joints[:, 2:]).tolist()
        else:
            line["joints_cam_m"] = joints.tolist()
        lines.append(json.dumps(line))
    (root / "hands.jsonl").write_text("\n".join(lines))
    source = plain_source(root)
    return RECIPE | {"train": [source], "validation": source}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def alone(recipe, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "run"
    assert Trainer(parse_config(recipe, "test"), out, quiet=True).run()
    return out


PROGRAM = """
import runpy, shutil, sys, torch, yaml
from pathlib import Path
from graphhand.errors import InputError
from graphhand.training.config import load_config, parse_config
from graphhand.training.trainer import StopRequest, Trainer

recipe, here = yaml.safe_load(Path("recipe.yaml").read_text()), Path(sys.argv[1])
config = parse_config(recipe, "test")

class StopWhen(StopRequest):
    def __init__(self, condition):
        super().__init__()
        self.condition = condition
    def __bool__(self):
        return self.condition()

# The second process alone is asked to stop; both do, and go on from there.
first = Trainer(config, here / "stopped", quiet=True)
first.stop = StopWhen(lambda: first.processes.rank == 1 and (first.position.stage, first.position.step) == (2, 1))
assert not first.run()
assert (first.position.stage, first.position.step) == (2, 1)
if first.processes.first:
    shutil.copytree(here / "stopped", here / "half")
assert Trainer(config, here / "stopped", quiet=True).run()

# A head whose loss is off takes no part; nor does anything wait for it.
plain = parse_config(recipe | {"losses": {"handedness": 0.0, "projection": 0.0}, "ema": None}, "test")
assert Trainer(plain, here / "plain", quiet=True).run()

# Batch normalisation by each process's own rows.
own = parse_config(recipe | {"sync_batch_norm": False, "ema": None}, "test")
first = Trainer(own, here / "own", quiet=True)
first.stop = StopWhen(lambda: (first.position.stage, first.position.step) == (2, 1))
assert not first.run()
if first.processes.first:
    shutil.copytree(here / "own", here / "own_stopped")
last = Trainer(own, here / "own", quiet=True)
assert last.run()
torch.save(last.generator.state_dict(), here / f"own_{last.processes.rank}.pt")
assert Trainer(own, here / "own_stopped", quiet=True).run()

odd = parse_config(recipe | {"batch_size": 7}, "test")
try:
    Trainer(odd, here / "odd", quiet=True)
except InputError as error:
    sys.stdout.write(f"{error}\\n")  # in one piece: the other process writes too

# Last, as users start it.
sys.argv = ["graphhand", "train", "--config", "recipe.yaml", "--out", str(here / "whole")]
runpy.run_module("graphhand", run_name="__main__")
"""


@pytest.fixture(scope="module")
def program_run(recipe, tmp_path_factory) -> tuple[Path, str]:
    """The folder in which the program ran as two processes, and what they printed."""
    folder = tmp_path_factory.mktemp("program_run")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "program.py"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(folder)], env=environment, cwd=folder, timeout=600, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout


@pytest.fixture(scope="module")
def together(program_run) -> Path:
    return program_run[0] / "whole"


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_two_processes_end_with_the_weights_of_one(alone, together, stage):
    start = Trainer(load_config(alone / "config.yaml"), alone.parent / "start", quiet=True).generator.state_dict()
    one, two = saved_weights(alone / f"stage{stage}"), saved_weights(together / f"stage{stage}")
    moved = max(float((one[name] - start[name]).abs().max()) for name in one if name.endswith("conv1.weight"))
    assert moved > 5e-4  # many times what is tolerated between the two
    assert_same_training(one, two, rtol=1e-4, atol=2e-5)


def test_two_processes_log_what_one_does(alone, together):
    for name in ("train.csv", "validation.csv"):
        one, two = rows(alone / name), rows(together / name)
        assert len(one) == len(two) > 0
        for a, b in zip(one, two):
            for column in a.keys() - {"seconds", "samples_per_second", "waiting"}:
                assert bool(a[column]) == bool(b[column]), column
                if a[column]:
                    assert float(b[column]) == pytest.approx(float(a[column]), rel=2e-3, abs=1e-4), column
    assert {row["samples"] for row in rows(together / "validation.csv")} == {"9"}  # an odd number, each seen once


def test_only_the_first_process_prints(program_run):
    assert program_run[1].count("finished; weights are in") == 1


def test_run_records_its_processes(together):
    assert json.loads((together / "environment.json").read_text())["processes"] == 2


def test_stop_is_agreed_and_resume_exact(together, program_run):
    folder, _ = program_run
    for stage in (1, 2, 3):
        one, two = saved_weights(together / f"stage{stage}"), saved_weights(folder / "stopped" / f"stage{stage}")
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_another_number_of_processes_may_go_on(recipe, alone, program_run):
    half = program_run[0] / "half"
    assert Trainer(parse_config(recipe, "test"), half, quiet=True).run()
    assert_same_training(saved_weights(alone / "stage3"), saved_weights(half / "stage3"), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("stage", [1, 2])
def test_unsynchronised_processes_train_as_micro_batches_do(recipe, program_run, tmp_path, stage):
    micro_batches = parse_config(recipe | {"accumulate": 2, "ema": None}, "test")
    assert Trainer(micro_batches, tmp_path / "micro_batches", quiet=True).run(stages=tuple(range(1, stage + 1)))
    one, two = (
        saved_weights(tmp_path / "micro_batches" / f"stage{stage}"),
        saved_weights(program_run[0] / "own" / f"stage{stage}"),
    )
    for name in one:
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):  # seen in turn, or at once
            torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=2e-5, msg=name)


def test_unsynchronised_processes_end_with_one_network_and_resume_exactly(program_run):
    folder, _ = program_run
    first, second = torch.load(folder / "own_0.pt"), torch.load(folder / "own_1.pt")
    resumed = saved_weights(folder / "own_stopped" / "stage3")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(first[name], resumed[name]) for name in first)


def test_batch_that_cannot_be_split_is_one_line(program_run):
    lines = [line for line in program_run[1].splitlines() if line.startswith("batch_size: 7 cannot be split")]
    assert len(lines) == 2


def test_several_processes_need_torchrun(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="start with torchrun"):
        Trainer(parse_config(recipe, "test"), tmp_path / "run", quiet=True)


@pytest.mark.parametrize(("kind", "shape"), [(nn.BatchNorm1d, (6, 5)), (nn.BatchNorm2d, (4, 5, 3, 2))])
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"momentum": None}, {"track_running_stats": False}])
def test_batch_norm_agrees_with_torch_forwards_backwards_and_in_evaluation(kind, shape, options):
    draw = torch.Generator().manual_seed(0)
    theirs = nn.Sequential(kind(5, **options))
    if theirs[0].affine:
        nn.init.normal_(theirs[0].weight, generator=draw)
        nn.init.normal_(theirs[0].bias, generator=draw)
    ours = synchronise_batch_norm(copy.deepcopy(theirs), CPU)
    assert isinstance(ours[0], SyncBatchNorm)
    for _ in range(3):
        x = 3 + 2 * torch.randn(shape, generator=draw)
        grad = torch.randn(shape, generator=draw)
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        torch.testing.assert_close(ours(b), theirs(a))
        theirs(a).backward(grad)
        ours(b).backward(grad)
        torch.testing.assert_close(b.grad, a.grad)
    for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad)
    torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_batch_norm_keeps_half_precision():
    norm = synchronise_batch_norm(nn.Sequential(nn.BatchNorm1d(4)), CPU)
    assert norm(torch.randn(8, 4).bfloat16()).dtype == torch.bfloat16


def test_synchronised_networks_keep_state_dict_and_parameters():
    config = GeneratorConfig(backbone={"name": "resnet18", "width": 8}, image_size=32, refinement={"width": 8})
    network = Generator(config)
    names, parameters = list(network.state_dict()), {id(p) for p in network.parameters()}
    synchronise_batch_norm(network, CPU)
    assert list(network.state_dict()) == names
    assert {id(p) for p in network.parameters()} == parameters
    kinds = {type(m) for m in network.modules() if "BatchNorm" in type(m).__name__}
    assert kinds == {SyncBatchNorm}


def test_other_kinds_of_batch_norm_are_refused_by_name():
    class WithActivation(nn.BatchNorm2d):
        pass

    with pytest.raises(InputError, match=r"stem\.1: WithActivation cannot be synchronised"):
        synchronise_batch_norm(nn.ModuleDict({"stem": nn.Sequential(nn.ReLU(), WithActivation(3))}), CPU)
