"""A run folder explains itself: recipe, code, machine, data, and images of its course."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from graphhand.data import HandSample
from graphhand.errors import InputError
from graphhand.io import read_image
from graphhand.models import Generator, GeneratorConfig
from graphhand.training import run_folder
from graphhand.training.config import SyntheticSource, TrainConfig, load_config, parse_config
from graphhand.training.logging import RunLogger, ValidationImages, draw_curves
from graphhand.training.run_folder import CsvLog, RunFolder, data_record, environment_record, folder_record


@pytest.fixture
def folder(tmp_path) -> Path:
    """A data set's folder: an image and labels."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    (root / "images" / "a.png").write_bytes(b"12345")
    (root / "labels.json").write_text("[1, 2]")
    return root


def test_checksum_covers_names_sizes_and_labels(folder):
    before = folder_record(folder)
    assert (before["files"], before["bytes"]) == (2, 11)
    assert folder_record(folder) == before

    def changes(action) -> bool:
        copy = folder.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        action(copy)
        return folder_record(copy)["sha256"] != before["sha256"]

    assert not changes(lambda root: None)
    assert changes(lambda root: (root / "labels.json").write_text("[1, 3]"))
    assert changes(lambda root: (root / "images" / "a.png").write_bytes(b"123456"))
    assert changes(lambda root: (root / "images" / "a.png").rename(root / "images" / "b.png"))
    assert changes(lambda root: (root / "more.txt").touch())


def test_beyond_the_limit_sizes_count(folder, monkeypatch):
    monkeypatch.setattr("graphhand.training.run_folder._READ_LIMIT", 3)
    before = folder_record(folder)
    (folder / "labels.json").write_text("[1, 3]")
    assert folder_record(folder) == before


def test_the_checksum_of_an_intact_folder_stays_what_it_was(folder):
    """Run folders of today are compared with those of long ago."""
    (folder / "images-2.txt").write_text("x")  # sorts between a folder's name and its files' paths
    expected = hashlib.sha256(b"images/a.png\x005\0" + b"images-2.txt\x001\0x" + b"labels.json\x006\0[1, 2]")
    assert folder_record(folder) == {"files": 3, "bytes": 12, "sha256": expected.hexdigest()}


def test_what_cannot_be_read_is_noted_by_name(folder, monkeypatch):
    before = folder_record(folder)
    (folder / "gone.json").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    (folder / "locked").mkdir()
    iterdir, read_bytes = Path.iterdir, Path.read_bytes

    def refuse(path):
        if path.name in ("locked", "labels.json"):
            raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", lambda path: refuse(path) or iterdir(path))
    monkeypatch.setattr(Path, "read_bytes", lambda path: refuse(path) or read_bytes(path))
    record = folder_record(folder)
    assert record["unreadable"] == ["gone.json", "labels.json", "locked", "loop"]
    assert (record["files"], record["bytes"]) == (before["files"], before["bytes"])
    assert record["sha256"] != before["sha256"]
    json.dumps(record)


@pytest.mark.parametrize("change", [{"seed": 4}, {"samples": 11}, {"first": 5}, {"render": {"antialiasing": 1}}])
def test_drawn_hands_have_a_checksum_too(change):
    source = SyntheticSource(seed=3, samples=10)
    base = {"validation": source.model_dump()}
    record = data_record(parse_config(base | {"train": [source.model_dump()]}, "test"))
    other = data_record(parse_config(base | {"train": [source.model_dump() | change]}, "test"))
    assert record["train"][0]["sha256"] == record["validation"]["sha256"]
    assert other["train"][0]["sha256"] != record["train"][0]["sha256"]


def test_a_background_image_counts_as_a_folder_of_them_does(folder):
    def checksum() -> str:
        source = {"kind": "synthetic", "samples": 10, "render": {"backgrounds": [str(folder / "images" / "a.png")]}}
        return data_record(parse_config({"train": [source]}, "test"))["train"][0]["sha256"]

    before = checksum()
    (folder / "images" / "a.png").write_bytes(b"123456")
    assert checksum() != before


def config_for(root: Path) -> TrainConfig:
    source = {"kind": "dataset", "name": "plain", "root": str(root)}
    return parse_config({"train": [source], "validation": source}, "test")


