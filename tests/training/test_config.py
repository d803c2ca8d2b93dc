"""Recipes: every one in the repository is valid, and every mistake is answered in one line with a way out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from graphhand.errors import InputError
from graphhand.models.config import FCRefinementConfig, HeatmapConfig, SingleSourceConfig
from graphhand.training.config import NegativesSource, TrainConfig, load_config, parse_config

ROOT = Path(__file__).parents[2]
RECIPES = sorted([*(ROOT / "configs").glob("*.yaml"), *(ROOT / "research").rglob("*.yaml")])
CONFIGS = [path for path in RECIPES if "kind: detector" not in path.read_text("utf-8")]  # those: test_detector.py


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_recipe_is_valid(path):
    config = load_config(path)
    assert sum(config.stage_steps(stage) for stage in (1, 2, 3)) > 0


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_recipe_names_the_unit_that_its_weights_are_of(path):
    assert set(yaml.safe_load(path.read_text("utf-8"))["losses"]) >= {"unit"}


def test_paper_recipe_has_the_papers_numbers():
    config = load_config(next(p for p in CONFIGS if p.name == "paper.yaml"))
    assert (config.generator.backbone.name, config.generator.image_size) == ("resnet50", 224)
    assert not config.generator.backbone.shared
    assert [config.stage(s).learning_rate for s in (1, 2, 3)] == [1e-3, 1e-4, 1e-4]
    assert [config.stage(s).epochs for s in (1, 2, 3)] == [100, 100, 100]
    weights = config.losses
    assert (weights.pose, weights.projection, weights.bone_length) == (1.0, 0.1, 0.01)
    assert (weights.bone_direction, weights.adversarial) == (0.1, 0.01)


@pytest.mark.parametrize(
    ("override", "rendered"),
    [
        ("seed=1", True),
        ("augmentation=null", True),
        ("train=[{kind: synthetic, render: {upright: 1}}]", True),
        ("augmentation.blur=0.5", False),
        ("generator.crop_margin=1.2", False),
        ("train=[{kind: synthetic, render: {side: left}}]", False),
        ("train=[{kind: synthetic, render: {image_size: 48}}]", False),
        ("train=[{kind: synthetic}, {kind: synthetic, seed: 1}]", False),
        ("train=[{kind: dataset, name: rhd, root: /x}]", False),
    ],
)
def test_hands_are_rendered_as_crops_unless_an_option_needs_images_to_crop(override, rendered):
    config = load_config(None, [override])
    assert config.renders_crops is rendered
    assert (config.augmentation is None) is rendered
    assert parse_config(config.model_dump(mode="json"), "test") == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stage1.epoch=3", r"unknown key stage1.epoch; did you mean epochs\?"),
        ("generator.bakbone.name=resnet18", r"generator.bakbone; did you mean backbone\?"),
        ("generator.refinement.bloks=2", r"generator.refinement.bloks; did you mean blocks\?"),
        (
            "generator.refinement={kind: fc, edges: free}",
            r"unknown key generator.refinement.edges; .*kind, blocks, width, norm",
        ),
        ("discriminator={sources: single, bones: gram}", r"unknown key discriminator.bones; .*sources, width"),
        ("generator.refinement.kind=mlp", "generator.refinement: no kind 'mlp'; choose 'gcn', 'fc'"),
        ("generator.backbone=resnet18", "generator.backbone: not a section; .*name, width, shared"),
        ("generator.refinement=none", "generator.refinement: not a section"),
        ("train=[{kind: synthetic, render: {sleves: 1}}]", r"unknown key sleves; did you mean sleeves\?"),
        ("bach_size=3", r"did you mean batch_size\?"),
        ("train=[{kind: synthetic, sede: 1}]", r"train.0.sede; did you mean seed\?"),
        ("train=[{kind: dataset, name: rhd, rot: /x}]", r"train.0.rot; did you mean root\?"),
        ("augmentation.scal=1", r"augmentation.scal; did you mean scale\?"),
        ("critic.step=2", r"did you mean steps\?"),
        ("generator.backbone.name=vgg", "generator.backbone.name"),
        ("batch_size=one", "batch_size"),
        ("seed=99999999999999999999", "seed"),
        ("losses.pose=-1", "losses.pose"),
        ("epoch_samples=3", "epoch_samples is smaller than batch_size"),
        ("generator.refinement=null", "stages 2 and 3"),
        ("generator.refinement.features=lifted", "set heatmaps"),
        ("generator.heatmaps.stride=4", "losses.heatmap_joints"),
        ("generator.image_size=100", "multiple of 32"),
        ("frozen_stride=4", "frozen_stride would keep random layers"),
        ("generator.hand_model.pca_components=5", "pca_components"),
        ("augmentation.scale=9", "augmentation.scale"),
        ("validation={kind: film}", "film"),
        ("validation={kind: negatives, root: /x}", "validation"),
        ("train=[{kind: negatives, root: /x}]", "negatives alone"),
        ("train=[{kind: negatives, rot: /x}]", r"train.0.rot; did you mean root\?"),
        ("losses.heatmap_background=1", "kind negatives"),
        ("seed", "key=value"),
        ("=3", "key=value"),
        ("seed.more=3", "section"),
        ("seed={", "YAML"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path, override, message):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("seed: 3\n")
    with pytest.raises(InputError, match=message) as caught:
        load_config(recipe, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed: [", "not YAML"),
        (b"- 1\n- 2\n", "mapping"),
        (b"\xff\xfe", "cannot be read"),
        (b"a: &x [*x]", "unknown key a"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_config(tmp_path / "absent.yaml")


def test_yaml_cannot_run_code(tmp_path):
    target = tmp_path / "ran"
    path = tmp_path / "recipe.yaml"
    path.write_text(f"seed: !!python/object/apply:os.system ['touch {target}']\n")
    with pytest.raises(InputError, match="not YAML"):
        load_config(path)
    assert not target.exists()


def test_empty_recipe_is_the_default(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("# nothing\n")
    assert load_config(path) == TrainConfig()


def test_overrides_reach_into_sections():
    config = load_config(None, ["stage2.epochs=0.5", "generator.backbone.name=resnet18", "seed=9", "batch_size=32"])
    assert (config.stage2.epochs, config.generator.backbone.name, config.seed) == (0.5, "resnet18", 9)
    assert config.stage2.learning_rate == 1e-4
    assert config.stage_steps(2) == round(0.5 * (config.epoch_samples // 32))


def test_overrides_add_and_remove_optional_sections(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("generator: {heatmaps: null, refinement: {kind: fc, blocks: 3}}\n")
    added = load_config(recipe, ["generator.heatmaps.stride=4", "losses.heatmap_joints=1", "generator.refinement=null",
                                 "stage2.epochs=0", "stage3.epochs=0"])  # fmt: skip
    assert (added.generator.heatmaps.stride, added.generator.refinement) == (4, None)
    removed = load_config(None, ["generator.heatmaps=null", "generator.refinement.blocks=2"])
    assert removed.generator.heatmaps is None
    assert (removed.generator.refinement.kind, removed.generator.refinement.blocks) == ("gcn", 2)
    assert load_config(recipe).generator.refinement.kind == "fc"


def test_resolved_configuration_can_be_read_back():
    changes = ["discriminator={sources: single, width: 64}", "generator.refinement={kind: fc}", "generator.heatmaps={}"]
    config = load_config(None, [*changes, "losses.heatmap_joints=1"])
    assert parse_config(config.model_dump(mode="json"), "test") == config


def sections_of(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        pending = [field.annotation]
        while pending:
            annotation = pending.pop()
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                yield from sections_of(annotation)
            else:
                pending.extend(get_args(annotation))


def test_every_setting_is_documented_in_one_line():
    sections = set(sections_of(TrainConfig))
    assert {FCRefinementConfig, HeatmapConfig, SingleSourceConfig, NegativesSource} <= sections
    for section in sections:
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"
            assert len(field.description) <= 130, f"{section.__name__}.{name}"
            assert "\n" not in field.description
