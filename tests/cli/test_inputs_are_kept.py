"""No command writes over a file that it reads, by whatever option and path that file is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from factories import tiny_recipe
from graphhand.cli import app
from graphhand.cli.outputs import refuse_inputs
from graphhand.errors import InputError

CAMERA = {"width": 64, "height": 48, "K": [[90, 0, 32], [0, 90, 24], [0, 0, 1]], "distortion": [0.1, 0, 0, 0]}
COMMAND = get_command(app)  # built once for all


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a file of each kind that an option names; refused before most are read."""
    monkeypatch.chdir(tmp_path)
    recipe = "# mine\n" + yaml.safe_dump(tiny_recipe())
    texts = {
        **dict.fromkeys(
            ("a.png", "hand.npz", "W/model.safetensors", "W/model.json", "hands.jsonl", "pck_root.csv"), "x"
        ),
        "cam.json": json.dumps(CAMERA),
        "bb.json": "{}",  # a line without its end, which --resume would cut off
        "recipe.yaml": recipe,
        "own/config.yaml": recipe,
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


PREDICT = "predict a.png --whole-image"
EVALUATE = "evaluate --dataset rendered --limit 1"


@pytest.mark.parametrize(
    "command",
    [
        "predict a.png --detector bb.json --json bb.json",
        "predict a.png --detector bb.json --csv bb.json",
        "predict a.png --detector bb.json --json bb.json --resume",
        "predict a.png --detector W --json W/model.json",
        f"{PREDICT} --calibration cam.json --json cam.json",
        f"{PREDICT} --calibration cam.json --json new.jsonl --csv W/../cam.json",
        f"{PREDICT} --weights W --json W/model.safetensors",
        f"{PREDICT} --weights W/model.safetensors --csv W/model.json",
        f"{PREDICT} --mesh obj --hand-model hand.npz --json hand.npz",
        "rig hands.jsonl --hand hand.npz --json hand.npz",
        "rig a.png --weights W --json W/model.json",
        "bench --weights W --image a.png --json a.png",
        "bench --weights W --json W/model.json",
        "bench train --config recipe.yaml --json recipe.yaml",
        "bench losses --config recipe.yaml --json recipe.yaml",
        "ablate --config recipe.yaml --json recipe.yaml",
        "train --config own/config.yaml --out own",
        f"{EVALUATE} --weights W --json W/model.json",
        f"{EVALUATE} --weights fast --save-predictions W/model.safetensors beside=[W]",
        f"{EVALUATE} --weights W --json hand.npz hand=hand.npz",
        f"{EVALUATE} --weights W --figures . --preset root curves=pck_root.csv",
        f"{EVALUATE} --weights W --figures . --preset root curves=.",
        "evaluate --detection bb.json --json bb.json",
        "evaluate --detection bb.json --predictions hands.jsonl --json hands.jsonl",
        "export --weights W --format safetensors --half --no-graph --out W --force",
    ],
)
def test_an_output_in_an_inputs_place_is_refused(folder: Path, command: str) -> None:
    before = contents(folder)
    with pytest.raises(InputError, match="is one of the inputs; choose another --"):
        COMMAND.main(command.split(), standalone_mode=False)
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["a.png", "./sub/../a.png", "link.png", "hard.png"])
def test_an_input_is_known_by_any_of_its_names(folder: Path, name: str) -> None:
    (folder / "sub").mkdir()
    (folder / "link.png").symlink_to("a.png")
    try:
        os.link(folder / "a.png", folder / "hard.png")
    except OSError:
        pytest.skip("this file system has no hard links")
    with pytest.raises(InputError, match="is one of the inputs"):
        refuse_inputs(name, "--json", [Path("b.png"), Path("a.png")])
    refuse_inputs(name, "--json", [Path("b.png"), None])


def test_standard_output_and_new_files_are_accepted(folder: Path) -> None:
    for target, option in ((None, "--out"), ("-", "--json"), ("-", "--csv"), ("new", "--json")):
        refuse_inputs(target, option, [Path("-") if target == "-" else Path("a.png")])
