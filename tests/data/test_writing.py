from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest

from factories import hand_record
from graphhand.data import RHD, STB, PlainHands
from graphhand.data import writing as dataset_writing
from graphhand.data.datasets.plain import LABEL_FILE
from graphhand.data.datasets.stb import K_SK_COLOR
from graphhand.data.layouts import LAYOUTS, PROVENANCE_FOLDER, RENDER_SETTINGS
from graphhand.data.writing import RecordRenderer, write_dataset, write_preview
from graphhand.errors import InputError
from graphhand.synthesis import RenderConfig, RenderEngine

CONFIG = RenderConfig(image_size=48, seed=5, antialiasing=1)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(dataset_writing, "CHUNK", 3)


def render(indices):
    return [hand_record(index, size=64) for index in indices]


def fingerprint(root):
    """Contents of every file below a folder."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write(root, render, count=8, layout="rhd", split="training", **options):
    return write_dataset(root, layout, split, render, range(count), provenance={"seed": 5}, **options)


def test_written_labels_equal_the_engines(tmp_path):
    write(tmp_path, RecordRenderer(CONFIG), count=4, layout="plain", split="train")
    batch = RenderEngine(CONFIG).render(range(4))
    dataset = PlainHands(tmp_path)
    for row in range(4):
        np.testing.assert_allclose(dataset[row].joints_cam_m, batch.joints_cam_m[row].numpy(), atol=1e-7)
        np.testing.assert_array_equal(dataset[row].image, batch.image_uint8[row].numpy())
        np.testing.assert_array_equal(dataset[row].visible, batch.visible[row].numpy())


def test_an_interrupted_run_resumes_to_the_same_files(tmp_path):
    write(tmp_path / "whole", render)

    def failing(indices):
        if indices[0] >= 3:
            raise KeyboardInterrupt
        return render(indices)

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "resumed", failing)
    assert not (tmp_path / "resumed/training/anno_training.pickle").exists()
    rerendered = []

    def counting(indices):
        rerendered.extend(indices)
        return render(indices)

    assert write(tmp_path / "resumed", counting)
    assert rerendered == [3, 4, 5, 6, 7]
    assert fingerprint(tmp_path / "resumed") == fingerprint(tmp_path / "whole")


def test_shards_write_the_same_files_and_the_last_one_completes(tmp_path):
    write(tmp_path / "whole", render)
    results = [write(tmp_path / "sharded", render, shard_of=(number, 3)) for number in (2, 3, 1)]
    assert results == [False, False, True]
    assert fingerprint(tmp_path / "sharded") == fingerprint(tmp_path / "whole")


def test_count_can_be_raised(tmp_path):
    write(tmp_path / "grown", render, count=4)
    write(tmp_path / "grown", render, count=8)
    write(tmp_path / "whole", render, count=8)
    assert fingerprint(tmp_path / "grown") == fingerprint(tmp_path / "whole")
    assert len(RHD(tmp_path / "grown", "training")) == 8


def test_both_splits_share_a_folder(tmp_path):
    write(tmp_path, render, count=3)
    write(tmp_path, render, count=2, split="evaluation")
    assert (len(RHD(tmp_path, "training")), len(RHD(tmp_path, "evaluation"))) == (3, 2)


def foreign_files(root, layout, split):
    """A user's file in each of a split's output paths."""
    for path in LAYOUTS[layout].output_paths(root, split):
        yield path if path.suffix else path / "deep" / "000000.png"


@pytest.mark.parametrize("split_number", [0, 1])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_foreign_files_are_not_overwritten(tmp_path, layout, split_number):
    split = LAYOUTS[layout].splits[split_number]
    for number, _ in enumerate(foreign_files(tmp_path, layout, split)):
        root = tmp_path / str(number)
        theirs = list(foreign_files(root, layout, split))[number]
        theirs.parent.mkdir(parents=True)
        theirs.write_text("{}")
        before = sorted(root.rglob("*"))
        with pytest.raises(InputError, match="GraphHand did not write; choose another folder"):
            write(root, render, count=2, layout=layout, split=split)
        with pytest.raises(InputError, match="GraphHand did not write; choose another folder"):
            write_preview(root, layout, split, render, range(2))
        assert sorted(root.rglob("*")) == before
        assert theirs.read_text() == "{}"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_writes_only_to_its_output_paths(tmp_path, layout):
    """Only these paths are checked for files of the user."""
    split = LAYOUTS[layout].splits[0]
    write(tmp_path, render, count=2, layout=layout, split=split)
    paths = LAYOUTS[layout].output_paths(tmp_path, split)
    for file in tmp_path.rglob("*"):
        known = any(path in (file, *file.parents) for path in paths)
        assert file.is_dir() or known or PROVENANCE_FOLDER in file.parts


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_ours_accepts_previews_more_images_and_the_other_split(tmp_path, layout):
    for split in LAYOUTS[layout].splits:
        for count in (1, 2):
            write_preview(tmp_path, layout, split, render, range(count))
            assert write(tmp_path, render, count=count, layout=layout, split=split)


def test_foreign_lines_of_the_other_split_are_not_dropped(tmp_path):
    write(tmp_path, render, count=1, layout="plain", split="train")
    labels = tmp_path / LABEL_FILE
    labels.write_text(labels.read_text() + '{"image": "own.png", "split": "test"}\n')
    with pytest.raises(InputError, match=r"hands\.jsonl: holds something that GraphHand did not write"):
        write(tmp_path, render, count=1, layout="plain", split="test")


def test_a_full_disk_is_a_one_line_error_and_leaves_no_partial_file(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InputError, match=r"No space left on device.*continues where this one stopped") as caught:
        write(tmp_path, render)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.tmp*"))
    monkeypatch.undo()
    monkeypatch.setattr(dataset_writing, "CHUNK", 3)
    assert write(tmp_path, render)


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken"):
        write(tmp_path / "taken", render)
    with pytest.raises(InputError, match="taken: cannot be written"):
        write_preview(tmp_path / "taken", "plain", "train", render, range(1))


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / "below", render)


@pytest.mark.parametrize("shard_of", [(0, 2), (3, 2)])
def test_impossible_shards_are_refused(tmp_path, shard_of):
    with pytest.raises(InputError, match="shard"):
        write(tmp_path, render, shard_of=shard_of)


def test_stb_images_are_rendered_with_its_camera(tmp_path):
    """Images are neither scaled nor padded."""
    config = RenderConfig(**RENDER_SETTINGS["stb"], seed=5, antialiasing=1)
    renderer = RecordRenderer(config)
    write(tmp_path, renderer, count=2, layout="stb", split="test")
    rendered = [record.mirrored() for record in renderer([0, 1])]
    dataset = STB(tmp_path, "test")
    for row in range(2):
        np.testing.assert_array_equal(dataset[row].image, rendered[row].image)
        np.testing.assert_allclose(dataset[row].joints_cam_m, rendered[row].joints_cam_m, atol=2e-7)
        np.testing.assert_allclose(dataset[row].joints_px, rendered[row].joints_px, atol=0.01)
        assert np.array_equal(dataset[row].K, K_SK_COLOR)


def test_fingerprint_depends_on_labels_alone():
    def of(**changes):
        return RecordRenderer(CONFIG.model_copy(update=changes)).label_fingerprint()

    assert of() == of(noise=0.0, antialiasing=2)
    assert len({of(), of(seed=6), of(shape_variation=0.0), of(image_size=64)}) == 4
