"""Whole runs on a tiny data set: stages in order, exact resume after every kind of end, nothing lost."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from factories import StopWhen, assert_same_weights, plain_source, saved_weights, tiny_recipe, write_hands
from graphhand.cli import app
from graphhand.errors import GraphHandError, InputError
from graphhand.models import load_generator
from graphhand.training import trainer as trainer_module
from graphhand.training.checkpoint import read_checkpoint
from graphhand.training.config import load_config, parse_config
from graphhand.training.steps import learning_rate
from graphhand.training.trainer import StopRequest, Trainer

TINY = tiny_recipe(
    generator={"backbone": {"shared": True}},
    left_hand_negatives=0.2,
    stage1={"epochs": 2, "learning_rate": 1e-3},
    stage2={"epochs": 2, "learning_rate": 1e-4, "schedule": "cosine"},
    stage3={"epochs": 2, "learning_rate": 1e-4, "clip_norm": 10.0},
    checkpoint_minutes=0,
)


@pytest.fixture(scope="module")
def hands(tmp_path_factory) -> Path:
    """Eight labelled images in the plain format."""
    root = tmp_path_factory.mktemp("hands")
    return write_hands(root, lambda k: {"side": "left" if k % 3 == 0 else "right"})


@pytest.fixture
def config(hands):
    source = plain_source(hands)
    return parse_config(TINY | {"train": [source], "validation": source}, "test")


@pytest.fixture(scope="module")
def uninterrupted(hands, tmp_path_factory) -> Path:
    source = plain_source(hands)
    out = tmp_path_factory.mktemp("run") / "whole"
    assert Trainer(parse_config(TINY | {"train": [source], "validation": source}, "test"), out, quiet=True).run()
    return out


def test_run_leaves_what_explains_and_continues_it(uninterrupted):
    names = {path.name for path in uninterrupted.iterdir()}
    assert {"config.yaml", "environment.json", "train.csv", "validation.csv", "checkpoint.safetensors"} <= names
    resolved = load_config(uninterrupted / "config.yaml")
    assert resolved.stage2.schedule == "cosine"
    environment = json.loads((uninterrupted / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__
    rows = list(csv.DictReader((uninterrupted / "train.csv").open()))
    assert [(int(r["stage"]), int(r["step"])) for r in rows] == [(s, k) for s in (1, 2, 3) for k in range(1, 7)]
    assert all(row["critic"] for row in rows if row["stage"] == "3")
    assert len(list(csv.DictReader((uninterrupted / "validation.csv").open()))) == 6
    for stage in (1, 2, 3):
        _, card = load_generator(uninterrupted / f"stage{stage}")
        assert card["stage"] == stage
        assert card["validation"]["stage"] == str(stage)


def test_stages_build_on_each_other(uninterrupted):
    one, two = saved_weights(uninterrupted / "stage1"), saved_weights(uninterrupted / "stage2")
    assert one["refinement.head.linear.weight"].abs().max() == 0
    assert two["refinement.head.linear.weight"].abs().max() > 0


def test_same_seed_same_weights(config, uninterrupted, tmp_path):
    assert Trainer(config, tmp_path / "again", quiet=True).run()
    assert_same_weights(saved_weights(tmp_path / "again" / "stage3"), saved_weights(uninterrupted / "stage3"))


def test_other_seed_other_weights(config, uninterrupted, tmp_path):
    other = parse_config(config.model_dump(mode="json") | {"seed": 4}, "test")
    assert Trainer(other, tmp_path / "other", quiet=True).run((1,))
    a, b = saved_weights(tmp_path / "other" / "stage1"), saved_weights(uninterrupted / "stage1")
    assert not torch.equal(a["backbone.conv1.weight"], b["backbone.conv1.weight"])


@pytest.mark.parametrize("place", [(1, 2), (1, 6), (2, 1), (2, 4), (3, 3), (3, 5)])
def test_stopped_run_resumes_to_the_same_bits(config, uninterrupted, tmp_path, place):
    out = tmp_path / "run"
    first = Trainer(config, out, quiet=True)
    first.stop = StopWhen(lambda: (first.position.stage, first.position.step) == place)
    first.run()
    second = Trainer(config, out, quiet=True)
    assert second.run()
    assert_same_weights(saved_weights(out / "stage3"), saved_weights(uninterrupted / "stage3"))
    for log in ("train.csv", "validation.csv"):
        places = [[row[k] for k in ("stage", "step")] for row in csv.DictReader((out / log).open())]
        assert places == [[r[k] for k in ("stage", "step")] for r in csv.DictReader((uninterrupted / log).open())]


def test_stage_by_stage_equals_all_at_once(config, uninterrupted, tmp_path):
    for stage in (1, 2, 3):
        assert Trainer(config, tmp_path / "run", quiet=True).run((stage,))
    assert_same_weights(saved_weights(tmp_path / "run" / "stage3"), saved_weights(uninterrupted / "stage3"))


def test_workers_change_nothing(config, uninterrupted, tmp_path):
    with_workers = parse_config(config.model_dump(mode="json") | {"workers": 2}, "test")
    assert Trainer(with_workers, tmp_path / "run", quiet=True).run((1,))
    assert_same_weights(saved_weights(tmp_path / "run" / "stage1"), saved_weights(uninterrupted / "stage1"))


@pytest.mark.parametrize(
    ("number", "workers"), [(signal.SIGKILL, 0), (signal.SIGTERM, 0), (signal.SIGTERM, 1), (signal.SIGINT, 1)]
)
def test_killed_process_resumes_to_the_same_bits(config, uninterrupted, tmp_path, number, workers):
    """The run is ended in the middle of stage II, its workers with it; SIGKILL leaves no time to save anything."""
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump(config.model_dump(mode="json") | {"workers": workers}))
    program = textwrap.dedent(
        f"""
        import os, pathlib
        from graphhand.training import trainer
        from graphhand.training.config import load_config
        run = trainer.Trainer(load_config({str(recipe)!r}), pathlib.Path({str(out)!r}), quiet=True)
        step = trainer.training_step
        def watched(stage, *arguments):
            if (stage, run.position.step) == (2, 3):
                os.killpg(0, {int(number)})
            return step(stage, *arguments)
        trainer.training_step = watched
        run.run()
        """
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300, start_new_session=True
    )
    assert ended.returncode == (-number if number == signal.SIGKILL else 0)
    position = read_checkpoint(out / "checkpoint.safetensors").position
    assert (position.stage, position.step) == (2, 3 if number == signal.SIGKILL else 4)
    assert Trainer(config, out, quiet=True).run()
    assert_same_weights(saved_weights(out / "stage3"), saved_weights(uninterrupted / "stage3"))


def test_initial_weights_are_where_training_starts(config, uninterrupted, tmp_path):
    start = {"initial_weights": str(uninterrupted / "stage3")}
    fine_tuning = parse_config(config.model_dump(mode="json") | start, "test")
    generator = Trainer(fine_tuning, tmp_path / "run", quiet=True).generator
    assert_same_weights(dict(generator.state_dict()), saved_weights(uninterrupted / "stage3"))
    other = parse_config(
        fine_tuning.model_dump(mode="json")
        | {"generator": TINY["generator"] | {"heatmaps": {}}, "losses": {"heatmap_joints": 1.0}},
        "test",
    )
    with pytest.raises(InputError, match=r"lacks .*; give the recipe the generator section of the model\.json"):
        Trainer(other, tmp_path / "other", quiet=True)
    nowhere = parse_config(config.model_dump(mode="json") | {"initial_weights": "defualt"}, "test")
    with pytest.raises(InputError, match=r"bundled weights \(default, detector, drawn, fast\)"):
        Trainer(nowhere, tmp_path / "nowhere", quiet=True)


def test_a_device_that_is_not_there_is_one_line(config, tmp_path):
    missing = [
        name for name, backend in (("cuda", torch.cuda), ("mps", torch.backends.mps)) if not backend.is_available()
    ]
    for name in missing:
        with pytest.raises(InputError, match=f"device {name}: cannot be used") as caught:
            Trainer(config.model_copy(update={"device": name}), tmp_path / name, quiet=True)
        assert "\n" not in str(caught.value)


def test_a_stage_ahead_may_be_planned_anew(config, uninterrupted, tmp_path):
    out = tmp_path / "run"
    assert Trainer(config, out, quiet=True).run((1,))
    longer = parse_config(config.model_dump(mode="json") | {"stage3": {"epochs": 1}}, "test")
    assert Trainer(longer, out, quiet=True).run()
    with pytest.raises(InputError, match=r"stage1\.epochs"):
        Trainer(parse_config(longer.model_dump(mode="json") | {"stage1": {"epochs": 9}}, "test"), out, quiet=True)


@pytest.fixture
def one_is_corrupt(hands, tmp_path) -> Path:
    root = tmp_path / "corrupt"
    shutil.copytree(hands, root)
    (root / "5.png").write_bytes((root / "5.png").read_bytes()[:300])
    return root


def test_a_corrupt_sample_is_passed_over_and_named_in_the_card(config, one_is_corrupt, tmp_path):
    source = config.train[0].model_copy(update={"root": one_is_corrupt})
    changed = config.model_copy(update={"train": (source,)})
    assert Trainer(changed, tmp_path / "run", quiet=True).run((1,))
    card = json.loads((tmp_path / "run/stage1/model.json").read_text())["card"]
    assert len(card["skipped_samples"]) == 1
    assert "5.png" in card["skipped_samples"][0]


def test_a_strict_run_stops_at_a_corrupt_sample(config, one_is_corrupt, tmp_path):
    source = config.train[0].model_copy(update={"root": one_is_corrupt})
    changed = config.model_copy(update={"train": (source,), "strict": True})
    with pytest.raises(InputError, match=r"5\.png"):
        Trainer(changed, tmp_path / "run", quiet=True).run((1,))


def test_minutes_run_out_with_a_checkpoint(config, tmp_path):
    trainer = Trainer(config, tmp_path / "run", stop=StopRequest(max_minutes=0.0), quiet=True)
    assert not trainer.run()
    assert read_checkpoint(tmp_path / "run" / "checkpoint.safetensors").position.step == 1


def test_full_disk_keeps_the_last_good_checkpoint(config, tmp_path, monkeypatch):
    out = tmp_path / "run"
    first = Trainer(config, out, quiet=True)
    first.stop = StopWhen(lambda: first.position.step == 2)
    first.run()
    before = (out / "checkpoint.safetensors").read_bytes()

    def no_room(tensors, path, metadata=None):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("graphhand.training.checkpoint.save_file", no_room)
    with pytest.raises(GraphHandError, match="No space left"):
        Trainer(config, out, quiet=True).run()
    assert (out / "checkpoint.safetensors").read_bytes() == before
    assert not list(out.glob("*.tmp*"))


def test_resume_never_refuses_a_used_folder(config, uninterrupted):
    with pytest.raises(InputError, match="already holds a run"):
        Trainer(config, uninterrupted, resume="never", quiet=True)


def test_resume_from_a_path_continues_elsewhere(config, uninterrupted, tmp_path):
    out = tmp_path / "run"
    first = Trainer(config, out, quiet=True)
    assert first.run((1,))
    assert Trainer(config, tmp_path / "elsewhere", resume=out / "checkpoint.safetensors", quiet=True).run()
    assert_same_weights(saved_weights(tmp_path / "elsewhere" / "stage3"), saved_weights(uninterrupted / "stage3"))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"seed": 5}, "seed 3, not 5"), ({"losses": {"pose": 2.0}}, "losses.pose 1.0, not 2.0")],
)
def test_other_recipe_is_refused_by_name(config, uninterrupted, change, message):
    other = parse_config(config.model_dump(mode="json") | change, "test")
    with pytest.raises(InputError, match=message):
        Trainer(other, uninterrupted, quiet=True)


def test_later_stage_needs_the_earlier_one(config, tmp_path):
    with pytest.raises(InputError, match="stage 2 starts from stage 1"):
        Trainer(config, tmp_path / "run", quiet=True).run((2,))


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign"])
def test_damaged_checkpoint_is_named(config, uninterrupted, tmp_path, damage):
    path = tmp_path / "checkpoint.safetensors"
    data = (uninterrupted / "checkpoint.safetensors").read_bytes()
    foreign = (uninterrupted / "stage1" / "model.safetensors").read_bytes()
    path.write_bytes({"truncated": data[:-100], "empty": b"", "foreign": foreign}[damage])
    with pytest.raises(InputError, match=r"checkpoint\.safetensors") as caught:
        Trainer(config, tmp_path, quiet=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spoilt", "message"), [("loss", "total became nan"), ("weight", "a weight of the Generator is not finite")]
)
def test_divergence_stops_the_run_and_spares_the_checkpoint(config, tmp_path, monkeypatch, spoilt, message):
    """Also where the loss, which is from before the update, tells nothing of it."""
    out = tmp_path / "run"
    trainer = Trainer(config, out, quiet=True)
    step = trainer_module.training_step

    def diverging(stage, models, batch, config):
        terms = step(stage, models, batch, config)
        if trainer.position.step == 2 and spoilt == "loss":
            return terms | {"total": terms["total"] * float("nan")}
        if trainer.position.step == 2:
            with torch.no_grad():
                next(models["generator"].network.parameters()).fill_(float("inf"))
        return terms

    monkeypatch.setattr(trainer_module, "training_step", diverging)
    with pytest.raises(GraphHandError, match=message):
        trainer.run()
    assert read_checkpoint(out / "checkpoint.safetensors").position.step == 2


def test_a_path_to_resume_from_yields_to_what_the_folder_has_made_since(config, tmp_path):
    first = Trainer(config, tmp_path / "first", quiet=True)
    stops = iter([False, False, True])
    first.stop = StopWhen(lambda: next(stops))
    assert not first.run()
    start = tmp_path / "start.safetensors"
    shutil.copy(tmp_path / "first" / "checkpoint.safetensors", start)
    out = tmp_path / "second"
    second = Trainer(config, out, resume=start, quiet=True)
    assert second.position.step == 3
    second.stop = StopWhen(lambda: True)
    assert not second.run()
    again = Trainer(config, out, resume=start, quiet=True)
    assert again.position.step == 4
    assert again.run()


def test_a_finished_run_is_left_as_it_is(config, uninterrupted, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    before = {path: path.read_bytes() for path in (out / "stage3").iterdir()}
    assert Trainer(config, out, quiet=True).run()
    assert {path: path.read_bytes() for path in (out / "stage3").iterdir()} == before


def test_samples_passed_over_are_part_of_a_run(config, tmp_path):
    out = tmp_path / "run"
    first = Trainer(config, out, quiet=True)
    first.position.skipped = ["a.png: cannot be read"]  # as an earlier session left it
    first.stop = StopWhen(lambda: True)
    assert not first.run()
    second = Trainer(config, out, quiet=True)
    assert second.run()
    card = json.loads((out / "stage3" / "model.json").read_text("utf-8"))
    assert "a.png: cannot be read" in json.dumps(card)


def test_learning_rate_schedules():
    stage = load_config(None, ["stage1.warmup_steps=4", "stage1.schedule=cosine"]).stage1
    rates = [learning_rate(stage, step, 24) for step in range(24)]
    assert rates[:4] == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3])
    assert rates[4] == pytest.approx(1e-3)
    assert rates[14] == pytest.approx(0.5e-3)
    assert rates == sorted(rates[:5]) + sorted(rates[5:], reverse=True)
    assert learning_rate(load_config(None).stage2, 10**6, 10**7) == 1e-4


def test_the_fine_tuning_recipe_goes_on_from_the_bundled_weights(hands, tmp_path):
    root = tmp_path / "mine"
    shutil.copytree(hands, root)
    lines = [json.loads(line) for line in (root / "hands.jsonl").read_text("utf-8").splitlines()]
    splits = ["train"] * 6 + ["test"] * (len(lines) - 6)
    told = [json.dumps(line | {"split": split}) for line, split in zip(lines, splits)]
    (root / "hands.jsonl").write_text("\n".join(told) + "\n", "utf-8")
    recipe = yaml.safe_load((Path(__file__).parents[2] / "configs" / "finetune.yaml").read_text("utf-8"))
    recipe["train"][0]["root"] = recipe["validation"]["root"] = str(root)
    short = {"device": "cpu", "threads": 1, "batch_size": 4, "epoch_samples": 8, "validation_images": 0, "log_every": 1}
    recipe |= short | {"stage2": recipe["stage2"] | {"epochs": 1, "warmup_steps": 0}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    out = tmp_path / "run"
    result = CliRunner().invoke(app, ["train", "--config", str(tmp_path / "recipe.yaml"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert f"finished; weights are in {out / 'stage2'}" in result.output.replace("\n", "")
    begun, (tuned, _) = load_generator("default")[0], load_generator(out / "stage2")
    assert tuned.config == begun.config
    assert torch.equal(tuned.backbone.conv_stem.weight, begun.backbone.conv_stem.weight)  # below frozen_stride
    for name, weight in tuned.backbone.blocks[15].named_parameters():
        before = begun.backbone.blocks[15].get_parameter(name)
        assert not torch.equal(weight, before)
        torch.testing.assert_close(weight, before, rtol=0, atol=1e-3)  # two steps of Adam at 2e-4
