"""``graphhand train`` from the outside: what it asks for, what it says on the way, and what comes next."""

from __future__ import annotations

import os
import re
import shlex
import signal
from pathlib import Path

import cv2
import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from factories import merge, noise_image, plain_source, tiny_recipe, write_hands
from graphhand.cli import app
from graphhand.cli.train import Stage, _this_command
from graphhand.errors import InputError
from graphhand.io.files import find_weights
from graphhand.training.config import load_config, recipes
from graphhand.training.logging import validation_line
from graphhand.training.trainer import StopRequest

CONFIGS = Path(__file__).parents[2] / "configs"


def write_recipe(folder, **changes):
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(merge(tiny_recipe(), changes)))
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def hands(tmp_path):
    """Eight images, six with the split train and two with test."""
    folder = tmp_path / "hands"
    folder.mkdir()
    return write_hands(folder, lambda k: {"split": "test" if k > 5 else "train"})


def sources(folder):
    train, test = (plain_source(folder, options={"split": split}) for split in ("train", "test"))
    return {"train": [train], "validation": test}


def test_without_a_recipe_the_recipes_are_listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("train")
    assert isinstance(result.exception, InputError)
    for path in CONFIGS.glob("*.yaml"):
        assert (path.name in str(result.exception)) == (not path.name.startswith("ablation"))
    assert "about five minutes" in str(result.exception)
    assert not (tmp_path / "runs").exists()


def test_every_recipe_says_in_its_first_line_what_it_is():
    assert all(len(line) > 30 and line.endswith(".") for line in recipes().values())


def test_a_recipe_that_comes_with_graphhand_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("quick") == load_config("configs/quick.yaml") == load_config(CONFIGS / "quick.yaml")