def test_description_is_complete_and_loads_again(folder, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.create()
    run.describe(config_for(folder), processes=2)
    assert load_config(run.root / "config.yaml") == config_for(folder)
    environment = json.loads((run.root / "environment.json").read_text())
    assert {"command", "commit", "untracked", "packages", "processor", "gpus", "memory_gib"} <= environment.keys()
    assert environment["processes"] == 2
    assert json.loads((run.root / "data.json").read_text())["train"][0]["files"] == 2


def test_other_data_on_resume_is_said(folder, tmp_path, recwarn):
    run = RunFolder(tmp_path / "run")
    run.create()
    run.describe(config_for(folder))
    run.describe(config_for(folder))
    assert not recwarn
    (folder / "labels.json").write_text("[1, 3]")
    with pytest.warns(UserWarning, match="training data changed"):
        run.describe(config_for(folder))


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A small checkout in which the package pretends to lie."""
    root = tmp_path / "checkout"
    root.mkdir()
    (root / "run_folder.py").write_text("a = 1  \n\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one")
    monkeypatch.setattr(run_folder, "__file__", str(root / "run_folder.py"))
    return root


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_diff_can_be_applied_and_goes_when_there_is_none(checkout, folder, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.create()
    changed = "a = 2  \n\n\n"
    (checkout / "run_folder.py").write_text(changed)
    (checkout / "new.py").touch()
    run.describe(config_for(folder))
    environment = json.loads((run.root / "environment.json").read_text())
    assert environment["commit"] == git(checkout, "rev-parse", "HEAD").strip()
    assert environment["untracked"] == ["new.py"]
    git(checkout, "checkout", "-q", ".")
    git(checkout, "apply", str(run.root / "uncommitted.diff"))
    assert (checkout / "run_folder.py").read_text() == changed
    git(checkout, "checkout", "-q", ".")
    run.describe(config_for(folder))
    assert not (run.root / "uncommitted.diff").exists()


def test_installed_inside_another_checkout_there_is_no_commit(checkout, monkeypatch):
    (checkout / "site.py").touch()
    monkeypatch.setattr(run_folder, "__file__", str(checkout / "site.py"))
    assert environment_record()["commit"] is None


class Hands:
    """Five images, the second without a pose, the third unreadable."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> HandSample:
        from graphhand.errors import InputError

        if index == 2:
            raise InputError("hand 2", "is damaged", "leave it out")
        rng = np.random.default_rng(index)
        joints = rng.normal(size=(21, 3)) * 0.03 + [0.0, 0.0, 0.5]
        return HandSample(
            image=rng.integers(0, 255, (60, 60, 3), dtype=np.uint8),
            joints_px=(30 + 120 * joints[:, :2] / joints[:, 2:]).astype(np.float32),
            visible=np.ones(21, bool),
            side="right",
            name=str(index),
            joints_cam_m=None if index == 1 else joints.astype(np.float32),
            K=np.array([[120.0, 0, 30], [0, 120, 30], [0, 0, 1]]),
        )


def test_sheet_shows_the_chosen_crops_with_truth_and_prediction(tmp_path):
    generator = GeneratorConfig(backbone={"name": "resnet18", "width": 8}, image_size=64, refinement=None)
    config = TrainConfig(generator=generator, stage2={"epochs": 0}, stage3={"epochs": 0}, validation_images=5)
    images = ValidationImages(Hands(), config)
    network = Generator(generator).eval()
    path = tmp_path / "validation" / "stage1-step0000001.png"
    images.draw(network, torch.device("cpu"), refine=False, path=path)
    sheet = read_image(path)
    assert sheet.shape[1] > 4 * 2 * 192  # four pairs in a row, all of them readable
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 1000


def test_curves_are_drawn_from_the_logs(tmp_path):
    train = [{"stage": str(s), "step": str(k), "total": str(90 / k), "critic": ""} for s in (1, 2) for k in range(1, 9)]
    validation = [{"stage": "1", "step": "8", "root_mm": "30.0", "pa_mm": ""}]
    draw_curves(train, validation, tmp_path / "curves.png")
    one = read_image(tmp_path / "curves.png")
    draw_curves(train[:8], validation, tmp_path / "curves.png")
    assert read_image(tmp_path / "curves.png").shape[1] < one.shape[1]  # a column a stage


def test_no_curves_before_there_is_anything_to_draw(tmp_path):
    draw_curves([], [], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_a_log_goes_on_with_columns_that_an_older_version_did_not_write(tmp_path):
    older = CsvLog(tmp_path / "train.csv", ("stage", "step", "total"))
    older.rewind(0, 0)
    for step in (1, 2, 3):
        older.append({"stage": 1, "step": step, "total": 0.5 * step})
    log = CsvLog(tmp_path / "train.csv", ("stage", "step", "total", "absence"))
    log.rewind(1, 2)
    log.append({"stage": 1, "step": 3, "total": 1.25, "absence": 0.1})
    rows = [(row["step"], row["total"], row["absence"]) for row in log.read()]
    assert rows == [("1", "0.5", ""), ("2", "1", ""), ("3", "1.25", "0.1")]
    with pytest.raises(InputError, match="does not know"):
        CsvLog(tmp_path / "train.csv", ("stage", "step", "loss")).rewind(1, 2)


def test_a_log_does_not_swallow_what_it_has_no_column_for(tmp_path):
    log = CsvLog(tmp_path / "train.csv", ("stage", "step", "total"))
    log.rewind(1, 0)
    with pytest.raises(ValueError, match="no column los"):
        log.append({"stage": 1, "step": 1, "los": 2.0})


@pytest.mark.parametrize("steps", [0, 2])
def test_a_stage_that_is_left_out_has_no_bar(tmp_path, capsys, steps):
    journal = RunLogger(RunFolder(tmp_path), TrainConfig(), quiet=False, writes=True)
    with journal.progress(1, 0, steps):
        pass
    assert ("stage 1" in capsys.readouterr().out) == (steps > 0)
