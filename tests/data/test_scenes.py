"""Data sets of scenes on disk."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch

from graphhand.data import PlainHands
from graphhand.data import writing as dataset_writing
from graphhand.data.scenes import CROP_JOINTS, labels, write_scene_preview, write_scenes
from graphhand.errors import InputError
from graphhand.skeleton import JOINT_NAMES
from graphhand.synthesis.scene_engine import RenderedScene, SceneHands

WIDTH, HEIGHT = 96, 72


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(dataset_writing, "CHUNK", 3)


def scene(number: int) -> RenderedScene:
    """One person whose right hand is in the middle and whose left hand is out of the image."""
    random = np.random.default_rng(number)
    K = torch.tensor([[100.0, 0, 47.5], [0, 100.0, 35.5], [0, 0, 1]])
    grid = torch.tensor([[0.02 * (j % 5) - 0.04, 0.02 * (j // 5) - 0.04, 0.2] for j in range(21)])
    joints = torch.stack([grid, grid + torch.tensor([0.5, 0, 0])])[None]
    px = joints[..., :2] / joints[..., 2:] * 100 + K[:2, 2]
    visible = torch.ones(1, 2, 21, dtype=torch.bool)
    visible[0, 0, :3] = False
    visible[0, 1] = False
    box = torch.tensor([[[27.5, 15.5, 41.0, 41.0], [0, 0, 0, 0]]])
    image = torch.from_numpy(random.uniform(size=(3, HEIGHT, WIDTH)).astype(np.float32))
    return RenderedScene(image, K, SceneHands(joints, px, visible, box, torch.tensor([[900, 0]])), number)


def render(indices):
    return [scene(index) for index in indices]


def write(root, count=7, split="train", **options):
    return write_scenes(root, split, options.pop("render", render), count, provenance={"seed": 1}, **options)


def fingerprint(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_annotations_follow_coco(tmp_path):
    assert write(tmp_path)
    content = json.loads((tmp_path / "annotations/train.json").read_text())
    assert [image["file_name"] for image in content["images"]] == [f"train/{n:06d}.jpg" for n in range(7)]
    assert all((tmp_path / image["file_name"]).is_file() for image in content["images"])
    assert {c["id"]: c["name"] for c in content["categories"]} == {1: "left hand", 2: "right hand"}
    assert content["categories"][0]["keypoints"] == list(JOINT_NAMES)
    ids = [hand["id"] for hand in content["annotations"]]
    assert len(set(ids)) == len(ids) == 14
    right, left = content["annotations"][:2]
    assert (right["category_id"], right["iscrowd"], right["area"]) == (2, 0, 900)
    flags = right["keypoints"][2::3]
    assert flags == [1] * 3 + [2] * 18
    assert right["num_keypoints"] == 21
    assert right["bbox"] == [27.5, 15.5, 41.0, 41.0]
    assert (left["category_id"], left["iscrowd"], left["num_keypoints"], left["bbox"]) == (1, 1, 0, [0.0] * 4)
    assert left["keypoints"] == [0] * 63


def test_plain_loader_reads_the_hands_in_sight(tmp_path):
    write(tmp_path)
    dataset = PlainHands(tmp_path, "train")
    assert len(dataset) == 7
    sample = dataset[2]
    assert sample.side == "right"
    assert sample.image.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(sample.joints_px, scene(2).hands.joints_px[0, 0].numpy(), atol=1e-2)
    assert sample.visible.sum() == 18


def test_hands_with_few_visible_joints_are_no_crops(tmp_path):
    def hidden(indices):
        scenes = render(indices)
        for one in scenes:
            one.hands.visible[0, 0, : 21 - CROP_JOINTS + 1] = False
        return scenes

    write(tmp_path, render=hidden)
    assert len(PlainHands(tmp_path)) == 0


def test_an_interrupted_run_resumes_to_the_same_files(tmp_path):
    write(tmp_path / "whole")

    def failing(indices):
        if indices[0] >= 3:
            raise KeyboardInterrupt
        return render(indices)

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "resumed", render=failing)
    write(tmp_path / "resumed")
    assert fingerprint(tmp_path / "resumed") == fingerprint(tmp_path / "whole")


def test_shards_make_the_same_files(tmp_path):
    write(tmp_path / "whole")
    assert not write(tmp_path / "shards", shard_of=(2, 2))
    assert write(tmp_path / "shards", shard_of=(1, 2))
    assert fingerprint(tmp_path / "shards") == fingerprint(tmp_path / "whole")


def test_both_splits_share_hands_jsonl(tmp_path):
    write(tmp_path, count=4)
    write(tmp_path, count=2, split="test")
    assert len(PlainHands(tmp_path, "train")) == 4
    assert len(PlainHands(tmp_path, "test")) == 2


def test_foreign_files_are_refused(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/train.json").write_text("{}")
    with pytest.raises(InputError, match="did not write"):
        write(tmp_path)


def test_another_provenance_is_refused(tmp_path):
    write(tmp_path, count=2)
    with pytest.raises(InputError, match="another seed"):
        write_scenes(tmp_path, "train", render, 2, provenance={"seed": 2})


def test_preview_shows_the_first_images(tmp_path):
    path = write_scene_preview(tmp_path, "train", render, 3, {"seed": 1})
    assert path.is_file()


def test_joints_behind_the_camera_are_outside(tmp_path):
    one = scene(0)
    one.hands.joints_cam_m[0, 0, 5, 2] = -0.1
    one.hands.visible[0, 0, 5] = False
    (right, _) = labels(one, "train", 0)["hands"]
    assert right["keypoints"][15:18] == [0, 0, 0]