@pytest.mark.parametrize("name", ["cpu.yaml"])
def test_missing_images_are_answered_with_the_commands_that_render_them(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    result = run("train", "--config", CONFIGS / name)
    lines = str(result.exception).splitlines()
    assert "data/rendered: no such file or folder; this recipe's images are rendered first:" in lines[0]
    assert "about 17 min on one core, 2.2 GB" in lines[1]
    offered = [line.split("#")[0].strip() for line in lines[1:]]
    recipe = load_config(CONFIGS / name)
    assert offered == list(recipe.prepare)
    roots = {str(source.root) for source in (*recipe.train, recipe.validation)}
    for command in offered:
        context = get_command(app).commands["render"].make_context("render", shlex.split(command)[2:])
        assert str(context.params["out"]) in roots
    assert not (tmp_path / "runs").exists()


def test_a_split_that_no_line_has_is_one_line(tmp_path, hands):
    (hands / "hands.jsonl").write_text((hands / "hands.jsonl").read_text().replace('"split": "train"', '"name": "a"'))
    result = run("train", "--config", write_recipe(tmp_path, **sources(hands)), "--out", tmp_path / "run")
    assert isinstance(result.exception, InputError)
    assert 'no line has "split": "train" (the lines are 6 of "no split", 2 of "test")' in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_the_console_shows_errors_best_value_time_left_and_the_next_commands(tmp_path, hands):
    out = tmp_path / "run"
    result = run("train", "--config", write_recipe(tmp_path, **sources(hands)), "--out", out)
    assert result.exit_code == 0, result.output
    validations = [line for line in result.output.splitlines() if "; best root" in line]
    assert re.match(rf"\d+ steps of \d+ crops; losses in {re.escape(str(out / 'train.csv'))}\n", result.stdout)
    assert len(validations) == 3
    assert all(" PA " in line and " px;" in line for line in validations)
    assert " left" in validations[0]
    assert validations[-1].endswith("; done")
    assert f"  graphhand predict PHOTO --weights {out}" in result.output
    (evaluate,) = (line for line in result.output.splitlines() if "graphhand evaluate" in line)
    assert run(*shlex.split(evaluate)[1:]).exit_code == 0
    cv2.imwrite(str(tmp_path / "photo.png"), noise_image(0))
    predicted = run("predict", tmp_path / "photo.png", "--weights", out, "--whole-image", "--out", tmp_path / "drawn")
    assert predicted.exit_code == 0, predicted.output


def test_a_stopped_run_says_how_to_go_on(tmp_path, hands):
    recipe, out = write_recipe(tmp_path, **sources(hands)), tmp_path / "run"
    result = run("train", "--config", recipe, "--out", out, "--max-minutes", "0")
    assert "stopped at stage 1, step 1; the same command goes on from there" in result.output


def test_one_stage_names_the_next(tmp_path, hands, monkeypatch):
    recipe, out = write_recipe(tmp_path, **sources(hands)), tmp_path / "r"
    words = ["train", "--config", str(recipe), "--out", str(out), "--stage", "1"]
    monkeypatch.setattr("sys.argv", ["graphhand", *words])
    result = run(*words)
    assert f"weights are in {out}/stage1" in result.output
    assert f"  {shlex.join(['graphhand', *words[:-1], '2'])}" in result.output


@pytest.mark.parametrize("stage", ["--stage 1", "--stage=1", "--stage 3 --stage=1", "--stage=3 --stage 1"])
@pytest.mark.parametrize("resume", ["", "--resume auto", "--resume never", "--resume=never", "--resume=a/never"])
def test_the_next_command_is_this_one_for_the_next_stage_of_the_same_run(monkeypatch, stage, resume):
    words = shlex.split(f"train --config a.yaml {stage} --out --stage=x {resume} -- seed=1 --stage=1")
    monkeypatch.setattr("sys.argv", ["graphhand", *words])

    def parsed(words):
        return dict(get_command(app).commands["train"].make_context("train", words[1:]).params)

    goes_on = {"resume": "a/never" if "a/never" in resume else "auto"}  # there is a run, which never would refuse
    now, later = (shlex.split(_this_command(stage=number)) for number in (None, 2))
    assert now[0] == later[0] == "graphhand"
    assert parsed(now[1:]) == parsed(words) | goes_on
    assert parsed(later[1:]) == parsed(words) | goes_on | {"stage": Stage.two}


def test_2d_labels_alone_warn_with_the_remedy(tmp_path, hands):
    flat = tmp_path / "flat"
    flat.mkdir()
    points = [[10.0 + j, 20.0 + (j * 7) % 20] for j in range(21)]
    write_hands(flat, lambda k: {"joints_cam_m": None, "camera": None, "joints_px": points})
    source = plain_source(flat)
    recipe = {"train": [source], "validation": source, "stage2": {"epochs": 0}, "stage3": {"epochs": 0}}
    result = run("train", "--config", write_recipe(tmp_path, **recipe), "--out", tmp_path / "a")
    assert result.exit_code == 0, result.output
    assert "warning: training with 2D labels alone" in result.output
    assert "{kind: synthetic, seed: 0}" in result.output
    assert "best image" in result.output  # pixels decide where there are no millimetres
    mixed = recipe | {"train": [source, plain_source(hands)]}
    result = run("train", "--config", write_recipe(tmp_path, **mixed), "--out", tmp_path / "b")
    assert "2D labels alone" not in result.output


def test_ctrl_c_is_acknowledged_at_once_and_the_second_one_stops(capfd):
    stop = StopRequest()
    with stop.catching_signals("stopping after this step"):
        assert not stop
        os.kill(os.getpid(), signal.SIGINT)
        assert stop
        assert capfd.readouterr().err.strip() == "stopping after this step"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_best_validation_is_of_the_same_stage():
    rows = [
        {"stage": stage, "step": step, "root_mm": root, "pa_mm": "9", "proj_px": "3.25"}
        for stage, step, root in (("1", "5", "20"), ("2", "5", "40"), ("2", "10", "30.04"), ("2", "15", "35"))
    ]
    assert validation_line(rows, 200) == (
        "stage 2, step 15: root 35.0 mm, PA 9.0 mm, image 3.2 px; best root 30.0 mm at step 10; 3 min left"
    )


def test_a_run_and_its_checkpoint_stand_for_the_newest_finished_stage(tmp_path, hands):
    recipe, out = write_recipe(tmp_path, **sources(hands)), tmp_path / "run"
    run("train", "--config", recipe, "--out", out, "--max-minutes", "0")
    with pytest.raises(InputError, match=r"a run without a finished stage; .*graphhand export --weights"):
        find_weights(out)
    for stage in (1, 2):
        assert run("train", "--config", recipe, "--out", out, "--stage", stage).exit_code == 0
        assert find_weights(out) == find_weights(out / "checkpoint.safetensors") == out / f"stage{stage}"
    with pytest.raises(InputError, match="nor a training run"):
        find_weights(tmp_path)
