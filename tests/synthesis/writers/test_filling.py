from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest

from graphhand.data import RHD, STB, PlainHands
from graphhand.data.datasets.plain import LABEL_FILE
from graphhand.data.datasets.stb import K_SK_COLOR
from graphhand.errors import InputError
from graphhand.synthesis import RenderConfig, RenderEngine
from graphhand.synthesis.writers import LAYOUTS
from graphhand.synthesis.writers import chunks as parts
from graphhand.synthesis.writers import dataset as filling

CONFIG = RenderConfig(image_size=48, seed=5, antialiasing=1)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(parts, "CHUNK", 3)


@pytest.fixture
def draw(record):
    return lambda indices: [record(index, size=64) for index in indices]


def fingerprint(root):
    """Contents of every file below a folder."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def fill(root, draw, count=8, layout="rhd", split="training", **options):
    return filling.fill(root, layout, split, draw, range(count), provenance={"seed": 5}, **options)


def test_drawn_labels_are_those_of_the_engine(tmp_path):
    fill(tmp_path, filling.Drawer(CONFIG), count=4, layout="plain", split="train")
    batch = RenderEngine(CONFIG).render(range(4))
    dataset = PlainHands(tmp_path)
    for row in range(4):
        np.testing.assert_allclose(dataset[row].joints_cam_m, batch.joints_cam_m[row].numpy(), atol=1e-7)
        np.testing.assert_array_equal(dataset[row].image, batch.image_uint8[row].numpy())
        np.testing.assert_array_equal(dataset[row].visible, batch.visible[row].numpy())


def test_a_killed_run_goes_on_and_ends_the_same(tmp_path, draw):
    fill(tmp_path / "whole", draw)

    def failing(indices):
        if indices[0] >= 3:
            raise KeyboardInterrupt
        return draw(indices)

    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "resumed", failing)
    assert not (tmp_path / "resumed/training/anno_training.pickle").exists()
    redrawn = []

    def counting(indices):
        redrawn.extend(indices)
        return draw(indices)

    assert fill(tmp_path / "resumed", counting)
    assert redrawn == [3, 4, 5, 6, 7]
    assert fingerprint(tmp_path / "resumed") == fingerprint(tmp_path / "whole")


def test_shards_make_the_same_folder_and_only_the_last_completes_it(tmp_path, draw):
    fill(tmp_path / "whole", draw)
    results = [fill(tmp_path / "sharded", draw, shard_of=(number, 3)) for number in (2, 3, 1)]
    assert results == [False, False, True]
    assert fingerprint(tmp_path / "sharded") == fingerprint(tmp_path / "whole")


def test_a_folder_can_grow(tmp_path, draw):
    fill(tmp_path / "grown", draw, count=4)
    fill(tmp_path / "grown", draw, count=8)
    fill(tmp_path / "whole", draw, count=8)
    assert fingerprint(tmp_path / "grown") == fingerprint(tmp_path / "whole")
    assert len(RHD(tmp_path / "grown", "training")) == 8


def test_both_splits_share_a_folder(tmp_path, draw):
    fill(tmp_path, draw, count=3)
    fill(tmp_path, draw, count=2, split="evaluation")
    assert (len(RHD(tmp_path, "training")), len(RHD(tmp_path, "evaluation"))) == (3, 2)


def foreign_places(root, layout, split):
    """Every place that a split is written to, with a file of the user's in it."""
    for place in LAYOUTS[layout].places(root, split):
        yield place if place.suffix else place / "deep" / "000000.png"


