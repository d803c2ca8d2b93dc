"""The declared grid: what the tables need, what starts from what, and in what recipes differ."""

from __future__ import annotations

import pytest
import torch

from factories import tiny_generator, tiny_generator_config
from graphhand.ablation.figures import PAPER
from graphhand.ablation.grid import (
    CELLS,
    OPTIONS,
    ORDERINGS,
    TABLES,
    VARIANTS,
    cell_config,
    cell_steps,
    cells_for,
    change,
    check_base,
)
from graphhand.errors import InputError
from graphhand.models import Generator, save_generator
from graphhand.models.checkpoint import load_initial_state
from graphhand.training.config import parse_config

BASE = parse_config({"stage1": {"epochs": 3}, "stage2": {"epochs": 2, "learning_rate": 2e-4}, "seed": 40}, "test")
HAND_MODEL = ("backbone.", "hand_model_module.", "handedness_head.")


def recipe(name, seed=0, base=BASE):
    cell = CELLS[name]
    return cell_config(base, cell, seed, None if cell.parent is None else f"weights/{cell.parent}")


@pytest.mark.parametrize(
    ("tables", "count"),
    [
        ([1], 5),
        ([2], 7),
        ([3], 5),
        ([4], 12),
        ([1, 3], 6),
        ([5], 3),
        ([1, 2, 3, 4, 5], 18),
        (["options"], 21),
        ([2, "options"], 26),
    ],
)
def test_tables_need_their_cells_and_ancestors_each_once(tables, count):
    names = [cell.name for cell in cells_for(tables)]
    assert len(names) == len(set(names)) == count
    assert all(name in names for table in tables for name in TABLES[table])
    for place, name in enumerate(names):
        parent = CELLS[name].parent
        assert parent is None or parent in names[:place]


@pytest.mark.parametrize("tables", [[], [6], [0, 1], ["1"]])
def test_unknown_tables_are_refused(tables):
    with pytest.raises(InputError, match="--tables"):
        cells_for(tables)


def test_every_published_number_and_ordering_belongs_to_a_cell_of_its_table():
    assert PAPER.keys() == {name for name, cell in CELLS.items() if not cell.ours}
    for ordering in ORDERINGS:
        assert {ordering.better, ordering.worse} <= set(TABLES[ordering.table])
        assert ordering.ours == any(CELLS[name].ours for name in (ordering.better, ordering.worse))


@pytest.mark.parametrize("data_set", ["stb", "rhd"])
def test_the_papers_own_numbers_bear_out_its_orderings(data_set):
    for ordering in ORDERINGS:
        if not ordering.ours:
            better, worse = (getattr(PAPER[name], data_set) for name in (ordering.better, ordering.worse))
            assert better < worse, ordering


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_trains_its_own_stage_alone(name):
    cell, config = CELLS[name], recipe(name)
    steps = [config.stage_steps(stage) for stage in (1, 2, 3)]
    assert [bool(count) for count in steps] == [stage == cell.stage for stage in (1, 2, 3)]
    assert sum(steps) == cell_steps(BASE, cell)
    assert (config.initial_weights is None) == (cell.parent is None)


@pytest.mark.parametrize("name", ["II-gcn-long-full", "II-fc-long-full"])
def test_controls_differ_from_stage_three_in_the_discriminator_alone(name):
    control = CELLS[name]
    rival = CELLS[f"III-{control.refinement}-multi-full"]
    ours, theirs = (recipe(n).model_dump(mode="json") for n in (name, rival.name))
    assert control.parent == rival.parent
    assert ours["stage2"] == theirs["stage3"]
    differing = {key for key in ours if ours[key] != theirs[key]} - {"discriminator"}
    assert differing == {"stage2", "stage3", "losses"}
    assert {k for k in ours["losses"] if ours["losses"][k] != theirs["losses"][k]} == {"adversarial"}


def test_the_control_of_stage_two_has_its_schedule_and_seed_but_no_refinement():
    ours, theirs = recipe("I-long-full"), recipe("II-gcn-full")
    assert ours.stage1.model_dump() == theirs.stage2.model_dump()
    assert ours.seed == theirs.seed
    assert (ours.generator.refinement, theirs.generator.refinement.kind) == (None, "gcn")
    assert CELLS["I-long-full"].parent == CELLS["II-gcn-full"].parent


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("stage", ["I", "II-gcn", "III-gcn-multi"])
def test_loss_variants_switch_bone_losses_and_nothing_else(variant, stage):
    config, full = recipe(f"{stage}-{variant}"), recipe(f"{stage}-full")
    assert bool(config.losses.bone_length) == (variant in ("len", "full"))
    assert bool(config.losses.bone_direction) == (variant in ("dir", "full"))
    fields = set(type(config).model_fields) - {"losses", "initial_weights"}
    assert all(getattr(config, field) == getattr(full, field) for field in fields)


def test_siblings_share_a_seed_and_generations_and_seeds_do_not():
    siblings = ("III-gcn-multi-full", "III-gcn-single-full", "II-gcn-long-full", "III-fc-multi-full")
    assert len({recipe(name).seed for name in siblings}) == 1
    chain = ("I-full", "II-gcn-full", "III-gcn-multi-full")
    assert len({recipe(name, seed).seed for name in chain for seed in range(4)}) == 12


