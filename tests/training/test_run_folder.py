"""A run folder explains itself: recipe, code, machine and data."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from graphhand.training import run_folder
from graphhand.training.config import SyntheticSource, TrainConfig, load_config, parse_config
from graphhand.training.run_folder import RunFolder, data_record, environment_record, folder_record


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
def test_synthetic_hands_have_a_checksum(change):
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
    run.describe(config_for(folder), data_record(config_for(folder)), processes=2)
    assert load_config(run.root / "config.yaml") == config_for(folder)
    environment = json.loads((run.root / "environment.json").read_text())
    assert {"command", "commit", "untracked", "packages", "processor", "gpus", "memory_gib"} <= environment.keys()
    assert environment["processes"] == 2
    assert json.loads((run.root / "data.json").read_text())["train"][0]["files"] == 2


def test_other_data_on_resume_is_said(folder, tmp_path, recwarn):
    run = RunFolder(tmp_path / "run")
    run.create()
    run.describe(config_for(folder), data_record(config_for(folder)))
    run.describe(config_for(folder), data_record(config_for(folder)))
    assert not recwarn
    (folder / "labels.json").write_text("[1, 3]")
    with pytest.warns(UserWarning, match="training data changed"):
        run.describe(config_for(folder), data_record(config_for(folder)))


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
    run.describe(config_for(folder), data_record(config_for(folder)))
    environment = json.loads((run.root / "environment.json").read_text())
    assert environment["commit"] == git(checkout, "rev-parse", "HEAD").strip()
    assert environment["untracked"] == ["new.py"]
    git(checkout, "checkout", "-q", ".")
    git(checkout, "apply", str(run.root / "uncommitted.diff"))
    assert (checkout / "run_folder.py").read_text() == changed
    git(checkout, "checkout", "-q", ".")
    run.describe(config_for(folder), data_record(config_for(folder)))
    assert not (run.root / "uncommitted.diff").exists()


def test_installed_inside_another_checkout_there_is_no_commit(checkout, monkeypatch):
    (checkout / "site.py").touch()
    monkeypatch.setattr(run_folder, "__file__", str(checkout / "site.py"))
    assert environment_record()["commit"] is None