@pytest.mark.parametrize("split_number", [0, 1])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_and_labels_that_were_not_drawn_here_are_not_written_over(tmp_path, draw, layout, split_number):
    split = LAYOUTS[layout].splits[split_number]
    for number, _ in enumerate(foreign_places(tmp_path, layout, split)):
        root = tmp_path / str(number)
        theirs = list(foreign_places(root, layout, split))[number]
        theirs.parent.mkdir(parents=True)
        theirs.write_text("{}")
        before = sorted(root.rglob("*"))
        with pytest.raises(InputError, match="was not drawn here; choose another folder"):
            fill(root, draw, count=2, layout=layout, split=split)
        with pytest.raises(InputError, match="was not drawn here; choose another folder"):
            filling.preview(layout, split, draw, range(2), root)
        assert sorted(root.rglob("*")) == before
        assert theirs.read_text() == "{}"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_layout_writes_lies_in_its_places(tmp_path, draw, layout):
    """Else something of the user's would be written over unseen."""
    split = LAYOUTS[layout].splits[0]
    fill(tmp_path, draw, count=2, layout=layout, split=split)
    places = LAYOUTS[layout].places(tmp_path, split)
    for file in tmp_path.rglob("*"):
        known = any(place in (file, *file.parents) for place in places)
        assert file.is_dir() or known or parts.FOLDER in file.parts


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_ours_takes_a_preview_more_images_and_the_other_split(tmp_path, draw, layout):
    for split in LAYOUTS[layout].splits:
        for count in (1, 2):
            filling.preview(layout, split, draw, range(count), tmp_path)
            assert fill(tmp_path, draw, count=count, layout=layout, split=split)


def test_the_other_splits_lines_of_the_user_are_not_dropped(tmp_path, draw):
    fill(tmp_path, draw, count=1, layout="plain", split="train")
    labels = tmp_path / LABEL_FILE
    labels.write_text(labels.read_text() + '{"image": "own.png", "split": "test"}\n')
    with pytest.raises(InputError, match=r"hands\.jsonl: holds something that was not drawn here"):
        fill(tmp_path, draw, count=1, layout="plain", split="test")


def test_a_full_disk_is_one_line_and_leaves_no_half_file(tmp_path, draw, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InputError, match=r"No space left on device.*goes on where this one stopped") as caught:
        fill(tmp_path, draw)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.tmp*"))
    monkeypatch.undo()
    monkeypatch.setattr(parts, "CHUNK", 3)
    assert fill(tmp_path, draw)


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path, draw):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken"):
        fill(tmp_path / "taken", draw)
    with pytest.raises(InputError, match="taken: cannot be written"):
        filling.preview("plain", "train", draw, range(1), tmp_path / "taken")


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_named(tmp_path, draw):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written"):
        fill(tmp_path / "below", draw)


@pytest.mark.parametrize("shard_of", [(0, 2), (3, 2)])
def test_impossible_shards_are_refused(tmp_path, draw, shard_of):
    with pytest.raises(InputError, match="shard"):
        fill(tmp_path, draw, shard_of=shard_of)


def test_stb_images_are_those_of_its_camera(tmp_path):
    """Drawn images go into the layout as they are: nothing is scaled, and nothing is made up around them."""
    config = RenderConfig(**filling.DRAWN_AS["stb"], seed=5, antialiasing=1)
    drawer = filling.Drawer(config)
    fill(tmp_path, drawer, count=2, layout="stb", split="test")
    drawn = [record.mirrored() for record in drawer([0, 1])]
    dataset = STB(tmp_path, "test")
    for row in range(2):
        np.testing.assert_array_equal(dataset[row].image, drawn[row].image)
        np.testing.assert_allclose(dataset[row].joints_cam_m, drawn[row].joints_cam_m, atol=2e-7)
        np.testing.assert_allclose(dataset[row].joints_px, drawn[row].joints_px, atol=0.01)
        assert np.array_equal(dataset[row].K, K_SK_COLOR)


def test_the_fingerprint_follows_the_labels_and_nothing_else():
    def of(**changes):
        return filling.Drawer(CONFIG.model_copy(update=changes)).label_fingerprint()

    assert of() == of(noise=0.0, antialiasing=2)
    assert len({of(), of(seed=6), of(shape_variation=0.0), of(image_size=64)}) == 4