def test_settings_of_one_stage_do_not_touch_the_cells_of_others():
    changed = parse_config(
        BASE.model_dump(mode="json")
        | {"stage3": {"epochs": 7}, "critic": {"steps": 2}, "discriminator": {"bones": "gram"}},
        "test",
    )
    for name, cell in CELLS.items():
        same = recipe(name) == recipe(name, base=changed)
        assert same == (cell.schedule < 3), name


@pytest.mark.parametrize(
    "setting",
    [
        {"refinement": {"edges": "tree"}},
        {"refinement": {"weights": "per_joint"}},
        {"refinement": {"features": "sampled"}},
        {"refinement": {"kind": "fc"}},
        {"refinement": None},
        {"hand_model": {"pose": "pca"}},
    ],
)
def test_options_of_the_generator_fit_every_cell(setting):
    skipped = {"stage2": {"epochs": 0}, "stage3": {"epochs": 0}} if setting == {"refinement": None} else {}
    base = parse_config({"generator": setting} | skipped, "test")
    for name, cell in CELLS.items():
        refinement = recipe(name, base=base).generator.refinement
        assert ("none" if refinement is None else refinement.kind) == cell.refinement


def test_the_fully_connected_refinement_and_the_single_source_discriminator_are_as_wide_as_the_recipes_own():
    base = parse_config(
        {"generator": {"refinement": {"width": 32, "blocks": 2}}, "discriminator": {"pose_width": 16}}, "test"
    )
    fully_connected, single = recipe("II-fc-full", base=base), recipe("III-gcn-single-full", base=base)
    assert (fully_connected.generator.refinement.width, fully_connected.generator.refinement.blocks) == (256, 2)
    assert single.discriminator.width == 64


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_changes_what_it_says_and_nothing_else(name):
    option, ours, papers = OPTIONS[name], recipe(f"II-{name}"), recipe("II-gcn-full")
    assert change(papers.model_dump(mode="json"), option.settings)
    data = papers.model_dump(mode="json")
    change(data, option.settings)
    assert ours.model_dump(mode="json") == data | {"initial_weights": ours.model_dump(mode="json")["initial_weights"]}
    start = CELLS[f"II-{name}"].parent
    assert start == f"I-{option.stage_one or 'full'}"
    # Its stage I is the paper's unless the option is felt there.
    own = recipe(start).generator.model_dump() != recipe("I-full").generator.model_dump()
    assert own == (option.stage_one is not None)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_recipe_that_has_an_option_already_is_refused(name):
    data = BASE.model_dump(mode="json")
    change(data, OPTIONS[name].settings)
    with pytest.raises(InputError, match="already"):
        check_base(parse_config(data, "test"), cells_for(["options"]))


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ({"losses": {"bone_length": 0.0}}, "bone_length"),
        ({"losses": {"adversarial": 0.0}}, "adversarial"),
        ({"stage2": {"epochs": 0}}, "stage2.epochs"),
        ({"initial_weights": "somewhere"}, "initial_weights"),
    ],
)
def test_recipes_under_which_cells_would_not_differ_are_refused(setting, match):
    with pytest.raises(InputError, match=match):
        check_base(parse_config(setting, "test"), cells_for([1, 2, 3, 4]))


@pytest.mark.parametrize("refinement", ["gcn", "fc"])
@pytest.mark.parametrize("shared", [True, False])
def test_weights_of_stage_one_fill_the_hand_model_and_leave_the_refinement_random(tmp_path, refinement, shared):
    def make(kind, seed):
        torch.manual_seed(seed)
        section = None if kind == "none" else {"kind": kind, "width": 4, "blocks": 1}
        return Generator(tiny_generator_config(backbone={"shared": shared}, refinement=section))

    parent = make("none", 0)
    child, untouched = make(refinement, 1), make(refinement, 1).state_dict()
    load_initial_state(child, save_generator(tmp_path, parent))
    for name, value in child.state_dict().items():
        origin = parent.state_dict() if name.startswith(HAND_MODEL) else untouched
        assert torch.equal(value, origin[name]), name


def test_weights_with_another_refinement_are_refused(tmp_path):
    save_generator(tmp_path, tiny_generator())
    with pytest.raises(InputError, match="does not fit"):
        load_initial_state(tiny_generator(refinement={"kind": "fc"}), tmp_path)


@pytest.mark.parametrize("kind", ["none", "fc", "gcn"])
@pytest.mark.parametrize("shared", [True, False])
def test_weights_of_stage_one_of_a_plain_run_start_any_refinement(tmp_path, kind, shared):
    def make(section, seed):
        torch.manual_seed(seed)
        return Generator(tiny_generator_config(backbone={"shared": shared}, refinement=section))

    sections = {"none": None, "fc": {"kind": "fc", "width": 16, "blocks": 1}, "gcn": {"width": 12, "blocks": 2}}
    parent = make({"width": 4, "blocks": 1}, 0)  # plain training saves its untrained refinement too
    child, untouched = make(sections[kind], 1), make(sections[kind], 1).state_dict()
    load_initial_state(child, save_generator(tmp_path, parent, {"stage": 1}))
    for name, value in child.state_dict().items():
        origin = untouched if name.startswith(("refinement.", "refinement_lift")) else parent.state_dict()
        assert torch.equal(value, origin[name]), name


def test_untrained_weights_of_the_same_refinement_are_kept(tmp_path):
    parent = tiny_generator(seed=0)
    child = tiny_generator(seed=1)
    load_initial_state(child, save_generator(tmp_path, parent, {"stage": 1}))
    assert all(torch.equal(value, parent.state_dict()[name]) for name, value in child.state_dict().items())
