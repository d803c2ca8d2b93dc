"""A tiny grid trained for real: each cell once, interrupted anywhere, refused when its recipe changes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from factories import plain_source, tiny_recipe, write_hands
from graphhand.ablation import runner
from graphhand.ablation.runner import Ablation, write_outputs
from graphhand.errors import InputError
from graphhand.evaluation import PoseRecords
from graphhand.training import trainer
from graphhand.training.config import parse_config
from graphhand.training.trainer import Trainer

TINY = tiny_recipe(
    epoch_samples=8,
    stage1={"learning_rate": 1e-3},
    stage2={"learning_rate": 1e-3},
    stage3={"epochs": 1.5, "learning_rate": 1e-3},
    checkpoint_minutes=0,
)


class Killed(BaseException):
    """What SIGKILL leaves on disk, an exception nobody catches leaves too."""


@pytest.fixture(scope="module")
def hands(tmp_path_factory) -> Path:
    """Eight labelled images in the plain format, six to train on and all to test on."""
    return write_hands(tmp_path_factory.mktemp("hands"), lambda k: {"split": "train" if k < 6 else "test"})


@pytest.fixture(scope="module")
def recipe(hands):
    return TINY | {"train": [plain_source(hands, options={"split": "train"})], "validation": plain_source(hands)}


def grid(recipe, out, tables=(3,), seeds=(0,), **changes) -> Ablation:
    return Ablation(parse_config(recipe | changes, "test"), out, tables, seeds)


def all_weights(ablation):
    return {run.cell.name: load_file(run.weights / "model.safetensors") for run in ablation.runs}


def assert_same(mine, theirs):
    assert mine.keys() == theirs.keys()
    for cell, tensors in mine.items():
        for name, value in tensors.items():
            assert torch.equal(value, theirs[cell][name]), (cell, name)


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory) -> Ablation:
    """Table III's five cells, trained without interruption."""
    ablation = grid(recipe, tmp_path_factory.mktemp("grid") / "whole")
    assert ablation.run()
    return ablation


@contextmanager
def one_step(run, trainer):
    """Stops a cell after its next step."""
    trainer.stop.deadline = 0.0
    yield


def test_every_cell_leaves_weights_records_and_scores(whole):
    assert [run.state() for run in whole.runs] == ["finished"] * 5
    for run in whole.runs:
        result = run.result()
        assert result["steps"] == run.steps
        assert result["environment"]["packages"]["torch"] == torch.__version__
        records = PoseRecords.load(run.folder / "records.npz")
        assert len(records) == result["scores"]["samples"] == 8
        by_hand = np.linalg.norm(
            (records.predicted_m - records.predicted_m[:, :1]) - (records.truth_m - records.truth_m[:, :1]), axis=-1
        )
        assert result["scores"]["root_mm"] == pytest.approx(1000 * by_hand.mean())
        assert not (run.folder / "checkpoint.safetensors").exists()


def test_children_start_from_their_parents_weights(whole, recipe):
    by_name = {run.cell.name: run for run in whole.runs}
    child = by_name["II-gcn-full"]
    start = Trainer(child.config, whole.out / "unused", quiet=True).generator.state_dict()
    for name, value in load_file(by_name["I-full"].weights / "model.safetensors").items():
        assert torch.equal(start[name], value), name


def test_a_finished_grid_trains_nothing(whole, monkeypatch):
    monkeypatch.setattr(runner, "Trainer", None)
    monkeypatch.setattr(runner, "predict_dataset", None)
    assert grid_like(whole).run()


def grid_like(ablation, out=None) -> Ablation:
    return Ablation(ablation.base, out or ablation.out, ablation.tables, ablation.seeds)


def test_another_table_trains_only_what_it_adds(whole, recipe, tmp_path):
    trained = []

    @contextmanager
    def watch(run, trainer):
        trained.append(run.cell.name)
        yield

    shutil.copytree(whole.out, tmp_path, dirs_exist_ok=True)
    assert grid(recipe, tmp_path, tables=[1, 3]).run(watch=watch)
    assert trained == ["I-long-full"]


def test_stopped_after_every_step_it_ends_with_the_same_weights(recipe, whole, tmp_path):
    sessions = 1
    while not grid_like(whole, tmp_path).run(watch=one_step):
        sessions += 1
        assert sessions < 50
    assert sessions > 5
    assert_same(all_weights(grid_like(whole, tmp_path)), all_weights(whole))


def test_killed_within_a_cell_and_moved_it_ends_with_the_same_weights(whole, tmp_path, monkeypatch):
    step, calls = trainer.training_step, []

    def dying(*arguments):
        calls.append(1)
        if len(calls) == 4:  # the second step of the second cell
            raise Killed
        return step(*arguments)

    monkeypatch.setattr(trainer, "training_step", dying)
    with pytest.raises(Killed):
        grid_like(whole, tmp_path / "before").run()
    (tmp_path / "before").rename(tmp_path / "after")
    assert grid_like(whole, tmp_path / "after").run()
    assert_same(all_weights(grid_like(whole, tmp_path / "after")), all_weights(whole))


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_a_signal_between_cells_ends_the_grid(whole, tmp_path):
    ablation = grid_like(whole, tmp_path)
    assert not ablation.run(finished=lambda run: os.kill(os.getpid(), signal.SIGTERM))
    assert [run.state() for run in ablation.runs][:2] == ["finished", "waiting"]


