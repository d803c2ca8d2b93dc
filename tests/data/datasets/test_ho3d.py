from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from graphhand.data import HO3D
from graphhand.errors import InputError
from graphhand.io import write_image

MANO_ORDER = [0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20]
"""Our joint at each place of HO-3D's: 16 skeleton joints (thumb last), then the five tips."""


def on_disk(sample):
    """Joints as the set stores them: OpenGL axes, MANO's order."""
    return sample.joints_cam_m[MANO_ORDER].astype(np.float64) * [1, -1, -1]


@pytest.fixture(params=["png", "jpg"])
def tree(request, tmp_path, dotted_sample):
    """Two frames in each split; version 2 has PNG images, version 3 JPEG."""
    for split in ("train", "evaluation"):
        names = []
        for seed in range(2):
            sample = dotted_sample(seed)
            folder = tmp_path / split / "ABF10"
            for name in ("rgb", "meta"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            write_image(folder / "rgb" / f"{seed:04d}.{request.param}", sample.image)
            joints = on_disk(sample)
            meta = {
                "camMat": sample.K,
                "handJoints3D": joints if split == "train" else joints[0],
                "handBoundingBox": [100, 50, 300, 350],
                "objName": "021_bleach_cleanser",
            }
            (folder / "meta" / f"{seed:04d}.pkl").write_bytes(pickle.dumps(meta, protocol=2))
            names.append(f"ABF10/{seed:04d}")
        (tmp_path / f"{split}.txt").write_text("\n".join(names) + "\n")
    return tmp_path


def test_opengl_axes_and_manos_order_are_converted(tree, dotted_sample):
    dataset = HO3D(tree, "train")
    assert len(dataset) == 2
    for index in range(2):
        expected = dotted_sample(index)
        np.testing.assert_allclose(dataset[index].joints_cam_m, expected.joints_cam_m, atol=1e-7)
        np.testing.assert_allclose(dataset[index].joints_px, expected.joints_px, atol=1e-3)


def test_evaluation_without_labels_has_a_box_and_no_joints(tree):
    sample = HO3D(tree, "evaluation")[0]
    np.testing.assert_array_equal(sample.box_px, [100, 50, 200, 300])
    assert not sample.labelled.any()
    assert not sample.has_3d
    assert HO3D(tree, "evaluation").protocol["labels"] == "boxes only"


def test_released_evaluation_labels_are_used_where_they_are(tree, dotted_sample):
    rows = [on_disk(dotted_sample(seed)).tolist() for seed in range(2)]
    (tree / "evaluation_xyz.json").write_text(json.dumps(rows))
    sample = HO3D(tree, "evaluation")[1]
    np.testing.assert_allclose(sample.joints_cam_m, dotted_sample(1).joints_cam_m, atol=1e-7)
    assert sample.box_px is None
    (tree / "evaluation_xyz.json").write_text(json.dumps(rows[:1]))
    with pytest.raises(InputError, match="one row for each line"):
        HO3D(tree, "evaluation")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"handJoints3D": None}, "not annotated"),
        ({"camMat": None}, "no camMat"),
        ({"handJoints3D": np.ones((21, 3))}, "joints_cam_m"),
    ],
)
def test_frames_without_usable_labels_are_named(tree, change, message):
    path = tree / "train/ABF10/meta/0001.pkl"
    path.write_bytes(pickle.dumps({**pickle.loads(path.read_bytes()), **change}, protocol=2))
    dataset = HO3D(tree, "train")
    assert dataset[0].has_3d
    with pytest.raises(InputError, match=message):
        dataset[1]


def test_a_list_that_leaves_the_folder_is_refused(tree):
    (tree / "train.txt").write_text("../secret\n")
    with pytest.raises(InputError, match="SEQUENCE/FRAME"):
        HO3D(tree, "train")


@pytest.mark.parametrize("split", ["train", "evaluation"])
def test_image_paths_match_their_files(tree, split, assert_images_named):
    assert_images_named(tree, HO3D(tree, split))


def test_a_list_in_another_encoding_is_a_one_line_error(tree):
    (tree / "train.txt").write_bytes("ABF10/0000".encode("utf-16"))
    with pytest.raises(InputError, match=r"train\.txt: is not text in UTF-8"):
        HO3D(tree, "train")
