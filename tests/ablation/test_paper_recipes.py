"""The paper's recipes on folders in the exact layouts of RHD and STB: training, both protocols, Tables I to V."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from factories import hand_record
from graphhand.cli import app
from graphhand.data import open_dataset
from graphhand.data.check import check_dataset
from graphhand.data.layouts import LAYOUTS
from graphhand.data.writing import ChunkWriter
from graphhand.training.config import TrainConfig, load_config

CONFIGS = Path(__file__).parents[2] / "configs"
SPLITS = {"rhd": ("training", "evaluation", 41258, 2728), "stb": ("train", "test", 15000, 3000)}
TINY = (
    *("device=cpu", "threads=1", "workers=0", "precision=32-true", "channels_last=false", "batch_size=4"),
    *("epoch_samples=4", "generator.image_size=32", "generator.backbone={name: resnet18, width: 8}"),
    *("generator.refinement={blocks: 1, width: 8}", "validation_images=0", "log_every=1"),
    "discriminator={sources: multi, image_size: 16, image_width: 4, pose_width: 4, bone_width: 4, fusion_width: 4}",
    *(f"stage{stage}.epochs=1" for stage in (1, 2, 3)),
)


@pytest.fixture(scope="module", params=["rhd", "stb"])
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def root(name, tmp_path_factory) -> Path:
    """The two splits of a data set, a few images each, as their authors lay them out."""
    root = tmp_path_factory.mktemp(name)
    for split, count in zip(LAYOUTS[name].splits, (12, 4)):
        writer = LAYOUTS[name](root, split)
        records = [writer.prepare(number, hand_record(number)) for number in range(count)]
        for number, record in enumerate(records):
            writer.write(number, record)
        chunks = ChunkWriter(root, split, {})
        chunks.write(0, records)
        writer.finish(chunks.read(count))
    return root


@pytest.fixture(scope="module")
def sources(name, root) -> tuple[str, ...]:
    config = load_config(CONFIGS / f"paper_{name}.yaml")
    given = (config.train[0], config.validation)
    train, test = (source.model_dump(mode="json") | {"root": str(root)} for source in given)
    return f"train={json.dumps([train])}", f"validation={json.dumps(test)}"


def invoke(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_the_recipe_has_the_papers_numbers(name):
    config = load_config(CONFIGS / f"paper_{name}.yaml")
    training, test, images, _ = SPLITS[name]
    assert (config.train[0].name, config.train[0].options["split"]) == (name, training)
    assert config.validation.options["split"] == test
    assert config.epoch_samples == images
    assert [(config.stage(s).epochs, config.stage(s).learning_rate) for s in (1, 2, 3)] == [
        (100, 1e-3),
        (100, 1e-4),
        (100, 1e-4),
    ]
    assert {config.stage(s).schedule for s in (1, 2, 3)} == {"constant"}
    assert config.left_hand_negatives == config.losses.handedness == 0
    assert not any(vars(config.augmentation).values())
    assert (config.generator.backbone.name, config.generator.image_size) == ("resnet50", 224)
    assert config.losses.unit == "bone"


def test_paper_recipes_add_the_same_term_and_say_so():
    paper = {"pose": 1.0, "projection": 0.1, "bone_length": 0.01, "bone_direction": 0.1, "adversarial": 0.01}
    for recipe in ("paper", "paper_rhd", "paper_stb", "ablation"):
        config = load_config(CONFIGS / f"{recipe}.yaml")
        added = {n: w for n, w in config.losses.weights.items() if w and n != "handedness"}
        assert added == paper | {"shape_prior": 0.02}
        assert "shape_prior" in (CONFIGS / f"{recipe}.yaml").read_text().partition("seed:")[0]


def test_the_folders_are_what_the_loaders_expect(name, root):
    report = check_dataset(name, root)
    for part, count in zip(report.splits, (12, 4)):
        assert (part.hands, part.faults) == (count, [])
    assert open_dataset(name, root).info.counts[SPLITS[name][0]] in (SPLITS[name][2], (SPLITS[name][2],))


def test_the_recipe_trains_and_is_scored_by_both_protocols(name, root, sources, tmp_path):
    recipe = CONFIGS / f"paper_{name}.yaml"
    invoke("train", "--config", recipe, "--out", tmp_path / "run", *TINY, *sources)
    assert [(tmp_path / f"run/stage{stage}/model.json").is_file() for stage in (1, 2, 3)] == [True] * 3
    report = tmp_path / "report.json"
    presets = ("paper", "paper-no-scale", "paper-camera")
    wanted = [part for preset in presets for part in ("--preset", preset)]
    command = ("--weights", tmp_path / "run/stage3", "--dataset", name, "--root", root, "--json", report)
    invoke("evaluate", *command, *wanted)
    scores = json.loads(report.read_text())["scores"]
    assert [score["protocol"]["name"] for score in scores] == list(presets)
    assert all(score["samples"] == 4 and score["mean_mm"] > 0 for score in scores)


def test_the_grid_prints_the_papers_tables(name, root, sources, tmp_path):
    command = ("ablate", "--config", CONFIGS / f"paper_{name}.yaml", "--out", tmp_path / "grid")
    tables = "1,2,3,4,5" if name == "rhd" else "3,5"  # STB's other cells are those of RHD
    result = invoke(*command, "--tables", tables, *TINY, *sources)
    titles = {"1": "I: the", "2": "II: GCN", "3": "III: multi", "4": "IV: loss", "5": "V: stages"}
    for number, title in titles.items():
        assert (f"## Table {title}" in result.output) == (number in tables)
    assert "3.9664" in result.output
    assert "| ours, true scale |" in result.output
    assert "…" not in result.output.partition("## Table I")[2]
    assert "Table V" in (tmp_path / "grid/tables.md").read_text()
    assert (tmp_path / "grid/fig8_pck.csv").is_file()
    config = TrainConfig.model_validate(json.loads((tmp_path / "grid/results.json").read_text())["recipe"])
    assert config.losses.unit == "bone"
