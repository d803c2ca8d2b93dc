from __future__ import annotations

import json

import numpy as np
import pytest

from graphhand.data import MPIINZSL, open_dataset
from graphhand.data.check import check_dataset
from graphhand.errors import InputError
from graphhand.io import write_image


@pytest.fixture(params=["", "hand_labels"])
def tree(request, tmp_path, dotted_sample):
    """Two hands, each with an image and a label file of its own; a joint of the left one is unlabelled."""
    folder = tmp_path / request.param / "manual_test"
    folder.mkdir(parents=True)
    for side in ("left", "right"):
        sample = dotted_sample(int(side == "left"), side)
        points = np.column_stack((sample.joints_px, np.ones(21)))
        if side == "left":
            points[7] = [0, 0, 0]
        labels = {"hand_pts": points.tolist(), "is_left": float(side == "left"), "hand_box_center": [320.0, 240.0]}
        write_image(folder / f"000015774_01_{side[0]}.jpg", sample.image)
        (folder / f"000015774_01_{side[0]}.json").write_text(json.dumps(labels))
    return tmp_path


def test_each_label_file_is_a_2d_hand_in_our_joint_order(tree, dotted_sample):
    samples = MPIINZSL(tree, "test")
    assert len(samples) == 2
    left, right = samples[0], samples[1]
    assert (left.side, right.side) == ("left", "right")
    np.testing.assert_allclose(right.joints_px, dotted_sample(0).joints_px, atol=1e-3)
    assert np.flatnonzero(~left.labelled).tolist() == np.flatnonzero(~left.visible).tolist() == [7]
    assert not left.has_3d
    assert left.K is None
    assert (right.image[tuple(right.joints_px[8].round().astype(int)[::-1])] > 200).all()  # the dot of a joint


def test_it_is_opened_and_checked_by_name(tree):
    samples = open_dataset("mpii-nzsl", tree, "test")
    assert samples.protocol == {"dataset": "mpii-nzsl", "split": "test"}
    report = check_dataset("mpii-nzsl", tree)
    (test,) = [part for part in report.splits if part.split == "test"]
    assert (test.hands, test.published, test.faults, test.with_3d) == (2, 846, [], 0)


def test_image_paths_match_their_files(tree, assert_images_named):
    assert_images_named(tree, MPIINZSL(tree, "test"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hand_pts": [[1, 2, 1]] * 20}, r"hand_pts has shape \(20, 3\)"),
        ({"hand_pts": None}, "hand_pts"),
        ({"is_left": "yes"}, "is_left"),
    ],
)
def test_malformed_labels_are_an_error_of_one_hand(tree, change, said):
    (file,) = tree.rglob("*_l.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    samples = MPIINZSL(tree, "test")
    assert samples[1].side == "right"
    with pytest.raises(InputError, match=rf"_l\.json.*{said}"):
        samples[0]


def test_missing_fields_and_empty_folders_are_named(tree):
    (file,) = tree.rglob("*_l.json")
    file.write_text("{}")
    with pytest.raises(InputError, match="has no hand_pts"):
        MPIINZSL(tree, "test")[0]
    for path in tree.rglob("*.json"):
        path.unlink()
    with pytest.raises(InputError, match="has no label files"):
        MPIINZSL(tree, "test")
