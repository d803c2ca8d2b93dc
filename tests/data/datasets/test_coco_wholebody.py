from __future__ import annotations

import json

import numpy as np
import pytest

from graphhand.data import CocoWholeBody
from graphhand.errors import InputError
from graphhand.io import write_image


@pytest.fixture(params=["val2017", "images/val2017"])
def tree(request, tmp_path, dotted_sample):
    """One image, two people: one with both hands, one whose only hand is tiny."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / request.param).mkdir(parents=True)
    right, left = dotted_sample(0), dotted_sample(1, "left")
    write_image(tmp_path / request.param / "000000000007.jpg", right.image)

    def points(sample):
        return np.concatenate([sample.joints_px, np.ones((21, 1))], axis=1)

    holes = points(left)
    holes[[3, 9]] = 0
    people = [
        {"id": 1, "image_id": 7, "lefthand_valid": True, "lefthand_kpts": holes.ravel().tolist()},
        {"id": 2, "image_id": 7, "lefthand_valid": True, "lefthand_box": [0, 0, 9, 9], "lefthand_kpts": [0] * 63},
    ]
    people[0] |= {"righthand_valid": True, "righthand_kpts": points(right).ravel().tolist()}
    people[0] |= {"lefthand_box": [0, 0, 90, 80], "righthand_box": [0, 0, 90, 80]}
    people[1] |= {"righthand_valid": False, "righthand_box": [0, 0, 0, 0], "righthand_kpts": [0] * 63}
    data = {"images": [{"id": 7, "file_name": "000000000007.jpg"}], "annotations": people}
    (tmp_path / "annotations" / "coco_wholebody_val_v1.0.json").write_text(json.dumps(data))
    return tmp_path


def test_each_valid_hand_is_a_2d_sample(tree, dotted_sample):
    dataset = CocoWholeBody(tree, "val")
    assert len(dataset) == 2
    left, right = dataset[0], dataset[1]
    assert (left.side, right.side) == ("left", "right")
    np.testing.assert_allclose(right.joints_px, dotted_sample(0).joints_px, atol=1e-3)
    assert np.flatnonzero(~left.labelled).tolist() == [3, 9]
    assert not left.has_3d
    assert left.K is None


def test_small_hands_are_kept_on_request(tree):
    assert len(CocoWholeBody(tree, "val", min_side_px=0)) == 3


def test_a_malformed_file_is_named(tree):
    (tree / "annotations" / "coco_wholebody_val_v1.0.json").write_text('{"images": []}')
    with pytest.raises(InputError, match="malformed: no 'annotations'"):
        CocoWholeBody(tree, "val")


def test_image_paths_match_their_files(tree, assert_images_named):
    assert_images_named(tree, CocoWholeBody(tree, "val"))


def change_people(tree, change):
    path = tree / "annotations" / "coco_wholebody_val_v1.0.json"
    data = json.loads(path.read_text())
    change(data["annotations"])
    path.write_text(json.dumps(data))


def test_malformed_points_are_an_error_of_one_hand(tree):
    change_people(tree, lambda people: people[0].update(lefthand_kpts=[1, 2]))
    dataset = CocoWholeBody(tree, "val")
    assert dataset[1].side == "right"
    with pytest.raises(InputError, match=r"_v1\.0\.json: person 1, lefthand_kpts has shape \(2,\)"):
        dataset[0]


@pytest.mark.parametrize("box", [[], [1, 2], [1, 2, "a", 3], None])
def test_a_malformed_box_is_refused(tree, box):
    change_people(tree, lambda people: people[0].update(lefthand_box=box))
    with pytest.raises(InputError, match=r"_v1\.0\.json: malformed: (?!no )"):
        CocoWholeBody(tree, "val")


@pytest.mark.parametrize("side", ["small", True, [3]])
def test_a_min_side_that_is_not_a_number_is_an_error_of_the_option(tree, side):
    with pytest.raises(InputError, match=r"^min_side_px: is .*; give a number of pixels"):
        CocoWholeBody(tree, "val", min_side_px=side)


def test_every_hand_of_coco_fits_in_memory(tree, bytes_kept):
    def many(people):
        people += [{**people[0], "id": 10 + k, "face_kpts": [1.5] * 204} for k in range(1000)]

    change_people(tree, many)
    assert bytes_kept(lambda: CocoWholeBody(tree, "val")) < 800
