from __future__ import annotations

import json

import pytest
import typer
import yaml
from typer.testing import CliRunner

from graphhand.cli import train
from graphhand.errors import InputError

APP = typer.Typer()
APP.command()(train.ablate)


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"stage1": {"epochs": 3}, "batch_size": 8, "epoch_samples": 64}))
    return path


def run(recipe, *arguments):
    return CliRunner().invoke(APP, ["--config", str(recipe), *map(str, arguments)])


def test_dry_run_lists_cells_with_parents_steps_and_state(recipe, tmp_path):
    out = tmp_path / "grid"
    result = run(recipe, "--out", out, "--tables", "1", "--seeds", "0,3", "--dry-run", "--json", "-")
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert [row["seed"] for row in plan] == [0] * 5 + [3] * 5
    first = plan[0]
    assert (first["cell"], first["parent"], first["steps"], first["state"]) == ("I-full", None, 24, "waiting")
    assert plan[1]["parent"] == "I-full"
    assert not out.exists()


def test_dry_run_prints_a_table(recipe, tmp_path):
    result = run(recipe, "--out", tmp_path / "grid", "--dry-run", "--seeds", "0,3", "stage3.epochs=1")
    assert result.exit_code == 0, result.output
    assert "36 cells left" in result.output
    assert "the time is known after the first cell" in result.output
    lines = result.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("waiting" in line for line in lines) == 18  # a row a cell, a column a seed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tables", "1;2"), "--tables"),
        (("--tables", "6"), "--tables"),
        (("--seeds", "a"), "--seeds"),
        (("--json", "missing/a.json"), "there is no folder"),
        (("--seeds", "1,1"), "--seeds"),
        (("stage2.epochs=0",), "stage2.epochs"),
        (("stage2.epoch=1",), "did you mean epochs"),
    ],
)
def test_bad_input_is_one_line(recipe, tmp_path, arguments, message):
    result = run(recipe, "--out", tmp_path / "grid", "--dry-run", *arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)


def test_several_processes_are_refused(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = run(recipe, "--out", tmp_path / "grid")
    assert isinstance(result.exception, InputError)
    assert "one process" in str(result.exception)