def test_killed_between_training_and_scores_it_only_scores(whole, tmp_path, monkeypatch):
    def dying(*arguments, **options):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(runner, "predict_dataset", dying)
        with pytest.raises(Killed):
            grid_like(whole, tmp_path).run()
    first = grid_like(whole, tmp_path).runs[0]
    assert first.state() == "trained"
    before = (first.weights / "model.safetensors").stat().st_mtime_ns
    assert grid_like(whole, tmp_path).run()
    assert (first.weights / "model.safetensors").stat().st_mtime_ns == before
    assert_same(all_weights(grid_like(whole, tmp_path)), all_weights(whole))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"stage1": {"epochs": 2, "learning_rate": 1e-3}}, "stage1.epochs 1"),
        ({"losses": {"projection": 0.2}}, "losses.projection 0.1, not 0.2"),
        ({"batch_size": 8}, "batch_size 4, not 8"),
    ],
)
def test_a_changed_recipe_is_refused_before_anything_is_trained(whole, recipe, change, key, monkeypatch):
    monkeypatch.setattr(runner, "Trainer", None)
    with pytest.raises(InputError, match=key) as caught:
        grid(recipe, whole.out, **change).run()
    assert "\n" not in str(caught.value)
    assert "cell.json" in str(caught.value)


def test_how_a_grid_runs_may_change(whole, recipe):
    assert {run.state() for run in grid(recipe, whole.out, threads=2, log_every=5).runs} == {"finished"}


def test_another_test_set_scores_again_and_trains_nothing(whole, recipe, tmp_path, hands, monkeypatch):
    shutil.copytree(whole.out, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(runner, "Trainer", None)
    other = {"kind": "dataset", "name": "plain", "root": str(hands), "options": {"split": "test"}}
    ablation = grid(recipe, tmp_path, validation=other)
    assert {run.state() for run in ablation.runs} == {"trained"}
    assert ablation.run()
    assert {result["scores"]["samples"] for result in ablation.results()} == {2}


def test_images_show_cells_on_the_recipes_test_set_alone(whole, recipe, tmp_path, hands):
    """Records of another test set tell nothing of this one's images."""
    shutil.copytree(whole.out, tmp_path, dirs_exist_ok=True)
    other = {"kind": "dataset", "name": "plain", "root": str(hands), "options": {"split": "test"}}
    drawn = tmp_path / "fig6_stages.png"
    write_outputs(grid(recipe, tmp_path, validation=other), figures=True)
    assert not drawn.exists()
    assert "fig6_stages.png" not in (tmp_path / "tables.md").read_text()
    write_outputs(grid(recipe, tmp_path), figures=True)
    assert drawn.exists()


def test_a_cell_that_lacks_a_measure_is_scored_again_and_not_trained(whole, tmp_path, monkeypatch):
    shutil.copytree(whole.out, tmp_path, dirs_exist_ok=True)
    first = grid_like(whole, tmp_path).runs[0]
    before = first.result()
    older = {key: value for key, value in before["scores"].items() if not key.startswith("bone_")}
    (first.folder / "result.json").write_text(json.dumps(before | {"scores": older}))
    monkeypatch.setattr(runner, "Trainer", None)
    assert first.state() == "trained"
    assert grid_like(whole, tmp_path).run()
    assert first.result() == before


def test_seeds_are_grids_of_their_own(whole, recipe, tmp_path):
    shutil.copytree(whole.out, tmp_path, dirs_exist_ok=True)  # seed 0 is done
    ablation = grid(recipe, tmp_path, seeds=[0, 2])
    assert ablation.run()
    first, second = (load_file(run.weights / "model.safetensors") for run in (ablation.runs[0], ablation.runs[5]))
    assert any(not torch.equal(first[name], second[name]) for name in first)
    found = write_outputs(ablation, figures=True)
    assert found["summary"]["I-full"]["root_mm"]["n"] == 2
    assert json.loads((tmp_path / "results.json").read_text()) == found
    page = (tmp_path / "tables.md").read_text()
    assert "±" in page
    assert "fig6_stages.png" in page
    image = cv2.imread(str(tmp_path / "fig6_stages.png"))
    assert image.shape[1] > 5 * 240


@pytest.mark.parametrize("seeds", [(), (0, 0), (-1,)])
def test_seeds_are_different_numbers(recipe, tmp_path, seeds):
    with pytest.raises(InputError, match="--seeds"):
        grid(recipe, tmp_path, seeds=seeds)


def test_a_damaged_cell_is_one_line(recipe, tmp_path):
    ablation = grid(recipe, tmp_path)
    ablation.runs[0].folder.mkdir(parents=True)
    (ablation.runs[0].folder / "cell.json").write_text('{"format": ')
    with pytest.raises(InputError, match=r"cell\.json: cannot be read"):
        ablation.run()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_real_signals_from_the_command_line(whole, recipe, tmp_path, number):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-m", "graphhand", "ablate", "--config", str(tmp_path / "recipe.yaml"), "--tables", "3"]
    command += ["--out", str(tmp_path / "grid")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for _ in range(600):
        if (tmp_path / "grid/seed0/II-gcn-full/cell.json").exists():
            break
        time.sleep(0.1)
    process.send_signal(number)
    process.communicate(timeout=120)
    assert subprocess.run(command, capture_output=True, timeout=300).returncode == 0
    assert_same(all_weights(grid_like(whole, tmp_path / "grid")), all_weights(whole))
